"""The ranks of notebook 07's long experiment: those that it says, with the images and the training of `07_starts`."""

import pytest
import torch

from utils.accounting import count_macs
from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_07_ranks as ranks
from utils.recipes import experiment_07_starts as starts


def test_the_table_holds_every_training_once():
    _, rows = read_experiment(ranks.NAME)
    assert [condition(row) for row in rows] == list(ranks.conditions())
    assert all(0 < row["error"] < 100 for row in rows)


def test_the_ranks_are_those_of_svd_or_the_ways_own_and_cost_no_more():
    x = torch.rand(1, 1, 28, 28)
    most = count_macs(starts.start("SVD", 0), x)
    for way in ranks.WAYS:
        network = ranks.start(way, 0)
        kept = {"fc1": network.fc1[0].out_features, "fc2": network.fc2[0].out_features}
        assert kept == starts.own_ranks("SVD" if way.endswith(ranks.OF_SVD) else "data-aware SVD")
        assert count_macs(network, x) <= most


def test_own_ranks_of_the_data_aware_svd_lie_within_the_grid_and_err_less_before_training():
    assert starts.own_ranks("data-aware SVD")["fc2"] in starts.TRIED[1:-1], "at the end of the grid: widen it"
    assert ranks.tune(f"data-aware SVD{starts.OWN}", 0, 0) <= starts.tune("data-aware SVD", 0, 0)


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("way", ranks.WAYS)
def test_a_row_trained_again_is_the_stored_one(way):
    _, rows = read_experiment(ranks.NAME)
    row = next(row for row in rows if row["way"] == way and row["epochs"] == 1)
    assert ranks.tune(**condition(row)) == pytest.approx(row["error"], abs=1.0), "another processor rounds so"
