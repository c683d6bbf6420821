"""The rival of notebook 06's long experiment: whole, of the size it says, and another network than the heaviest."""

import pytest
import torch
from sklearn.linear_model import LinearRegression

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
    starts = {"by data": chosen.start("narrow by data"), "heaviest": alike.start("narrow")}
    kept = {
        name: {int((weight == row).all(dim=1).nonzero()) for row in network.fc1.weight}
        for name, network in starts.items()
    }
    assert len(kept["by data"]) == len(kept["heaviest"]) == chosen.NEURONS
    assert kept["by data"] != kept["heaviest"]
    assert count_parameters(starts["by data"]) == count_parameters(starts["heaviest"])


def test_as_chosen_the_neurons_keep_their_weights_in_both_layers():
    dense, narrow = load_checkpoint(alike.LONG.source), chosen.start("narrow by data")
    kept = [int((dense.fc1.weight == row).all(dim=1).nonzero()) for row in narrow.fc1.weight]
    assert torch.equal(narrow.fc2.weight, dense.fc2.weight[:, kept])
    assert torch.equal(narrow.fc2.bias, dense.fc2.bias)
    fitted = chosen.start("narrow by data, fitted")
    assert torch.equal(fitted.fc1.weight, narrow.fc1.weight)
    assert not torch.equal(fitted.fc2.weight, narrow.fc2.weight)


def test_the_fit_behind_a_cut_leaves_about_as_much_error_as_scikit_learns_and_the_other_layers_as_they_were():
    dense, cut, fitted = load_checkpoint(alike.LONG.source), alike.start("rank 21"), chosen.start("rank 21, fitted")
    assert torch.equal(fitted.fc1.first, cut.fc1.first)
    assert torch.equal(fitted.fc3.weight, cut.fc3.weight)
    images = alike.splits().train.images[: alike.CALIBRATION_IMAGES].flatten(1)
    arriving, wanted = cut.fc1(images).relu().detach(), dense.fc2(dense.fc1(images).relu()).detach()
    best = LinearRegression().fit(arriving.double().numpy(), wanted.double().numpy()).predict(arriving.double().numpy())
    least = (torch.tensor(best) - wanted).square().mean()
    errors = {name: (net.fc2(arriving) - wanted).square().mean() for name, net in (("cut", cut), ("fitted", fitted))}
    assert errors["fitted"] < 1.05 * least
    assert least < 0.6 * errors["cut"]


@pytest.mark.parametrize(
    ("shape", "other", "lead"), [("narrow by data, fitted", "narrow", 0.1), ("rank 21, fitted", "plain rank 21", 0.1)]
)
def test_untrained_a_fitted_start_classifies_far_more_digits(shape, other, lead):
    images = alike.splits().validation.take(500)
    networks = chosen.start(shape), alike.start(other)
    ours, theirs = (evaluate(network, images).accuracy for network in networks)
    assert ours > theirs + lead


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("shape", chosen.SHAPES)
def test_a_row_trained_again_is_the_stored_one(shape):
    _, rows = read_experiment(chosen.NAME)
    row = next(row for row in rows if row["epochs"] == 2 and row["shape"] == shape)
    assert chosen.tune(**condition(row)) == pytest.approx(row["error"], abs=0.5), "another processor rounds so"
