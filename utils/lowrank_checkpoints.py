"""How the low-rank network in `data/checkpoints/` was made, for notebook 06: a data-aware cut, then long training.

The file holds an ordinary LeNet300100 whose first weight is the product of the two trained factors, so that it loads
like any other; `lowrank.split_linear` at the same rank finds factors again that lose nothing. To make it again:
`train_low_rank_checkpoint("LeNet300100-rank-21")`.
"""

import copy
from dataclasses import dataclass

from torch import nn

from utils.data import Split, load
from utils.lowrank import LowRankLinear, input_moment, split_layers, split_linear
from utils.models import load_checkpoint, save_checkpoint
from utils.pruned_checkpoints import follow_answers
from utils.runtime import library_versions, pick_device, seed_everything
from utils.training import Recipe, evaluate, fit, logits

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
        training=Recipe(epochs=80, batch_size=256, learning_rate=3e-3, weight_decay=0.02, shift=1),
    )
}
"""The shipped networks by name. Teacher, learning rate and epochs were chosen on validation."""


def merge_layers(model: nn.Module) -> nn.Module:
    """Return a copy in which every `LowRankLinear` is one linear layer again, with the product as its weight.

    >>> merge_layers(nn.Sequential(LowRankLinear(6, 4, 2)))
    Sequential(
      (0): Linear(in_features=6, out_features=4, bias=True)
    )
    """
    merged = copy.deepcopy(model)
    for name, module in model.named_modules():
        if isinstance(module, LowRankLinear):
            merged.set_submodule(name, module.merged())
    return merged.train(model.training)


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
    moment = input_moment(splits.train.images.flatten(1))
    model = split_layers(
        dense, {recipe.layer: recipe.rank}, split=lambda layer, k: split_linear(layer, k, moment=moment)
    )
    answers = Split(splits.train.images, logits(teacher, splits.train.images).cpu())
    history = fit(model.to(device), answers, recipe.training, validation=splits.validation, loss=follow_answers)
    merged = merge_layers(model.cpu())
    about = {
        "source": recipe.source,
        "layer": recipe.layer,
        "rank": recipe.rank,
        "teacher": recipe.teacher,
        "seed": SEED,
        "recipe": {**vars(recipe.training)},
        "validation_accuracy": history.validation_accuracy[history.best_epoch],
        "test_accuracy": evaluate(merged, splits.test).accuracy,
        "versions": library_versions(),
    }
    save_checkpoint(merged, name, **about)
    return about
