"""The long experiment of notebook 03 on repair: what else can be done with the same thousand images.

LeNet5 is cut to 3-12-64 by L1 norm. Then its readers are fitted by least squares, damped towards zero or towards the
weights that they had; or the cut network is trained on the images and their labels, for as long as the repair takes or
for as long as it likes; or it is repaired and then trained.

Ten thousands of training images are used, no image twice. The first one tries the settings, which are chosen on one
half of the validation split; with these each way runs on the nine others and is measured on the other half.

`python -m utils experiments 03_thousand` writes `data/experiments/03_thousand.jsonl`: a row for each network, with its
error in per cent. Interrupted, the same command goes on from there.
"""

import copy
import functools
import itertools
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from utils import datasets, structured_pruning, training
from utils.checkpoint_files import CHECKPOINTS
from utils.datasets import Examples
from utils.experiment_files import complete, digest_of, read_experiment
from utils.models import LeNet5, load_checkpoint
from utils.recipes.experiment_03_starts import SHAPE
from utils.training import Recipe, evaluate, fit

NAME = "03_thousand"

MINUTES = 5

IMAGES = 1000

CHOOSES = 0
"""The thousand that tries the settings."""

THOUSANDS = range(1, 10)
"""Those that compare."""

DAMPINGS = [[strength] for strength in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)]

FOUR_PASSES = [[4, rate] for rate in (5e-3, 1e-2, 2e-2, 4e-2)]
"""Passes and learning rate; four take about as long as the repair."""

AS_LONG_AS_IT_LIKES = [list(each) for each in itertools.product((8, 24, 64), (2e-3, 5e-3, 1e-2, 2e-2))]

SETTINGS = {
    "repair towards zero": DAMPINGS,
    "repair towards the old weights": DAMPINGS,
    "labels, four passes": FOUR_PASSES,
    "labels, any passes": AS_LONG_AS_IT_LIKES,
    "repair, then labels": AS_LONG_AS_IT_LIKES,
}
"""By way, what is tried."""


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


@functools.cache
def cut() -> tuple[LeNet5, LeNet5, dict[str, torch.Tensor]]:
    """Return the dense network, the cut one, and the channels that stayed."""
    dense = load_checkpoint("LeNet5")
    kept = structured_pruning.kept_channels(dense, SHAPE)
    return dense, structured_pruning.remove_channels(dense, kept), kept


def thousand(number: int) -> Examples:
    """Return a thousand training images; those of two numbers share none.

    >>> len(thousand(3).labels)
    1000
    """
    return Examples(*(part[IMAGES * number : IMAGES * (number + 1)] for part in _splits().train))


def half(of_validation: int) -> Examples:
    """Return a half of the validation split: half 0 chooses, half 1 compares."""
    middle = len(_splits().validation.labels) // 2
    where = slice(None, middle) if of_validation == 0 else slice(middle, None)
    return Examples(*(part[where] for part in _splits().validation))


def read_by(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what conv2 reads at each place of an image, and fc1 and fc2 in each image, one a row."""
    first = F.max_pool2d(F.relu(network.conv1(images)), 2)
    second = F.max_pool2d(F.relu(network.conv2(first)), 2).flatten(1)
    patches = F.unfold(first, 5).transpose(1, 2).flatten(0, 1)
    return {"conv2": patches, "fc1": second, "fc2": F.relu(network.fc1(second))}


def said_by(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what conv2 says at each place of an image, and fc1 and fc2 in each image, one a row."""
    conv2 = network.conv2(F.max_pool2d(F.relu(network.conv1(images)), 2))
    fc1 = network.fc1(F.max_pool2d(F.relu(conv2), 2).flatten(1))
    return {"conv2": conv2.flatten(2).mT.flatten(0, 1), "fc1": fc1, "fc2": network.fc2(F.relu(fc1))}


@torch.no_grad()
def repaired(images: torch.Tensor, damping: float, *, towards_old: bool) -> LeNet5:
    """Return the cut network with its readers fitted: V = (W E[x z^T] + d U) (E[z z^T] + d)^-1.

    Here x is what the dense layer reads, z what the narrow one reads, both with a 1 for the bias, U the old weights
    among those that are left, or zero, and d `damping` times the mean diagonal of E[z z^T].
    """
    dense, narrow, kept = cut()
    network, kept = copy.deepcopy(narrow), kept | {"fc2": torch.arange(10)}
    for name, outputs in said_by(dense, images).items():
        layer = network.get_submodule(name)
        given = F.pad(read_by(network, images)[name], (0, 1), value=1.0)
        old = torch.cat([layer.weight.flatten(1), layer.bias[:, None]], dim=1)
        moment = given.T @ given / len(given)
        ridge = damping * moment.diagonal().mean() * torch.eye(len(moment))
        wanted = given.T @ outputs[:, kept[name]] / len(given) + towards_old * ridge @ old.T
        solution = torch.linalg.solve(moment + ridge, wanted)
        layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
        layer.bias.copy_(solution[-1])
    return network


def recipe(setting: list[float], seed: int) -> Recipe:
    """Return how the images are learnt; batches of 32, since 1,000 images make few steps."""
    passes, rate = setting
    return Recipe(epochs=passes, batch_size=32, learning_rate=rate, seed=seed)


def network_of(way: str, number: int, setting: list[float]) -> LeNet5:
    """Return the cut network after it has seen a thousand images."""
    images = thousand(number)
    if way.startswith("repair towards"):
        return repaired(images.images, setting[0], towards_old=way.endswith("old weights"))
    if way == "repair, then labels":
        network = repaired(images.images, chosen("repair towards the old weights")[0], towards_old=True)
    else:
        network = copy.deepcopy(cut()[1])
    fit(network, images, recipe(setting, number))
    return network


def measure(way: str, number: int, setting: list[float]) -> float:
    """Return its error in per cent, on the half of validation that chooses or on the one that compares."""
    judge = half(0 if number == CHOOSES else 1)
    return 100 * (1 - evaluate(network_of(way, number, setting), judge).accuracy)


def chosen(way: str) -> list[float]:
    """Return the setting with the fewest errors on the thousand that chooses; the first one, if several are equal."""
    _, rows = read_experiment(NAME)
    tried = [row for row in rows if row["way"] == way and row["number"] == CHOOSES]
    return min(tried, key=lambda row: row["error"])["setting"]


def errors(way: str) -> list[float]:
    """Return the stored errors of a way on the half that compares, one for each of nine thousands, in per cent.

    >>> len(errors("labels, four passes"))
    9
    """
    _, rows = read_experiment(NAME)
    return [row["error"] for row in rows if row["way"] == way and row["number"] != CHOOSES]


def conditions() -> Iterator[dict]:
    """Yield what is computed, in order: way by way the settings, and then what the best of them gives."""
    for way, settings in SETTINGS.items():
        for setting in settings:
            yield {"way": way, "number": CHOOSES, "setting": setting}
        for number in THOUSANDS:
            yield {"way": way, "number": number, "setting": chosen(way)}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, the training, the dense network."""
    code = (
        cut, thousand, half, read_by, said_by, repaired, recipe, network_of, measure, chosen,
        structured_pruning.kept_channels, structured_pruning.shrink_lenet5, structured_pruning.keep_best,
        training.fit, training.Recipe, training.rise_then_cosine, training.cross_entropy,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / "LeNet5.safetensors"])


def run() -> str:
    """Compute what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: measure(**wanted))
