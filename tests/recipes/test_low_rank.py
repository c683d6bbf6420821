"""The low-rank network of notebook 06: how it is merged and shipped."""

import pytest
import torch

from utils.checkpoint_files import checkpoint_card
from utils.low_rank import LowRankLinear, merge_layers, singular_values, split_layers
from utils.models import LeNet300100, load_checkpoint
from utils.recipes.low_rank import RECIPES
from utils.training import Recipe


def test_a_merged_network_answers_as_the_split_one():
    split = split_layers(LeNet300100(), {"fc1": 9, "fc2": 4}).eval()
    merged = merge_layers(split)
    assert not any(isinstance(module, LowRankLinear) for module in merged.modules())
    images = torch.rand(5, 1, 28, 28)
    assert torch.allclose(split(images), merged(images), atol=1e-5)
    assert not merged.training


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card, recipe = checkpoint_card(name), RECIPES[name]
    for field in ("source", "layer", "rank", "teacher"):
        assert card[field] == getattr(recipe, field)
    assert Recipe(**card["recipe"]) == recipe.training
    merged = load_checkpoint(name)
    values = singular_values(merged.get_submodule(recipe.layer).weight)
    assert values[recipe.rank - 1] > 1e4 * values[recipe.rank]
    split, images = split_layers(merged, {recipe.layer: recipe.rank}), torch.rand(5, 1, 28, 28)
    assert torch.allclose(split(images), merged(images), atol=1e-3)
