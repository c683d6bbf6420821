"""How the compressed networks in `data/checkpoints/compressed/` were made, for notebook 15: narrow, prune, share, code.

Each starts from a dense checkpoint, keeps the channels with the largest norms, is pruned along the cubic schedule while
it trains, and is trained on with weights rounded to a few learned levels. What is shipped is the file that
`entropy_coding.encode_network` writes, a few thousand bytes, and a card.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from utils.accounting import count_nonzero
from utils.checkpoint_files import COMPRESSED as FOLDER
from utils.checkpoint_files import read_checkpoint, write_checkpoint
from utils.datasets import Examples, load
from utils.entropy_coding import decode_network, encode_network
from utils.environment import library_versions, pick_device, seed_everything
from utils.models import load_checkpoint, save_checkpoint
from utils.pruning import GradualPruner
from utils.structured_pruning import kept_channels, remove_channels
from utils.training import Loss, Recipe, ShiftedAnswers, cross_entropy, evaluate, fit, follow_answers, shifted_answers
from utils.weight_sharing import read_shared, share_levels

NOTEBOOK = "15"

SUFFIX = ".nnz"


@dataclass(frozen=True, kw_only=True)
class CompressionRecipe:
    """How one compressed network is made.

    Args:
        source: name of the dense checkpoint.
        arguments: of the constructor of the narrow network; empty to keep the source's widths.
        kept: the fraction of the weights that is left by pruning; 1 prunes nothing.
        levels: of a weight on each side of zero; 1 is ternary.
        pruning: how it is trained while it is pruned; the sparsity rises during the first 70 % of the steps.
        tuning: how it is trained on with rounded weights.
        teacher: name of the checkpoint whose answers to shifted images it learns; "" for the labels.
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


LENET5 = CompressionRecipe(
    source="LeNet5",
    arguments={"channels": (6, 20), "hidden": 64},
    kept=0.15,
    levels=3,
    pruning=Recipe(epochs=16, batch_size=256, learning_rate=6e-3, weight_decay=0.01, warm_up=0.05, shift=1),
    tuning=Recipe(epochs=12, batch_size=256, learning_rate=2e-3, warm_up=0.05, shift=1),
    seeds=(0, 1, 2, 3, 4),
)
LENET300100 = CompressionRecipe(
    source="LeNet300100",
    arguments={"hidden": (200, 60)},
    kept=0.042,
    levels=3,
    pruning=Recipe(epochs=60, batch_size=256, learning_rate=3e-3, weight_decay=0.01, warm_up=0.05, shift=1),
    tuning=Recipe(epochs=30, batch_size=256, learning_rate=2e-3, warm_up=0.05, shift=1),
    seeds=(0, 1, 2, 3, 4),
)


def _without_teacher(recipe: CompressionRecipe, *, shift: int) -> CompressionRecipe:
    pruning = replace(recipe.pruning, shift=shift)
    tuning = replace(recipe.tuning, shift=shift)
    return replace(recipe, teacher="", pruning=pruning, tuning=tuning, seeds=(0, 1))


LENET300100_DENSE = replace(LENET300100, arguments={"hidden": (36, 20)}, kept=1.0, levels=2, seeds=(0, 1))
LENET5_2_KB = replace(LENET5, arguments={"channels": (6, 20), "hidden": 32}, kept=0.20, seeds=(0, 1, 2))

SIZES = {
    "LeNet5-1-kB": replace(LENET5, arguments={"channels": (4, 12), "hidden": 24}, kept=0.20, seeds=(0,)),
    "LeNet5-2-kB": LENET5_2_KB,
    "LeNet5-2-kB-plain": replace(_without_teacher(LENET5_2_KB, shift=0), seeds=(0,)),
    "LeNet5-3-kB": LENET5,
    "LeNet5-3-kB-labels": _without_teacher(LENET5, shift=1),
    "LeNet5-3-kB-plain": _without_teacher(LENET5, shift=0),
    "LeNet5-3-kB-long": replace(  # two and a half times the training
        LENET5, pruning=replace(LENET5.pruning, epochs=40), tuning=replace(LENET5.tuning, epochs=30), seeds=(0, 1, 2)
    ),
    "LeNet300100-3-kB": replace(LENET300100, arguments={"hidden": (100, 50)}, kept=0.03, seeds=(0,)),
    "LeNet300100-7-kB": LENET300100,
    "LeNet300100-7-kB-labels": _without_teacher(LENET300100, shift=1),
    "LeNet300100-7-kB-plain": _without_teacher(LENET300100, shift=0),
    "LeNet300100-7-kB-dense": LENET300100_DENSE,
}
"""The recipes by name without the seed. Everything in them was chosen on validation, with seed 0."""

