"""The quantized networks of notebook 10: how they are stored and loaded."""

import pytest
import torch

from utils.checkpoint_files import CheckpointError, checkpoint_card
from utils.models import NormedMLP, load_checkpoint
from utils.recipes.quantized import FOLDER, RECIPES, load_quantized_checkpoint
from utils.training import Recipe, evaluate


def test_the_network_for_binary_weights_has_the_published_form():
    model = NormedMLP(1024)
    assert sum(layer.weight.numel() for layer in model.layers) == 784 * 1024 + 2 * 1024**2 + 10 * 1024
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card, recipe = checkpoint_card(name, folder=FOLDER), RECIPES[name]
    assert Recipe(**card["recipe"]) == recipe.training
    assert (card["source"], card["teacher"], card["clip"]) == (recipe.source, recipe.teacher, recipe.clip)
    assert card["weight"] == repr(recipe.weight(1))
    assert card["activation"] == (None if recipe.activation is None else repr(recipe.activation()))
    assert card["bytes"] == (FOLDER / f"{name}.safetensors").stat().st_size
    assert 1 <= card["best_epoch"] <= recipe.training.epochs


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_checkpoint_is_as_good_as_its_card_says(name, mnist):
    card, model = checkpoint_card(name, folder=FOLDER), load_quantized_checkpoint(name)
    assert abs(evaluate(model, mnist.test).correct - 10_000 * card["test_accuracy"]) <= 3
    assert abs(evaluate(model, mnist.validation).correct - 5_000 * card["validation_accuracy"]) <= 3


def test_a_quantized_file_does_not_fit_the_float_network_nor_the_other_way_round():
    with pytest.raises(CheckpointError, match="does not fit this LiteNetCNN"):
        load_checkpoint("LiteNetCNN-ternary", folder=FOLDER)
    with pytest.raises(CheckpointError, match="no checkpoint 'LiteNetCNN' in quantized/; there are: LeNet300100-ter"):
        load_quantized_checkpoint("LiteNetCNN")
