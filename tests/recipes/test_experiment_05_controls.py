"""The controls of notebook 05: trained as they say."""

import pytest
import torch

from utils.experiment_files import read_experiment
from utils.models import LeNet300100
from utils.recipes import experiment_05_controls as controls
from utils.recipes import experiment_05_schedules as schedules
from utils.recipes import gradually_pruned
from utils.training import rise_then_cosine


def test_the_control_of_patience_differs_in_the_pruning_alone(monkeypatch):
    fitted = []
    monkeypatch.setattr(controls, "fit", lambda network, train, recipe, **options: fitted.append((recipe, options)))
    controls.patiently_trained.__wrapped__("2-percent", 1)
    (first, no_options), (second, options) = fitted
    assert (first, second) == gradually_pruned.stages(gradually_pruned.RECIPES["LeNet300100-2-percent-seed1"], 1)
    assert (first.epochs, second.epochs, first.seed, second.seed, first.shift) == (30, 15, 1, 101, 1)
    assert (list(no_options), list(options)) == ([], ["validation"])


def test_a_rate_that_restarts_is_that_of_trainings_of_their_own(monkeypatch):
    rates = []

    def note(network, *_, **__):
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        for _ in range(2 * schedules.STEPS):
            optimizer.step()
            rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(controls, "fit", note)
    controls.restarted_rate("rounds", 0.98, 4, 0)
    recipe = schedules.recipe(0)
    cycle = [
        recipe.learning_rate * rise_then_cosine(n, schedules.STEPS, recipe.warm_up) for n in range(schedules.STEPS)
    ]
    assert rates == [*cycle, *cycle]


def test_the_starting_points_are_not_one_network(monkeypatch):
    monkeypatch.setattr(controls, "fit", lambda *_, **__: None)
    first, second = (controls.dense_network.__wrapped__(seed) for seed in (0, 1))
    assert not torch.equal(first.fc1.weight, second.fc1.weight)
    assert isinstance(first, LeNet300100)


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("experiment", sorted(set(controls.CONTROLS_OF_05) - {"patient"}))  # that takes minutes
def test_a_row_trained_again_is_the_stored_one(experiment):
    _, rows = read_experiment(controls.NAME)
    row = next(row for row in rows if row["experiment"] == experiment)
    assert controls.measure(row) == pytest.approx(row["error"], abs=1.0), "another processor rounds otherwise"
