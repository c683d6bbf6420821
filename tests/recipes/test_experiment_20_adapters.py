"""The experiment of notebook 20: whole, not stale, its controls as large as they say, its choices on validation."""

import pytest
import torch

from utils.adapters import adapters, trained_parameters
from utils.characters import load_shakespeare
from utils.experiment_files import read_experiment
from utils.nf4_linear import NF4Linear
from utils.recipes import experiment_20_adapters as experiment


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(experiment.NAME)
    assert about["digest"] == experiment.digest(), "run `python -m utils experiments 20_adapters` again"
    assert [{name: row[name] for name in ("way", "rate", "seed")} for row in rows] == experiment.conditions()


def test_no_chosen_rate_was_the_largest_or_smallest_that_was_tried_for_what_is_compared():
    best = experiment.chosen(read_experiment(experiment.NAME)[1])
    for way in ("full", "LoRA"):
        assert min(experiment.TRIED[way]) < best[way]["rate"] < max(experiment.TRIED[way])
    assert experiment.TRIED["QLoRA"] == (best["LoRA"]["rate"],)


@pytest.mark.parametrize("way", list(experiment.WAYS))
def test_every_way_starts_as_the_network_and_trains_what_it_says(way):
    model = experiment.WAYS[way]()
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        off = (model(tokens) - experiment.network()(tokens)).abs().max()
    assert off < (2 if way == "QLoRA" else 1e-6)
    count = trained_parameters(model)
    assert count == {"full": 271_008, "head only": 6_240, "norms only": 480}.get(way, count)
    if way in ("LoRA", "QLoRA"):
        assert count == 8_064
    if way == "random subspace":
        assert 0.9 * 8_064 < count <= 8_064


def test_qlora_holds_every_matrix_of_the_blocks_in_nf4():
    model = experiment.WAYS["QLoRA"]()
    assert len(adapters(model)) == 14
    assert all(isinstance(each.base, NF4Linear) for each in adapters(model).values())


def test_parts_are_of_the_split_they_name_and_of_the_length_that_is_judged():
    assert all(len(experiment.part(name)) == experiment.JUDGED + 1 for name in ("validation", "test"))
    assert 100_000 < len(experiment.part("train")) < 112_000
    seen = load_shakespeare().vocabulary.decode(load_shakespeare().train)
    assert load_shakespeare().vocabulary.decode(experiment.part("validation", "")[:200]) not in seen
    assert not torch.equal(experiment.part("validation"), experiment.part("validation", ""))
