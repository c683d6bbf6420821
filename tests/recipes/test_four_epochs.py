"""The two dense networks of notebook 03's comparison of data sets: alike, and as good as their cards say."""

import pytest

from utils import datasets
from utils.checkpoint_files import checkpoint_card
from utils.datasets import Splits
from utils.recipes import four_epochs
from utils.training import Recipe, evaluate

BRIEF = Recipe(epochs=3, batch_size=50)


def test_the_two_were_trained_alike():
    first, second = (checkpoint_card(name, folder=four_epochs.FOLDER) for name in four_epochs.DATA_SETS)
    same = ("model", "parameters", "seed", "recipe")
    assert {key: first[key] for key in same} == {key: second[key] for key in same}
    assert Recipe(**first["recipe"]) == next(iter(four_epochs.RECIPES.values()))


@pytest.mark.parametrize("name", four_epochs.DATA_SETS)
def test_training_again_gives_the_same_file(name, monkeypatch, tmp_path):
    small = Splits(*(split.take(200) for split in datasets.load(four_epochs.DATA_SETS[name])))
    monkeypatch.setattr(four_epochs, "load", lambda _: small)
    monkeypatch.setitem(four_epochs.RECIPES, name, BRIEF)
    cards = []
    for folder in (tmp_path / "first", tmp_path / "again"):
        monkeypatch.setattr(four_epochs, "FOLDER", folder)
        four_epochs.train(name)
        cards.append(checkpoint_card(name, folder=folder))
    assert cards[0] == cards[1]
    assert cards[0]["test_accuracy"] > 0.3


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("data_set", four_epochs.DATA_SETS.values())
def test_each_is_as_good_as_its_card_says(data_set):
    network, test = four_epochs.load_four_epochs(data_set), datasets.load(data_set).test
    card = checkpoint_card(f"LeNet5-4-epochs-{data_set}", folder=four_epochs.FOLDER)
    assert abs(evaluate(network, test).correct - 10_000 * card["test_accuracy"]) <= 3
