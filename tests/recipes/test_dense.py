"""The dense networks: trained by their recipes, and as good as their cards and the course say."""

import math

import pytest

from utils.checkpoint_files import CHECKPOINTS, checkpoint_card
from utils.models import MODELS, load_checkpoint
from utils.recipes.dense import RECIPES
from utils.training import Recipe, evaluate

SHIPPED = sorted({*MODELS, *(path.stem for path in CHECKPOINTS.glob("*.safetensors"))})

PROMISED_ACCURACY = {"LiteNetMLP": 0.980, "LiteNetCNN": 0.990, "LeNet300100": 0.984, "LeNet5": 0.992}
"""On the test split, at least."""


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card = checkpoint_card(name)
    assert card["model"] == name
    assert Recipe(**card["recipe"]) == RECIPES[name]
    assert 1 <= card["best_epoch"] <= RECIPES[name].epochs


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_checkpoint_is_as_good_as_its_card_says(mnist, name):
    card, model = checkpoint_card(name), load_checkpoint(name)
    assert card["bytes"] == (CHECKPOINTS / f"{name}.safetensors").stat().st_size
    assert card["parameters"] == sum(math.prod(p.shape) for p in model.parameters())
    tested, validated = evaluate(model, mnist.test), evaluate(model, mnist.validation)
    assert abs(tested.correct - 10_000 * card["test_accuracy"]) <= 3  # another processor may turn a digit or two
    assert abs(validated.correct - 5_000 * card["validation_accuracy"]) <= 3
    assert tested.accuracy >= PROMISED_ACCURACY.get(name, 0.97)
