"""The control of notebook 08's comparison: the last layer in one form, whatever the form of the first.

`python -m utils experiments 08_last_layer` rounds the networks of `08_grids_and_codebooks` with their two layers in
different forms and writes `data/experiments/08_last_layer.jsonl`: the error on validation in per cent. Interrupted, the
same command goes on from there. Nothing is trained after rounding, and the test split is not read.
"""

import copy
import functools
from collections.abc import Iterator

import torch
from torch import nn

from utils import datasets
from utils.experiment_files import complete, digest_of
from utils.recipes import experiment_08_codebooks as grids

NAME = "08_last_layer"

MINUTES = 8

BY_PART, SCALED, BY_GROUP = "codebooks, 16 entries a row", "one codebook, scales per 56", "a grid per 64"

FORMS = ((BY_PART, BY_GROUP), (SCALED, BY_GROUP), (BY_GROUP, BY_PART))
"""The form of `fc1` and that of `fc2`; both in the same form are rows of `08_grids_and_codebooks`."""


@functools.cache
def _network(seed: int) -> nn.Module:
    return grids.network(seed)


@functools.cache
def _validation() -> datasets.Examples:
    return datasets.load("mnist").validation


def rounded_apart(model: nn.Module, fc1: str, fc2: str, bits: int) -> nn.Module:
    """Return a copy of a network with its two layers rounded, each in its form of `experiment_08_codebooks.FORMS`."""
    rounded = copy.deepcopy(model)
    for layer, form in ((rounded.fc1, fc1), (rounded.fc2, fc2)):
        with torch.no_grad():
            layer.weight.copy_(grids.FORMS[form].rounded(layer.weight.detach(), bits))
    return rounded


def error_of(seed: int, bits: int, fc1: str, fc2: str) -> float:
    """Return the error on validation, in per cent, of the network of a seed with its layers in two forms."""
    return grids.error_of(rounded_apart(_network(seed), fc1, fc2, bits), _validation())


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order."""
    for seed in grids.SEEDS:
        for bits in grids.BITS:
            for fc1, fc2 in FORMS:
                yield {"seed": seed, "bits": bits, "fc1": fc1, "fc2": fc2}


def digest() -> str:
    """Return a digest of what the rows depend on: all that the rows of `08_grids_and_codebooks` do, and this module."""
    return f"{grids.digest()}-{digest_of((rounded_apart, error_of))}"


def run() -> str:
    """Measure what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: error_of(**wanted))
