"""The long experiment of notebook 02: the network that we keep and its two controls, three trainings of each.

`python -m utils experiments 02_controls` writes `data/experiments/02_controls.jsonl`: a row for each training, with the
error on test in per cent. Nothing is chosen by it: sparsity and widths were chosen on validation, in the notebook.
Interrupted, the same command goes on from there.
"""

import copy
import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from utils import datasets, pruning, training
from utils.checkpoint_files import CHECKPOINTS
from utils.environment import seed_everything
from utils.experiment_files import complete, digest_of
from utils.models import LeNet300100, load_checkpoint
from utils.recipes import equal_bytes
from utils.training import Recipe, evaluate, fit

NAME = "02_controls"

MINUTES = 4

SOURCE = "LeNet300100"

((NARROW, HIDDEN),) = equal_bytes.HIDDEN.items()

WAYS = ("pruned", "random places", "equal bytes")
"""90 % zeros by one threshold; as many of each layer at places drawn by chance; a small dense network from scratch."""

SPARSITY = 0.9

SEEDS = range(3)


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


def recipe(seed: int) -> Recipe:
    """Return the three epochs that the notebook gives to each of the networks it keeps."""
    return Recipe(epochs=3, batch_size=256, learning_rate=8e-3, seed=seed)


def masks(way: str, seed: int) -> pruning.Masks:
    """Return what stays of the dense network; the places drawn by chance are as many in every layer."""
    network = load_checkpoint(SOURCE)
    by_threshold = pruning.global_magnitude_masks(network, SPARSITY)
    if way == "pruned":
        return by_threshold
    generator = torch.Generator().manual_seed(1000 + seed)  # not 0, from which the dense network was initialised
    scores = {name: pruning.random_scores(w, generator) for name, w in pruning.prunable(network).items()}
    return {
        name: pruning.mask_by_score(scores[name], 1 - mask.float().mean().item()) for name, mask in by_threshold.items()
    }


def small_dense(seed: int) -> nn.Module:
    """Return the dense network of equal bytes; seed 0 is the shipped one, the others are trained as it was."""
    if seed == 0:
        return load_checkpoint(NARROW)
    own = equal_bytes.RECIPES[NARROW]
    seed_everything(equal_bytes.SEED + seed)
    network = LeNet300100(HIDDEN)
    fit(network, _splits().train, replace(own, seed=own.seed + seed), validation=_splits().validation)
    return network


def train(way: str, seed: int) -> float:
    """Train one of the three for its three epochs, and return its error on test in per cent."""
    if way == "equal bytes":
        network, hook = small_dense(seed).requires_grad_(), None
    else:
        network, kept = copy.deepcopy(load_checkpoint(SOURCE)).requires_grad_(), masks(way, seed)
        pruning.apply_masks(network, kept)
        hook = pruning.keep_masks(network, kept)
    fit(network, _splits().train, recipe(seed), after_step=hook)
    return 100 * (1 - evaluate(network, _splits().test).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        for way in WAYS:
            yield {"way": way, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, those they train with, the networks they load."""
    code = (
        recipe, masks, small_dense, train, pruning.global_magnitude_masks, pruning.random_scores,
        pruning.mask_by_score, pruning.apply_masks, pruning.keep_masks,
        training.fit, training.Recipe, training.rise_then_cosine, training.random_shifts,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / f"{name}.safetensors" for name in (SOURCE, NARROW)])


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: train(**wanted))
