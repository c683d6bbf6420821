"""The narrow networks of notebook 03: how they are cut and shipped."""

import pytest
import torch

from utils.checkpoint_files import CheckpointError, checkpoint_card
from utils.models import LeNet5, LeNet300100, load_checkpoint, save_checkpoint
from utils.recipes.narrow import RECIPES
from utils.structured_pruning import kept_channels, remove_channels
from utils.training import Recipe


def test_the_channels_with_the_largest_norms_stay():
    dense = LeNet300100()
    kept = kept_channels(dense, {"hidden": (20, 7)})
    for layer, count in (("fc1", 20), ("fc2", 7)):
        norms = dense.get_submodule(layer).weight.abs().sum(dim=1).tolist()
        largest = sorted(range(len(norms)), key=norms.__getitem__)[-count:]
        assert kept[layer].tolist() == sorted(largest)


@pytest.mark.parametrize(
    ("dense", "arguments"), [(LeNet5(), {"channels": (3, 8), "hidden": 16}), (LeNet300100(), {"hidden": (9, 5)})]
)
def test_what_is_cut_has_the_form_of_the_narrow_network(dense, arguments):
    small = remove_channels(dense, kept_channels(dense, arguments))
    wanted = type(dense)(**arguments).state_dict()
    assert {n: t.shape for n, t in small.state_dict().items()} == {n: t.shape for n, t in wanted.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card, recipe = checkpoint_card(name), RECIPES[name]
    assert card["model"] == card["source"] == recipe.source
    assert card["distilled"] == recipe.distilled
    assert Recipe(**card["recipe"]) == recipe.training
    dense = load_checkpoint(recipe.source)
    kept = kept_channels(dense, recipe.arguments)
    assert card["kept"] == {layer: channels.tolist() for layer, channels in kept.items()}
    given = load_checkpoint(name, model=type(dense)(**card["arguments"]))
    image = torch.rand(1, 1, 28, 28)
    assert torch.equal(given(image), load_checkpoint(name)(image))


@pytest.mark.parametrize("arguments", [{"width": 3}, {"hidden": (0, 1)}])
def test_a_card_whose_arguments_do_not_fit_is_a_clear_error(tmp_path, arguments):
    save_checkpoint(LeNet300100(), "odd", folder=tmp_path, arguments=arguments)
    with pytest.raises(CheckpointError, match=r"odd\.json has arguments that do not fit"):
        load_checkpoint("odd", folder=tmp_path)
