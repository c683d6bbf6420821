"""All recipes together: what is listed, in which order, and that each trains to the same file again."""

import subprocess
import sys
from dataclasses import replace

import pytest

from utils.__main__ import main
from utils.checkpoint_files import CHECKPOINTS as FOLDER
from utils.checkpoint_files import checkpoint_card
from utils.datasets import Splits
from utils.entropy_coding import decode_network
from utils.models import LeNet300100, load_checkpoint, save_checkpoint
from utils.qat import LearnedScale, TernaryWeight
from utils.recipes import (
    compressed,
    dense,
    equal_bytes,
    gradually_pruned,
    low_rank,
    low_rank_controls,
    narrow,
    narrow_from_scratch,
    quantized,
    registry,
)
from utils.recipes.compressed import CompressionRecipe
from utils.recipes.gradually_pruned import GradualRecipe
from utils.recipes.low_rank import LowRankRecipe
from utils.recipes.narrow import NarrowRecipe
from utils.recipes.quantized import QuantizedRecipe
from utils.training import Recipe, evaluate


def test_every_shipped_file_has_a_recipe_and_every_recipe_a_file():
    files = {path.stem for path in FOLDER.rglob("*") if path.suffix in {".safetensors", ".nnz"}}
    by_the_way = {f"{name}-pruned" for name in (*compressed.GOALS.values(), compressed.NARROW_DENSE)}
    converted = {"EfficientNetLite0"}  # trained by others: utils.recipes.convert_efficientnet
    assert files == set(registry.CHECKPOINTS) | by_the_way | converted


def test_what_a_training_loads_is_trained_before_it():
    for module in registry.MODULES:
        for name in module.RECIPES:
            for source in module.needs(name):
                assert registry.in_order([name, source]) == [source, name]


def test_the_command_lists_every_checkpoint_and_trains_nothing(capsys):
    assert main(["checkpoints"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(registry.CHECKPOINTS)
    assert "LeNet300100, LeNet5" in next(line for line in lines if line.startswith("LeNet300100-rank-21"))


def test_the_command_trains_what_is_named_in_order(monkeypatch, capsys):
    trained = []
    for module in registry.MODULES:
        about = {"validation_accuracy": 0.5, "test_accuracy": 0.25}
        monkeypatch.setattr(module, "train", lambda name, about=about: trained.append(name) or about)
    assert main(["checkpoints", "LeNet300100-rank-21", "LeNet5"]) == 0
    assert trained == ["LeNet5", "LeNet300100-rank-21"]
    assert "LeNet5: validation 50.00%, test 25.00%" in capsys.readouterr().out
    assert main(["checkpoints", "--all"]) == 0
    assert trained[2:] == list(registry.CHECKPOINTS)


def test_an_unknown_name_is_refused_before_anything_is_trained(monkeypatch, capsys):
    monkeypatch.setattr(dense, "train", None)  # must not be called
    assert main(["checkpoints", "LeNet5", "LeNet6"]) == 2
    assert "there is no recipe for 'LeNet6'; there are: LiteNetMLP, " in capsys.readouterr().err


def test_listing_does_not_load_tensorflow():
    loaded = "print({'keras', 'tensorflow'} & {*sys.modules})"
    script = f"import sys; from utils.recipes import registry; registry.listing(); {loaded}"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


BRIEF = Recipe(epochs=12, batch_size=20, learning_rate=2e-3)

NARROW = NarrowRecipe(source="LeNet300100", arguments={"hidden": (30, 20)}, training=BRIEF)
GRADUAL = GradualRecipe(sparsity=0.9, pruning_epochs=2, tuning_epochs=2)
SHIFTED = Recipe(epochs=3, batch_size=20, shift=1)
LOW_RANK = LowRankRecipe(source="LeNet300100", layer="fc1", rank=12, teacher="LeNet300100", training=SHIFTED)
QUANTIZED = QuantizedRecipe(
    network=LeNet300100,
    source="LeNet300100",
    weight=TernaryWeight,
    activation=lambda: LearnedScale(8),
    training=Recipe(epochs=3, batch_size=20),
    teacher="LeNet300100",
    clip=0.5,
)
COMPRESSED = CompressionRecipe(
    source="LeNet300100",
    arguments={"hidden": (30, 20)},
    kept=0.2,
    levels=3,
    pruning=Recipe(epochs=15, batch_size=20, learning_rate=3e-3),
    tuning=Recipe(epochs=5, batch_size=20),
    teacher="LeNet300100",
)

TINY = {
    "dense": (dense, "LiteNetMLP", Recipe(epochs=3, batch_size=50, shift=1)),
    "equal bytes": (equal_bytes, "LeNet300100-dense-44-14", Recipe(epochs=12, batch_size=20)),
    "narrow": (narrow, "tiny", NARROW),
    "narrow, labels": (narrow, "tiny", replace(NARROW, distilled=False)),
    "narrow from scratch": (narrow_from_scratch, "tiny", "tiny twin"),
    "gradually pruned": (gradually_pruned, "tiny-seed1", GRADUAL),
    "gradually pruned, distilled": (gradually_pruned, "tiny-seed1", replace(GRADUAL, teacher_share=0.5)),
    "low rank": (low_rank, "tiny", LOW_RANK),
    "low rank, control": (low_rank_controls, "tiny", {"hidden": (30, 20)}),
    "quantized": (quantized, "tiny", QUANTIZED),
    "compressed": (compressed, "tiny-seed1", COMPRESSED),
}


@pytest.mark.parametrize("kind", TINY)
def test_training_again_gives_the_same_file_as_good_as_its_card_says(kind, monkeypatch, tmp_path, mnist):
    module, name, recipe = TINY[kind]
    small = Splits(*(split.take(200) for split in mnist))
    monkeypatch.setattr(module, "load", lambda: small)
    monkeypatch.setitem(module.RECIPES, name, recipe)
    monkeypatch.setitem(narrow.RECIPES, "tiny twin", NARROW)
    monkeypatch.setitem(low_rank.RECIPES, low_rank_controls.TWIN, LOW_RANK)
    compressed._answers.cache_clear()
    cards = []
    for folder in (tmp_path / "first", tmp_path / "again"):
        if module in (quantized, compressed):
            monkeypatch.setattr(module, "FOLDER", folder)
        else:
            monkeypatch.setattr(
                module, "save_checkpoint", lambda *args, to=folder, **about: save_checkpoint(*args, folder=to, **about)
            )
        about = module.train(name)
        cards.append(checkpoint_card(name, folder=folder))
    compressed._answers.cache_clear()
    assert cards[0] == cards[1]
    assert cards[1]["test_accuracy"] == about["test_accuracy"]
    if module is quantized:
        model = quantized.load_quantized_checkpoint(name)
    elif module is compressed:
        model = decode_network(compressed.load_compressed(name, folder=folder))
    else:
        model = load_checkpoint(name, folder=folder)
    assert evaluate(model, small.test).accuracy == about["test_accuracy"] > 0.3
