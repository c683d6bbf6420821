"""How the low-rank networks in `data/checkpoints/` were made, for notebook 06: a data-aware cut, then long training.

A file holds an ordinary LeNet300100 whose first weight is the product of the two trained factors, so that it loads
like any other; `low_rank.split_linear` at the same rank finds factors again that lose nothing.
"""

from dataclasses import asdict, dataclass, replace

from utils.datasets import load
from utils.environment import library_versions, pick_device, seed_everything
from utils.low_rank import input_moment, merge_layers, split_layers, split_linear
from utils.models import load_checkpoint, save_checkpoint
from utils.training import Recipe, evaluate, fit, follow_answers, shifted_answers

NOTEBOOK = "06"

SEED = 0


@dataclass(frozen=True, kw_only=True)
class LowRankRecipe:
    """How one low-rank network is made.

    Args:
        source: name of the dense checkpoint.
        layer: name of the linear layer that takes the images, which is cut.
        rank: to which it is cut.
        teacher: name of the checkpoint whose answers to shifted images it learns.
        training: how it is trained.
    """

    source: str
    layer: str
    rank: int
    teacher: str
    training: Recipe


LONG = LowRankRecipe(
    source="LeNet300100",
    layer="fc1",
    rank=21,
    teacher="LeNet5",
    training=Recipe(epochs=300, batch_size=256, learning_rate=3e-3, weight_decay=0.02, warm_up=0.05, shift=2),
)
"""Teacher, learning rate, shift and epochs were chosen on validation."""

RECIPES = {
    "LeNet300100-rank-21": LONG,
    "LeNet300100-compared-rank-21": replace(LONG, training=replace(LONG.training, epochs=100)),
}
"""The second is the twin of `recipes.low_rank_controls`: the same, for as many epochs as those are trained."""

MINUTES = {"LeNet300100-rank-21": 12, "LeNet300100-compared-rank-21": 4}

CALIBRATION_IMAGES = 5000
"""Of the training split, for the directions of the data-aware cut."""


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads."""
    return (RECIPES[name].source, RECIPES[name].teacher)


def train(name: str) -> dict[str, object]:
    """Cut a layer of a dense network, train on, write the merged network and its card; return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    recipe = RECIPES[name]
    splits = load()
    device = pick_device()
    seed_everything(SEED)
    dense = load_checkpoint(recipe.source)
    moment = input_moment(splits.train.images[:CALIBRATION_IMAGES].flatten(1))
    model = split_layers(
        dense, {recipe.layer: recipe.rank}, split=lambda layer, k: split_linear(layer, k, moment=moment)
    )
    teacher = load_checkpoint(recipe.teacher).to(device)
    answers = shifted_answers(teacher, splits.train.images, recipe.training.shift)
    model = model.to(device)
    history = fit(model, answers, recipe.training, validation=splits.validation, loss=follow_answers)
    merged = merge_layers(model.cpu())
    about = {
        "source": recipe.source,
        "layer": recipe.layer,
        "rank": recipe.rank,
        "teacher": recipe.teacher,
        "seed": SEED,
        "recipe": asdict(recipe.training),
        "validation_accuracy": history.validation_accuracy[history.best_epoch],
        "test_accuracy": evaluate(merged, splits.test).accuracy,
        "versions": library_versions(),
    }
    save_checkpoint(merged, name, **about)
    return about
