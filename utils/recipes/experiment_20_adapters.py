"""The experiment of notebook 20: ways to teach the shipped transformer another style, at equal steps.

`python -m utils experiments 20_adapters` writes `data/experiments/20_adapters.jsonl`, a row for each training, in these
parts:

- "rates": several learning rates of each way, two seeds; the best in their mean on validation is taken from there on;
- "seeds": each way at its rate with other seeds, which draw windows and adapters; judged on test, too;
- "new text", "far slice", "near slice": full fine-tuning and LoRA on a tenth of the text that the network has not read
  in the original either, and on two pieces as long that it has read; rates first, then seeds;
- "ranks": LoRA at its rate with other ranks, scaled as LoRA's paper does and as rsLoRA does, three seeds.

Interrupted, the same command goes on.
"""

import copy
import functools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import nn

from utils import adapters, language_models, nf4_linear, restyling, transformer, weight_only
from utils.adapters import LowRankAdapter, RandomSubspace, adapted, principal_adapter, trained_parameters, training_only
from utils.characters import load_shakespeare
from utils.experiment_files import complete_rows, digest_of
from utils.language_models import TextRecipe, evaluate_text, fit_text
from utils.nf4_linear import in_nf4
from utils.transformer import LANGUAGE, Transformer, load_transformer

NAME = "20_adapters"

MINUTES = 12

CHECKPOINT = "Shakespeare-draft"
"""The smaller of the two: a training takes seconds."""

JUDGED = {"validation": 12_800, "test": 25_600}
"""Characters of a part that is judged, from its middle."""

STEPS = 100
"""Of each training, of four windows of 128 characters each."""

RANK, SCALE = 2, 4.0
"""Of the adapters, which lie on all matrices of the blocks: 8,064 trained numbers, 2.98 % of the network's."""

CHOOSING_SEEDS = (100, 101)
"""Of the trainings that choose the rates."""

COMPARED = ("full", "LoRA", "QLoRA")
"""The ways that the goals are about; the notebook trains them once more."""

PAIRS, FEW_PAIRS, RANK_SEEDS = range(20), range(5), range(3)
"""Seeds of the ways that are compared; of their controls and of the other texts; of other ranks.

Twenty were fixed before a look at them. An earlier table had five, at rates that one seed had chosen: LoRA minus full
fine-tuning had a standard deviation of 0.008 nats on test, with which the 95 % interval of a mean of five reaches 0.010
to each side, and that of twenty 0.004.
"""


@functools.cache
def network() -> Transformer:
    """Return the network that all start from."""
    return load_transformer(CHECKPOINT)


@functools.cache
def part(name: str, style: str = "prose") -> torch.Tensor:
    """Return a part of the text in a style, as numbers; `style` "" is the original.

    "train" is what the network learned from, 85 % of Tiny Shakespeare, so only the style is new to it. "new" is the
    last tenth, of which it has read nothing. "far" and "near" are as many characters from the beginning and from the
    end of "train": of other plays than what is judged on validation, and of the same. "validation" and "test" are from
    the two halves of what its checkpoint was chosen on, from the middle of each.
    """
    text = load_shakespeare()
    first, second = text.validation.tensor_split(2)
    far, near = text.train[: len(text.test)], text.train[-len(text.test) :]
    whole = {
        "train": text.train, "new": text.test, "far": far, "near": near, "validation": first, "test": second
    }[name]  # fmt: skip
    if style:
        whole = text.vocabulary.encode(getattr(restyling, style)(text.vocabulary.decode(whole)))
    if name not in JUDGED:
        return whole
    start = (len(whole) - JUDGED[name]) // 2
    return whole[start : start + JUDGED[name] + 1]


# --- ways to train ----------------------------------------------------------------------------------------------------


def full() -> nn.Module:
    """Return a copy of the network, all of it trained."""
    return copy.deepcopy(network())


def in_blocks(name: str) -> bool:
    """Say whether a linear layer belongs to a block; the head does not."""
    return name != "head"


def low_rank(rank: int = RANK, *, scale: float = SCALE, base: nn.Module | None = None) -> nn.Module:
    """Return the network, or another base, with an adapter on each matrix of the blocks; the global generator draws."""
    return adapted(base or network(), lambda layer: LowRankAdapter(layer, rank=rank, scale=scale), choose=in_blocks)


