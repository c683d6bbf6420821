"""How the controls of a low-rank network in `data/checkpoints/` were made, for notebook 06: its training, other shapes.

The cut network is trained on with shifted images and a teacher. Here the dense network has the same training, and so
has a narrow network with as many parameters as the cut one. All three start from the weights of the dense checkpoint,
so that what remains between them is the shape. A fairer rival, of neurons that data chose as they chose the directions
of the cut, is made here, too, and a second layer that is fitted to what arrives; `experiment_06_chosen_neurons` trains
both, for fewer epochs.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict

import torch
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


def chosen_neurons(dense: nn.Module, count: int, *, fitted: bool = True) -> nn.Module:
    """Return LeNet300100 with so many neurons in its first layer, chosen by data; the second may be fitted to them."""
    images = load().train.images[: low_rank.CALIBRATION_IMAGES].flatten(1)
    kept, second = fewer_inputs(dense.fc2, dense.fc1(images).relu().detach(), count)
    narrow = copy.deepcopy(dense)
    narrow.fc1 = narrow_linear(dense.fc1, outputs=kept)
    narrow.fc2 = second if fitted else narrow_linear(dense.fc2, inputs=kept)
    return narrow


@torch.no_grad()
def fit_second_layer(cut: nn.Module, dense: nn.Module) -> nn.Module:
    """Fit `fc2` of a LeNet300100 whose `fc1` was cut, by least squares, to what the dense network's `fc2` gives.

    Both see the images that the directions of a cut come from. What arrives need not have the full rank: directions
    below a millionth of the largest eigenvalue of its moments are left out. Changes `cut` and returns it.
    """
    images = load().train.images[: low_rank.CALIBRATION_IMAGES].flatten(1)
    arriving, wanted = cut.fc1(images).relu().double(), dense.fc2(dense.fc1(images).relu()).double()
    x, y = arriving - arriving.mean(dim=0), wanted - wanted.mean(dim=0)
    best = torch.linalg.lstsq(x.T @ x, x.T @ y, rcond=1e-6, driver="gelsd").solution.T  # (outputs, inputs)
    cut.fc2.weight.copy_(best)
    cut.fc2.bias.copy_(wanted.mean(dim=0) - best @ arriving.mean(dim=0))
    return cut


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
