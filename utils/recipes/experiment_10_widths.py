"""The long experiment of notebook 10: rounding, training through it, and the same training without it, at every width.

`python -m utils experiments 10_widths` writes `data/experiments/10_widths.jsonl`: the error on validation in per cent
for five networks on digits and three on clothes. Interrupted, the same command goes on from there. The learning rate is
that of the 4-bit network in `quantized` and was not tuned for the table; the test split is not read.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from utils import datasets, qat, training
from utils.experiment_files import complete, digest_of
from utils.models import LiteNetCNN
from utils.recipes.quantization_starts import FOLDER, RECIPES, SEEDS, SHIFT, load_start
from utils.training import Recipe, distillation, evaluate, fit

NAME = "10_widths"

MINUTES = 6

TRAIN_IMAGES = 10_000
"""Of the training split, for each training here."""

CALIBRATION_IMAGES = 500
"""Of the training split, to set the first ranges of the activations."""

Scheme = tuple[Callable[[int], qat.Quantizer], Callable[[], qat.Quantizer]]
"""What `qat.prepare` takes: a quantizer of weights and one of activations."""

SCHEMES: dict[str, Scheme] = {
    f"{bits} bits": (partial(qat.LearnedScale, bits), partial(qat.LearnedScale, bits)) for bits in (8, 4, 3, 2)
}
"""Weights and inputs of every layer in so many bits, with learned scales."""

MEASURED = {"mnist": ("8 bits", "4 bits", "3 bits", "2 bits"), "fashion_mnist": ("4 bits", "3 bits", "2 bits")}
"""The schemes measured on each data set."""

ROUNDED, THROUGH, TWIN = "rounded", "trained through the rounding", "trained on in float, then rounded"

FLOAT = "float"
"""The scheme that rounds nothing: under `ROUNDED` the network as it was, under `TWIN` as it is after training on."""


def recipe(data_set: str, seed: int) -> Recipe:
    """Return how every network here is trained on, through a rounding or not."""
    return Recipe(epochs=2, batch_size=64, learning_rate=1e-3, shift=SHIFT[data_set], seed=seed)


@functools.cache
def _splits(data_set: str) -> datasets.Splits:
    return datasets.load(data_set)


def rounded(network: nn.Module, data_set: str, scheme: str) -> nn.Module:
    """Return a copy of the network quantized after training: first scales of least squared error, nothing trained."""
    if scheme == FLOAT:
        return network
    weight, activation = SCHEMES[scheme]
    prepared = qat.prepare(network, weight=weight, activation=activation)
    qat.calibrate(prepared, _splits(data_set).train.images[:CALIBRATION_IMAGES])
    return prepared


def train_on(network: nn.Module, data_set: str, seed: int) -> nn.Module:
    """Train a network in place, rounded or float, with the float network it came from as its teacher; return it."""
    loss = distillation(load_start(data_set, seed))
    fit(network, _splits(data_set).train.take(TRAIN_IMAGES), recipe(data_set, seed), loss=loss)
    return network


@functools.cache
def trained_on(data_set: str, seed: int) -> nn.Module:
    """Return the float twin: what the same training makes of the network without any rounding."""
    return train_on(copy.deepcopy(load_start(data_set, seed)), data_set, seed)


def error_of(data_set: str, seed: int, scheme: str, way: str) -> float:
    """Return the error on validation, in per cent, of one network at one width after one of the three ways."""
    network = rounded(trained_on(data_set, seed) if way == TWIN else load_start(data_set, seed), data_set, scheme)
    if way == THROUGH:
        train_on(network, data_set, seed)
    return 100 * (1 - evaluate(network, _splits(data_set).validation).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order."""
    for data_set, schemes in MEASURED.items():
        for seed in SEEDS[data_set]:
            for way in (ROUNDED, TWIN):
                yield {"data_set": data_set, "seed": seed, "scheme": FLOAT, "way": way}
            for scheme in schemes:
                for way in (ROUNDED, THROUGH, TWIN):
                    yield {"data_set": data_set, "seed": seed, "scheme": scheme, "way": way}


def digest() -> str:
    """Return a digest of what the rows depend on: the experiment, the layers and the loop, and the networks."""
    code = [recipe, rounded, train_on, trained_on, error_of, LiteNetCNN, Recipe, fit, distillation, training._batches]
    code += [training.shift, training.random_shifts, training.rise_then_cosine, qat.prepare, qat.calibrate]
    code += [qat.Quantizer, qat.LearnedScale, qat.smallest_error_scale, training.cross_entropy]
    code += [qat.fake_quantize, qat.rounded_parameters, qat.FakeQuantizedLinear, qat.FakeQuantizedConv2d]
    return digest_of(code, [FOLDER / f"{name}.safetensors" for name in RECIPES])


def run() -> str:
    """Measure what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: error_of(**wanted))
