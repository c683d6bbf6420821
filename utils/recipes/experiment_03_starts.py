"""The long experiment of notebook 03: a narrow LeNet5 that inherits channels, and its twin with new weights.

The channels come from the shipped network, which has seen all training images, or, as a control, from a dense network
that has seen no other images than the narrow ones do.

`python -m utils experiments 03_starts` writes `data/experiments/03_starts.jsonl`: a row for each training on labels,
with the error on validation in per cent. Interrupted, the same command goes on from there.
"""

import functools
from collections.abc import Iterator

from utils import datasets, training
from utils.checkpoint_files import CHECKPOINTS
from utils.environment import seed_everything
from utils.experiment_files import complete, digest_of, read_experiment
from utils.models import LeNet5, load_checkpoint
from utils.structured_pruning import kept_channels, remove_channels
from utils.training import Recipe, evaluate, fit

NAME = "03_starts"

MINUTES = 4

SHAPE = {"channels": (3, 12), "hidden": 64}

WAYS = ("L1", "scratch")

CONTROL = "L1, same images"

DENSE_EPOCHS = 16
"""Of the control's dense networks; the longer of EPOCHS."""

EPOCHS = (2, 16)

SEEDS = range(5)

TRAIN_IMAGES = 10_000


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


def recipe(seed: int, epochs: int) -> Recipe:
    """Return how both are trained, on the labels; only the seed and the number of epochs differ."""
    return Recipe(epochs=epochs, learning_rate=4e-3, seed=seed)


def start(way: str, seed: int) -> LeNet5:
    """Return the narrow network before training: channels of the dense one with the largest L1 norms, or new weights.

    The seed draws the new weights; the channels of the shipped network do not depend on it, those of the control do.
    """
    if way == "scratch":
        seed_everything(1000 + seed)  # not the seeds of the dense networks
        return LeNet5(**SHAPE)
    dense = dense_of_the_same_images(seed) if way == CONTROL else load_checkpoint("LeNet5")
    return remove_channels(dense, kept_channels(dense, SHAPE))


@functools.cache
def dense_of_the_same_images(seed: int) -> LeNet5:
    """Return a dense LeNet5 trained from new weights on the images that the narrow networks are trained on."""
    seed_everything(1000 + seed)
    network = LeNet5()
    fit(network, _splits().train.take(TRAIN_IMAGES), recipe(seed, DENSE_EPOCHS))
    return network


def tune(way: str, epochs: int, seed: int) -> float:
    """Train a start and return its error on validation in per cent."""
    network = start(way, seed)
    fit(network, _splits().train.take(TRAIN_IMAGES), recipe(seed, epochs))
    return 100 * (1 - evaluate(network, _splits().validation).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        for epochs in EPOCHS:
            for way in WAYS:
                yield {"way": way, "epochs": epochs, "seed": seed}
    for seed in SEEDS:
        for epochs in EPOCHS:
            yield {"way": CONTROL, "epochs": epochs, "seed": seed}


def errors(way: str, epochs: int) -> list[float]:
    """Return the stored errors of a start and a budget, one for each seed, in per cent.

    >>> len(errors("L1", 2))
    5
    """
    _, rows = read_experiment(NAME)
    return [row["error"] for row in rows if (row["way"], row["epochs"]) == (way, epochs)]


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, the training, the dense network."""
    code = (recipe, start, dense_of_the_same_images, tune, training.fit, training.Recipe, training.rise_then_cosine)
    return digest_of(code, [CHECKPOINTS / "LeNet5.safetensors"])


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
