"""How the narrow networks in `data/checkpoints/` were made, for notebook 03: channels removed, then long training.

Each entry of `PRUNED` starts from a dense checkpoint of the course, keeps the channels with the largest L1 norms and
trains what is left. To make one again: `train_pruned_checkpoint("LeNet300100-pruned-80-40")`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import load_checkpoint, save_checkpoint
from utils.recipes.dense import how_it_went
from utils.structured_pruning import kept_channels, remove_channels
from utils.training import Recipe, answers_of, cross_entropy, fit, follow_answers

SEED = 0


@dataclass(frozen=True, kw_only=True)
class PrunedRecipe:
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
MLP = Recipe(epochs=30, learning_rate=2e-3, weight_decay=0.02, shift=1)

PRUNED = {
    "LeNet5-pruned-3-12-64": PrunedRecipe(
        source="LeNet5", arguments={"channels": (3, 12), "hidden": 64}, training=LENET5
    ),
    "LeNet5-pruned-3-12-64-labels": PrunedRecipe(
        source="LeNet5", arguments={"channels": (3, 12), "hidden": 64}, training=LENET5, distilled=False
    ),
    "LeNet300100-pruned-80-40": PrunedRecipe(source="LeNet300100", arguments={"hidden": (80, 40)}, training=MLP),
}
"""The shipped networks by name. Widths, learning rates and epochs were chosen on validation and on the clock."""


def train_pruned_checkpoint(name: str) -> dict[str, object]:
    """Remove channels from a dense network, train the rest by its recipe, write its checkpoint and card.

    The epoch is chosen on validation; the test split is looked at once, for the card.

    Returns:
        What the card says beside the digest: source, arguments of the constructor, kept channels, seed, training,
        whether distilled, accuracies, versions.

    Raises:
        ValueError: there is no recipe of that name.
    """
    if name not in PRUNED:
        raise ValueError(f"there is no recipe for {name!r}; there are: {', '.join(PRUNED)}")
    recipe, splits, device = PRUNED[name], load(), pick_device()
    seed_everything(SEED)
    dense = load_checkpoint(recipe.source)
    kept = kept_channels(dense, recipe.arguments)
    model, train, loss = remove_channels(dense, kept), splits.train, cross_entropy
    if recipe.distilled:
        train, loss = answers_of(dense.to(device), train.images), follow_answers
    history = fit(model.to(device), train, recipe.training, validation=splits.validation, loss=loss)
    about = {
        "source": recipe.source,
        "arguments": dict(recipe.arguments),
        "kept": {layer: channels.tolist() for layer, channels in kept.items()},
        "seed": SEED,
        "recipe": {**vars(recipe.training)},
        "distilled": recipe.distilled,
        **how_it_went(model, history, splits),
    }
    save_checkpoint(model, name, **about)
    return about
