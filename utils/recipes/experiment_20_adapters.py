"""The experiment of notebook 20: six ways to teach the shipped transformer another style, at equal steps.

`python -m utils experiments 20_adapters` writes `data/experiments/20_adapters.jsonl`, a row for each training.
Interrupted, the same command goes on from there. All learn from the same text, the last tenth of Tiny Shakespeare as
prose, which is new to the network. The rate of each way is chosen on validation with a seed of its own; the other five
seeds draw the windows and the adapters' first values. Two ways with one seed are a pair: they read the same windows.
"""

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from utils import adapters, language_models, nf4_linear, restyling, transformer, weight_only
from utils.adapters import LowRankAdapter, RandomSubspace, adapted, trained_parameters, training_only
from utils.characters import load_shakespeare
from utils.environment import library_versions
from utils.experiment_files import EXPERIMENTS, digest_of, read_experiment, write_experiment
from utils.language_models import TextRecipe, evaluate_text, fit_text
from utils.nf4_linear import in_nf4
from utils.transformer import LANGUAGE, Transformer, load_transformer
from utils.weight_only import linear_layers

NAME = "20_adapters"

MINUTES = 20

CHECKPOINT = "Shakespeare-draft"
"""The smaller of the two: a training takes seconds."""

JUDGED = 12_800
"""Characters of a part that is judged, from its middle."""

STEPS = 100
"""Of each training, of four windows of 128 characters each."""

RANK, SCALE = 2, 4.0
"""Of the adapters, which lie on all matrices of the blocks: 8,064 trained numbers, 2.98 % of the network's."""

SEEDS, CHOOSING_SEED = range(5), 10
"""Of what is compared; of the trainings that choose a rate, and of the controls and the other ranks."""

RANKS = (1, 2, 8)

CUT = (1, 2, 8, 32)
"""Ranks to which the change of full fine-tuning is cut, in the training of the first seed."""


@functools.cache
def network() -> Transformer:
    """Return the network that all start from."""
    return load_transformer(CHECKPOINT)


@functools.cache
def part(name: str, style: str = "prose") -> torch.Tensor:
    """Return a part of the text in a style, as numbers; `style` "" is the original.

    None of them is text that the network learned from: "train" is the last tenth of Tiny Shakespeare, "validation" and
    "test" are from the two halves of what it was chosen on, 12,801 characters from the middle of each.
    """
    text = load_shakespeare()
    first, second = text.validation.tensor_split(2)
    whole = {"train": text.test, "validation": first, "test": second}[name]
    if style:
        whole = text.vocabulary.encode(getattr(restyling, style)(text.vocabulary.decode(whole)))
    start = (len(whole) - JUDGED) // 2
    return whole if name == "train" else whole[start : start + JUDGED + 1]


# --- ways to train ----------------------------------------------------------------------------------------------------


def full() -> nn.Module:
    """Return a copy of the network, all of it trained."""
    return copy.deepcopy(network())


def in_blocks(name: str) -> bool:
    """Say whether a linear layer belongs to a block; the head does not."""
    return name != "head"


def low_rank(rank: int = RANK, *, base: nn.Module | None = None) -> nn.Module:
    """Return the network, or another base, with an adapter on each matrix of the blocks; the global generator draws."""
    return adapted(base or network(), lambda layer: LowRankAdapter(layer, rank=rank, scale=SCALE), choose=in_blocks)


def subspace() -> nn.Module:
    """Return the network with a random subspace on each of these matrices, of at most as many numbers as an adapter."""

    def make(layer: nn.Linear) -> RandomSubspace:
        return RandomSubspace(layer, size=math.isqrt(RANK * sum(layer.weight.shape)))

    return adapted(network(), make, choose=in_blocks)


WAYS: dict[str, Callable[[], nn.Module]] = {
    "full": full,
    "LoRA": low_rank,
    "QLoRA": lambda: low_rank(base=in_nf4(network(), choose=in_blocks)),
    "random subspace": subspace,
    "head only": lambda: training_only(network(), lambda name: name.startswith("head")),
    "norms only": lambda: training_only(network(), lambda name: "norm" in name),
}
"""By name; the last three are controls of the second."""

COMPARED = ("full", "LoRA", "QLoRA")
"""Trained with five seeds; the others are compared at the seed that chose the rates."""

TRIED: dict[str, tuple[float, ...]] = {
    "full": (5e-4, 1e-3, 2.5e-4, 1.2e-4),
    "LoRA": (5e-3, 2.5e-3, 1.2e-3),
    "random subspace": (1e-2, 3e-3),
    "head only": (2e-3,),
    "norms only": (1e-2,),
}
"""Highest learning rates that are tried on validation; QLoRA takes that of LoRA. The full one comes first."""


def trained(way: str, rate: float, seed: int, *, rank: int = RANK, style: str = "prose") -> nn.Module:
    """Return a trained network of a way; the seed draws its adapters and the windows."""
    torch.manual_seed(seed)
    model = low_rank(rank) if way == "LoRA" else WAYS[way]()
    recipe = TextRecipe(
        steps=STEPS, batch_size=4, context=128, learning_rate=rate, weight_decay=0.0, warm_up=0.1, seed=seed
    )  # fmt: skip
    fit_text(model, part("train", style), recipe, every=STEPS)
    return model


# --- the table --------------------------------------------------------------------------------------------------------