def subspace() -> nn.Module:
    """Return the network with a random subspace on each of these matrices, of at most as many numbers as an adapter."""

    def make(layer: nn.Linear) -> RandomSubspace:
        return RandomSubspace(layer, size=math.isqrt(RANK * sum(layer.weight.shape)))

    return adapted(network(), make, choose=in_blocks)


def whole_matrices() -> nn.Module:
    """Return a copy of the network of which the 14 matrices that LoRA adapts are trained, whole, and nothing else."""
    return training_only(network(), lambda name: name.startswith("blocks") and "norm" not in name)


def pissa() -> nn.Module:
    """Return the network with adapters on the same matrices that start as their largest singular directions."""
    return adapted(network(), lambda layer: principal_adapter(layer, rank=RANK), choose=in_blocks)


WAYS: dict[str, Callable[[], nn.Module]] = {
    "full": full,
    "14 matrices": whole_matrices,
    "LoRA": low_rank,
    "QLoRA": lambda: low_rank(base=in_nf4(network(), choose=in_blocks)),
    "PiSSA": pissa,
    "random subspace": subspace,
    "head only": lambda: training_only(network(), lambda name: name.startswith("head")),
    "norms only": lambda: training_only(network(), lambda name: "norm" in name),
}
"""By name. "14 matrices" tells what LoRA's choice of matrices costs, the last three what any few numbers can do."""

TRIED: dict[str, tuple[float, ...]] = {
    "full": (1.2e-4, 2.5e-4, 5e-4, 1e-3),
    "14 matrices": (1.2e-4, 2.5e-4, 5e-4, 1e-3),
    "LoRA": (1.2e-3, 2.5e-3, 5e-3, 1e-2),
    "PiSSA": (1.2e-3, 2.5e-3, 5e-3, 1e-2),
    "random subspace": (1.2e-3, 2.5e-3, 5e-3, 1e-2),
    "head only": (2.5e-3, 5e-3, 1e-2, 2e-2),
    "norms only": (1e-2, 2e-2, 4e-2, 8e-2),
}
"""Highest learning rates that are tried on validation, as many for each way; QLoRA takes that of LoRA."""

TEXTS = {"new text": "new", "far slice": "far", "near slice": "near"}
"""Parts of the table that learn from another text than "train", and from which."""

TRIED_ON_TEXTS: dict[str, tuple[float, ...]] = {
    "full": (1.2e-4, 2.5e-4, 5e-4, 1e-3),
    "LoRA": (6e-4, 1.2e-3, 2.5e-3, 5e-3),
}
"""The same for each of these texts."""

SCALES: dict[str, Callable[[int], float]] = {
    "alpha / r": lambda rank: SCALE * RANK / rank,
    "alpha / root r": lambda rank: SCALE * math.sqrt(RANK / rank),
}
"""Of other ranks: LoRA's and rsLoRA's, both with the alpha that makes the scale of rank 2 what it is."""

OTHER_RANKS = (1, 8, 32)


def trained(
    way: str, rate: float, seed: int, *, model: nn.Module | None = None, style: str = "prose", learned: str = "train"
) -> nn.Module:
    """Return a trained network of a way; the seed draws its adapters and the windows.

    Args:
        way: one of `WAYS`.
        rate: the highest learning rate.
        seed: 0 to 4 are those of the table.
        model: is trained in place of a new one of this way.
        style: of the text.
        learned: part of the text that is learned from.
    """
    torch.manual_seed(seed)
    model = WAYS[way]() if model is None else model
    recipe = TextRecipe(
        steps=STEPS, batch_size=4, context=128, learning_rate=rate, weight_decay=0.0, warm_up=0.1, seed=seed
    )  # fmt: skip
    fit_text(model, part(learned, style), recipe, every=STEPS)
    return model


# --- the table --------------------------------------------------------------------------------------------------------


def judged(model: nn.Module, name: str, style: str = "prose") -> float:
    """Return the nats a character on a part, in windows side by side."""
    return round(evaluate_text(model, part(name, style), stride=256).nats, 5)


