"""The long experiment of notebook 16 on search: within its budgets, and measured as it says."""

import pytest

from utils.experiment_files import read_experiment
from utils.recipes import experiment_16_search as search
from utils.tiny_networks import Design, deployed_parameters


@pytest.fixture(scope="module")
def rows():
    return read_experiment(search.NAME)[1]


def test_the_table_is_whole(rows):
    assert len(rows) == search.rows_in_all()


def test_every_design_is_within_both_budgets(rows):
    assert max(deployed_parameters(Design.parse(row["design"])) for row in rows) <= search.MOST
    assert max(row["microseconds"] for row in rows if "microseconds" in row) <= search.LIMIT


def test_both_searches_train_as_many_and_begin_alike(rows):
    for seed in search.SEEDS:
        short = [row for row in rows if row["kind"] == "short" and row["seed"] == seed]
        for way in search.WAYS:
            numbers = [row["number"] for row in short if row["way"] in ("both", way)]
            assert sorted(numbers) == list(range(search.TRAININGS))
        assert sum(row["way"] == "both" for row in short) == search.POPULATION


def test_the_best_by_short_training_are_trained_for_longer(rows):
    for seed in search.SEEDS:
        for way in search.WAYS:
            short = [r for r in rows if r["kind"] == "short" and r["seed"] == seed and r["way"] in ("both", way)]
            best = sorted(sorted(short, key=lambda r: r["number"]), key=lambda r: r["error"])[: search.TAKEN]
            long = [r for r in rows if r["kind"] == "long" and r["seed"] == seed and r["way"] == way]
            first = [r for r in long if r["time"] == 0]
            assert [r["design"] for r in best for _ in search.SPLITS] == [r["design"] for r in first]
            chosen = min((r for r in first if r["split"] == "validation"), key=lambda r: r["error"])
            again = [r for r in long if r["time"] > 0]
            assert {r["design"] for r in again} == {chosen["design"]}
            assert len(again) == len(search.SPLITS) * (search.TIMES - 1)


def test_winners_are_judged_on_images_that_nothing_was_trained_on():
    train = search._splits().train
    assert len(train.labels) - search.UNSEEN >= max(search.SHORT_IMAGES, search.LONG_IMAGES)
    assert search.unseen().images.data_ptr() == train.images[-search.UNSEEN :].data_ptr()


def test_the_control_goes_through_as_many_images_as_a_search():
    searched = search.TRAININGS * search.SHORT_IMAGES + search.TAKEN * search.LONG_PASSES * search.LONG_IMAGES
    assert 0 <= searched - search.WHOLE_BUDGET * search.LONG_IMAGES < search.LONG_IMAGES


def test_a_candidate_trained_again_is_the_stored_one(rows):
    row = next(row for row in rows if row["kind"] == "short")
    assert search.tune(row) == pytest.approx(row["error"], abs=max(3, row["error"] / 3)), "another processor rounds so"
