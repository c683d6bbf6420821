"""The dense network on Fashion-MNIST: trained by its recipe, as good as its card and the course say."""

import math
from dataclasses import asdict

import pytest
import torch

from utils.checkpoint_files import checkpoint_card
from utils.datasets import Examples, Splits, load
from utils.recipes import fashion
from utils.training import Recipe, evaluate

PROMISED_ACCURACY = {"LeNet5-fashion": 0.915, "SmallResNet-fashion": 0.935}
"""On the test split, at least."""


@pytest.mark.parametrize("name", fashion.RECIPES)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card = checkpoint_card(name, folder=fashion.FOLDER)
    assert (card["model"], card["arguments"]) == fashion.NETWORKS[name]
    assert card["recipe"] == asdict(fashion.RECIPES[name])
    assert 1 <= card["best_epoch"] <= fashion.RECIPES[name].epochs
    assert card["bytes"] == (fashion.FOLDER / f"{name}.safetensors").stat().st_size


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", fashion.RECIPES)
def test_a_shipped_checkpoint_is_as_good_as_its_card_says(name):
    card, model = checkpoint_card(name, folder=fashion.FOLDER), fashion.load_fashion_checkpoint(name)
    splits = load(fashion.DATA_SET)
    assert card["parameters"] == sum(math.prod(p.shape) for p in model.parameters())
    tested, validated = evaluate(model, splits.test), evaluate(model, splits.validation)
    assert abs(tested.correct - 10_000 * card["test_accuracy"]) <= 5  # another processor may turn an image or two
    assert abs(validated.correct - 5_000 * card["validation_accuracy"]) <= 5
    assert tested.accuracy >= PROMISED_ACCURACY[name]


def test_a_mirror_image_has_the_label_of_its_image():
    images = torch.arange(12.0).view(2, 1, 2, 3)
    both = fashion.with_mirror_images(Examples(images, torch.tensor([3, 4])))
    assert both.labels.tolist() == [3, 4, 3, 4]
    assert torch.equal(both.images[:2], images)
    assert both.images[2, 0].tolist() == [[2, 1, 0], [5, 4, 3]]


def test_training_again_gives_the_same_file(monkeypatch, tmp_path):
    small = Splits(*(split.take(100) for split in load(fashion.DATA_SET)))
    monkeypatch.setattr(fashion, "load", lambda name: small)
    monkeypatch.setitem(fashion.RECIPES, "LeNet5-fashion", Recipe(epochs=2, batch_size=20, shift=1))
    cards = []
    for folder in (tmp_path / "first", tmp_path / "again"):
        monkeypatch.setattr(fashion, "FOLDER", folder)
        fashion.train("LeNet5-fashion")
        cards.append(checkpoint_card("LeNet5-fashion", folder=folder))
    assert cards[0] == cards[1]
    assert cards[0]["data_set"] == "fashion_mnist"
