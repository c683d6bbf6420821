"""The table of latencies: what it holds, what it adds up, and what it refuses."""

import itertools

import pytest
import torch

from utils.experiment_files import read_experiment
from utils.latency_table import (
    BATCH_SIZE,
    GRID,
    layer_calls,
    milliseconds,
    network_calls,
    stored_networks,
    stored_table,
    uniform_widths,
)
from utils.models import LeNet5
from utils.recipes import experiment_03_latencies


def test_every_layer_of_every_network_on_the_grid_is_timed_and_stored():
    wanted = {("conv1", 1, first) for first in GRID["conv1"]}
    wanted |= {("conv2", *pair) for pair in itertools.product(GRID["conv1"], GRID["conv2"])}
    wanted |= {("fc1", *pair) for pair in itertools.product(GRID["conv2"], GRID["fc1"])}
    assert set(layer_calls()) == set(stored_table()) == wanted
    assert all(0 < seconds < 1 for seconds in stored_table().values())


def test_every_network_of_the_grid_and_every_uniform_one_is_timed_whole_and_stored():
    wanted = {*itertools.product(*GRID.values()), *uniform_widths()}
    assert set(network_calls()) == set(stored_networks()) == wanted
    assert all(0 < milliseconds < 1000 for milliseconds in stored_networks().values())


def test_a_network_that_is_timed_has_the_widths_it_is_filed_under():
    with torch.inference_mode():
        assert network_calls()[3, 12, 64]().shape == (BATCH_SIZE, 10)
    assert uniform_widths() == sorted(uniform_widths(), key=lambda widths: widths[2])


def test_the_table_is_of_this_code():
    about, _ = read_experiment(experiment_03_latencies.NAME)
    assert about["digest"] == experiment_03_latencies.digest(), "delete it: python -m utils experiments 03_latency"


def test_the_last_widths_are_the_dense_networks():
    dense = LeNet5()
    assert [grid[-1] for grid in GRID.values()] == [len(dense.get_submodule(name).weight) for name in GRID]


def test_what_is_timed_has_the_shapes_of_the_network():
    calls = layer_calls(grid={"conv1": (3,), "conv2": (12,), "fc1": (64,)})
    with torch.inference_mode():
        shapes = {name: tuple(call().shape) for (name, _, _), call in calls.items()}
    assert shapes == {"conv1": (BATCH_SIZE, 3, 12, 12), "conv2": (BATCH_SIZE, 12, 4, 4), "fc1": (BATCH_SIZE, 10)}


def test_a_network_is_the_sum_of_its_layers_and_a_width_between_is_the_larger_one():
    table = {("conv1", 1, 2): 1e-3, ("conv1", 1, 4): 2e-3, ("conv2", 2, 8): 1e-4, ("conv2", 4, 8): 2e-4}
    table |= {("fc1", 8, 16): 1e-5}
    assert milliseconds(table, (2, 8, 16)) == pytest.approx(1.11)
    assert milliseconds(table, (3, 5, 1)) == pytest.approx(2.21)


@pytest.mark.parametrize("widths", [(0, 8, 16), (21, 8, 16), (3, 8, 501)])
def test_a_width_outside_the_table_is_refused(widths):
    with pytest.raises(ValueError, match=r"the width of (conv1|fc1) must be from 1 to"):
        milliseconds(stored_table(), widths)
