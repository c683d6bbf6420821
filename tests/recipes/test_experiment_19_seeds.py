"""The third experiment of notebook 19: whole, and the control is the whole network, trained as the others are."""

import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_19_distilled as smaller
from utils.recipes import experiment_19_one_shot as one_shot
from utils.recipes import experiment_19_seeds as further


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(further.NAME)
    assert about["digest"] == further.digest(), "run `python -m utils experiments 19_seeds` again"
    assert [condition(row, "nats") for row in rows] == further.conditions()
    assert all(len(row["nats"]) == one_shot.PARTS for row in rows)


def test_the_further_seeds_are_other_ones_of_the_same_trainings():
    assert set(further.WAYS) <= set(smaller.SMALL)
    assert {row["seed"] for row in read_experiment(smaller.NAME)[1] if row["part"] == "small"} == {0}
    assert all(row["seed"] for row in further.conditions() if row["way"] != further.WHOLE)


@pytest.mark.slow
def test_the_control_keeps_every_weight_and_is_trained_as_the_smaller_ones_are(monkeypatch):
    recipes = []

    def spy(model, train, recipe, **named):
        recipes.append(recipe)
        return fit(model, train, recipe, **named)

    fit = further.fit_text
    for module in (further, smaller):
        monkeypatch.setattr(module, "fit_text", spy)
    model = further.train_whole(0, steps=1)
    smaller.train_small("labels", 0, steps=1)
    assert recipes[0] == recipes[1]
    assert smaller.count(model) == smaller.count(one_shot.network())
    assert any((a != b).any() for a, b in zip(model.parameters(), one_shot.network().parameters(), strict=True))
    assert all(module.p == smaller.DROPOUT for module in model.modules() if isinstance(module, torch.nn.Dropout))
