"""How the low-rank network in `data/checkpoints/` was made, for notebook 06: a data-aware cut, then long training.

The file holds an ordinary LeNet300100 whose first weight is the product of the two trained factors, so that it loads
like any other; `low_rank.split_linear` at the same rank finds factors again that lose nothing. To make it again:
`train_low_rank_checkpoint("LeNet300100-rank-21")`.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from utils.datasets import Examples, load
from utils.environment import library_versions, pick_device, seed_everything
from utils.low_rank import input_moment, merge_layers, split_layers, split_linear
from utils.models import load_checkpoint, save_checkpoint
from utils.training import Recipe, evaluate, follow_answers, move, moved_answers, rise_then_cosine

SEED = 0


@dataclass(frozen=True, kw_only=True)
class LowRankRecipe:
    """How one low-rank network is made.

    Args:
        source: name of the dense checkpoint.
        layer: name of the linear layer that takes the images, which is cut.
        rank: to which it is cut.
        teacher: name of the checkpoint whose answers it learns.
        training: how it is trained.
    """

    source: str
    layer: str
    rank: int
    teacher: str
    training: Recipe


LOW_RANK = {
    "LeNet300100-rank-21": LowRankRecipe(
        source="LeNet300100",
        layer="fc1",
        rank=21,
        teacher="LeNet5",
        training=Recipe(epochs=300, batch_size=256, learning_rate=3e-3, weight_decay=0.02, warm_up=0.05, shift=2),
    )
}
"""The shipped networks by name. Teacher, learning rate, shift and epochs were chosen on validation."""

CALIBRATION_IMAGES = 5000
"""Of the training split, for the directions of the data-aware cut."""


def follow_moved_answers(
    model: nn.Module,
    images: torch.Tensor,
    answers: torch.Tensor,
    recipe: Recipe,
    validation: Examples | None = None,
    *,
    after_step: Callable[[int], None] | None = None,
) -> float:
    """Train `model` in place to give the teacher's answers to moved images; return the best validation accuracy.

    The loss is `recipes.narrow.follow_answers`. The weights of the best epoch stay, of equals the last one.

    Args:
        model: the student.
        images: shape (N, 1, 28, 28).
        answers: from `moved_answers`, for the distance that `recipe.shift` names.
        recipe: how to train.
        validation: what to choose the epoch by; without it the last weights stay, and 0 is returned.
        after_step: called after each update with the number of the step, as in `training.fit`.
    """
    device = next(model.parameters()).device
    images, answers = images.to(device), answers.to(device)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(images) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rise_then_cosine(step, steps, recipe.warm_up))
    best, weights = 0.0, copy.deepcopy(model.state_dict())
    step = itertools.count()
    for _ in range(recipe.epochs):
        model.train()
        ways = torch.randint(len(answers), (len(images),), generator=generator).to(device)
        moved, wanted = move(images, recipe.shift, ways), answers[ways, torch.arange(len(images), device=device)]
        for chosen in torch.randperm(len(images), generator=generator).to(device).split(recipe.batch_size):
            loss = follow_answers(model, moved[chosen], wanted[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step(next(step))
        if validation is not None and (accuracy := evaluate(model, validation).accuracy) >= best:
            best, weights = accuracy, copy.deepcopy(model.state_dict())
    if validation is not None:
        model.load_state_dict(weights)
    model.eval()
    return best


def train_low_rank_checkpoint(name: str) -> dict[str, object]:
    """Cut a layer of a dense network, train the rest by its recipe, write the merged network and its card.

    The epoch is chosen on validation; the test split is looked at once, for the card.

    Returns:
        What the card says beside the digest: source, layer, rank, teacher, seed, training, accuracies, versions.

    Raises:
        ValueError: there is no recipe of that name.
    """
    if name not in LOW_RANK:
        raise ValueError(f"there is no recipe for {name!r}; there are: {', '.join(LOW_RANK)}")
    recipe, splits, device = LOW_RANK[name], load(), pick_device()
    seed_everything(SEED)
    dense, teacher = load_checkpoint(recipe.source), load_checkpoint(recipe.teacher).to(device)
    moment = input_moment(splits.train.images[:CALIBRATION_IMAGES].flatten(1))
    model = split_layers(
        dense, {recipe.layer: recipe.rank}, split=lambda layer, k: split_linear(layer, k, moment=moment)
    )
    images, training = splits.train.images, recipe.training
    answers = moved_answers(teacher, images, training.shift).cpu()
    validation_accuracy = follow_moved_answers(model.to(device), images, answers, training, splits.validation)
    merged = merge_layers(model.cpu())
    about = {
        "source": recipe.source,
        "layer": recipe.layer,
        "rank": recipe.rank,
        "teacher": recipe.teacher,
        "seed": SEED,
        "recipe": {**vars(recipe.training)},
        "validation_accuracy": validation_accuracy,
        "test_accuracy": evaluate(merged, splits.test).accuracy,
        "versions": library_versions(),
    }
    save_checkpoint(merged, name, **about)
    return about
