"""The gradually pruned networks: what their cards promise, and that the recipe prunes to its sparsity."""

import pytest

from utils.checkpoint_files import checkpoint_card
from utils.datasets import Splits
from utils.models import load_checkpoint
from utils.pruning import mask_sparsity, prunable
from utils.recipes import gradually_pruned
from utils.recipes.gradually_pruned import RECIPES, GradualRecipe
from utils.training import evaluate


def sparsity_of(model):
    return mask_sparsity({name: weight.detach() != 0 for name, weight in prunable(model).items()})


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_network_is_as_sparse_and_as_accurate_as_its_card_says(name, mnist):
    model, card = load_checkpoint(name), checkpoint_card(name)
    kept = 1 - sparsity_of(model)
    assert kept <= (0.05 if "5-percent" in name else 0.02)
    assert 1 - kept == pytest.approx(card["sparsity"], abs=1e-4)
    assert evaluate(model, mnist.validation).accuracy == pytest.approx(card["validation_accuracy"], abs=1e-3)
    assert not card["distilled"]


def test_the_recipe_prunes_to_its_sparsity(monkeypatch, mnist):
    made = []
    monkeypatch.setattr(gradually_pruned, "load", lambda: Splits(*(split.take(256) for split in mnist)))
    monkeypatch.setattr(gradually_pruned, "save_checkpoint", lambda model, name, **about: made.append(model))
    monkeypatch.setitem(RECIPES, "tiny-seed1", GradualRecipe(sparsity=0.9801, pruning_epochs=2, tuning_epochs=1))
    about = gradually_pruned.train("tiny-seed1")
    assert sparsity_of(made[0]) == pytest.approx(0.9801, abs=1e-5)
    assert about["sparsity"] == pytest.approx(0.9801, abs=1e-5)
    assert about["seed"] == 1
