"""The dense control of notebook 02: whole, with the training of the other ways, and trained as it says."""

import pytest

from utils import experiment_files
from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_02_controls as controls
from utils.recipes import experiment_02_dense as dense


def test_the_table_holds_every_training_once():
    _, rows = read_experiment(dense.NAME)
    assert [condition(row) for row in rows] == list(dense.conditions())
    assert all(0 < row["error"] < 100 for row in rows)


def test_a_whole_table_is_not_trained_again(monkeypatch):
    monkeypatch.setattr(dense, "fit", None)  # must not be called
    monkeypatch.setattr(experiment_files, "write_experiment", None)
    assert dense.run().startswith("02_dense: ")


def test_it_has_a_row_for_each_seed_of_the_other_ways():
    assert [row["seed"] for row in dense.conditions()] == sorted({row["seed"] for row in controls.conditions()})
    assert dense.WAY not in controls.WAYS


@pytest.mark.slow
def test_a_row_trained_again_is_the_stored_one():
    _, rows = read_experiment(dense.NAME)
    assert dense.train_on(rows[0]["seed"]) == pytest.approx(rows[0]["error"], abs=0.5), "another processor rounds so"
