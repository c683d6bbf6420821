"""The long experiment of notebook 05 on two data sets: trained as it says."""

import pytest

from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_05_fashion as fashion


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("data_set", fashion.DATA_SETS)
def test_a_row_trained_again_is_the_stored_one(data_set):
    _, rows = read_experiment(fashion.NAME)
    wanted = {"data_set": data_set, "way": "gradually", "sparsity": 0.9, "seed": 0}
    row = next(row for row in rows if condition(row) == wanted)
    assert fashion.prune(**wanted) == pytest.approx(row["error"], abs=1.0), "another processor rounds otherwise"
