"""How the dense networks in `data/checkpoints/` were trained; every notebook uses them."""

from dataclasses import asdict

from torch import nn

from utils.datasets import Splits, load
from utils.environment import library_versions, pick_device, seed_everything
from utils.models import build, save_checkpoint
from utils.training import History, Recipe, evaluate, fit

NOTEBOOK = "all"

SEED = 0

RECIPES = {
    "LiteNetMLP": Recipe(epochs=30, learning_rate=2e-3, weight_decay=0.02, shift=1),
    "LiteNetCNN": Recipe(epochs=25, learning_rate=4e-3, weight_decay=0.02, shift=1),
    "LeNet300100": Recipe(epochs=40, learning_rate=2e-3, weight_decay=0.02, shift=1),
    "LeNet5": Recipe(epochs=20, learning_rate=2e-3, weight_decay=0.05, shift=1),
    "SmallResNet": Recipe(epochs=8, learning_rate=4e-3, weight_decay=0.05, shift=1),
    "SmallDepthwiseNet": Recipe(epochs=8, learning_rate=4e-3, weight_decay=0.02, shift=1),
}
"""Learning rate, weight decay and epochs were chosen on the validation split."""

MINUTES = {"LiteNetMLP": 2, "LiteNetCNN": 5, "LeNet300100": 2, "LeNet5": 10, "SmallResNet": 4, "SmallDepthwiseNet": 3}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: none."""
    return ()


def train(name: str) -> dict[str, object]:
    """Train one network of the course by its recipe, write its checkpoint and card, and return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    recipe = RECIPES[name]
    splits = load()
    seed_everything(SEED)
    model = build(name).to(pick_device())
    history = fit(model, splits.train, recipe, validation=splits.validation)
    about = {"seed": SEED, "recipe": asdict(recipe), **training_facts(model, history, splits)}
    save_checkpoint(model, name, **about)
    return about


def training_facts(model: nn.Module, history: History, splits: Splits) -> dict[str, object]:
    """Return what a card says of a training: the epoch chosen on validation, both accuracies, the versions."""
    return {
        "best_epoch": history.best_epoch + 1,
        "validation_accuracy": history.validation_accuracy[history.best_epoch],
        "test_accuracy": evaluate(model, splits.test).accuracy,
        "versions": library_versions(),
    }
