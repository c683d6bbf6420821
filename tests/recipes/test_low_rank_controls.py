"""The controls of notebook 06's low-rank network share its training, and the narrow one its number of parameters."""

import pytest

from utils.accounting import count_parameters
from utils.checkpoint_files import checkpoint_card
from utils.low_rank import split_layers
from utils.models import load_checkpoint
from utils.recipes import low_rank
from utils.recipes.low_rank_controls import RECIPES, TWIN


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_checkpoint_shares_the_training_of_its_twin(name):
    card, twin = checkpoint_card(name), checkpoint_card(TWIN)
    assert card["twin"] == TWIN
    for same in ("source", "teacher", "seed", "recipe"):
        assert card[same] == twin[same], same


def test_the_twin_is_the_long_one_for_fewer_epochs():
    long, short = low_rank.LONG, low_rank.RECIPES[TWIN]
    assert long.training.epochs > short.training.epochs
    assert {**vars(long.training), "epochs": 0} == {**vars(short.training), "epochs": 0}
    assert {**vars(long), "training": None} == {**vars(short), "training": None}


def test_the_narrow_network_has_as_many_parameters_as_the_cut_one():
    cut = split_layers(load_checkpoint(TWIN), {"fc1": low_rank.LONG.rank})
    narrow = load_checkpoint("LeNet300100-compared-narrow")
    assert 0 <= count_parameters(narrow) - count_parameters(cut) < 100
