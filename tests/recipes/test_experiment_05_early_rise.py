"""The control of notebook 05's comparison at equal cost: of the cost it says, and trained as it says."""

import statistics

import pytest

from utils import pruning, sparse_training
from utils.experiment_files import condition, read_experiment
from utils.models import LeNet300100
from utils.recipes import experiment_05_early_rise as early
from utils.recipes.experiment_05_schedules import STEPS


def test_a_rise_over_8_percent_costs_about_4_percent_of_a_dense_training():
    network = LeNet300100()
    (case,) = {(row["share"], row["sparsity"], row["epochs"]) for row in early.conditions()}
    share, sparsity, epochs = case
    steps = epochs * STEPS
    spent = whole = 0.0
    for name, final in sparse_training.erdos_renyi_sparsities(network, sparsity).items():
        size = pruning.prunable(network)[name].numel()
        rise = {"start": 0, "end": round(share * steps), "final": final}
        density = [1 - pruning.cubic_sparsity(step, **rise) for step in range(steps)]
        spent += size * statistics.mean(density)
        whole += size
    assert spent / whole == pytest.approx(0.02 + 0.98 * 0.08 / 4, rel=0.01)  # 1 - (1 - u)^3 leaves a quarter on average


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_a_row_trained_again_is_the_stored_one():
    _, rows = read_experiment(early.NAME)
    assert early.early_rise(**condition(rows[0])) == pytest.approx(rows[0]["error"], abs=1.0)
