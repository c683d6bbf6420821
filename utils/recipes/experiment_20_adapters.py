"""The experiment of notebook 20: six ways to teach the shipped transformer another style, at equal steps.

`python -m utils experiments 20_adapters` writes `data/experiments/20_adapters.jsonl`, a row for each training.
Interrupted, the same command goes on from there. All learn from the same text, the last tenth of Tiny Shakespeare as
prose, which is new to the network. All have one seed and so the same windows; the rates of full fine-tuning and of LoRA
are chosen among several on validation.
"""

import copy
import functools
import math
import time
from collections.abc import Callable

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

NAME = "20_adapters"

MINUTES = 2

CHECKPOINT = "Shakespeare-draft"
"""The smaller of the two: a training takes seconds."""

JUDGED = 12_800
"""Characters of a part that is judged, from its middle."""

STEPS = 100
"""Of each training, of four windows of 128 characters each."""

RANK, SCALE = 2, 4.0
"""Of the adapters, which lie on all matrices of the blocks: 8,064 trained numbers, 2.98 % of the network's."""

CHOOSING_SEED = 10
"""Of all trainings here: it draws the adapters and the windows. The notebook trains a further pair with its own."""


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
"""What the notebook trains once more."""

TRIED: dict[str, tuple[float, ...]] = {
    "full": (5e-4, 1e-3, 2.5e-4, 1.2e-4),
    "LoRA": (5e-3, 2.5e-3, 1.2e-3),
    "QLoRA": (2.5e-3,),
    "random subspace": (3e-3,),
    "head only": (2e-3,),
    "norms only": (1e-2,),
}
"""Highest learning rates that are tried on validation, in this order; QLoRA takes LoRA's, controls are not tuned."""


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


def chosen(rows: list[dict]) -> dict[str, dict]:
    """Return the row of each way with the lowest nats on validation."""
    return {way: min((row for row in rows if row["way"] == way), key=lambda row: row["nats"]) for way in TRIED}


def conditions() -> list[dict]:
    """List what is trained, in order."""
    return [{"way": way, "rate": rate, "seed": CHOOSING_SEED} for way, rates in TRIED.items() for rate in rates]


def measured(wanted: dict) -> dict:
    """Train what a row is about and return the row: trained numbers, nats on validation."""
    model = trained(wanted["way"], wanted["rate"], wanted["seed"])
    return {**wanted, "trained": trained_parameters(model), "nats": judged(model, "validation")}


def digest() -> str:
    """Return a digest of what the rows depend on: the trainings, the adapters, the styles, the shipped network."""
    code = (
        part, in_blocks, low_rank, subspace, trained, judged, adapters.LowRankAdapter, adapters.RandomSubspace,
        adapters.adapted, adapters.training_only, nf4_linear.NF4Linear,
        nf4_linear.pack_scales, weight_only.nf4, restyling.prose, restyling.modern, transformer.Transformer,
        transformer.Block, transformer.Attention, transformer.FeedForward, language_models.evaluate_text,
        language_models.strided_windows,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{CHECKPOINT}.safetensors"])


def run() -> str:
    """Train what the table lacks, write it after each row, and return a line that says how much it holds."""
    about = {"digest": digest(), "versions": library_versions(), "minutes": 0.0}
    rows: list[dict] = []
    if (EXPERIMENTS / f"{NAME}.jsonl").exists():
        before, found = read_experiment(NAME)
        if (before["digest"], before["versions"]) == (about["digest"], about["versions"]):
            about, rows = before, found
    for wanted in conditions():
        if any(wanted.items() <= row.items() for row in rows):
            continue
        began = time.process_time()
        rows.append(measured(wanted))
        about["minutes"] = round(about["minutes"] + (time.process_time() - began) / 60, 3)
        write_experiment(NAME, about, rows)
    return f"{NAME}: {len(rows)} rows, {about['minutes']:.1f} minutes"
