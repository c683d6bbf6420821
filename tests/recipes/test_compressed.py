"""The compressed networks of notebook 15: how they are made and shipped."""

import json

import pytest

from utils.checkpoint_files import CheckpointError, checkpoint_card
from utils.datasets import Splits
from utils.entropy_coding import decode_network
from utils.models import load_checkpoint
from utils.pruning import prunable
from utils.recipes import compressed
from utils.recipes.compressed import (
    COMPRESSED,
    CONTROLS,
    FOLDER,
    FRONTIER,
    GOALS,
    CompressionRecipe,
    compressed_names,
    load_compressed,
    seeds_of,
    train_compressed_checkpoint,
)
from utils.training import Recipe, evaluate

TINY = CompressionRecipe(
    source="LeNet300100",
    arguments={"hidden": (30, 20)},
    kept=0.2,
    levels=3,
    pruning=Recipe(epochs=15, batch_size=20, learning_rate=3e-3),
    tuning=Recipe(epochs=5, batch_size=20),
    teacher="LeNet300100",
    seeds=(0, 1),
)


@pytest.fixture
def tiny(monkeypatch, tmp_path, mnist):
    """Leave one small recipe, and write into a folder of its own."""
    small = Splits(*(split.take(200) for split in mnist))
    monkeypatch.setattr(compressed, "load", lambda: small)
    monkeypatch.setattr(compressed, "FOLDER", tmp_path)
    monkeypatch.setitem(COMPRESSED, "tiny", TINY)
    monkeypatch.setitem(GOALS, "LeNet300100", "tiny")
    answers = compressed._answers
    answers.cache_clear()
    yield small
    answers.cache_clear()


@pytest.mark.parametrize("recipe", COMPRESSED)
def test_the_shipped_files_were_made_by_their_recipe(recipe):
    for seed, name in zip(COMPRESSED[recipe].seeds, seeds_of(recipe), strict=True):
        card, content = checkpoint_card(name, folder=FOLDER), load_compressed(name)
        assert card["seed"] == seed
        assert card["recipe"] == json.loads(json.dumps(compressed.asdict(COMPRESSED[recipe])))
        assert card["bytes"] == len(content)
        decoded = decode_network(content)
        weights = prunable(decoded)
        kept = sum(int(w.count_nonzero()) for w in weights.values()) / sum(w.numel() for w in weights.values())
        assert kept <= COMPRESSED[recipe].kept + 1e-3  # the rounding makes more zeros, never fewer
        assert all(len(w.unique()) <= 2 * COMPRESSED[recipe].levels + 1 for w in weights.values())
        assert card["nonzeros"] == sum(int(t.count_nonzero()) for t in decoded.state_dict().values())


@pytest.mark.parametrize("model", GOALS)
def test_the_decoded_networks_are_as_good_as_their_cards_say(model, mnist):
    name = seeds_of(GOALS[model])[0]
    assert evaluate(decode_network(load_compressed(name)), mnist.test).accuracy == pytest.approx(
        checkpoint_card(name, folder=FOLDER)["test_accuracy"], abs=2e-4
    )


@pytest.mark.parametrize("model", GOALS)
def test_goal_controls_and_frontier_belong_together(model):
    goal = COMPRESSED[GOALS[model]]
    assert GOALS[model] in FRONTIER[model]
    for name in CONTROLS[model].values():
        assert (COMPRESSED[name].kept, COMPRESSED[name].arguments) == (goal.kept, goal.arguments)
        assert COMPRESSED[name].teacher == ""
    sizes = [len(load_compressed(seeds_of(name)[0])) for name in FRONTIER[model] if not name.endswith("-long")]
    assert sizes == sorted(sizes)


def test_training_again_gives_the_same_file(tiny):
    contents = []
    for _ in range(2):
        about = train_compressed_checkpoint("tiny-seed0")
        contents.append(load_compressed("tiny-seed0", folder=compressed.FOLDER))
    assert contents[0] == contents[1]
    assert evaluate(decode_network(contents[0]), tiny.test).accuracy == about["test_accuracy"] > 0.5
    pruned = load_checkpoint("tiny-pruned", folder=compressed.FOLDER)
    weights = prunable(pruned).values()
    assert sum(int(w.count_nonzero()) for w in weights) <= 0.2 * sum(w.numel() for w in weights) + 1


def test_another_seed_gives_another_file_and_no_float_network(tiny):
    train_compressed_checkpoint("tiny-seed1")
    assert not (compressed.FOLDER / "tiny-pruned.safetensors").exists()
    assert checkpoint_card("tiny-seed1", folder=compressed.FOLDER)["seed"] == 1


def test_without_a_teacher_it_learns_from_the_labels(tiny, monkeypatch):
    monkeypatch.setitem(COMPRESSED, "tiny", compressed.replace(TINY, teacher=""))
    monkeypatch.setattr(compressed, "_answers", None)  # must not be asked
    assert train_compressed_checkpoint("tiny-seed0")["test_accuracy"] > 0.5


def test_unknown_names_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="no recipe"):
        train_compressed_checkpoint("LeNet5")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_compressed("LeNet5-seed0")
    name = compressed_names()[0]
    (tmp_path / f"{name}.json").write_bytes((FOLDER / f"{name}.json").read_bytes())
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_compressed(name, folder=tmp_path)
    (tmp_path / f"{name}.nnz").write_bytes(load_compressed(name)[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        load_compressed(name, folder=tmp_path)
