"""How the networks in `data/checkpoints/` were trained; `make checkpoints` trains them again."""

from torch import nn

from utils.datasets import Splits, load
from utils.environment import library_versions, pick_device, seed_everything
from utils.models import build, save_checkpoint
from utils.training import History, Recipe, evaluate, fit

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

PROMISED_ACCURACY = {"LiteNetMLP": 0.980, "LiteNetCNN": 0.990, "LeNet300100": 0.984, "LeNet5": 0.992}
"""What the shipped checkpoints reach at least on the test split."""


def train_checkpoint(name: str) -> dict[str, object]:
    """Train one network of the course by its recipe and write its checkpoint and card.

    The epoch is chosen on validation; the test split is looked at once, for the card.

    Returns:
        What the card says beside the digest: seed, epochs, accuracies, versions.

    Raises:
        ValueError: there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe for {name!r}; there are: {', '.join(RECIPES)}")
    recipe, splits = RECIPES[name], load()
    seed_everything(SEED)
    model = build(name).to(pick_device())
    history = fit(model, splits.train, recipe, validation=splits.validation)
    about = {"seed": SEED, "recipe": {**vars(recipe)}, **how_it_went(model, history, splits)}
    save_checkpoint(model, name, **about)
    return about


def how_it_went(model: nn.Module, history: History, splits: Splits) -> dict[str, object]:
    """Return what every card says of a training: the epoch chosen on validation, both accuracies, the versions."""
    return {
        "best_epoch": history.best_epoch + 1,
        "validation_accuracy": history.validation_accuracy[history.best_epoch],
        "test_accuracy": evaluate(model, splits.test).accuracy,
        "versions": library_versions(),
    }
