"""The long experiment of notebook 03 on two data sets: within its budgets, and trained as it says."""

import pytest
import torch

from utils import latency_table
from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_03_fashion as fashion
from utils.recipes.four_epochs import load_four_epochs


def test_every_shape_but_the_next_uniform_one_keeps_its_budget():
    whole = latency_table.stored_networks()
    _, rows = read_experiment(fashion.NAME)
    for row in rows:
        within = whole[tuple(row["widths"])] <= whole[fashion.DENSE] / row["budget"]
        assert within == (row["way"] != "next uniform"), row


@pytest.mark.parametrize("budget", fashion.BUDGETS)
def test_no_shape_that_is_tried_exceeds_another_and_together_they_cover_the_affordable(budget):
    whole, tried = latency_table.stored_networks(), fashion.affordable(budget)

    def exceeds(one, other):
        return one != other and all(a >= b for a, b in zip(one, other, strict=True))

    assert not any(exceeds(one, other) for one in tried for other in tried)
    grid = [w for w in whole if all(a in at for a, at in zip(w, latency_table.GRID.values(), strict=True))]
    for widths in grid:
        if whole[widths] <= whole[fashion.DENSE] / budget:
            assert widths in tried or any(exceeds(one, widths) for one in tried)


def test_no_seed_of_the_comparison_chose_a_shape():
    _, rows = read_experiment(fashion.NAME)
    chose = {row["seed"] for row in rows if row["way"] == "choice"}
    assert chose.isdisjoint(fashion.SEEDS)


@pytest.mark.parametrize("data_set", fashion.DATA_SETS)
def test_a_cut_network_has_its_widths_and_the_filters_of_the_dense_one(data_set):
    dense, cut = load_four_epochs(data_set), fashion.cut_to(data_set, (3, 8, 64))
    shapes = [tuple(cut.get_submodule(name).weight.shape) for name in ("conv1", "conv2", "fc1", "fc2")]
    assert shapes == [(3, 1, 5, 5), (8, 3, 5, 5), (64, 128), (10, 64)]
    for kernel in cut.conv1.weight:
        assert any(torch.equal(kernel, other) for other in dense.conv1.weight)


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("data_set", fashion.DATA_SETS)
def test_a_row_trained_again_is_the_stored_one(data_set):
    _, rows = read_experiment(fashion.NAME)
    case = {"data_set": data_set, "way": "from the list", "budget": 10, "seed": fashion.SEEDS[0]}
    row = next(row for row in rows if case.items() <= row.items())
    assert fashion.train(**condition(row)) == pytest.approx(row["error"], abs=1.5), "another processor rounds otherwise"
