"""The long experiment of notebook 16 on weight sharing: narrower versions of one network, and the same trained alone.

`python -m utils experiments 16_supernet` writes `data/experiments/16_supernet.jsonl`: a row for each version and way
with the error on validation in per cent. Interrupted, the same command goes on from there.
"""

import functools
import random
from collections.abc import Iterator

import torch

from utils import supernet, tiny_networks, training
from utils.environment import seed_everything
from utils.experiment_files import complete, digest_of, read_experiment
from utils.recipes.experiment_16_search import splits as _splits
from utils.supernet import SHARES, cut_out, measure_statistics, narrowed, sandwich
from utils.tiny_networks import Design, TinyNet
from utils.training import Recipe, cross_entropy, evaluate, fit

NAME = "16_supernet"

MINUTES = 5

WIDEST = "full3-16/2 separable3-24/2 separable3-32 weighted"

SEEDS = range(5)

TRAIN_IMAGES = 10_000

PASSES = 1

STATISTICS_IMAGES = 1000
"""Training images on which batch norm statistics are measured anew."""

VERSIONS = 10

WAYS = ("alone", "supernet", "supernet, old statistics", "cut from the widest")
"""Trained by itself; a version of a supernet; the same with the widest's statistics; of a network trained only wide."""


def versions() -> list[tuple[float, ...]]:
    """Return the versions to compare, a share of the channels for each block: widest, narrowest, drawn ones.

    >>> len(versions()), versions()[:2]
    (10, [(1.0, 1.0, 1.0), (0.25, 0.25, 0.25)])
    """
    generator, blocks = random.Random(16), len(Design.parse(WIDEST).blocks)
    found = [(SHARES[-1],) * blocks, (SHARES[0],) * blocks]
    while len(found) < VERSIONS:
        drawn = tuple(generator.choice(SHARES) for _ in range(blocks))
        if drawn not in found:
            found.append(drawn)
    return found


def recipe(seed: int) -> Recipe:
    """Return how every network here is trained, the supernet too; only the seed differs."""
    return Recipe(epochs=PASSES, batch_size=64, learning_rate=1e-2, seed=seed)


def trained(design: Design, seed: int, *, shared: bool = False) -> TinyNet:
    """Return the network of a design after its training, as a supernet if it is `shared`."""
    seed_everything(seed)
    network = TinyNet(design).to(memory_format=torch.channels_last)  # separable blocks train faster so
    loss = sandwich(design, seed=seed) if shared else cross_entropy
    fit(network, _splits().train.take(TRAIN_IMAGES), recipe(seed), loss=loss)
    return network


@functools.lru_cache(maxsize=2)
def _widest(seed: int, shared: bool) -> TinyNet:
    return trained(Design.parse(WIDEST), seed, shared=shared)


def version(way: str, shares: tuple[float, ...], seed: int) -> TinyNet:
    """Return a version in one of WAYS, ready to be judged."""
    design = narrowed(Design.parse(WIDEST), shares)
    if way == "alone":
        return trained(design, seed)
    narrow = cut_out(_widest(seed, way != "cut from the widest"), design)
    if way == "supernet, old statistics":
        return narrow
    return measure_statistics(narrow, _splits().train.images[:STATISTICS_IMAGES])


def tune(way: str, shares: list[float], seed: int) -> float:
    """Return the error of a version on validation in per cent."""
    return 100 * (1 - evaluate(version(way, tuple(shares), seed), _splits().validation).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        for way in WAYS:
            for shares in versions():
                yield {"way": way, "shares": list(shares), "seed": seed}


def errors(way: str) -> list[list[float]]:
    """Return the stored errors of a way in per cent, a list for each seed, in the order of `versions`.

    >>> [len(each) for each in errors("alone")]
    [10, 10, 10, 10, 10]
    """
    _, rows = read_experiment(NAME)
    return [[row["error"] for row in rows if (row["way"], row["seed"]) == (way, seed)] for seed in SEEDS]


def digest() -> str:
    """Return a digest of what the rows depend on: this module, sharing, the networks, the training."""
    code = (
        versions, recipe, trained, version, tune, supernet, tiny_networks.TinyNet, training.fit, training.Recipe,
        training.rise_then_cosine,
    )  # fmt: skip
    return digest_of(code)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
