"""Rounding with repair in notebook 08, on the ten networks of its other tables: GPTQ against the nearest value.

The first layer is rounded in groups of 64 in three ways: to the nearest value, by GPTQ on the same grids, and by GPTQ
with grids anew. The last layer has one of two grids. `python -m utils experiments 08_repair` writes
`data/experiments/08_repair.jsonl`: the error on validation in per cent. Interrupted, the same command goes on from
there. Nothing is trained after rounding, and the test split is not read.

The test was written down before the first row was there: eight comparisons, of each kind of GPTQ with the nearest value
at 2 and at 3 bits beside both last layers; for each a paired t-test over the ten networks; Holm's rule at 5 %. The
shipped network has no say in it.
"""

import copy
import functools
from collections.abc import Iterator

import torch
from torch import nn

from utils import datasets, quantization, surgeon
from utils.experiment_files import complete, digest_of
from utils.gptq import gptq
from utils.recipes import experiment_08_codebooks as grids
from utils.surgeon import second_moment

NAME = "08_repair"

MINUTES = 4

SEEDS = (*range(1, 11), 0)
"""The ten, and the shipped network, which has no say in the test; the notebook computes its rows again."""

BITS = (2, 3)

GROUP, IMAGES = 64, 2_000
"""Columns that share a grid, and training images, without labels, behind the moment."""

NEAREST, SAME_GRIDS, GRIDS_ANEW = "nearest", "same grids", "grids anew"

LAST = {"a grid per 64": 0, "a grid per row": 1}
"""The grids of the last layer, and how many bits more than the first its codes have."""


@functools.cache
def _network(seed: int) -> nn.Module:
    return grids.network(seed)


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


@functools.cache
def moment() -> torch.Tensor:
    """Return the second moment of the images, which are the first layer's inputs."""
    return second_moment(_splits().train.images[:IMAGES].flatten(1))


def first_layer(weight: torch.Tensor, bits: int, way: str) -> torch.Tensor:
    """Return the first layer's weight rounded in one of the three ways."""
    if way == NEAREST:
        return grids.FORMS["a grid per 64"].rounded(weight, bits)
    before = iter(weight.split(GROUP, dim=1))  # the groups as they were, in the order of their turns

    def grid(rows: torch.Tensor) -> quantization.QuantizationParameters:
        chosen_from = next(before) if way == SAME_GRIDS else rows
        return quantization.clipped_half_grid(chosen_from.float(), bits=bits)

    return gptq(weight, moment(), grid, group_size=GROUP).dequantize().float()


@functools.cache
def _first_layer(seed: int, bits: int, way: str) -> torch.Tensor:
    return first_layer(_network(seed).fc1.weight.detach(), bits, way)


def error_of(seed: int, bits: int, fc1: str, fc2: str) -> float:
    """Return the error on validation, in per cent, of the network of a seed with its layers rounded in two ways."""
    rounded = copy.deepcopy(_network(seed))
    with torch.no_grad():
        rounded.fc1.weight.copy_(_first_layer(seed, bits, fc1))
        rounded.fc2.weight.copy_(grids.FORMS[fc2].rounded(rounded.fc2.weight.detach(), bits + LAST[fc2]))
    return grids.error_of(rounded, _splits().validation)


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order."""
    for seed in SEEDS:
        for bits in BITS:
            for fc2 in LAST:
                for fc1 in (NEAREST, SAME_GRIDS, GRIDS_ANEW):
                    yield {"seed": seed, "bits": bits, "fc1": fc1, "fc2": fc2}


def digest() -> str:
    """Return a digest of what the rows depend on: all that the rows of `08_grids_and_codebooks` do, and the repair."""
    code = (moment, first_layer, _first_layer, error_of, gptq, surgeon.second_moment, quantization.clipped_half_grid)
    return f"{grids.digest()}-{digest_of(code)}"


def run() -> str:
    """Measure what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: error_of(**wanted))
