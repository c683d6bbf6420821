"""The long experiment of notebook 02 on two data sets: what zeros cost on digits and on clothes.

Five dense LeNet300100 of each data set, each from its own first weights, are cut by one threshold, and trained for the
notebook's 50 steps or not at all. `python -m utils experiments 02_fashion` writes `data/experiments/02_fashion.jsonl`:
a row for each network, with the error on validation in per cent. Interrupted, the same command goes on from there.
"""

import copy
import functools
from collections.abc import Iterator

from torch import nn

from utils import datasets, models, pruning, training
from utils.environment import seed_everything
from utils.experiment_files import complete, digest_of
from utils.models import LeNet300100
from utils.training import Recipe, evaluate, fit

NAME = "02_fashion"

MINUTES = 3

DATA_SETS = ("mnist", "fashion_mnist")

SPARSITIES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)

SEEDS = range(5)

TUNING_IMAGES = 8_000


@functools.cache
def splits(data_set: str) -> datasets.Splits:
    """Return a data set's splits, loaded once."""
    return datasets.load(data_set)


def error(network: nn.Module, data_set: str) -> float:
    """Return the error on validation in per cent."""
    return 100 * (1 - evaluate(network, splits(data_set).validation).accuracy)


@functools.lru_cache(maxsize=1)
def dense_network(data_set: str, seed: int) -> LeNet300100:
    """Return a dense network trained from its own first weights for four epochs of all training images."""
    seed_everything(2000 + seed)  # not the seeds of the shipped networks
    network = LeNet300100()
    fit(network, splits(data_set).train, Recipe(epochs=4, learning_rate=2e-3, weight_decay=0.02, seed=seed))
    return network


def recipe(seed: int) -> Recipe:
    """Return the 50 steps that every network gets, the dense one too."""
    return Recipe(epochs=1, batch_size=160, learning_rate=5e-3, seed=seed)


def cut(data_set: str, sparsity: float, trained: bool, seed: int) -> float:
    """Cut a dense network by one threshold, train it for 50 steps or not, and return its error in per cent."""
    network = copy.deepcopy(dense_network(data_set, seed))
    masks = pruning.global_magnitude_masks(network, sparsity)
    pruning.apply_masks(network, masks)
    if trained:
        examples = splits(data_set).train.take(TUNING_IMAGES)
        fit(network, examples, recipe(seed), after_step=pruning.keep_masks(network, masks))
    return error(network, data_set)


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order."""
    for seed in SEEDS:
        for data_set in DATA_SETS:
            for sparsity in SPARSITIES:
                for trained in (False, True):
                    yield {"data_set": data_set, "sparsity": sparsity, "trained": trained, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions and those they train with."""
    code = (
        error, dense_network, recipe, cut, pruning.global_magnitude_masks, pruning.global_masks,
        pruning.apply_masks, pruning.keep_masks, models.LeNet300100,
        training.fit, training.Recipe, training.rise_then_cosine, training.cross_entropy,
    )  # fmt: skip
    return digest_of(code)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: cut(**wanted))