def chosen_rates(rows: list[dict], part_of_table: str = "rates") -> dict[str, float]:
    """Return the rate of each way with the lowest nats on validation, in the mean of the seeds that choose."""
    tried: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if row["part"] == part_of_table and row["seed"] in CHOOSING_SEEDS:
            tried.setdefault(row["way"], {}).setdefault(row["rate"], []).append(row["nats"])
    rates = {way: min(found, key=lambda rate: statistics.mean(found[rate])) for way, found in tried.items()}
    return rates | ({"QLoRA": rates["LoRA"]} if part_of_table == "rates" and "LoRA" in rates else {})


def conditions(rows: list[dict]) -> Iterator[dict]:
    """Yield what is trained, in order; what follows rates needs their rows, which may be added while this yields."""
    yield from rates_then_seeds(rows, TRIED, WAYS)
    best = chosen_rates(rows)
    for name in TEXTS:
        yield from rates_then_seeds(rows, TRIED_ON_TEXTS, TRIED_ON_TEXTS, parts=(name, name))
    for rank in OTHER_RANKS:
        for scale in SCALES:
            for seed in RANK_SEEDS:
                yield {"part": "ranks", "way": f"rank {rank}, {scale}", "rate": best["LoRA"], "seed": seed}
    for seed in PAIRS[len(FEW_PAIRS) :]:
        for way in COMPARED:
            yield {"part": "seeds", "way": way, "rate": best[way], "seed": seed}


def rates_then_seeds(
    rows: list[dict],
    tried: Mapping[str, tuple[float, ...]],
    ways: Iterable[str],
    *,
    parts: tuple[str, str] = ("rates", "seeds"),
) -> Iterator[dict]:
    """Yield what chooses a rate for each way, and then each way at its best rate with the first five seeds.

    Args:
        rows: of the table; those of the rates may be added while this yields.
        tried: the rates of each way that has some of its own.
        ways: what is trained with the seeds.
        parts: of the table, for the rates and for the seeds.
    """
    for way, rates in tried.items():
        for rate in rates:
            for seed in CHOOSING_SEEDS:
                yield {"part": parts[0], "way": way, "rate": rate, "seed": seed}
    best = chosen_rates(rows, parts[0])
    for seed in FEW_PAIRS:
        for way in ways:
            yield {"part": parts[1], "way": way, "rate": best[way], "seed": seed}


def measured(wanted: dict) -> dict:
    """Train what a row is about and return the row: trained numbers, nats on validation and on its original.

    And nats on test, in the part "seeds".
    """
    if wanted["part"] == "ranks":
        rank, scale = wanted["way"].removeprefix("rank ").split(", ")
        torch.manual_seed(wanted["seed"])
        model = low_rank(int(rank), scale=SCALES[scale](int(rank)))
        trained("LoRA", wanted["rate"], wanted["seed"], model=model)
    else:
        learned = TEXTS.get(wanted["part"], "train")
        model = trained(wanted["way"], wanted["rate"], wanted["seed"], learned=learned)
    row = {**wanted, "trained": trained_parameters(model), "nats": judged(model, "validation")}
    row["original"] = judged(model, "validation", "")
    return row | ({"test": judged(model, "test")} if wanted["part"] == "seeds" else {})  # "new" goes on where it ends


def digest() -> str:
    """Return a digest of what the rows depend on: the trainings, the adapters, the styles, the shipped network."""
    code = (
        part, in_blocks, low_rank, subspace, whole_matrices, pissa, trained, judged, measured, adapters.LowRankAdapter,
        adapters.RandomSubspace, adapters.principal_adapter, adapters.adapted, adapters.training_only,
        nf4_linear.NF4Linear, nf4_linear.pack_scales, weight_only.nf4, restyling.prose, restyling.modern,
        transformer.Transformer, transformer.Block, transformer.Attention, transformer.FeedForward,
        language_models.evaluate_text, language_models.strided_windows,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{CHECKPOINT}.safetensors"])


def run() -> str:
    """Train what the table lacks, write it after each row, and return a line that says how much it holds."""
    return complete_rows(NAME, {"digest": digest()}, conditions, measured)
