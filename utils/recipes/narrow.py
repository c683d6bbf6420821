"""How the narrow networks in `data/checkpoints/` were made, for notebook 03: channels removed, then long training.

Each starts from a dense checkpoint, keeps the channels with the largest L1 norms and trains what is left.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import load_checkpoint, save_checkpoint
from utils.recipes.dense import training_facts
from utils.structured_pruning import kept_channels, remove_channels
from utils.training import Recipe, answers_of, cross_entropy, fit, follow_answers

NOTEBOOK = "03"

SEED = 0


@dataclass(frozen=True, kw_only=True)
class NarrowRecipe:
    """How one narrow network is made.

    Args:
        source: name of the dense checkpoint, which is the teacher too.
        arguments: of the constructor of the narrow network, such as `{"channels": (3, 12), "hidden": 64}`.
        training: how the narrow network is trained.
        distilled: whether it follows the dense network's answers instead of the labels.
    """

    source: str
    arguments: Mapping[str, object]
    training: Recipe
    distilled: bool = True


LENET5 = Recipe(epochs=30, batch_size=256, learning_rate=6e-3, weight_decay=0.02, shift=1)
LENET300100 = Recipe(epochs=30, learning_rate=2e-3, weight_decay=0.02, shift=1)

RECIPES = {
    "LeNet5-pruned-3-12-64": NarrowRecipe(
        source="LeNet5", arguments={"channels": (3, 12), "hidden": 64}, training=LENET5
    ),
    "LeNet5-pruned-3-12-64-labels": NarrowRecipe(
        source="LeNet5", arguments={"channels": (3, 12), "hidden": 64}, training=LENET5, distilled=False
    ),
    "LeNet300100-pruned-80-40": NarrowRecipe(
        source="LeNet300100", arguments={"hidden": (80, 40)}, training=LENET300100
    ),
}
"""Widths, learning rates and epochs were chosen on validation and on the clock."""

MINUTES = {"LeNet5-pruned-3-12-64": 3, "LeNet5-pruned-3-12-64-labels": 3, "LeNet300100-pruned-80-40": 1}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads."""
    return (RECIPES[name].source,)


def train(name: str) -> dict[str, object]:
    """Remove channels from a dense network, train the rest, write its checkpoint and card; return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    recipe = RECIPES[name]
    splits = load()
    device = pick_device()
    seed_everything(SEED)
    dense = load_checkpoint(recipe.source)
    kept = kept_channels(dense, recipe.arguments)
    model = remove_channels(dense, kept).to(device)
    examples, loss = splits.train, cross_entropy
    if recipe.distilled:
        examples, loss = answers_of(dense.to(device), splits.train.images), follow_answers
    history = fit(model, examples, recipe.training, validation=splits.validation, loss=loss)
    about = {
        "source": recipe.source,
        "arguments": dict(recipe.arguments),
        "kept": {layer: channels.tolist() for layer, channels in kept.items()},
        "seed": SEED,
        "recipe": asdict(recipe.training),
        "distilled": recipe.distilled,
        **training_facts(model, history, splits),
    }
    save_checkpoint(model, name, **about)
    return about
