"""The third experiment of notebook 20: its ways start as the network, along what they say, with the sizes they say."""

import pytest
import torch

from utils.adapters import adapters, principal_adapter, trained_parameters
from utils.experiment_files import read_experiment
from utils.recipes import experiment_20_adapters as experiment
from utils.recipes import experiment_20_starts as starts


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return torch.nn.Linear(9, 6, bias=False)


@pytest.mark.parametrize("way", list(starts.WAYS))
def test_every_way_starts_as_the_network_and_trains_as_many_numbers(way):
    model = starts.WAYS[way]()
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.allclose(model(tokens), experiment.network()(tokens), atol=1e-4)
    assert trained_parameters(model) == 8_064
    assert {each.scale for each in adapters(model).values()} == {1.0}


def test_the_largest_directions_with_their_own_values_are_pissa(layer):
    weight = layer.weight.detach().clone()
    ours = starts.start_along(layer, directions="largest", values="largest")
    other = torch.nn.Linear(9, 6, bias=False)
    other.weight.data = weight
    theirs = principal_adapter(other, rank=starts.RANK)
    assert torch.allclose(ours.up, theirs.up, atol=1e-5)
    assert torch.allclose(ours.down, theirs.down, atol=1e-5)


@pytest.mark.parametrize("directions", ["largest", "smallest", "drawn"])
@pytest.mark.parametrize("values", starts.ENDS)
def test_the_start_has_the_values_and_the_directions_it_names(layer, directions, values):
    u, s, v = torch.linalg.svd(layer.weight.detach())
    change = starts.start_along(layer, directions=directions, values=values).change().detach()
    assert torch.allclose(torch.linalg.svdvals(change)[:2], s[starts.ENDS[values]], atol=1e-5)
    if directions != "drawn":
        inside = u[:, :6].T @ change @ v[:6].T  # in the weight's own directions
        kept = torch.zeros_like(inside)
        kept[starts.ENDS[directions], starts.ENDS[directions]] = s[starts.ENDS[values]].diag()
        assert torch.allclose(inside, kept, atol=1e-5)


def test_drawn_directions_are_others_with_each_seed():
    def drawn(seed):
        torch.manual_seed(seed)
        return adapters(starts.WAYS["drawn directions, largest values"]())["blocks.0.attention.query"].up

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.allclose(drawn(0), drawn(1), atol=0.1)


def test_as_many_rates_are_tried_as_in_the_first_experiment_and_the_best_one_is_inside():
    _, rows = read_experiment(starts.NAME)
    best = experiment.chosen_rates(rows)
    for way, rates in starts.TRIED.items():
        assert len(rates) == len(experiment.TRIED["LoRA"])
        assert min(rates) < best[way] < max(rates), way
