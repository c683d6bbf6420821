"""The rival of notebook 06's long experiment: whole, of the size it says, and another network than the heaviest."""

import pytest

from utils import experiment_files
from utils.accounting import count_parameters
from utils.experiment_files import condition, read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_06_chosen_neurons as chosen
from utils.recipes import experiment_06_trained_alike as alike
from utils.training import evaluate


def test_the_table_holds_every_training_once_with_the_seeds_and_epochs_of_the_others():
    _, rows = read_experiment(chosen.NAME)
    assert [condition(row) for row in rows] == list(chosen.conditions())
    assert all(0 < row["error"] < 100 for row in rows)
    others = {(row["epochs"], row["seed"]) for row in alike.conditions()}
    assert {(row["epochs"], row["seed"]) for row in rows} == others


def test_a_whole_table_is_not_trained_again(monkeypatch):
    monkeypatch.setattr(chosen, "evaluate", None)  # must not be called
    monkeypatch.setattr(experiment_files, "write_experiment", None)
    assert chosen.run().startswith("06_chosen_neurons: ")


def test_the_start_has_neurons_of_the_dense_network_but_not_the_heaviest():
    weight = load_checkpoint(alike.LONG.source).fc1.weight
    starts = {"by data": chosen.start(), "heaviest": alike.start("narrow")}
    kept = {
        name: {int((weight == row).all(dim=1).nonzero()) for row in network.fc1.weight}
        for name, network in starts.items()
    }
    assert len(kept["by data"]) == len(kept["heaviest"]) == chosen.NEURONS
    assert kept["by data"] != kept["heaviest"]
    assert count_parameters(starts["by data"]) == count_parameters(starts["heaviest"])


def test_untrained_it_classifies_far_more_digits_than_the_heaviest():
    images = alike.splits().validation.take(500)
    by_data, heaviest = (evaluate(network, images).accuracy for network in (chosen.start(), alike.start("narrow")))
    assert by_data > heaviest + 0.1


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_a_row_trained_again_is_the_stored_one():
    _, rows = read_experiment(chosen.NAME)
    row = next(row for row in rows if row["epochs"] == 2)
    assert chosen.tune(**condition(row)) == pytest.approx(row["error"], abs=0.5), "another processor rounds so"
