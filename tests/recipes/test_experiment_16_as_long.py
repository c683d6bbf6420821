"""The evolved designs of notebook 16 trained as long as the hand-made one: the designs it says, and trained alike."""

from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_16_as_long as as_long
from utils.recipes import experiment_16_search as search
from utils.tiny_networks import Design, deployed_parameters


def test_a_design_is_the_one_that_the_search_trained_again():
    for way in search.WAYS:
        for seed in search.SEEDS:
            about = {"kind": "long", "way": way, "seed": seed}
            again = {row["design"] for row in search.rows() if about.items() <= row.items() and row["time"] > 0}
            assert again == {str(as_long.chosen(way, seed))}


def test_only_the_design_differs_from_the_trainings_of_the_hand_made_one():
    hand_made = [condition(row) for row in search.rows() if row["way"] == as_long.HAND_MADE]
    differs = {"way": as_long.WAY, "design": ""}
    assert [row | differs for row in as_long.conditions()] == [row | differs for row in hand_made]


def test_every_design_is_within_both_budgets():
    designs = {Design.parse(row["design"]) for row in as_long.conditions()}
    assert all(deployed_parameters(design) <= search.MOST and search.fits(design) for design in designs)


def test_errors_are_those_on_the_unseen_images_in_the_order_of_the_seeds():
    _, rows = read_experiment(as_long.NAME)
    unseen = {row["seed"]: row["error"] for row in rows if row["split"] == "unseen"}
    assert as_long.errors() == [unseen[seed] for seed in search.SEEDS]


def test_a_training_is_the_search_s_own(monkeypatch):
    called = []
    monkeypatch.setattr(search, "trained", lambda *how: called.append(how))
    monkeypatch.setattr(search, "error", lambda network, split: 7.0)
    search._long.cache_clear()
    assert [search.tune(row) for row in as_long.conditions()] == [7.0] * 10
    assert called == [
        (str(as_long.chosen("evolution", seed)), seed, search.LONG_IMAGES, search.WHOLE_BUDGET) for seed in search.SEEDS
    ]
    search._long.cache_clear()
