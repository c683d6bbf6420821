"""The gradually pruned networks: what their cards promise, and that the recipe makes what it says."""

import dataclasses

import pytest

from utils.datasets import Splits
from utils.models import checkpoint_card, load_checkpoint, save_checkpoint
from utils.pruning import mask_sparsity, prunable
from utils.recipes import gradually_pruned
from utils.recipes.gradually_pruned import NAMES, RECIPES, train_gradual_checkpoint
from utils.training import evaluate


def masks_of(model):
    return {name: weight.detach() != 0 for name, weight in prunable(model).items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_network_is_as_sparse_and_as_accurate_as_its_card_says(name, mnist):
    model, card = load_checkpoint(name), checkpoint_card(name)
    kept = 1 - mask_sparsity(masks_of(model))
    assert kept <= {"5-percent": 0.05, "2-percent": 0.02}[name.split("-", 1)[1].rsplit("-", 1)[0]]
    assert 1 - kept == pytest.approx(card["sparsity"], abs=1e-4)
    assert evaluate(model, mnist.validation).accuracy == pytest.approx(card["validation_accuracy"], abs=1e-3)
    assert not card["distilled"]


@pytest.mark.parametrize("teacher_share", [0.0, 0.5])
def test_the_recipe_prunes_to_its_sparsity(monkeypatch, tmp_path, mnist, teacher_share):
    small = Splits(*(split.take(256) for split in mnist))
    monkeypatch.setattr(gradually_pruned, "load", lambda: small)
    monkeypatch.setattr(
        gradually_pruned,
        "save_checkpoint",
        lambda model, name, **about: save_checkpoint(model, name, folder=tmp_path, **about),
    )
    quick = dataclasses.replace(RECIPES["2-percent"], pruning_epochs=2, tuning_epochs=1, teacher_share=teacher_share)
    monkeypatch.setitem(gradually_pruned.RECIPES, "2-percent", quick)
    about = train_gradual_checkpoint("LeNet300100-2-percent-seed1")
    made = load_checkpoint("LeNet300100-2-percent-seed1", folder=tmp_path)
    assert mask_sparsity(masks_of(made)) == pytest.approx(0.9801, abs=1e-5)
    assert about["distilled"] is (teacher_share > 0)
    assert about["seed"] == 1


@pytest.mark.parametrize("name", ["LeNet300100", "LeNet300100-5-percent-seed9", "", None])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"there is no recipe for .*LeNet300100-5-percent-seed0"):
        train_gradual_checkpoint(name)