def judged(model: nn.Module, name: str, style: str = "prose") -> float:
    """Return the nats a character on a part, in windows side by side."""
    return round(evaluate_text(model, part(name, style), stride=256).nats, 5)


def chosen_rates(rows: list[dict]) -> dict[str, float]:
    """Return the rate of each way with the lowest nats on validation among those that were tried."""
    best: dict[str, dict] = {}
    for row in rows:
        if row["part"] == "rates" and row["nats"] < best.get(row["way"], {"nats": math.inf})["nats"]:
            best[row["way"]] = row
    return {way: row["rate"] for way, row in best.items()} | {"QLoRA": best["LoRA"]["rate"]}


def conditions(rows: list[dict]) -> Iterator[dict]:
    """Yield what is trained, in order; what follows the rates needs their rows."""

    def condition(part: str, way: str, rate: float, seed: int, rank: int = RANK) -> dict:
        return {"part": part, "way": way, "rank": rank, "rate": rate, "seed": seed}

    for way in ("full", "LoRA"):
        yield from (condition("rates", way, rate, CHOOSING_SEED) for rate in TRIED[way])
    best = chosen_rates(rows)
    for seed in SEEDS:
        yield from (condition("ways", way, best[way], seed) for way in COMPARED)
    for way in (way for way in TRIED if way not in COMPARED):
        yield from (condition("rates", way, rate, CHOOSING_SEED) for rate in TRIED[way])
    for rank in RANKS:
        if rank != RANK:
            yield condition("ranks", "LoRA", best["LoRA"], CHOOSING_SEED, rank)


def measured(wanted: dict) -> dict:
    """Train what a row is about and return the row: trained numbers, nats on validation, and what is forgotten."""
    model = trained(wanted["way"], wanted["rate"], wanted["seed"], rank=wanted["rank"])
    row = {**wanted, "trained": trained_parameters(model), "nats": judged(model, "validation")}
    if wanted["part"] == "ways":
        row |= {"original": judged(model, "validation", ""), "test": judged(model, "test")}
        if wanted["way"] == "full" and wanted["seed"] == SEEDS[0]:
            row["cut"] = {str(rank): cut(model, rank, wanted["seed"]) for rank in CUT}
    return row


@torch.no_grad()
def cut(model: nn.Module, rank: int, seed: int) -> dict[str, float]:
    """Cut the change of each matrix to a rank; return its mean share of the energy, and the nats that it gives.

    "random" is the control: the change's rows, projected onto as many random directions.
    """
    generator = torch.Generator().manual_seed(seed)
    nearest, drawn = copy.deepcopy(model), copy.deepcopy(model)
    shares = []
    for name, layer in linear_layers(network()).items():
        if not in_blocks(name):
            continue  # its change stays whole
        change = model.get_submodule(name).weight - layer.weight
        shares.append(adapters.energy(change)[min(rank, min(change.shape))].item())
        nearest.get_submodule(name).weight.copy_(layer.weight + adapters.truncated(change, rank))
        directions, _ = torch.linalg.qr(torch.randn(change.shape[1], rank, generator=generator))
        drawn.get_submodule(name).weight.copy_(layer.weight + change @ directions @ directions.T)
    return {
        "energy": round(sum(shares) / len(shares), 4),
        "nats": judged(nearest, "validation"),
        "random": judged(drawn, "validation"),
    }


def digest() -> str:
    """Return a digest of what the rows depend on: the trainings, the adapters, the styles, the shipped network."""
    code = (
        part, in_blocks, low_rank, subspace, trained, judged, cut, adapters.LowRankAdapter, adapters.RandomSubspace,
        adapters.adapted, adapters.energy, adapters.truncated, adapters.training_only, nf4_linear.NF4Linear,
        nf4_linear.pack_scales, weight_only.nf4, restyling.prose, restyling.modern, transformer.Transformer,
        transformer.Block, transformer.Attention, transformer.FeedForward, language_models.evaluate_text,
        language_models.strided_windows,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{CHECKPOINT}.safetensors"])


def run() -> str:
    """Train what the table lacks, write it after each row, and return a line that says how much it holds."""
    return complete_rows(NAME, {"digest": digest()}, conditions, measured)


def complete_rows(
    name: str, about: dict, conditions: Callable[[list[dict]], Iterator[dict]], measure: Callable[[dict], dict]
) -> str:
    """Measure what a table lacks, write it after each row, and return a line that says how much it holds.

    As `experiment_files.complete`, for rows of several values of which later ones may depend on earlier ones.

    Args:
        name: of the table.
        about: its first line; versions and minutes are added. A table of another digest or other versions is made anew.
        conditions: yields what each row is about, given the rows so far, which grow while it yields.
        measure: returns the row of a condition, the condition in it.
    """
    about = {**about, "versions": library_versions(), "minutes": 0.0}
    rows: list[dict] = []
    if (EXPERIMENTS / f"{name}.jsonl").exists():
        before, found = read_experiment(name)
        if (before["digest"], before["versions"]) == (about["digest"], about["versions"]):
            about, rows = before, found
    for wanted in conditions(rows):
        if any(wanted.items() <= row.items() for row in rows):
            continue
        began = time.process_time()
        rows.append(measure(wanted))
        about["minutes"] = round(about["minutes"] + (time.process_time() - began) / 60, 3)
        write_experiment(name, about, rows)
    return f"{name}: {len(rows)} rows, {about['minutes']:.1f} minutes"
