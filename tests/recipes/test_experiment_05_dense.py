"""The dense twins of notebook 05: whole, and trained as they say."""

import pytest
import torch

from utils import experiment_files
from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_05_dense as twins


def test_the_table_holds_every_training_once():
    _, rows = read_experiment(twins.NAME)
    assert [condition(row) for row in rows] == list(twins.conditions())
    assert all(0 < row["error"] < 100 for row in rows)


def test_a_whole_table_is_not_trained_again(monkeypatch):
    monkeypatch.setattr(twins, "fit", None)  # must not be called
    monkeypatch.setattr(experiment_files, "write_experiment", None)
    assert twins.run().startswith("05_dense: ")


@pytest.mark.parametrize(("rate", "held"), [("falling", False), ("constant", True)])
def test_the_rate_is_held_or_not(monkeypatch, rate, held):
    seen = []

    def one_step(network, images, recipe):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        network(images.images[:8]).sum().backward()
        optimizer.step()
        seen.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(twins, "fit", one_step)
    twins.trained_on("one", rate, 4, 0)
    assert seen == [twins.controls.RATE if held else 0.5]


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_a_row_trained_again_is_the_stored_one():
    _, rows = read_experiment(twins.NAME)
    assert twins.trained_on(**condition(rows[0])) == pytest.approx(rows[0]["error"], abs=0.5)
