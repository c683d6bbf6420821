"""The table of block latencies: what it holds, what it adds up, and what it refuses."""

import random

import pytest
import torch
from torch import nn

from utils.architecture_search import draw
from utils.block_latencies import (
    BATCH_SIZE,
    MOST_PARAMETERS,
    WIDTHS,
    Part,
    microseconds,
    part_calls,
    parts,
    stored_networks,
    stored_table,
)
from utils.experiment_files import read_experiment
from utils.recipes import experiment_16_latencies
from utils.tiny_networks import Design


def test_the_table_is_of_this_code_and_whole():
    about, rows = read_experiment(experiment_16_latencies.NAME)
    assert about["digest"] == experiment_16_latencies.digest(), "delete it: python -m utils experiments 16_latencies"
    assert set(stored_table()) == set(part_calls())
    assert list(stored_networks()) == experiment_16_latencies.networks()
    assert all(0 < row["seconds"] < 1 for row in rows)


@pytest.mark.parametrize("seed", range(20))
def test_every_network_of_the_search_can_be_looked_up(seed):
    assert 0 < microseconds(stored_table(), draw(MOST_PARAMETERS, random.Random(seed))) < 1e5


def test_what_is_timed_has_the_shapes_of_the_network():
    calls = part_calls()
    with torch.inference_mode():
        shapes = {part: tuple(calls[part]().shape) for part in list(calls)[::97]}
    for part, shape in shapes.items():
        if part.kind in ("mean", "weighted"):
            assert shape == (BATCH_SIZE, 10)
        else:
            side = part.side // 2 if part.kind == "pool" else part.side
            assert shape == (BATCH_SIZE, part.outputs, side, side)


def test_what_is_timed_has_no_batch_norm():
    layers = part_calls()[Part("separable", 3, 4, 8, 14)].__closure__[0].cell_contents
    assert not any(isinstance(module, nn.BatchNorm2d) for module in layers.modules())


def test_times_add_up_and_are_interpolated_between_widths():
    design = Design.parse("full3-8/2 separable3-12 weighted")
    assert list(parts(design)) == [
        Part("full", 3, 1, 8, 28),
        Part("pool", 0, 8, 8, 28),
        Part("separable", 3, 8, 12, 14),
        Part("weighted", 0, 12, 12, 14),
    ]
    table = {Part("full", 3, 1, 8, 28): 1.0, Part("pool", 0, 8, 8, 28): 2.0}
    table |= {Part("separable", 3, 8, 8, 14): 4.0, Part("separable", 3, 8, 16, 14): 8.0}
    table |= {Part("weighted", 0, 8, 8, 14): 0.0, Part("weighted", 0, 16, 16, 14): 2.0}
    assert microseconds(table, design) == pytest.approx(1e6 * (1 + 2 + 6 + 1) / BATCH_SIZE)


def test_what_the_table_lacks_is_named():
    with pytest.raises(ValueError, match="no time for Part"):
        microseconds({}, Design.parse("full3-6 mean"))
    with pytest.raises(ValueError, match=f"from 1 to {WIDTHS[-1]}, got 33"):
        microseconds(stored_table(), Design.parse("full3-33 mean"))
