"""Rounding with repair over the ten networks: the same bits on all sides, and the rows of the shipped network."""

import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.models import load_checkpoint
from utils.quantization import clipped_half_grid, quantize
from utils.recipes import experiment_08_codebooks as grids
from utils.recipes import experiment_08_repair as repair

WAYS = (repair.NEAREST, repair.SAME_GRIDS, repair.GRIDS_ANEW)


@pytest.fixture(scope="module")
def firsts():
    weight = load_checkpoint(grids.MODEL).fc1.weight.detach()
    return weight, {way: repair.first_layer(weight, 2, way) for way in WAYS}


def test_on_the_same_grids_every_weight_is_one_of_the_values_of_its_group(firsts):
    weight, rounded = firsts
    for start in range(0, weight.shape[1], repair.GROUP):
        group = slice(start, start + repair.GROUP)
        grid = clipped_half_grid(weight[:, group], bits=2)
        values = (torch.arange(-2, 2) - grid.zero_point[:, None]) * grid.scale[:, None]  # (rows, 4)
        for way in (repair.NEAREST, repair.SAME_GRIDS):
            off = (rounded[way][:, group, None] - values[:, None]).abs().amin(dim=2)
            assert off.max() < 1e-6, way
    assert quantize(weight[:, group], grid).min() >= -2


def test_no_group_has_more_values_than_its_bits_allow(firsts):
    for way in WAYS:
        for row in firsts[1][way][:3]:
            for group in row.split(repair.GROUP):
                assert len(group.unique()) <= 4, way


def test_the_repair_moves_weights_and_lowers_the_error_of_the_outputs(firsts):
    weight, rounded = firsts
    costs = {}
    for way in WAYS:
        off = rounded[way] - weight
        costs[way] = float(((off @ repair.moment()) * off).sum())
    assert costs[repair.GRIDS_ANEW] < costs[repair.SAME_GRIDS] < 0.5 * costs[repair.NEAREST]


def test_the_shipped_networks_row_made_again_is_the_stored_one():
    _, rows = read_experiment(repair.NAME)
    row = next(row for row in rows if row["seed"] == 0 and row["fc1"] == repair.GRIDS_ANEW)
    assert repair.error_of(**condition(row)) == pytest.approx(row["error"], abs=0.2)


def test_the_ten_come_first_and_the_shipped_network_last():
    assert list(repair.SEEDS) == [*range(1, 11), 0]
    assert set(repair.SEEDS) == set(grids.SEEDS)
