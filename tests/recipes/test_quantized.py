"""The quantized networks of notebook 10: how they are trained, stored and loaded."""

import pytest
import torch

from utils.datasets import Examples, Splits
from utils.models import CheckpointError, checkpoint_card, load_checkpoint
from utils.qat import LearnedScale, TernaryWeight
from utils.recipes import quantized
from utils.recipes.quantized import (
    FOLDER,
    QUANTIZED,
    NormedMLP,
    QuantizedRecipe,
    load_quantized_checkpoint,
    train_quantized_checkpoint,
)
from utils.training import Recipe, evaluate


def test_the_network_for_binary_weights_has_the_published_form():
    model = NormedMLP(1024)
    assert sum(layer.weight.numel() for layer in model.layers) == 784 * 1024 + 2 * 1024**2 + 10 * 1024
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)
    with pytest.raises(ValueError, match="hidden"):
        NormedMLP(0)


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card, recipe = checkpoint_card(name, folder=FOLDER), QUANTIZED[name]
    assert Recipe(**card["recipe"]) == recipe.training
    assert (card["source"], card["teacher"], card["clip"]) == (recipe.source, recipe.teacher, recipe.clip)
    assert card["weight"] == repr(recipe.weight(1))
    assert card["activation"] == (None if recipe.activation is None else repr(recipe.activation()))
    assert card["bytes"] == (FOLDER / f"{name}.safetensors").stat().st_size
    assert 1 <= card["best_epoch"] <= recipe.training.epochs


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZED)
def test_a_shipped_checkpoint_is_as_good_as_its_card_says(name, mnist):
    card, model = checkpoint_card(name, folder=FOLDER), load_quantized_checkpoint(name)
    assert abs(evaluate(model, mnist.test).correct - 10_000 * card["test_accuracy"]) <= 3
    assert abs(evaluate(model, mnist.validation).correct - 5_000 * card["validation_accuracy"]) <= 3


def test_a_quantized_file_does_not_fit_the_float_network():
    with pytest.raises(CheckpointError, match="does not fit this LiteNetCNN"):
        load_checkpoint("LiteNetCNN-ternary", folder=FOLDER)
    with pytest.raises(ValueError, match="there is no recipe for 'LiteNetCNN'"):
        load_quantized_checkpoint("LiteNetCNN")
    with pytest.raises(ValueError, match="no recipe"):
        train_quantized_checkpoint("LiteNetCNN")


@pytest.mark.parametrize("source", ["LeNet300100", ""])
def test_training_again_gives_the_same_file(tmp_path, monkeypatch, mnist, source):
    tiny = Splits(*(Examples(*split).take(200) for split in mnist))
    recipe = QuantizedRecipe(
        network=quantized.LeNet300100,
        source=source,
        weight=TernaryWeight,
        activation=lambda: LearnedScale(8),
        training=Recipe(epochs=10, batch_size=20, learning_rate=1e-3),
        teacher=source,
        clip=0.5,
    )
    monkeypatch.setattr(quantized, "load", lambda: tiny)
    monkeypatch.setitem(QUANTIZED, "tiny", recipe)
    cards = []
    for folder in ("first", "again"):
        monkeypatch.setattr(quantized, "FOLDER", tmp_path / folder)
        about = train_quantized_checkpoint("tiny")
        cards.append(checkpoint_card("tiny", folder=tmp_path / folder))
    assert cards[0] == cards[1]
    assert evaluate(load_quantized_checkpoint("tiny"), tiny.test).accuracy == about["test_accuracy"] > 0.3
