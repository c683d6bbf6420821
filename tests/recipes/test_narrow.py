"""The narrow networks of notebook 03: how they are cut, trained and shipped."""

import functools

import pytest
import torch
from torch.nn import functional as F

from utils.datasets import Examples, Splits
from utils.models import (
    CheckpointError,
    LeNet5,
    LeNet300100,
    LiteNetMLP,
    checkpoint_card,
    load_checkpoint,
    save_checkpoint,
)
from utils.recipes import narrow
from utils.recipes.narrow import (
    PRUNED,
    PrunedRecipe,
    follow_answers,
    kept_channels,
    remove_channels,
    train_pruned_checkpoint,
)
from utils.training import Recipe, distillation, evaluate


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


def test_another_network_or_too_many_channels_are_refused():
    with pytest.raises(TypeError, match="LeNet5 or a LeNet300100, got LiteNetMLP"):
        kept_channels(LiteNetMLP(), {"hidden": 4})
    with pytest.raises(ValueError, match="at most 300"):
        kept_channels(LeNet300100(), {"hidden": (301, 5)})
    with pytest.raises(ValueError, match="no recipe"):
        train_pruned_checkpoint("LeNet5")


def test_following_answers_has_the_gradient_of_distillation_with_the_teacher_alone():
    torch.manual_seed(0)
    teacher, student, images = LiteNetMLP(), LiteNetMLP(), torch.rand(5, 1, 28, 28)
    loss = distillation(teacher, temperature=narrow.TEMPERATURE, teacher_share=1.0)
    with torch.no_grad():
        answers = teacher(images)
    parameters = list(student.parameters())
    ours = torch.autograd.grad(follow_answers(student, images, answers), parameters)
    theirs = torch.autograd.grad(loss(student, images, torch.zeros(5, dtype=torch.long)), parameters)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("name", PRUNED)
def test_a_shipped_checkpoint_was_trained_by_its_recipe(name):
    card, recipe = checkpoint_card(name), PRUNED[name]
    assert card["model"] == card["source"] == recipe.source
    assert card["distilled"] == recipe.distilled
    assert Recipe(**card["recipe"]) == recipe.training
    dense = load_checkpoint(recipe.source)
    kept = kept_channels(dense, recipe.arguments)
    assert card["kept"] == {layer: channels.tolist() for layer, channels in kept.items()}
    given = load_checkpoint(name, model=type(dense)(**card["arguments"]))
    by_card = load_checkpoint(name)
    image = torch.rand(1, 1, 28, 28)
    assert torch.equal(given(image), by_card(image))


@pytest.mark.parametrize("distilled", [True, False])
def test_training_again_gives_the_same_file(tmp_path, monkeypatch, mnist, distilled):
    small = Splits(*(Examples(*split).take(200) for split in mnist))
    recipe = PrunedRecipe(
        source="LeNet300100",
        arguments={"hidden": (30, 20)},
        training=Recipe(epochs=12, batch_size=20, learning_rate=2e-3),
        distilled=distilled,
    )
    monkeypatch.setattr(narrow, "load", lambda: small)
    monkeypatch.setitem(PRUNED, "tiny", recipe)
    for folder in ("first", "again"):
        monkeypatch.setattr(narrow, "save_checkpoint", functools.partial(save_checkpoint, folder=tmp_path / folder))
        about = train_pruned_checkpoint("tiny")
    first, again = (checkpoint_card("tiny", folder=tmp_path / folder) for folder in ("first", "again"))
    assert first == again
    model = load_checkpoint("tiny", folder=tmp_path / "again")
    assert evaluate(model, small.test).accuracy == about["test_accuracy"] > 0.5
    assert F.softmax(model(small.test.images[:1]), dim=1).shape == (1, 10)


def test_a_card_whose_arguments_do_not_fit_is_a_clear_error(tmp_path):
    for arguments in ({"width": 3}, {"hidden": (0, 1)}):
        save_checkpoint(LeNet300100(), "odd", folder=tmp_path, arguments=arguments)
        with pytest.raises(CheckpointError, match=r"odd\.json has arguments that do not fit"):
            load_checkpoint("odd", folder=tmp_path)
