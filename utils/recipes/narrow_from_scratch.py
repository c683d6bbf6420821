"""How the small networks trained from scratch in `data/checkpoints/` were made: the control of notebook 23.

Each has the shape of a network of `recipes.narrow` and its whole training: images, epochs, learning rate, teacher. Only
the start differs: new weights instead of channels of the dense network.
"""

from dataclasses import asdict

from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import MODELS, load_checkpoint, save_checkpoint
from utils.recipes import narrow
from utils.recipes.dense import training_facts
from utils.training import answers_of, fit, follow_answers

NOTEBOOK = "23"

SEED = 1000
"""Of the new weights; not 0, the seed of the dense networks, which would be correlated with them."""

RECIPES = {"LeNet5-scratch-3-12-64": "LeNet5-pruned-3-12-64", "LeNet300100-scratch-80-40": "LeNet300100-pruned-80-40"}
"""The twin of each: the network of `recipes.narrow` whose shape and training it shares."""

MINUTES = {name: narrow.MINUTES[twin] for name, twin in RECIPES.items()}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: the teacher."""
    return narrow.needs(RECIPES[name])


def train(name: str) -> dict[str, object]:
    """Train a narrow network from new weights as its twin was, write its checkpoint and card, and return the card.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    twin = narrow.RECIPES[RECIPES[name]]
    splits = load()
    device = pick_device()
    seed_everything(SEED)
    answers = answers_of(load_checkpoint(twin.source).to(device), splits.train.images)
    model = MODELS[twin.source](**twin.arguments).to(device)
    history = fit(model, answers, twin.training, validation=splits.validation, loss=follow_answers)
    about = {
        "twin": RECIPES[name],
        "arguments": dict(twin.arguments),
        "seed": SEED,
        "recipe": asdict(twin.training),
        "distilled": True,
        **training_facts(model, history, splits),
    }
    save_checkpoint(model, name, **about)
    return about
