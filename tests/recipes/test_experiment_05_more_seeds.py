"""Seven seeds more for notebook 05: the trainings of two other tables, with seeds that neither of them has."""

from utils.experiment_files import read_experiment
from utils.recipes import experiment_05_early_rise as early
from utils.recipes import experiment_05_more_seeds as more
from utils.recipes import experiment_05_schedules as schedules


def test_the_trainings_are_those_of_the_other_tables(monkeypatch):
    called = []
    monkeypatch.setattr(schedules, "moving", lambda *how: called.append(("moving", *how)) or 7.0)
    monkeypatch.setattr(early, "early_rise", lambda *how: called.append(("early", *how)) or 7.5)
    assert (more.error_of(more.RIGL, 5), more.error_of(more.EARLY, 5)) == (7.0, 7.5)
    others = [row for row in schedules.conditions() if row["experiment"] == "moving" and row["epochs"] == 10]
    (rigl,) = (row for row in others if row["way"] == more.RIGL and row["seed"] == 0)
    (rise,) = (row for row in early.conditions() if row["seed"] == 0)
    assert called[0] == ("moving", rigl["way"], rigl["sparsity"], rigl["epochs"], 5)
    assert called[1] == ("early", rise["share"], rise["sparsity"], rise["epochs"], 5)


def test_no_seed_is_one_of_the_first_five_and_each_has_both_ways():
    _, rows = read_experiment(more.NAME)
    assert {row["seed"] for row in rows}.isdisjoint(schedules.SEEDS)
    assert all({row["way"] for row in rows if row["seed"] == seed} == {more.RIGL, more.EARLY} for seed in more.SEEDS)
