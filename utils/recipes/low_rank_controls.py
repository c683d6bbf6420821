"""How the controls of a low-rank network in `data/checkpoints/` were made, for notebook 06: its training, other shapes.

The cut network is trained on with shifted images and a teacher. Here the dense network has the same training, and so
has a narrow network with as many parameters as the cut one. All three start from the weights of the dense checkpoint,
so that what remains between them is the shape. A fairer rival, of neurons that data chose as they chose the directions
of the cut, is made here, too; `experiment_06_chosen_neurons` trains it, for fewer epochs.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict

from torch import nn

from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import load_checkpoint, save_checkpoint
from utils.recipes import low_rank
from utils.recipes.dense import training_facts
from utils.structured_pruning import fewer_inputs, kept_channels, narrow_linear, remove_channels
from utils.training import fit, follow_answers, shifted_answers

NOTEBOOK = "06"

TWIN = "LeNet300100-compared-rank-21"
"""The low-rank network whose training they share."""

RECIPES: dict[str, Mapping[str, object]] = {
    "LeNet300100-compared-dense": {},
    "LeNet300100-compared-narrow": {"hidden": (60, 100)},
}
"""The arguments of the constructor; with fewer neurons, those with the largest L1 norms stay."""

MINUTES = {"LeNet300100-compared-dense": 5, "LeNet300100-compared-narrow": 4}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads."""
    return low_rank.needs(TWIN)


def chosen_neurons(dense: nn.Module, count: int) -> nn.Module:
    """Return LeNet300100 with so many neurons in its first layer, chosen by data; the second is fitted to them."""
    images = load().train.images[: low_rank.CALIBRATION_IMAGES].flatten(1)
    kept, fitted = fewer_inputs(dense.fc2, dense.fc1(images).relu().detach(), count)
    narrow = copy.deepcopy(dense)
    narrow.fc1, narrow.fc2 = narrow_linear(dense.fc1, outputs=kept), fitted
    return narrow


def train(name: str) -> dict[str, object]:
    """Train on as the low-rank twin was, write the checkpoint and its card, and return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card.
    """
    twin, arguments = low_rank.RECIPES[TWIN], RECIPES[name]
    splits = load()
    device = pick_device()
    seed_everything(low_rank.SEED)
    model = load_checkpoint(twin.source)
    if arguments:
        model = remove_channels(model, kept_channels(model, arguments))
    model = model.to(device)
    teacher = load_checkpoint(twin.teacher).to(device)
    answers = shifted_answers(teacher, splits.train.images, twin.training.shift)
    history = fit(model, answers, twin.training, validation=splits.validation, loss=follow_answers)
    about = {
        "twin": TWIN,
        "source": twin.source,
        "arguments": dict(arguments),
        "teacher": twin.teacher,
        "seed": low_rank.SEED,
        "recipe": asdict(twin.training),
        "last_validation_accuracy": history.validation_accuracy[-1],
        **training_facts(model, history, splits),
    }
    save_checkpoint(model, name, **about)
    return about
