"""How the small dense network of notebook 02 was made: the control whose file is as large as the pruned network's."""

from dataclasses import asdict

from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import LeNet300100, save_checkpoint
from utils.recipes import dense
from utils.training import Recipe, fit

NOTEBOOK = "02"

SEED = 1000
"""Of the new weights; not 0, the seed of the dense networks, which would be correlated with them."""

HIDDEN = {"LeNet300100-dense-44-14": (44, 14)}
"""The widths: as near to 300 to 100 as fits into the bytes of a bitmap of 90 % zeros and its values."""

RECIPES: dict[str, Recipe] = dict.fromkeys(HIDDEN, dense.RECIPES["LeNet300100"])
"""The training of the network that was pruned."""

MINUTES = dict.fromkeys(HIDDEN, dense.MINUTES["LeNet300100"])


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: none."""
    return ()


def train(name: str) -> dict[str, object]:
    """Train a small dense network, write its checkpoint and card, and return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    splits = load()
    seed_everything(SEED)
    model = LeNet300100(HIDDEN[name]).to(pick_device())
    history = fit(model, splits.train, RECIPES[name], validation=splits.validation)
    about = {
        "arguments": {"hidden": HIDDEN[name]},
        "seed": SEED,
        "recipe": asdict(RECIPES[name]),
        **dense.training_facts(model, history, splits),
    }
    save_checkpoint(model, name, **about)
    return about
