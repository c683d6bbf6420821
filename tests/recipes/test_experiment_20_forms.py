"""The second experiment of notebook 20: its ways start as the network, and its rates and seeds are the first's."""

import pytest
import torch

from utils.adapters import adapters, trained_parameters
from utils.experiment_files import read_experiment
from utils.recipes import experiment_20_adapters as experiment
from utils.recipes import experiment_20_forms as forms


@pytest.mark.parametrize("way", list(forms.WAYS))
def test_every_way_starts_as_the_network_and_trains_what_it_says(way):
    model = forms.WAYS[way]()
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.allclose(model(tokens), experiment.network()(tokens), atol=1e-5)
    assert trained_parameters(model) == (10_304 if way == "DoRA" else 8_064)
    assert {each.scale for each in adapters(model).values()} == {1.0 if way == "LoRA, scale 1" else 4.0}


def test_principal_adapters_of_both_scales_start_with_the_same_change():
    one, four = adapters(experiment.WAYS["PiSSA"]()), adapters(forms.WAYS["PiSSA, scale 4"]())
    for name in one:
        assert torch.allclose(one[name].change(), four[name].change(), atol=1e-5)
        assert torch.allclose(one[name].up, 2 * four[name].up)


def test_as_many_rates_are_tried_as_in_the_first_experiment_and_the_best_one_is_inside():
    _, rows = read_experiment(forms.NAME)
    best = experiment.chosen_rates(rows)
    for way, rates in forms.TRIED.items():
        assert len(rates) == len(experiment.TRIED["LoRA"])
        assert min(rates) < best[way] < max(rates), way


def test_what_is_learned_equally_is_tried_there_too_but_with_other_seeds():
    _, rows = read_experiment(forms.NAME)
    for row in rows:
        if row["part"] == "equal learning":
            assert row["rate"] in experiment.TRIED[row["way"]]
            assert row["seed"] not in experiment.CHOOSING_SEEDS
