"""The long experiment of notebook 07: does the start still matter after fine-tuning? Seven starts, five seeds.

`python -m utils experiments 07_starts` writes `data/experiments/07_starts.jsonl`: a row for each training, with the
error on validation in per cent. Interrupted, the same command goes on from there.
"""

import functools
from collections.abc import Iterator

import torch
from torch import nn

from utils import datasets, pca, training
from utils.checkpoint_files import CHECKPOINTS
from utils.environment import seed_everything
from utils.experiment_files import complete, digest_of
from utils.models import load_checkpoint
from utils.training import Recipe, distillation, evaluate, fit

NAME = "07_starts"

MINUTES = 10

SOURCE = "LeNet300100"

RANKS = {"fc1": 20, "fc2": 15}

OWN = ", own ranks"

WAYS = (
    "PCA of outputs",
    "data-aware SVD",
    "SVD, centre fixed",
    "SVD",
    f"SVD, centre fixed{OWN}",
    f"SVD{OWN}",
    "drawn anew",
)
"""All but those with ranks of their own have RANKS."""

TRIED = (2, 3, 5, 8, 10, 12, 15, 18, 21)
"""Ranks of `fc2` among which a way finds its own; `fc1` has what is left of the multiply-accumulates of RANKS."""

EPOCHS = (0, 1, 2, 4)

SEEDS = range(5)

CALIBRATION = 15_000  # images, drawn from the training split

TRAIN_IMAGES = 20_000


def recipe(seed: int, epochs: int) -> Recipe:
    """Return how every network here is trained; only the seed and the number of epochs differ."""
    return Recipe(epochs=epochs, learning_rate=1e-3, seed=seed)


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


splits = _splits
"""The digits, loaded once: notebook 07 takes the same tensors, since a second copy would not fit its memory."""


def start(way: str, seed: int) -> nn.Module:
    """Return LeNet300100 with `fc1` and `fc2` as pairs, before any training.

    The seed draws the images that all but plain SVD calibrate on, or the weights of pairs that are drawn anew; the last
    layer is the dense network's, except there.
    """
    network = load_checkpoint(SOURCE)
    if way == "drawn anew":
        return _anew(network, seed)
    plain = way.removesuffix(OWN)
    return _cut(network, plain, _images(seed), RANKS if plain == way else own_ranks(plain))


def _images(seed: int) -> torch.Tensor:
    chosen = torch.randperm(len(_splits().train.images), generator=torch.Generator().manual_seed(2000 + seed))
    return _splits().train.images[chosen[:CALIBRATION]].flatten(1)


images = _images
"""The images that a seed calibrates on; `experiment_07_ranks` takes the same."""


@functools.cache
def own_ranks(way: str) -> dict[str, int]:
    """Return the ranks at which a way errs least on validation, untrained, at no more cost than RANKS.

    It is calibrated on the images of seed 0; the ranks hold for every seed.
    """
    layers = {name: getattr(load_checkpoint(SOURCE), name) for name in RANKS}
    price = {name: layer.in_features + layer.out_features for name, layer in layers.items()}
    budget = sum(price[name] * rank for name, rank in RANKS.items())
    images, errors = _images(0), []
    for rank in TRIED:
        ranks = {"fc1": (budget - price["fc2"] * rank) // price["fc1"], "fc2": rank}
        network = _cut(load_checkpoint(SOURCE), way, images, ranks)
        errors.append((1 - evaluate(network, _splits().validation).accuracy, ranks))
    return min(errors, key=lambda pair: pair[0])[1]


@torch.no_grad()
def _cut(network: nn.Module, way: str, images: torch.Tensor, ranks: dict[str, int]) -> nn.Module:
    first = network.fc1(images)
    second = network.fc2(first.relu())
    for name, outputs in (("fc1", first), ("fc2", second)):
        layer = getattr(network, name)
        setattr(network, name, pca.split_output(layer, pca.four_ways(layer, outputs)[way].keep(ranks[name])))
    return network


cut = _cut
"""LeNet300100 cut by a way at given ranks, from given images; `experiment_07_ranks` cuts with it."""


def _anew(network: nn.Module, seed: int) -> nn.Module:
    seed_everything(3000 + seed)
    for name, rank in RANKS.items():
        layer = getattr(network, name)
        pair = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features)
        setattr(network, name, nn.Sequential(*pair))
    network.fc3.reset_parameters()
    return network


def tune(way: str, epochs: int, seed: int) -> float:
    """Fine-tune a start with the dense network as teacher, and return its error on validation in per cent."""
    network = start(way, seed).requires_grad_()
    if epochs:
        teacher = distillation(load_checkpoint(SOURCE).requires_grad_(False), teacher_share=1.0)
        fit(network, _splits().train.take(TRAIN_IMAGES), recipe(seed, epochs), loss=teacher)
    return 100 * (1 - evaluate(network, _splits().validation).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        for epochs in EPOCHS:
            for way in WAYS:
                yield {"way": way, "epochs": epochs, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: this module, the functions it trains with, the dense network."""
    code = (
        recipe, start, _images, own_ranks, _cut, _anew, tune, pca,
        training.fit, training.Recipe, training.rise_then_cosine, training.distillation,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / f"{SOURCE}.safetensors"])


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
