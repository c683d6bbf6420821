"""How the dense networks on Fashion-MNIST in `data/checkpoints/fashion_mnist/` were trained.

It goes where digits are silent: what costs a network nothing on digits, which it classifies nearly all correctly, may
cost it something on clothes.
"""

from dataclasses import asdict

import torch
from torch import nn

from utils.checkpoint_files import CHECKPOINTS
from utils.datasets import Examples, load
from utils.environment import pick_device, seed_everything
from utils.models import MODELS, load_checkpoint, save_checkpoint
from utils.recipes.dense import training_facts
from utils.training import Recipe, fit

NOTEBOOK = "09"

SEED = 0

DATA_SET = "fashion_mnist"

FOLDER = CHECKPOINTS / DATA_SET

NETWORKS: dict[str, tuple[str, dict]] = {
    "LeNet5-fashion": ("LeNet5", {}),
    "SmallResNet-fashion": ("SmallResNet", {"width": 24}),
}
"""Class and arguments of each network."""

RECIPES = {
    "LeNet5-fashion": Recipe(epochs=8, learning_rate=2e-3, weight_decay=0.05, shift=1),
    "SmallResNet-fashion": Recipe(epochs=16, learning_rate=4e-3, weight_decay=0.05, shift=1),
}
"""An epoch is over every image and its mirror image: a shirt seen in a mirror is a shirt."""

MINUTES = {"LeNet5-fashion": 6, "SmallResNet-fashion": 16}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: none."""
    return ()


def with_mirror_images(examples: Examples) -> Examples:
    """Return the examples and, behind them, their mirror images with the same labels.

    >>> with_mirror_images(Examples(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([3]))).images.flatten().tolist()
    [1.0, 2.0, 2.0, 1.0]
    """
    images, labels = examples
    return Examples(torch.cat([images, images.flip(3)]), torch.cat([labels, labels]))


def train(name: str) -> dict[str, object]:
    """Train one network by its recipe, write its checkpoint and card, and return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    recipe = RECIPES[name]
    kind, arguments = NETWORKS[name]
    splits = load(DATA_SET)
    seed_everything(SEED)
    model = MODELS[kind](**arguments).to(pick_device())
    history = fit(model, with_mirror_images(splits.train), recipe, validation=splits.validation)
    about = {
        "arguments": arguments,
        "data_set": DATA_SET,
        "mirrored": True,
        "seed": SEED,
        "recipe": asdict(recipe),
        **training_facts(model, history, splits),
    }
    save_checkpoint(model, name, folder=FOLDER, **about)
    return about


def load_fashion_checkpoint(name: str) -> nn.Module:
    """Load a network of these by its name, in evaluation mode.

    >>> load_fashion_checkpoint("LeNet5-fashion").training
    False
    """
    return load_checkpoint(name, folder=FOLDER)
