"""The dense control of notebook 02: with the training of the other ways, and trained as it says."""

import pytest

from utils.experiment_files import read_experiment
from utils.recipes import experiment_02_controls as controls
from utils.recipes import experiment_02_dense as dense


def test_it_has_a_row_for_each_seed_of_the_other_ways():
    assert [row["seed"] for row in dense.conditions()] == sorted({row["seed"] for row in controls.conditions()})
    assert dense.WAY not in controls.WAYS


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_a_row_trained_again_is_the_stored_one():
    _, rows = read_experiment(dense.NAME)
    assert dense.train_on(rows[0]["seed"]) == pytest.approx(rows[0]["error"], abs=0.5), "another processor rounds so"
