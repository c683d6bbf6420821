"""How the float networks were trained that notebook 10 quantizes: LiteNetCNN, five on digits and three on clothes.

They are several so that a comparison can be paired: each is rounded, trained through the rounding, and trained on in
float. `experiment_10_widths` does that.
"""

from dataclasses import asdict

from utils.checkpoint_files import CHECKPOINTS
from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import LiteNetCNN, load_checkpoint, save_checkpoint
from utils.recipes.dense import training_facts
from utils.training import Recipe, fit

NOTEBOOK = "10"

FOLDER = CHECKPOINTS / "quantization_starts"

SEEDS = {"mnist": (0, 1, 2, 3, 4), "fashion_mnist": (0, 1, 2)}
"""The data sets, and the seeds of the networks trained on each."""

SHIFT = {"mnist": 1, "fashion_mnist": 0}
"""Pixels by which images are shifted in training, at most; clothes are not shifted."""


def start_name(data_set: str, seed: int) -> str:
    """Return the name of the checkpoint of a data set and a seed.

    >>> start_name("mnist", 3)
    'LiteNetCNN-mnist-seed3'
    """
    return f"LiteNetCNN-{data_set}-seed{seed}"


RECIPES = {
    start_name(data_set, seed): Recipe(
        epochs=4, learning_rate=4e-3, weight_decay=0.02, shift=SHIFT[data_set], seed=seed
    )
    for data_set, seeds in SEEDS.items()
    for seed in seeds
}
"""The recipe of the shipped LiteNetCNN with 4 epochs instead of 25, so that there is time for eight networks."""

MINUTES = {f"LiteNetCNN-{data_set}": 1 for data_set in SEEDS}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: none."""
    return ()


def train(name: str) -> dict[str, object]:
    """Train one of the networks by its recipe, write its checkpoint and card, and return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    recipe = RECIPES[name]
    data_set = name.split("-")[1]
    splits = load(data_set)
    seed_everything(recipe.seed)
    model = LiteNetCNN().to(pick_device())
    history = fit(model, splits.train, recipe, validation=splits.validation)
    about = {"data_set": data_set, "seed": recipe.seed, "recipe": asdict(recipe)}
    about |= training_facts(model, history, splits)
    save_checkpoint(model, name, folder=FOLDER, **about)
    return about


def load_start(data_set: str, seed: int) -> LiteNetCNN:
    """Load the float network of a data set, "mnist" or "fashion_mnist", and a seed, in evaluation mode.

    >>> load_start("mnist", 0).training
    False
    """
    return load_checkpoint(start_name(data_set, seed), folder=FOLDER)
