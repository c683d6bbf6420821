"""The long experiment of notebook 05 on two data sets: one cut or gradually, on digits and on clothes.

It starts from the five dense networks of each data set of `02_fashion`, and trains as `05_schedules` does: 20,000
images, one epoch. `python -m utils experiments 05_fashion` writes `data/experiments/05_fashion.jsonl`: a row for each
training, with the error on validation in per cent. Interrupted, the same command goes on from there.
"""

import copy
from collections.abc import Iterator

from utils import models, pruning, training
from utils.experiment_files import complete, digest_of
from utils.recipes import experiment_02_fashion as pairs
from utils.recipes import experiment_05_schedules as schedules
from utils.recipes.experiment_02_fashion import DATA_SETS, SEEDS
from utils.recipes.experiment_05_schedules import STEPS, TRAIN_IMAGES
from utils.training import fit

NAME = "05_fashion"

MINUTES = 5

WAYS = ("one cut", "gradually")

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)


def prune(data_set: str, way: str, sparsity: float, seed: int) -> float:
    """Prune a dense network during one epoch, or train it on without pruning; return its error in per cent."""
    network = copy.deepcopy(pairs.dense_network(data_set, seed))
    hook = None if way == "dense" else schedules.pruner(network, way, sparsity, STEPS)
    fit(network, pairs.splits(data_set).train.take(TRAIN_IMAGES), schedules.recipe(seed), after_step=hook)
    return pairs.error(network, data_set)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order; the dense network gets the same epoch."""
    for seed in SEEDS:
        for data_set in DATA_SETS:
            yield {"data_set": data_set, "way": "dense", "sparsity": 0.0, "seed": seed}
            for sparsity in SPARSITIES:
                for way in WAYS:
                    yield {"data_set": data_set, "way": way, "sparsity": sparsity, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions and those they train with."""
    code = (
        prune, pairs.error, pairs.dense_network, schedules.recipe, schedules.pruner,
        pruning.GradualPruner, pruning.cubic_sparsity, pruning.global_magnitude_masks, pruning.global_masks,
        pruning.apply_masks, models.LeNet300100,
        training.fit, training.Recipe, training.rise_then_cosine, training.cross_entropy,
    )  # fmt: skip
    return digest_of(code)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: prune(**wanted))
