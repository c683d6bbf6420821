"""The language models: trained by their recipes, also in two goes; and, once shipped, as good as their cards say."""

from dataclasses import replace

import pytest
import torch

from utils.accounting import count_parameters
from utils.characters import Text, Vocabulary, load_shakespeare
from utils.checkpoint_files import checkpoint_card
from utils.language_models import CharacterLSTM, TextRecipe, evaluate_text
from utils.models import load_checkpoint
from utils.recipes import small_transformer
from utils.recipes.small_transformer import RECIPES, LanguageRecipe
from utils.transformer import LANGUAGE, Transformer

MOST_PARAMETERS = {"Shakespeare-transformer": 1_600_000, "Shakespeare-draft": 300_000, "Shakespeare-lstm": 1_600_000}

TINY = {
    "transformer": LanguageRecipe(
        network=Transformer,
        arguments={"characters": 4, "width": 8, "blocks": 1, "heads": 2, "hidden": 8, "context": 8},
        dropout=0.1,
        training=TextRecipe(steps=40, batch_size=4, context=8, learning_rate=1e-2, average=0.9),
        every=10,
    ),
    "lstm": LanguageRecipe(
        network=CharacterLSTM,
        arguments={"characters": 4, "width": 8, "layers": 2},
        dropout=0.1,
        training=TextRecipe(steps=40, batch_size=4, context=8, learning_rate=5e-2, average=0.9),
        every=10,
    ),
}


@pytest.fixture
def small_text(monkeypatch):
    numbers = torch.tensor([0, 1, 2, 3, 2, 1] * 60)
    text = Text(numbers[:240], numbers[240:300], numbers[300:], Vocabulary("abcd"))
    monkeypatch.setattr(small_transformer, "load_shakespeare", lambda: text)
    return text


@pytest.mark.parametrize("kind", TINY)
def test_a_training_in_two_goes_gives_the_same_file_as_good_as_its_card_says(kind, monkeypatch, tmp_path, small_text):
    monkeypatch.setitem(RECIPES, "tiny", TINY[kind])
    whole = small_transformer.train("tiny", folder=tmp_path / "whole", under_way=tmp_path / "state")
    progress = small_transformer.Progress

    class Interrupted(progress):
        def __call__(self, history):
            super().__call__(history)
            if history.steps[-1] == 20:
                raise KeyboardInterrupt

    monkeypatch.setattr(small_transformer, "Progress", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_transformer.train("tiny", folder=tmp_path / "again", under_way=tmp_path / "state")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["tiny.safetensors"]
    monkeypatch.setattr(small_transformer, "Progress", progress)
    again = small_transformer.train("tiny", folder=tmp_path / "again", under_way=tmp_path / "state")
    assert not list((tmp_path / "state").iterdir())
    cards = [checkpoint_card("tiny", folder=tmp_path / folder) for folder in ("whole", "again")]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert whole["test_nats"] == again["test_nats"] < 1.2
    model = load_checkpoint("tiny", model=TINY[kind].network(**cards[1]["arguments"]), folder=tmp_path / "again")
    assert evaluate_text(model, small_text.test, context=8).nats == pytest.approx(again["test_nats"])


def test_progress_says_how_far_it_is(monkeypatch, tmp_path, small_text, capsys):
    monkeypatch.setitem(RECIPES, "tiny", TINY["transformer"])
    small_transformer.train("tiny", folder=tmp_path, under_way=tmp_path / "state")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"tiny, step {n} of 40" for n in (10, 20, 30, 40)]
    assert "characters/s, 0 minutes left" in lines[-1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_network_is_as_small_as_promised_and_as_large_as_its_control(name):
    recipe = RECIPES[name]
    count = count_parameters(recipe.network(**recipe.arguments))
    assert 0.85 * MOST_PARAMETERS[name] < count <= MOST_PARAMETERS[name]


def test_the_control_sees_as_many_characters():
    assert RECIPES["Shakespeare-lstm"].training.characters == RECIPES["Shakespeare-transformer"].training.characters


SHIPPED = [name for name in RECIPES if (LANGUAGE / f"{name}.safetensors").exists()]


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_of_its_recipe_and_as_good_as_its_card_says(name):
    card, recipe = checkpoint_card(name, folder=LANGUAGE), RECIPES[name]
    assert TextRecipe(**card["recipe"]) == recipe.training
    assert card["arguments"] == recipe.arguments
    model = load_checkpoint(name, model=recipe.network(**recipe.arguments), folder=LANGUAGE)
    part = load_shakespeare().test
    assert evaluate_text(model, part, context=recipe.training.context).nats == pytest.approx(
        card["test_nats"], abs=1e-4
    )


def test_another_recipe_does_not_go_on_with_the_training_of_this_one(monkeypatch, tmp_path, small_text):
    class Stop(small_transformer.Progress):
        def __call__(self, history):
            raise KeyboardInterrupt

    monkeypatch.setitem(RECIPES, "tiny", TINY["transformer"])
    monkeypatch.setattr(small_transformer, "Progress", Stop)
    with pytest.raises(KeyboardInterrupt):
        small_transformer.train("tiny", folder=tmp_path, under_way=tmp_path)
    other = replace(TINY["transformer"], training=replace(TINY["transformer"].training, learning_rate=1e-3))
    monkeypatch.setitem(RECIPES, "tiny", other)
    with pytest.raises(ValueError, match="has another recipe"):
        small_transformer.train("tiny", folder=tmp_path, under_way=tmp_path)
