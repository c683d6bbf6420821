"""The low-rank network of notebook 06: how it is cut, trained, merged and shipped."""

import functools

import pytest
import torch

from utils.datasets import Examples, Splits
from utils.low_rank import LowRankLinear, singular_values, split_layers
from utils.models import LeNet300100, checkpoint_card, load_checkpoint, save_checkpoint
from utils.recipes import low_rank
from utils.recipes.low_rank import LOW_RANK, LowRankRecipe, merge_layers, train_low_rank_checkpoint
from utils.training import Recipe, evaluate


def test_a_merged_network_answers_as_the_split_one():
    split = split_layers(LeNet300100(), {"fc1": 9, "fc2": 4}).eval()
    merged = merge_layers(split)
    assert not any(isinstance(module, LowRankLinear) for module in merged.modules())
    images = torch.rand(5, 1, 28, 28)
    assert torch.allclose(split(images), merged(images), atol=1e-5)
    assert not merged.training


@pytest.mark.parametrize("name", LOW_RANK)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card, recipe = checkpoint_card(name), LOW_RANK[name]
    for field in ("source", "layer", "rank", "teacher"):
        assert card[field] == getattr(recipe, field)
    assert Recipe(**card["recipe"]) == recipe.training
    merged = load_checkpoint(name)
    values = singular_values(merged.get_submodule(recipe.layer).weight)
    assert values[recipe.rank - 1] > 1e4 * values[recipe.rank]
    split, images = split_layers(merged, {recipe.layer: recipe.rank}), torch.rand(5, 1, 28, 28)
    assert torch.allclose(split(images), merged(images), atol=1e-3)


def test_training_again_gives_the_same_file(tmp_path, monkeypatch, mnist):
    small = Splits(*(Examples(*split).take(200) for split in mnist))
    recipe = LowRankRecipe(
        source="LeNet300100", layer="fc1", rank=12, teacher="LeNet300100", training=Recipe(epochs=3, batch_size=20)
    )
    monkeypatch.setattr(low_rank, "load", lambda: small)
    monkeypatch.setitem(LOW_RANK, "tiny", recipe)
    for folder in ("first", "again"):
        monkeypatch.setattr(low_rank, "save_checkpoint", functools.partial(save_checkpoint, folder=tmp_path / folder))
        about = train_low_rank_checkpoint("tiny")
    first, again = (checkpoint_card("tiny", folder=tmp_path / folder) for folder in ("first", "again"))
    assert first == again
    model = load_checkpoint("tiny", folder=tmp_path / "again")
    assert evaluate(model, small.test).accuracy == about["test_accuracy"] > 0.5
    with pytest.raises(ValueError, match="no recipe"):
        train_low_rank_checkpoint("LeNet5")
