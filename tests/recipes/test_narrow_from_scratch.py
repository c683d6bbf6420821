"""The small networks trained from scratch share shape and training with their pruned twins."""

import pytest

from utils.checkpoint_files import checkpoint_card
from utils.models import load_checkpoint
from utils.recipes.narrow_from_scratch import RECIPES, SEED


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_checkpoint_shares_shape_and_training_with_its_twin(name):
    card, twin = checkpoint_card(name), checkpoint_card(RECIPES[name])
    for same in ("model", "parameters", "bytes", "arguments", "recipe", "distilled"):
        assert card[same] == twin[same], same
    assert card["seed"] == SEED != twin["seed"]
    shapes = [
        {key: value.shape for key, value in load_checkpoint(n).state_dict().items()} for n in (name, card["twin"])
    ]
    assert shapes[0] == shapes[1]
