"""How the narrow networks in `data/checkpoints/` were made, for notebook 03: channels removed, then long training.

Each entry of `PRUNED` starts from a dense checkpoint of the course, keeps the channels with the largest L1 norms and
trains what is left. To make one again: `train_pruned_checkpoint("LeNet300100-pruned-80-40")`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from utils.arguments import require_module
from utils.checkpoints import how_it_went
from utils.data import Split, load
from utils.models import LeNet5, LeNet300100, load_checkpoint, save_checkpoint
from utils.narrowing import keep_best, shrink_lenet5, shrink_lenet300100
from utils.pruning import group_scores
from utils.runtime import pick_device, seed_everything
from utils.training import Recipe, cross_entropy, fit, logits

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

TEMPERATURE = 2.0
"""By which the logits of teacher and student are divided in the distillation."""


def kept_channels(dense: nn.Module, arguments: Mapping[str, object], *, n: float = 1) -> dict[str, torch.Tensor]:
    """Return the outputs that stay in each layer but the last: those with the largest L_n norms, in their order.

    Args:
        dense: a LeNet5 or LeNet300100.
        arguments: widths of the narrow network, as its constructor takes them.
        n: of the norm; see `pruning.group_scores`.

    Returns:
        indices by name of the layer, in the order of the layers.

    Raises:
        TypeError: `dense` is another network.
        ValueError: a width is larger than the dense one.

    >>> {name: len(kept) for name, kept in kept_channels(LeNet300100(), {"hidden": (64, 32)}).items()}
    {'fc1': 64, 'fc2': 32}
    """
    if isinstance(dense, LeNet5):
        widths = dict(zip(("conv1", "conv2", "fc1"), (*arguments["channels"], arguments["hidden"]), strict=True))
    elif isinstance(dense, LeNet300100):
        widths = dict(zip(("fc1", "fc2"), arguments["hidden"], strict=True))
    else:
        raise TypeError(f"dense must be a LeNet5 or a LeNet300100, got {type(require_module('dense', dense)).__name__}")
    return {
        name: keep_best(group_scores(dense.get_submodule(name).weight, n=n), width) for name, width in widths.items()
    }


def remove_channels(dense: nn.Module, kept: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the narrow network with only the channels that `kept_channels` names.

    Raises:
        TypeError, ValueError: see `narrowing.shrink_lenet5` and `narrowing.shrink_lenet300100`.
    """
    shrink = shrink_lenet5 if isinstance(dense, LeNet5) else shrink_lenet300100
    return shrink(dense, *kept.values())


def answers_of(teacher: nn.Module, images: torch.Tensor) -> Split:
    """Return the images with the teacher's logits, of shape (N, classes), in place of labels: for `follow_answers`.

    >>> answers_of(LeNet300100(), torch.zeros(2, 1, 28, 28)).labels.shape
    torch.Size([2, 10])
    """
    return Split(images, logits(teacher, images).cpu())


def follow_answers(model: nn.Module, images: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Return the loss T^2 KL(answers / T || logits / T), where the answers are the teacher's logits.

    The teacher is asked once about each image, before training, and not again about every shifted copy as in
    `training.distillation`: that spares its forward pass in every step.

    >>> same = follow_answers(nn.Identity(), torch.eye(10), torch.eye(10))
    >>> abs(round(same.item(), 6))
    0.0
    """
    student, teacher = F.log_softmax(model(images) / TEMPERATURE, dim=1), F.log_softmax(answers / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


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
