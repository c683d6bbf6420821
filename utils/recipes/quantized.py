"""How the quantized networks in `data/checkpoints/` were made, for notebook 10: long quantization-aware training.

Each is trained through its quantizers and stored as it is deployed: integers packed to their bits, and a scale for each
output channel.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import nn

from utils.checkpoint_files import CHECKPOINTS, checkpoint_card
from utils.datasets import load
from utils.environment import library_versions, pick_device, seed_everything
from utils.models import LeNet300100, LiteNetCNN, NormedMLP, load_checkpoint, save_checkpoint
from utils.qat import BinaryWeight, LearnedScale, Quantizer, TernaryWeight, calibrate, clip_weights, convert, prepare
from utils.training import Recipe, cross_entropy, distillation, evaluate, fit

NOTEBOOK = "10"

SEED = 0

FOLDER = CHECKPOINTS / "quantized"
"""Where they lie: apart from the float ones, as `models.load_checkpoint` alone does not know their form."""

CALIBRATION_IMAGES = 500
"""Of the training split, to set the first ranges of the activations."""


@dataclass(frozen=True, kw_only=True)
class QuantizedRecipe:
    """How one quantized network is made.

    Args:
        network: makes the float network, with its first weights.
        source: name of the checkpoint that training starts from; "" for the first weights.
        weight, activation: what `qat.prepare` takes.
        training: how it is trained.
        teacher: name of the checkpoint whose answers it follows beside the labels.
        clip: weights are held in [-clip, clip] after each step; None for no limit.
    """

    network: Callable[[], nn.Module]
    source: str
    weight: Callable[[int], Quantizer]
    activation: Callable[[], Quantizer] | None
    training: Recipe
    teacher: str
    clip: float | None = None


def four_bit_weight(channels: int) -> LearnedScale:
    """Make a quantizer of 4 bits with one learned scale for each output channel."""
    return LearnedScale(4, channels)


def four_bit_activation() -> LearnedScale:
    """Make a quantizer of 4 bits, from 0 to 15, with a learned scale."""
    return LearnedScale(4)


def eight_bit_activation() -> LearnedScale:
    """Make a quantizer of 8 bits, from 0 to 255, with a learned scale."""
    return LearnedScale(8)


def plain_sign(channels: int) -> BinaryWeight:
    """Make a quantizer to -1 and +1, whose scale is left to the batch norm behind the layer."""
    return BinaryWeight(channels, scaled=False)


def binary_mlp() -> NormedMLP:
    """Make the 784 - 512 - 512 - 512 - 10 network with first weights drawn evenly from [-0.1, 0.1]."""
    network = NormedMLP(512)
    for layer in network.layers:
        nn.init.uniform_(layer.weight, -0.1, 0.1)
    return network


RECIPES = {
    "LiteNetCNN-4-bit": QuantizedRecipe(
        network=LiteNetCNN,
        source="LiteNetCNN",
        weight=four_bit_weight,
        activation=four_bit_activation,
        training=Recipe(epochs=6, batch_size=256, learning_rate=1e-3, shift=1),
        teacher="LiteNetCNN",
    ),
    "LiteNetCNN-ternary": QuantizedRecipe(
        network=LiteNetCNN,
        source="LiteNetCNN",
        weight=TernaryWeight,
        activation=eight_bit_activation,
        training=Recipe(epochs=15, batch_size=256, learning_rate=3e-3, shift=1),
        teacher="LiteNetCNN",
    ),
    "LeNet300100-ternary": QuantizedRecipe(
        network=LeNet300100,
        source="LeNet300100",
        weight=TernaryWeight,
        activation=eight_bit_activation,
        training=Recipe(epochs=25, batch_size=256, learning_rate=1.5e-3, shift=1),
        teacher="LeNet300100",
    ),
    "NormedMLP-binary": QuantizedRecipe(
        network=binary_mlp,
        source="",
        weight=plain_sign,
        activation=None,
        training=Recipe(epochs=50, learning_rate=3e-3, shift=1),
        teacher="LeNet300100",
        clip=1.0,
    ),
}
"""Learning rates and epochs were chosen on validation."""

MINUTES = {"LiteNetCNN-4-bit": 2, "LiteNetCNN-ternary": 6, "LeNet300100-ternary": 2, "NormedMLP-binary": 14}


def quantized_form(name: str) -> nn.Module:
    """Return a network of the form that is stored under `name`, not filled yet, to load the checkpoint into."""
    recipe = RECIPES[name]
    return convert(prepare(recipe.network(), weight=recipe.weight, activation=recipe.activation))


def load_quantized_checkpoint(name: str) -> nn.Module:
    """Load a shipped quantized network: packed integers, evaluation mode.

    >>> load_quantized_checkpoint("LiteNetCNN-ternary").conv1.weight_integers().unique().tolist()
    [-1, 0, 1]
    """
    checkpoint_card(name, folder=FOLDER)  # first: it names an unknown checkpoint, and those that there are
    return load_checkpoint(name, model=quantized_form(name), folder=FOLDER)


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads."""
    recipe = RECIPES[name]
    return tuple(dict.fromkeys(source for source in (recipe.source, recipe.teacher) if source))


def train(name: str) -> dict[str, object]:
    """Train a network, convert it to integers, write its checkpoint and card, and return what the card says.

    The epoch is chosen on validation; the test split is looked at once, for the card, by the converted network.
    """
    recipe = RECIPES[name]
    splits = load()
    device = pick_device()
    seed_everything(SEED)
    network = load_checkpoint(recipe.source) if recipe.source else recipe.network()
    model = prepare(network, weight=recipe.weight, activation=recipe.activation).to(device)
    calibrate(model, splits.train.images[:CALIBRATION_IMAGES])
    loss = distillation(load_checkpoint(recipe.teacher).to(device)) if recipe.teacher else cross_entropy
    hook = None if recipe.clip is None else clip_weights(model, recipe.clip)
    history = fit(model, splits.train, recipe.training, validation=splits.validation, loss=loss, after_step=hook)
    converted = convert(copy.deepcopy(model).cpu())
    about = {
        "source": recipe.source,
        "teacher": recipe.teacher,
        "weight": repr(recipe.weight(1)),
        "activation": None if recipe.activation is None else repr(recipe.activation()),
        "clip": recipe.clip,
        "seed": SEED,
        "recipe": asdict(recipe.training),
        "best_epoch": history.best_epoch + 1,
        "validation_accuracy": evaluate(converted, splits.validation).accuracy,
        "test_accuracy": evaluate(converted, splits.test).accuracy,
        "versions": library_versions(),
    }
    save_checkpoint(converted, name, folder=FOLDER, **about)
    return about
