"""The experiment of notebook 20: whole, not stale, its controls as large as they say, its choices on validation."""

import pytest
import torch

from utils.adapters import adapters, trained_parameters
from utils.characters import load_shakespeare
from utils.experiment_files import read_experiment
from utils.nf4_linear import NF4Linear, in_nf4
from utils.recipes import experiment_20_adapters as experiment


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(experiment.NAME)
    assert about["digest"] == experiment.digest(), "run `python -m utils experiments 20_adapters` again"
    wanted = list(experiment.conditions(rows))
    assert [{name: row[name] for name in ("part", "way", "rate", "seed")} for row in rows] == wanted
    assert all(("test" in row) == (row["part"] == "seeds") for row in rows)


def test_as_many_rates_are_tried_for_each_way_and_of_those_compared_one_lies_at_an_end():
    _, rows = read_experiment(experiment.NAME)
    assert len({len(rates) for rates in experiment.TRIED.values()}) == 1
    assert len({len(rates) for rates in experiment.TRIED_ON_TEXTS.values()}) == 1
    for part, tried in (("rates", experiment.TRIED), *((name, experiment.TRIED_ON_TEXTS) for name in experiment.TEXTS)):
        best = experiment.chosen_rates(rows, part)
        for way in ("full", "14 matrices", "LoRA", "PiSSA"):
            if (part, way) == ("near slice", "LoRA"):  # the notebook says so
                assert best[way] == max(tried[way])
            elif way in tried:
                assert min(tried[way]) < best[way] < max(tried[way]), (part, way)


def test_the_best_rate_has_the_fewest_nats_in_the_mean_of_the_seeds_that_choose_and_no_others():
    first, second = experiment.CHOOSING_SEEDS

    def row(way, rate, nats, seed=first):
        return {"part": "rates", "way": way, "rate": rate, "nats": nats, "seed": seed}

    rows = [
        row("full", 1.0, 1.2), row("full", 1.0, 2.0, second), row("full", 2.0, 1.5), row("full", 2.0, 1.5, second),
        row("full", 4.0, 1.6), row("full", 4.0, 1.6, second), row("full", 4.0, 1.0, seed=0), row("LoRA", 3.0, 1.0),
    ]  # fmt: skip
    assert experiment.chosen_rates(rows) == {"full": 2.0, "LoRA": 3.0, "QLoRA": 3.0}


def test_no_seed_that_chooses_is_compared():
    assert not set(experiment.CHOOSING_SEEDS) & {*experiment.PAIRS, *experiment.FEW_PAIRS, *experiment.RANK_SEEDS}
    assert set(experiment.RANK_SEEDS) <= set(experiment.FEW_PAIRS) < set(experiment.PAIRS)


@pytest.mark.parametrize("way", list(experiment.WAYS))
def test_every_way_starts_as_the_network_and_trains_what_it_says(way):
    model = experiment.WAYS[way]()
    tokens = torch.arange(20)[None]
    start = experiment.network()
    if way == "QLoRA":
        start = in_nf4(start, choose=experiment.in_blocks)
    with torch.no_grad():
        assert torch.allclose(model(tokens), start(tokens), atol=1e-5)
    count = trained_parameters(model)
    assert count == {"full": 271_008, "14 matrices": 258_048, "head only": 6_240, "norms only": 480}.get(way, count)
    if way in ("LoRA", "QLoRA", "PiSSA"):
        assert count == 8_064
    if way == "random subspace":
        assert 0.9 * 8_064 < count <= 8_064


def test_qlora_holds_every_matrix_of_the_blocks_in_nf4():
    model = experiment.WAYS["QLoRA"]()
    assert len(adapters(model)) == 14
    assert all(isinstance(each.base, NF4Linear) for each in adapters(model).values())


def test_parts_are_of_the_split_they_name_and_of_the_length_that_is_judged():
    assert all(len(experiment.part(name)) == count + 1 for name, count in experiment.JUDGED.items())
    lengths = [len(experiment.part(name)) for name in ("new", "far", "near")]
    assert 110_000 < min(lengths) < max(lengths) < 111_000
    assert len(experiment.part("train")) > 900_000
    read = load_shakespeare().vocabulary.decode(load_shakespeare().train)
    for name in ("validation", "test", "new"):
        assert load_shakespeare().vocabulary.decode(experiment.part(name, "")[:200]) not in read
    assert not torch.equal(experiment.part("validation"), experiment.part("validation", ""))


def test_the_two_slices_are_known_one_from_another_play_and_one_from_the_play_that_is_judged():
    decode = load_shakespeare().vocabulary.decode
    train = decode(experiment.part("train", ""))
    far, near = (decode(experiment.part(name, "")) for name in ("far", "near"))
    assert train.startswith(far)
    assert train.endswith(near)
    judged = decode(experiment.part("validation", ""))
    assert "DUKE VINCENTIO:" in judged
    assert "DUKE VINCENTIO:" in near
    assert "DUKE VINCENTIO:" not in far


def test_the_whole_matrices_are_those_that_have_an_adapter():
    trained = {name for name, p in experiment.WAYS["14 matrices"]().named_parameters() if p.requires_grad}
    assert trained == {f"{name}.weight" for name in adapters(experiment.WAYS["LoRA"]())}


def test_the_scales_of_other_ranks_meet_at_the_rank_that_is_compared():
    assert all(scale(experiment.RANK) == experiment.SCALE for scale in experiment.SCALES.values())
    assert experiment.SCALES["alpha / r"](8) == 1.0
    assert experiment.SCALES["alpha / root r"](8) == 2.0
