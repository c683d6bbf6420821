"""The controls of notebook 04's retraining: the dense network beside the rest, a lower rate, one cut layer by layer.

It starts from the five dense networks of `04_repairs`. `python -m utils experiments 04_retraining` writes
`data/experiments/04_retraining.jsonl`: a row for each network and way, with the error on validation in per cent. The
rows at the lower rate, and the pairs, were named before there was a table. Interrupted, the same command goes on from
there.
"""

import copy
import functools
from collections.abc import Iterator

import torch
from torch import nn

from utils import pruning, surgeon, training
from utils.experiment_files import complete, digest_of
from utils.pruning import Masks, prunable
from utils.recipes import experiment_04_repairs as repairs
from utils.recipes.experiment_04_repairs import FRESH, RETRAINING, WAYS
from utils.training import Recipe, fit

NAME = "04_retraining"

MINUTES = 8

HIGH, LOW = 5e-3, 1e-3
"""Learning rates: that of `04_repairs`, and a fifth of it, below the 2e-3 with which the networks were trained."""

BY_LAYER = ("Wanda layer by layer, repaired", "Wanda layer by layer, mask alone")
"""One cut by Wanda, in each layer on the inputs that the pruned and repaired layers before it give, as the rounds of
`04_repairs` are; and its mask, laid on the weights of the dense network."""

HALF = ("random", "magnitude", "activation")

BY_LAYER_PAIRS = (
    ("Wanda layer by layer, repaired", "Wanda, repaired"),
    ("Wanda in rounds, repaired", "Wanda layer by layer, repaired"),
    ("Wanda in rounds, mask alone", "Wanda layer by layer, mask alone"),
)
"""Compared at 90 % of each layer, after retraining at the high rate: what other inputs change, and what rounds do when
the inputs are chosen alike."""


def prune_all(network: nn.Module, way: str, sparsity: float, seed: int) -> Masks:
    """Prune every layer in place in one of `repairs.WAYS` or BY_LAYER, or leave it dense; return the masks."""
    if way == "dense":
        return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(network).items()}
    if way not in BY_LAYER:
        return repairs.prune_all(network, way, sparsity, seed)
    cut = copy.deepcopy(network)

    def prune(name: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
        return surgeon.prune_in_rounds(weight, moment, surgeon.wanda_price, [repairs.whole_rows(weight, sparsity)])

    repairs.in_turn(cut, seed, prune)
    masks = {name: weight.detach() != 0 for name, weight in prunable(cut).items()}
    if "repaired" in way:
        network.load_state_dict(cut.state_dict())
    pruning.apply_masks(network, masks)
    return masks


@functools.lru_cache(maxsize=2)  # the rows of one pruned network follow each other
def _pruned(way: str, sparsity: float, number: int) -> tuple[nn.Module, Masks]:
    network = repairs.dense(number)
    return network, prune_all(network, way, sparsity, 2000 + number)


def retrained(way: str, sparsity: float, rate: float, epochs: int, number: int) -> float:
    """Prune a dense network, or not, and retrain it with the masks held, as `04_repairs` does but at a given rate."""
    seed = 2000 + number
    network, masks = copy.deepcopy(_pruned(way, sparsity, number))
    if epochs:
        images = repairs.draw(RETRAINING, seed + 50)
        how = Recipe(epochs=epochs, batch_size=64, learning_rate=rate, seed=seed)
        fit(network, images, how, after_step=pruning.keep_masks(network, masks))
    return repairs.error(network)


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order: the arguments of a row."""
    for number in FRESH:
        for rate in (HIGH, LOW):
            yield _row("dense", 0.0, rate, 2, number)
        for way in BY_LAYER:
            for epochs in (0, 2):
                yield _row(way, 0.9, HIGH, epochs, number)
        for way in WAYS:
            yield _row(way, 0.9, LOW, 2, number)
        for way in HALF:
            yield _row(way, 0.5, LOW, 2, number)


def _row(way: str, sparsity: float, rate: float, epochs: int, number: int) -> dict:
    return {"way": way, "sparsity": sparsity, "rate": rate, "epochs": epochs, "number": number}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, and all that `04_repairs` depends on."""
    code = (prune_all, _pruned, retrained, repairs.prune_all, training.fit)
    return digest_of((*code, surgeon)) + repairs.digest()


def run() -> str:
    """Measure what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: retrained(**wanted))
