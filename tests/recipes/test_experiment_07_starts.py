"""The long experiment of notebook 07: trained as it says."""

import pytest
import torch
from torch import nn

from utils.accounting import count_macs, count_parameters
from utils.experiment_files import condition, read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_07_starts as starts


def test_the_starts_cost_the_same_and_only_what_is_drawn_depends_on_the_seed():
    networks = {(way, seed): starts.start(way, seed) for way in starts.WAYS for seed in (0, 1)}
    shared = [way for way in starts.WAYS if not way.endswith(starts.OWN)]
    assert len({count_parameters(networks[way, 0]) for way in shared}) == 1
    one = torch.rand(1, 1, 28, 28)
    assert all(count_macs(each, one) <= count_macs(networks["SVD", 0], one) for each in networks.values())
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    answers = {key: network(x) for key, network in networks.items()}
    assert torch.equal(answers["SVD", 0], answers["SVD", 1])
    assert torch.equal(answers[f"SVD{starts.OWN}", 0], answers[f"SVD{starts.OWN}", 1])
    for way in set(starts.WAYS) - {"SVD", f"SVD{starts.OWN}"}:
        assert not torch.equal(answers[way, 0], answers[way, 1]), way


def test_own_ranks_spend_the_budget_and_err_less_before_training():
    for way in ("SVD", "SVD, centre fixed"):
        found = starts.own_ranks(way)
        assert found["fc2"] in starts.TRIED[1:-1], "at the end of the grid: widen it"
        spent, budget = (1084 * ranks["fc1"] + 400 * ranks["fc2"] for ranks in (found, starts.RANKS))
        assert budget - 1084 < spent <= budget
        assert starts.tune(way + starts.OWN, 0, 0) < starts.tune(way, 0, 0)


def test_pairs_that_are_drawn_anew_keep_nothing_of_the_dense_network():
    dense = {tuple(tensor.shape): tensor for tensor in load_checkpoint(starts.SOURCE).state_dict().values()}
    network = starts.start("drawn anew", 0)
    assert isinstance(network.fc1, nn.Sequential)
    for tensor in network.state_dict().values():
        assert tuple(tensor.shape) not in dense or not torch.equal(tensor, dense[tuple(tensor.shape)])


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("way", starts.WAYS)
def test_a_row_trained_again_is_the_stored_one(way):
    _, rows = read_experiment(starts.NAME)
    row = next(row for row in rows if row["way"] == way and row["epochs"] == 1)
    assert starts.tune(**condition(row)) == pytest.approx(row["error"], abs=1.0), "another processor rounds so"
