"""The dense twins of notebook 05: the networks of its settings, trained on as the pruned ones were, and not pruned.

`python -m utils experiments 05_dense` writes `data/experiments/05_dense.jsonl`: a row for each training, with the error
on validation in per cent. Interrupted, the same command goes on from there.
"""

import contextlib
import copy
from collections.abc import Iterator

from utils import datasets
from utils.experiment_files import complete, digest_of
from utils.models import load_checkpoint
from utils.recipes import experiment_05_controls as controls
from utils.recipes import experiment_05_schedules as schedules
from utils.recipes.experiment_05_schedules import SEEDS, SOURCE, TRAIN_IMAGES
from utils.training import constant_rate, fit

NAME = "05_dense"

MINUTES = 2


def trained_on(network: str, rate: str, epochs: int, seed: int) -> float:
    """Train a dense network on: the shipped "one", or that of the seed of the "five", at a rate that falls or not."""
    dense = load_checkpoint(SOURCE) if network == "one" else copy.deepcopy(controls.dense_network(seed))
    with constant_rate(controls.RATE) if rate == "constant" else contextlib.nullcontext():
        fit(dense, datasets.load("mnist").train.take(TRAIN_IMAGES), schedules.recipe(seed, epochs))
    return schedules.error(dense)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        for rate in ("falling", "constant"):
            yield {"network": "one", "rate": rate, "epochs": 4, "seed": seed}
        yield {"network": "five", "rate": "falling", "epochs": 1, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, and what `05_schedules` and `05_controls` share."""
    code = (trained_on, controls.dense_network, constant_rate, schedules.recipe, schedules.error)
    return digest_of((*code, *schedules.code()), schedules.FILES)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: trained_on(**wanted))
