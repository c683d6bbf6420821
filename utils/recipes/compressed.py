"""How the compressed networks in `data/checkpoints/compressed/` were made, for notebook 15: narrow, prune, share, code.

Each starts from a dense checkpoint, keeps the channels with the largest norms, is pruned along the cubic schedule while
it trains, and is trained on with weights rounded to a few learned levels. What is shipped is the file that
`entropy_coding.encode_network` writes, a few thousand bytes, and a card. To make one again:
`train_compressed_checkpoint("LeNet5-3-kB-seed0")`.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from utils.accounting import count_nonzero
from utils.checkpoint_files import CHECKPOINTS, read_checkpoint, write_checkpoint
from utils.datasets import Examples, load
from utils.entropy_coding import decode_network, encode_network
from utils.environment import library_versions, pick_device, seed_everything
from utils.models import load_checkpoint, save_checkpoint
from utils.pruning import GradualPruner
from utils.recipes.low_rank import follow_moved_answers, moved_answers
from utils.recipes.narrow import kept_channels, remove_channels
from utils.training import Recipe, evaluate, fit
from utils.weight_sharing import read_shared, share_levels

FOLDER = CHECKPOINTS / "compressed"
"""Where they lie: files of `utils.entropy_coding`, each with a card."""

SUFFIX = ".nnz"


@dataclass(frozen=True, kw_only=True)
class CompressionRecipe:
    """How one compressed network is made.

    Args:
        source: name of the dense checkpoint.
        arguments: of the constructor of the narrow network; empty to keep the source's widths.
        kept: the fraction of the weights that is left by pruning.
        levels: of a weight on each side of zero; 1 is ternary.
        pruning: how it is trained while it is pruned; the sparsity rises during the first 70 % of the steps.
        tuning: how it is trained on with rounded weights.
        teacher: name of the checkpoint whose answers to moved images it learns; "" for the labels.
        seeds: which seeds are shipped.
    """

    source: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    kept: float
    levels: int
    pruning: Recipe
    tuning: Recipe
    teacher: str = "LeNet5"
    seeds: tuple[int, ...] = (0, 1, 2)


CNN = Recipe(epochs=16, batch_size=256, learning_rate=6e-3, weight_decay=0.01, warm_up=0.05, shift=1)
CNN_TUNING = Recipe(epochs=12, batch_size=256, learning_rate=2e-3, warm_up=0.05, shift=1)
MLP = Recipe(epochs=60, batch_size=256, learning_rate=3e-3, weight_decay=0.01, warm_up=0.05, shift=1)
MLP_TUNING = Recipe(epochs=30, batch_size=256, learning_rate=2e-3, warm_up=0.05, shift=1)

GOAL_SEEDS = (0, 1, 2, 3, 4)

COMPRESSED = {
    "LeNet5-3-kB": CompressionRecipe(
        source="LeNet5",
        arguments={"channels": (6, 20), "hidden": 64},
        kept=0.15,
        levels=3,
        pruning=CNN,
        tuning=CNN_TUNING,
        seeds=GOAL_SEEDS,
    ),
    "LeNet300100-7-kB": CompressionRecipe(
        source="LeNet300100",
        arguments={"hidden": (200, 60)},
        kept=0.042,
        levels=3,
        pruning=MLP,
        tuning=MLP_TUNING,
        seeds=GOAL_SEEDS,
    ),
}
"""By name without the seed. Everything in them was chosen on validation, with seed 0."""

GOALS = {"LeNet300100": "LeNet300100-7-kB", "LeNet5": "LeNet5-3-kB"}
"""The recipe of each network that stands beside the published table."""

CONTROLS = {model: {"labels": f"{name}-labels", "plain": f"{name}-plain"} for model, name in GOALS.items()}
"""The same without a teacher, and without moved images either, as in the papers."""

for _model, _name in GOALS.items():
    _goal = replace(COMPRESSED[_name], teacher="", seeds=(0, 1))
    COMPRESSED[CONTROLS[_model]["labels"]] = _goal
    COMPRESSED[CONTROLS[_model]["plain"]] = replace(
        _goal, pruning=replace(_goal.pruning, shift=0), tuning=replace(_goal.tuning, shift=0)
    )

_SIZES = {
    "LeNet5-1-kB": ("LeNet5-3-kB", {"channels": (4, 12), "hidden": 24}, 0.20, (0,)),
    "LeNet5-2-kB": ("LeNet5-3-kB", {"channels": (6, 20), "hidden": 32}, 0.20, (0, 1, 2)),
    "LeNet300100-3-kB": ("LeNet300100-7-kB", {"hidden": (100, 50)}, 0.03, (0,)),
}
"""Further sizes: the recipe they share all else with, the widths, what is kept, the seeds."""

for _name, (_like, _arguments, _kept, _seeds) in _SIZES.items():
    COMPRESSED[_name] = replace(COMPRESSED[_like], arguments=_arguments, kept=_kept, seeds=_seeds)

COMPRESSED["LeNet5-3-kB-long"] = replace(
    COMPRESSED["LeNet5-3-kB"], pruning=replace(CNN, epochs=40), tuning=replace(CNN_TUNING, epochs=30), seeds=(0, 1, 2)
)
"""The same size with two and a half times the training."""

FRONTIER = {
    "LeNet300100": ("LeNet300100-3-kB", "LeNet300100-7-kB"),
    "LeNet5": ("LeNet5-1-kB", "LeNet5-2-kB", "LeNet5-3-kB", "LeNet5-3-kB-long"),
}
"""Of each network the recipes by size, from the smallest file to the largest."""

BIAS_LEVELS = 7


def seeds_of(recipe: str) -> tuple[str, ...]:
    """Return the names of the shipped files of a recipe, such as "LeNet5-3-kB-seed0", one for each seed."""
    return tuple(f"{recipe}-seed{seed}" for seed in COMPRESSED[recipe].seeds)


def compressed_names() -> tuple[str, ...]:
    """Return the names of all shipped files."""
    return tuple(name for recipe in COMPRESSED for name in seeds_of(recipe))


def load_compressed(name: str, *, folder: Path = FOLDER) -> bytes:
    """Return the content of a shipped file, for `entropy_coding.decode_network`.

    Raises:
        CheckpointError: the file or its card is missing or damaged.
    """
    return read_checkpoint(folder, name, bytes, suffix=SUFFIX)


def prune_narrow(recipe: CompressionRecipe, seed: int, train: Examples) -> nn.Module:
    """Narrow the dense network and prune it while it trains; return it with zeros where nothing is kept."""
    seed_everything(seed)
    dense = load_checkpoint(recipe.source)
    model = remove_channels(dense, kept_channels(dense, recipe.arguments)) if recipe.arguments else dense
    model = model.to(pick_device(), memory_format=torch.channels_last)  # small convolutions are twice as fast so
    training = replace(recipe.pruning, seed=seed)
    steps = training.epochs * -(-len(train.labels) // training.batch_size)
    pruner = GradualPruner(model, final=1 - recipe.kept, start=0, end=round(0.7 * steps), every=50)
    _train(model, train, training, recipe.teacher, after_step=pruner)
    return model


def tune_levels(
    recipe: CompressionRecipe, model: nn.Module, seed: int, train: Examples, validation: Examples
) -> nn.Module:
    """Train the pruned network on with rounded weights and biases; return it, its best epoch by validation."""
    shared = share_levels(model, levels=recipe.levels, bias_levels=BIAS_LEVELS)
    _train(shared, train, replace(recipe.tuning, seed=seed + 100), recipe.teacher, validation=validation)
    return shared


def train_compressed_checkpoint(name: str) -> dict[str, object]:
    """Make one compressed network, write its file and card; of a goal's seed 0 also the pruned float network.

    The epoch is chosen on validation; the test split is looked at once, for the card, by the decoded network.

    Returns:
        What the card says beside the digest: recipe, seed, non-zeros, accuracies, versions.

    Raises:
        ValueError: there is no recipe of that name.
    """
    if name not in compressed_names():
        raise ValueError(f"there is no recipe for {name!r}; there are: {', '.join(compressed_names())}")
    size, seed = name.rsplit("-seed", 1)
    recipe, seed, splits = COMPRESSED[size], int(seed), load()
    pruned = prune_narrow(recipe, seed, splits.train)
    about = {"source": recipe.source, "arguments": dict(recipe.arguments), "seed": seed, "recipe": asdict(recipe)}
    if seed == 0 and size in GOALS.values():
        accuracy = evaluate(pruned, splits.validation).accuracy
        plain = pruned.cpu().to(memory_format=torch.contiguous_format)
        save_checkpoint(plain, f"{size}-pruned", folder=FOLDER, validation_accuracy=accuracy, **about)
    shared = tune_levels(recipe, pruned, seed, splits.train, splits.validation)
    model = type(pruned).__name__
    content = encode_network(read_shared(shared.cpu()), model=model, arguments=recipe.arguments)
    decoded = decode_network(content)
    about |= {
        "nonzeros": count_nonzero(decoded),
        "validation_accuracy": evaluate(decoded, splits.validation).accuracy,
        "test_accuracy": evaluate(decoded, splits.test).accuracy,
        "versions": library_versions(),
    }
    write_checkpoint(FOLDER, name, content, model=model, suffix=SUFFIX, **about)
    return about


def _train(
    model: nn.Module, train: Examples, training: Recipe, teacher: str, *, validation=None, after_step=None
) -> None:
    if teacher:
        answers = _answers(teacher, training.shift)
        follow_moved_answers(model, train.images, answers, training, validation, after_step=after_step)
    else:
        fit(model, train, training, validation=validation, after_step=after_step)


@functools.lru_cache(maxsize=1)
def _answers(teacher: str, distance: int) -> torch.Tensor:
    network = load_checkpoint(teacher).to(pick_device())
    return moved_answers(network, load().train.images, distance).cpu()
