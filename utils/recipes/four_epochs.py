"""How the two LeNet5 of notebook 03's comparison of data sets were trained: alike, on digits and on Fashion-MNIST."""

from dataclasses import asdict

from utils.checkpoint_files import CHECKPOINTS
from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import LeNet5, load_checkpoint, save_checkpoint
from utils.recipes.dense import training_facts
from utils.training import Recipe, fit

NOTEBOOK = "03"

FOLDER = CHECKPOINTS / "four_epochs"

SEED = 2000
"""Of the new weights; not 0, the seed of the dense networks, which would be correlated with them."""

DATA_SETS = {"LeNet5-4-epochs-mnist": "mnist", "LeNet5-4-epochs-fashion_mnist": "fashion_mnist"}

RECIPES: dict[str, Recipe] = dict.fromkeys(DATA_SETS, Recipe(epochs=4, learning_rate=2e-3, weight_decay=0.05))

MINUTES = dict.fromkeys(DATA_SETS, 2)


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: none."""
    return ()


def train(name: str) -> dict[str, object]:
    """Train one of the two, write its checkpoint and card, and return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    splits = load(DATA_SETS[name])
    seed_everything(SEED)
    model = LeNet5().to(pick_device())
    history = fit(model, splits.train, RECIPES[name], validation=splits.validation)
    about = {"data_set": DATA_SETS[name], "seed": SEED, "recipe": asdict(RECIPES[name])}
    about |= training_facts(model, history, splits)
    save_checkpoint(model, name, folder=FOLDER, **about)
    return about


def load_four_epochs(data_set: str) -> LeNet5:
    """Load the dense network of a data set, "mnist" or "fashion_mnist", in evaluation mode.

    >>> load_four_epochs("fashion_mnist").training
    False
    """
    (name,) = (name for name, of in DATA_SETS.items() if of == data_set)
    return load_checkpoint(name, folder=FOLDER)
