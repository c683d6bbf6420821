"""The controls of notebook 04's retraining: whole, fair, and measured as they say."""

import pytest
import torch

from utils import experiment_files
from utils.experiment_files import condition, read_experiment
from utils.pruning import prunable
from utils.recipes import experiment_04_repairs as repairs
from utils.recipes import experiment_04_retraining as retraining


def test_the_table_holds_every_row_once():
    _, rows = read_experiment(retraining.NAME)
    assert [condition(row) for row in rows] == list(retraining.conditions())
    assert all(0 < row["error"] < 100 for row in rows)


def test_a_whole_table_is_not_measured_again(monkeypatch):
    monkeypatch.setattr(retraining, "fit", None)  # must not be called
    monkeypatch.setattr(experiment_files, "write_experiment", None)
    assert retraining.run().startswith("04_retraining: ")


def test_the_pairs_are_of_rows_that_are_there():
    ways = {*repairs.WAYS, *repairs.MASK_ALONE, *retraining.BY_LAYER}
    assert {name for pair in retraining.BY_LAYER_PAIRS for name in pair} <= ways
    low = {(row["way"], row["sparsity"]) for row in retraining.conditions() if row["rate"] == retraining.LOW}
    assert {(name, 0.9) for pair in repairs.PAIRS for name in pair} <= low
    assert {(name, 0.5) for pair in repairs.HALF_PAIRS for name in pair} <= low


def test_dense_is_left_as_it_is():
    network = repairs.dense(0)
    before = network.fc1.weight.detach().clone()
    masks = retraining.prune_all(network, "dense", 0.0, 7)
    assert torch.equal(network.fc1.weight, before)
    assert all(mask.all() for mask in masks.values())


@pytest.mark.parametrize("way", retraining.BY_LAYER)
def test_one_cut_layer_by_layer_keeps_as_many_weights_of_each_row(way):
    network = repairs.dense(0)
    before = {name: w.detach().clone() for name, w in prunable(network).items()}
    masks = retraining.prune_all(network, way, 0.9, 7)
    for name, kept in {"fc1.weight": 78, "fc2.weight": 30, "fc3.weight": 10}.items():
        weight = prunable(network)[name]
        assert (masks[name].sum(dim=1) == kept).all()
        assert not weight[~masks[name]].any()
        assert torch.equal(weight, before[name] * masks[name]) == ("repaired" not in way)


def test_only_the_inputs_of_later_layers_differ_from_wanda():
    plain = repairs.prune_all(repairs.dense(0), "Wanda", 0.9, 7)
    by_layer = retraining.prune_all(repairs.dense(0), retraining.BY_LAYER[1], 0.9, 7)
    # C has a hundredth of its mean diagonal more, so a few weights on faint pixels change places in the first layer
    same = {name: (plain[name] == by_layer[name]).float().mean().item() for name in plain}
    assert same["fc1.weight"] > 0.97
    assert same["fc2.weight"] < 1


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_a_row_measured_again_is_the_stored_one():
    _, rows = read_experiment(retraining.NAME)
    assert retraining.retrained(**condition(rows[0])) == pytest.approx(rows[0]["error"], abs=0.5)
