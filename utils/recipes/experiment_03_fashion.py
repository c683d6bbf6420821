"""The long experiment of notebook 03 on two data sets: channels removed under a budget of milliseconds.

For a LeNet5 of the digits and one of the clothes, trained alike, and for two budgets, the shapes that keep the budget
by the course's clock and that no other affordable shape exceeds are trained for an epoch; the one with the fewest
errors on held-out training images is the list's. Then it and the two uniform shapes on either side of the budget are
trained with seeds that chose nothing, and the dense network with them.

`python -m utils experiments 03_fashion` writes `data/experiments/03_fashion.jsonl`: a row for each training, with the
error in per cent, for a choice on held-out training images and otherwise on validation. Interrupted, the same command
goes on from there.
"""

import functools
import itertools
from collections.abc import Iterator

import torch

from utils import datasets, latency_table, structured_pruning, training
from utils.datasets import Examples
from utils.experiment_files import EXPERIMENTS, complete, digest_of, read_experiment
from utils.latency_table import GRID, Widths
from utils.models import LeNet5
from utils.recipes import four_epochs
from utils.recipes.four_epochs import load_four_epochs
from utils.training import Recipe, evaluate, fit

NAME = "03_fashion"

MINUTES = 5

DATA_SETS = ("mnist", "fashion_mnist")

BUDGETS = (5, 10)
"""Times faster than the dense network, at least, by the stored times of whole networks."""

WAYS = ("uniform", "next uniform", "from the list")

DENSE: Widths = (20, 50, 500)

SEEDS = range(10, 15)
"""No search of the notebook uses them."""

TRAIN_IMAGES = 10_000

HELD_OUT = 5_000
"""Training images at the end that choose the shape."""

FILES = tuple(four_epochs.FOLDER / f"{name}.safetensors" for name in four_epochs.RECIPES)


@functools.cache
def _splits(data_set: str) -> datasets.Splits:
    """Return the splits with the training images that are used, and not the other 40,000, which would fill memory."""
    whole = datasets.load(data_set)
    used = (torch.cat([part[:TRAIN_IMAGES], part[-HELD_OUT:]]) for part in whole.train)
    return datasets.Splits(Examples(*used), whole.validation, whole.test)


def recipe(seed: int) -> Recipe:
    """Return the epoch that every network gets, the dense one too."""
    return Recipe(epochs=1, learning_rate=4e-3, seed=seed)


@functools.cache
def dense_scores(data_set: str) -> dict:
    """Return the Taylor scores of the dense network's channels, over 1,000 training images."""
    few = _splits(data_set).train.take(1000)
    return structured_pruning.taylor_scores(load_four_epochs(data_set), list(GRID), few.images, few.labels)


def cut_to(data_set: str, widths: Widths) -> LeNet5:
    """Return the dense network without the channels of the smallest Taylor scores."""
    pairs = zip(dense_scores(data_set).values(), widths, strict=True)
    kept = [structured_pruning.keep_best(scores, width) for scores, width in pairs]
    return structured_pruning.shrink_lenet5(load_four_epochs(data_set), *kept)


def affordable(budget: int) -> list[Widths]:
    """Return the shapes of the table that are `budget` times faster and that no other such shape exceeds.

    >>> affordable(10)
    [(1, 4, 500), (1, 12, 128), (2, 4, 16)]
    """
    whole = latency_table.stored_networks()
    within = [w for w in itertools.product(*GRID.values()) if whole[w] <= whole[DENSE] / budget]

    def exceeded(widths: Widths) -> bool:
        others = (w for w in within if w != widths)
        return any(all(a >= b for a, b in zip(w, widths, strict=True)) for w in others)

    return [w for w in within if not exceeded(w)]


def uniform_shapes(budget: int) -> tuple[Widths, Widths]:
    """Return the widest uniform shape that keeps the budget, and the next wider one, which does not.

    >>> uniform_shapes(10)
    ((1, 3, 31), (2, 4, 38))
    """
    whole, evenly = latency_table.stored_networks(), latency_table.uniform_widths()
    widest = max(w for w in evenly if whole[w] <= whole[DENSE] / budget)
    return widest, evenly[evenly.index(widest) + 1]


def train(data_set: str, way: str, budget: int, widths: list[int], seed: int) -> float:
    """Cut the dense network to these widths, train it for an epoch, and return its error in per cent.

    A choice is judged by training images that are not in that epoch, everything else by validation.
    """
    splits = _splits(data_set)
    network = cut_to(data_set, tuple(widths)) if way != "dense" else load_four_epochs(data_set)
    fit(network, splits.train.take(TRAIN_IMAGES), recipe(seed))
    held_out = Examples(splits.train.images[-HELD_OUT:], splits.train.labels[-HELD_OUT:])
    return 100 * (1 - evaluate(network, held_out if way == "choice" else splits.validation).accuracy)


def best_choice(data_set: str, budget: int) -> list[int]:
    """Return the widths with the fewest errors among the stored choices.

    >>> best_choice("mnist", 10)
    [1, 12, 128]
    """
    _, rows = read_experiment(NAME, folder=EXPERIMENTS)
    case = ("choice", data_set, budget)
    choices = [row for row in rows if (row["way"], row["data_set"], row["budget"]) == case]
    return min(choices, key=lambda row: row["error"])["widths"]


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order: first the choices, of which the rest depends."""
    for data_set in DATA_SETS:
        for budget in BUDGETS:
            for widths in affordable(budget):
                yield {"data_set": data_set, "way": "choice", "budget": budget, "widths": list(widths), "seed": 0}
    for seed in SEEDS:
        for data_set in DATA_SETS:
            yield {"data_set": data_set, "way": "dense", "budget": 1, "widths": list(DENSE), "seed": seed}
            for budget in BUDGETS:
                shapes = (*uniform_shapes(budget), best_choice(data_set, budget))
                for way, widths in zip(WAYS, shapes, strict=True):
                    yield {"data_set": data_set, "way": way, "budget": budget, "widths": list(widths), "seed": seed}


def results(data_set: str, way: str, budget: int = 1) -> tuple[Widths, list[float]]:
    """Return the widths of a way under a budget, and its stored errors on validation, one for each seed, in per cent.

    >>> widths, errors = results("mnist", "uniform", 10)
    >>> widths, len(errors)
    ((1, 3, 31), 5)
    """
    _, rows = read_experiment(NAME, folder=EXPERIMENTS)
    case = (data_set, way, budget)
    chosen = [row for row in rows if (row["data_set"], row["way"], row["budget"]) == case]
    (widths,) = {tuple(row["widths"]) for row in chosen}
    return widths, [row["error"] for row in chosen]


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, the training, the dense networks, the times."""
    code = (
        recipe, load_four_epochs, dense_scores, cut_to, affordable, uniform_shapes, train, best_choice,
        structured_pruning.taylor_scores, structured_pruning.keep_best, structured_pruning.shrink_lenet5,
        training.fit, training.Recipe, training.rise_then_cosine, training.cross_entropy,
    )  # fmt: skip
    return digest_of(code, (*FILES, EXPERIMENTS / "03_latency.jsonl"))


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: train(**wanted))
