"""The float networks that notebook 10 quantizes: five on digits, three on clothes, each trained as it says."""

import pytest
import torch

from utils.checkpoint_files import checkpoint_card
from utils.datasets import load
from utils.recipes.quantization_starts import FOLDER, RECIPES, SEEDS, load_start
from utils.training import Recipe, evaluate


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card, recipe = checkpoint_card(name, folder=FOLDER), RECIPES[name]
    assert Recipe(**card["recipe"]) == recipe
    assert name == f"LiteNetCNN-{card['data_set']}-seed{card['seed']}"
    assert card["seed"] == recipe.seed
    assert 1 <= card["best_epoch"] <= recipe.epochs


def test_no_two_of_them_are_one_network():
    kernels = [load_start(data_set, seed).conv1.weight for data_set in SEEDS for seed in SEEDS[data_set]]
    assert all(not torch.allclose(a, b, atol=1e-2) for n, a in enumerate(kernels) for b in kernels[:n])


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("data_set", SEEDS)
def test_a_shipped_checkpoint_is_as_good_as_its_card_says(data_set):
    card = checkpoint_card(f"LiteNetCNN-{data_set}-seed0", folder=FOLDER)
    model, splits = load_start(data_set, 0), load(data_set)
    assert abs(evaluate(model, splits.test).correct - 10_000 * card["test_accuracy"]) <= 3
    assert abs(evaluate(model, splits.validation).correct - 5_000 * card["validation_accuracy"]) <= 3
