"""The long experiment of notebook 06: is a rank better than fewer neurons, trained alike? Four starts, three seeds.

`python -m utils experiments 06_trained_alike` writes `data/experiments/06_trained_alike.jsonl`: a row for each
training, with the error on test in per cent. Nothing is chosen by it: all learn from the labels, and the last weights
count.
Interrupted, the same command goes on from there.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from utils import datasets, low_rank, structured_pruning, training
from utils.checkpoint_files import CHECKPOINTS
from utils.experiment_files import complete, digest_of
from utils.models import load_checkpoint
from utils.recipes.low_rank import CALIBRATION_IMAGES, LONG
from utils.recipes.low_rank_controls import RECIPES
from utils.training import Recipe, evaluate, fit

NAME = "06_trained_alike"

MINUTES = 6

SHAPES = ("dense", "rank 21", "plain rank 21", "narrow")
"""What the trainings start from; "rank 21" has the directions that the data chose, "plain rank 21" the weight's own."""

EPOCHS = (2, 8)

SEEDS = range(3)


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


splits = _splits
"""The digits, loaded once."""


def recipe(seed: int, epochs: int) -> Recipe:
    """Return the training of the shipped networks, with its own seed and number of epochs."""
    return replace(LONG.training, epochs=epochs, seed=seed)


def start(shape: str) -> nn.Module:
    """Return LeNet300100 dense, cut at rank 21 with data or without, or with its heaviest neurons; none is drawn."""
    dense = load_checkpoint(LONG.source)
    if shape == "narrow":
        hidden = RECIPES["LeNet300100-compared-narrow"]
        return structured_pruning.remove_channels(dense, structured_pruning.kept_channels(dense, hidden))
    if shape == "plain rank 21":
        return low_rank.split_layers(dense, {LONG.layer: LONG.rank})
    if shape == "rank 21":
        moment = low_rank.input_moment(_splits().train.images[:CALIBRATION_IMAGES].flatten(1))
        return low_rank.split_layers(
            dense, {LONG.layer: LONG.rank}, split=lambda layer, k: low_rank.split_linear(layer, k, moment=moment)
        )
    return dense


def tune(shape: str, epochs: int, seed: int) -> float:
    """Train a shape on, and return its error on test in per cent."""
    network = start(shape).requires_grad_()
    fit(network, _splits().train, recipe(seed, epochs))
    return 100 * (1 - evaluate(network, _splits().test).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        for epochs in EPOCHS:
            for shape in SHAPES:
                yield {"shape": shape, "epochs": epochs, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, those they train with, the dense network."""
    code = (
        recipe, start, tune,
        low_rank.input_moment, low_rank.split_linear, low_rank.data_aware_factors, low_rank.factors,
        structured_pruning.remove_channels, structured_pruning.kept_channels,
        training.fit, training.Recipe, training.rise_then_cosine, training.random_shifts,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / f"{LONG.source}.safetensors"])


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
