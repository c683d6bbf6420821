"""The compressed networks of notebook 15: how they are made and shipped."""

import json
from dataclasses import asdict, replace

import pytest

from utils.checkpoint_files import CheckpointError, checkpoint_card
from utils.datasets import Splits
from utils.entropy_coding import decode_network
from utils.models import load_checkpoint
from utils.pruning import prunable
from utils.recipes import compressed
from utils.recipes.compressed import (
    CONTROLS,
    FOLDER,
    FRONTIER,
    GOALS,
    NARROW_DENSE,
    RECIPES,
    SIZES,
    SMALL_CONTROL,
    CompressionRecipe,
    load_compressed,
    seeds_of,
)
from utils.training import Recipe, evaluate

pytest.importorskip("constriction")  # no wheel for Linux on aarch64


def kept_fraction(weights):
    return sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


@pytest.mark.parametrize("name", RECIPES)
def test_the_shipped_files_were_made_by_their_recipe(name):
    card, content, recipe = checkpoint_card(name, folder=FOLDER), load_compressed(name), RECIPES[name]
    assert name.endswith(f"-seed{card['seed']}")
    assert card["recipe"] == json.loads(json.dumps(asdict(recipe)))
    assert card["bytes"] == len(content)
    decoded = decode_network(content)
    weights = prunable(decoded).values()
    assert kept_fraction(weights) <= recipe.kept + 1e-3  # the rounding makes more zeros, never fewer
    assert all(len(w.unique()) <= 2 * recipe.levels + 1 for w in weights)
    assert card["nonzeros"] == sum(int(t.count_nonzero()) for t in decoded.state_dict().values())


@pytest.mark.parametrize("model", GOALS)
def test_the_decoded_networks_are_as_good_as_their_cards_say(model, mnist):
    name = seeds_of(GOALS[model])[0]
    assert evaluate(decode_network(load_compressed(name)), mnist.test).accuracy == pytest.approx(
        checkpoint_card(name, folder=FOLDER)["test_accuracy"], abs=2e-4
    )


@pytest.mark.parametrize("model", GOALS)
def test_goal_controls_and_frontier_belong_together(model):
    goal = SIZES[GOALS[model]]
    assert GOALS[model] in FRONTIER[model]
    for name in CONTROLS[model].values():
        assert (SIZES[name].kept, SIZES[name].arguments) == (goal.kept, goal.arguments)
        assert SIZES[name].teacher == ""
    if model == "LeNet5":
        small, control = SIZES["LeNet5-2-kB"], SIZES[SMALL_CONTROL]
        assert (control.kept, control.arguments) == (small.kept, small.arguments)
        assert (control.teacher, control.pruning.shift, control.tuning.shift) == ("", 0, 0)
    sizes = [len(load_compressed(seeds_of(name)[0])) for name in FRONTIER[model] if not name.endswith("-long")]
    assert sizes == sorted(sizes)


def test_the_narrow_dense_network_differs_from_the_goal_in_widths_and_levels_only():
    goal, dense = SIZES[GOALS["LeNet300100"]], SIZES[NARROW_DENSE]
    assert dense.kept == 1
    same = {"kept": goal.kept, "arguments": goal.arguments, "levels": goal.levels, "seeds": goal.seeds}
    assert replace(dense, **same) == goal
    largest = max(len(load_compressed(name)) for name in seeds_of(GOALS["LeNet300100"]))
    for name in seeds_of(NARROW_DENSE):
        assert 0.95 * largest < len(load_compressed(name)) < 1.05 * largest


@pytest.mark.parametrize("seed", [0, 1])
def test_without_a_teacher_it_learns_from_the_labels_and_seed_0_ships_its_float_network(
    monkeypatch, tmp_path, mnist, seed
):
    recipe = CompressionRecipe(
        source="LeNet300100",
        arguments={"hidden": (30, 20)},
        kept=0.2,
        levels=3,
        pruning=Recipe(epochs=15, batch_size=20, learning_rate=3e-3),
        tuning=Recipe(epochs=5, batch_size=20),
        teacher="",
    )
    monkeypatch.setattr(compressed, "load", lambda: Splits(*(split.take(200) for split in mnist)))
    monkeypatch.setattr(compressed, "FOLDER", tmp_path)
    monkeypatch.setattr(compressed, "_answers", None)  # must not be asked
    monkeypatch.setitem(RECIPES, f"tiny-seed{seed}", recipe)
    monkeypatch.setitem(GOALS, "LeNet300100", "tiny")
    assert compressed.train(f"tiny-seed{seed}")["test_accuracy"] > 0.5
    assert (tmp_path / "tiny-pruned.safetensors").exists() == (seed == 0)
    if seed == 0:
        assert kept_fraction(prunable(load_checkpoint("tiny-pruned", folder=tmp_path)).values()) <= 0.2 + 1e-3


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_compressed("LeNet5-seed0")
    name = next(iter(RECIPES))
    (tmp_path / f"{name}.json").write_bytes((FOLDER / f"{name}.json").read_bytes())
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_compressed(name, folder=tmp_path)
    (tmp_path / f"{name}.nnz").write_bytes(load_compressed(name)[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        load_compressed(name, folder=tmp_path)
