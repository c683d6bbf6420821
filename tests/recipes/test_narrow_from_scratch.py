"""The small networks trained from scratch: of the shape and training of their pruned twins, and made again alike."""

import functools

import pytest

from utils.datasets import Examples, Splits
from utils.models import checkpoint_card, load_checkpoint, save_checkpoint
from utils.recipes import narrow_from_scratch
from utils.recipes.narrow import PRUNED, PrunedRecipe
from utils.recipes.narrow_from_scratch import SCRATCH, train_scratch_checkpoint
from utils.training import Recipe


@pytest.mark.parametrize("name", SCRATCH)
def test_a_shipped_checkpoint_shares_shape_and_training_with_its_twin(name):
    card, twin = checkpoint_card(name), checkpoint_card(SCRATCH[name])
    for same in ("model", "parameters", "bytes", "arguments", "recipe", "distilled"):
        assert card[same] == twin[same], same
    assert card["seed"] == narrow_from_scratch.SEED != twin["seed"]
    shapes = [
        {key: value.shape for key, value in load_checkpoint(n).state_dict().items()} for n in (name, card["twin"])
    ]
    assert shapes[0] == shapes[1]


def test_training_again_gives_the_same_file(tmp_path, monkeypatch, mnist):
    small = Splits(*(Examples(*split).take(200) for split in mnist))
    training = Recipe(epochs=12, batch_size=20, learning_rate=2e-3)
    monkeypatch.setattr(narrow_from_scratch, "load", lambda: small)
    recipe = PrunedRecipe(source="LeNet300100", arguments={"hidden": (30, 20)}, training=training)
    monkeypatch.setitem(PRUNED, "tiny-pruned", recipe)
    monkeypatch.setitem(SCRATCH, "tiny", "tiny-pruned")
    for folder in ("first", "again"):
        save = functools.partial(save_checkpoint, folder=tmp_path / folder)
        monkeypatch.setattr(narrow_from_scratch, "save_checkpoint", save)
        about = train_scratch_checkpoint("tiny")
    first, again = (checkpoint_card("tiny", folder=tmp_path / folder) for folder in ("first", "again"))
    assert first == again
    assert about["test_accuracy"] > 0.4


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="there is no recipe for 'LeNet6'"):
        train_scratch_checkpoint("LeNet6")
