"""The long experiment of notebook 05 on two data sets: whole, and trained as it says."""

import pytest

from utils import experiment_files
from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_05_fashion as fashion


def test_the_table_holds_every_training_once():
    _, rows = read_experiment(fashion.NAME)
    assert [condition(row) for row in rows] == list(fashion.conditions())
    assert all(0 < row["error"] < 100 for row in rows)


def test_a_whole_table_is_not_trained_again(monkeypatch):
    monkeypatch.setattr(fashion, "fit", None)  # must not be called
    monkeypatch.setattr(experiment_files, "write_experiment", None)
    assert fashion.run().startswith("05_fashion: ")


@pytest.mark.slow
@pytest.mark.parametrize("data_set", fashion.DATA_SETS)
def test_a_row_trained_again_is_the_stored_one(data_set):
    _, rows = read_experiment(fashion.NAME)
    wanted = {"data_set": data_set, "way": "gradually", "sparsity": 0.9, "seed": 0}
    row = next(row for row in rows if condition(row) == wanted)
    assert fashion.prune(**wanted) == pytest.approx(row["error"], abs=1.0), "another processor rounds otherwise"