GOALS = {"LeNet300100": "LeNet300100-7-kB", "LeNet5": "LeNet5-3-kB"}
"""Of each network the size that stands beside the published table."""

CONTROLS = {model: {"labels": f"{name}-labels", "plain": f"{name}-plain"} for model, name in GOALS.items()}
"""The same without a teacher, and without shifted images either, as in the papers."""

SMALL_CONTROL = "LeNet5-2-kB-plain"
"""The file of 2 kB without a teacher and without shifts, beside the published points around that size."""

NARROW_DENSE = "LeNet300100-7-kB-dense"
"""So narrow that a file of the goal's size holds every weight: the same teacher, shifts and epochs, fewer levels."""

FRONTIER = {
    "LeNet300100": ("LeNet300100-3-kB", "LeNet300100-7-kB"),
    "LeNet5": ("LeNet5-1-kB", "LeNet5-2-kB", "LeNet5-3-kB", "LeNet5-3-kB-long"),
}
"""Of each network the sizes, from the smallest file to the largest."""

BIAS_LEVELS = 7


def seeds_of(size: str) -> tuple[str, ...]:
    """Return the names of the shipped files of a size, such as "LeNet5-3-kB-seed0", one for each seed."""
    return tuple(f"{size}-seed{seed}" for seed in SIZES[size].seeds)


RECIPES = {name: recipe for size, recipe in SIZES.items() for name in seeds_of(size)}

MINUTES = {
    **dict.fromkeys(SIZES, 5),
    "LeNet5-2-kB-plain": 3,
    "LeNet5-3-kB-labels": 3,
    "LeNet5-3-kB-plain": 3,
    "LeNet5-3-kB-long": 10,
    "LeNet300100-7-kB-labels": 3,
    "LeNet300100-7-kB-plain": 3,
}


def load_compressed(name: str, *, folder: Path = FOLDER) -> bytes:
    """Return the content of a shipped file, for `entropy_coding.decode_network`."""
    return read_checkpoint(folder, name, bytes, suffix=SUFFIX)


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads."""
    recipe = RECIPES[name]
    return tuple(dict.fromkeys(source for source in (recipe.source, recipe.teacher) if source))


def train(name: str) -> dict[str, object]:
    """Make one compressed network, write its file and card; return what the card says.

    Of a goal's seed 0 the pruned float network is written too, and of its narrow dense rival's the float network that
    was not pruned. The epoch is chosen on validation; the test split is looked at once, for the card, by the decoded
    network.
    """
    recipe = RECIPES[name]
    size, _, seed = name.rpartition("-seed")
    seed = int(seed)
    splits = load()
    pruned = prune_narrow(recipe, seed, splits.train)
    about = {"source": recipe.source, "arguments": dict(recipe.arguments), "seed": seed, "recipe": asdict(recipe)}
    if seed == 0 and size in (*GOALS.values(), NARROW_DENSE):
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


def prune_narrow(recipe: CompressionRecipe, seed: int, examples: Examples) -> nn.Module:
    """Narrow the dense network and prune it while it trains; return it with zeros where nothing is kept."""
    seed_everything(seed)
    dense = load_checkpoint(recipe.source)
    model = remove_channels(dense, kept_channels(dense, recipe.arguments)) if recipe.arguments else dense
    model = model.to(pick_device(), memory_format=torch.channels_last)  # small convolutions are twice as fast so
    training = replace(recipe.pruning, seed=seed)
    end = round(0.7 * training.steps(len(examples.images)))
    pruner = GradualPruner(model, final=1 - recipe.kept, start=0, end=end, every=50)
    data, loss = _training_data(recipe.teacher, training, examples)
    fit(model, data, training, loss=loss, after_step=pruner)
    return model


def tune_levels(
    recipe: CompressionRecipe, model: nn.Module, seed: int, examples: Examples, validation: Examples
) -> nn.Module:
    """Train the pruned network on with rounded weights and biases; return it, its best epoch by validation."""
    shared = share_levels(model, levels=recipe.levels, bias_levels=BIAS_LEVELS)
    training = replace(recipe.tuning, seed=seed + 100)
    data, loss = _training_data(recipe.teacher, training, examples)
    fit(shared, data, training, loss=loss, validation=validation)
    return shared


def _training_data(teacher: str, training: Recipe, examples: Examples) -> tuple[Examples | ShiftedAnswers, Loss]:
    """Return what is learned from and the loss that goes with it: the teacher's answers or, without one, the labels."""
    if teacher:
        return _answers(teacher, training.shift), follow_answers
    return examples, cross_entropy


@functools.lru_cache(maxsize=1)
def _answers(teacher: str, distance: int) -> ShiftedAnswers:
    network = load_checkpoint(teacher).to(pick_device())
    return shifted_answers(network, load().train.images, distance)
