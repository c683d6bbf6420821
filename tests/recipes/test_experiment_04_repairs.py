"""The long experiment of notebook 04: fair, and measured as it says."""

import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.pruning import input_norms, prunable
from utils.recipes import experiment_04_repairs as repairs


def test_the_pairs_are_of_rows_that_are_there():
    cuts = {
        f"{row['pick']} {row['schedule']}{', repaired' * row['repaired']}"
        for row in repairs.conditions()
        if row["experiment"] == "cut"
    }
    assert {name for pair in repairs.CUT_PAIRS for name in pair} <= cuts
    assert {name for pair in (*repairs.PAIRS, *repairs.HALF_PAIRS) for name in pair} <= set(repairs.WAYS)
    assert {name for pair in repairs.MASK_PAIRS for name in pair} <= {*repairs.WAYS, *repairs.MASK_ALONE}


@pytest.mark.parametrize("way", [*repairs.WAYS, *repairs.MASK_ALONE])
def test_every_way_keeps_as_many_weights_of_each_layer(way):
    network = repairs.dense(0)
    before = {name: w.detach().clone() for name, w in prunable(network).items()}
    masks = repairs.prune_all(network, way, 0.9, 7)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "fc1.weight": 300 * 78,
        "fc2.weight": 100 * 30,
        "fc3.weight": 10 * 10,
    }
    for name, weight in prunable(network).items():
        assert not weight[~masks[name]].any()
        assert torch.equal(weight, before[name] * masks[name]) == ("repaired" not in way)


def test_a_repaired_network_has_the_masks_of_the_unrepaired():
    for way in repairs.REPAIRED:
        repaired, plain = (
            repairs.prune_all(repairs.dense(0), name, 0.9, 7) for name in (way, way[: -len(", repaired")])
        )
        assert all(torch.equal(repaired[name], plain[name]) for name in plain)


@pytest.mark.parametrize(("alone", "way"), repairs.MASK_ALONE.items())
def test_a_mask_alone_is_that_of_the_rounds(alone, way):
    masks, found = (repairs.prune_all(repairs.dense(0), name, 0.9, 7) for name in (alone, way))
    assert all(torch.equal(masks[name], found[name]) for name in found)


def test_norms_are_those_of_the_library():
    network, images = repairs.dense(0), repairs.draw(50, 3)
    inputs, _ = repairs.inputs_and_gradients(network, images)
    for name, norm in input_norms(network, images.images).items():
        assert torch.allclose(inputs[name].norm(dim=0), norm, rtol=1e-5)


@pytest.mark.parametrize(
    "row",
    [
        {"experiment": "unpruned", "number": 0},
        {
            "experiment": "cut",
            "pick": "Wanda",
            "schedule": "in rounds",
            "repaired": True,
            "sparsity": 0.95,
            "number": 0,
        },
        {"experiment": "retrained", "way": "Wanda, repaired", "sparsity": 0.9, "epochs": 2, "number": 0},
    ],
)
def test_a_row_measured_again_is_the_stored_one(row):
    _, rows = read_experiment(repairs.NAME)
    stored = next(each["error"] for each in rows if condition(each) == row)
    assert repairs.measure(row) == pytest.approx(stored, abs=0.5), "another processor rounds so"
