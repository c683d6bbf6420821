"""The experiment of notebook 08: even grids and codebooks at counted bytes, on networks that differ in their seed.

`python -m utils experiments 08_grids_and_codebooks` trains LiteNetMLP with ten seeds, 4 epochs each, rounds the
weights of these and of the shipped network in each form at 2, 3 and 4 bits, and writes
`data/experiments/08_grids_and_codebooks.jsonl`. Nothing is trained after rounding. All is measured on validation; at
the end the form that errs least on the ten, one for each width, is read on the test split once.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from utils import accounting, datasets, quantization, training
from utils.checkpoint_files import CHECKPOINTS
from utils.environment import library_versions, seed_everything
from utils.experiment_files import digest_of, write_experiment
from utils.models import build, load_checkpoint
from utils.quantization import (
    SMALLEST_HALF,
    clipped_half_grid,
    codebook,
    in_groups,
    nearest,
    out_of_groups,
    parameters_for,
    round_to_grid,
    ternary,
)
from utils.recipes import dense

NAME = "08_grids_and_codebooks"

MINUTES = 10

MODEL = "LiteNetMLP"

LAYERS = ("fc1", "fc2")

CLASSES = 10
"""The rows of the last layer."""

SEEDS = range(11)
"""0 is the shipped network, which a notebook can measure again; the others are trained here."""

EPOCHS = 4
"""Of each training, 4 of the shipped network's 30, so that there is time for ten."""

CALIBRATION_IMAGES = 2000
"""Of the training split, whose outputs are compared before and after rounding."""

BITS = (4, 3, 2)


class Form(NamedTuple):
    """A way to store a weight in codes of `bits` bits."""

    rounded: Callable[[torch.Tensor, int], torch.Tensor]
    """Of a weight and `bits`: what comes back."""
    overhead: Callable[[torch.Tensor, int], int]
    """Of a weight and `bits`: bits beside the codes; scales and entries are float16, zero points have `bits` bits."""
    bits: tuple[int, ...] = BITS
    """The widths that it is measured at."""


def _grid(size: int | None) -> Form:
    """Return the form with an affine grid that may clip for each `size` neighbours, or for the whole weight."""

    def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
        rows = _parts(weight, size)
        return out_of_groups(round_to_grid(rows, clipped_half_grid(rows, bits=bits)), weight.shape)

    return Form(rounded, lambda weight, bits: len(_parts(weight, size)) * (16 + bits))


def _codebooks(entries: int | None) -> Form:
    """Return the form with so many entries for each row, as many codebooks as that makes, or one for the weight."""

    def parts(weight: torch.Tensor, bits: int) -> torch.Tensor:
        size = None if entries is None else -(-weight[0].numel() * 2**bits // entries)
        return _parts(weight, size)

    def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
        return out_of_groups(torch.stack([best_codebook(part, bits) for part in parts(weight, bits)]), weight.shape)

    return Form(rounded, lambda weight, bits: len(parts(weight, bits)) * 2**bits * 16)


def _scaled_codebook(size: int) -> Form:
    """Return the form with one codebook for the weight, and a scale for each `size` neighbours, as in NF4."""

    def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
        return out_of_groups(best_scaled_codebook(weight, bits, size), weight.shape)

    return Form(rounded, lambda weight, bits: 16 * (len(in_groups(weight, size)) + 2**bits))


def _ternary(hidden: int | None, last: int | None) -> Form:
    """Return the form with three values in two bits, with one scale (None) or one a row (0) in each of the layers."""

    def axis(weight: torch.Tensor) -> int | None:
        return last if len(weight) == CLASSES else hidden

    def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
        codes, scale = ternary(weight, axis(weight))
        return codes * scale.half().float()

    return Form(rounded, lambda weight, bits: 16 * (1 if axis(weight) is None else len(weight)), bits=(2,))


def _parts(weight: torch.Tensor, size: int | None) -> torch.Tensor:
    return weight.reshape(1, -1) if size is None else in_groups(weight, min(size, weight[0].numel()))


def best_codebook(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Round to the better of two codebooks: k-means from equally spaced values, and from quantiles; float16 entries."""
    share = (torch.arange(2**bits) + 0.5) / 2**bits
    ordered = values.flatten().sort().values
    quantiles = ordered[(share * len(ordered)).long()]
    found = [codebook(values, bits=bits, iterations=80, start=start) for start in (None, quantiles)]
    rounded = [each.entries.half().float()[each.codes.long()] for each in found]
    return min(rounded, key=lambda each: (values - each).double().square().sum().item())


def best_scaled_codebook(weight: torch.Tensor, bits: int, size: int, rounds: int = 40) -> torch.Tensor:
    """Round groups of neighbours to entries that all share, times a scale of the group; return the groups, rounded.

    Entries and scales are each the best for the others' sake in turn (least squares), from two starts: scales are the
    largest magnitudes, entries equally spaced from -1 to 1 or at quantiles. The better of the two; all in float16.
    """
    groups = in_groups(weight, size)
    real = in_groups(torch.ones_like(weight), size)  # 0 where a last group was filled
    largest = groups.abs().amax(dim=1, keepdim=True).clamp(min=SMALLEST_HALF)
    share = (torch.arange(2**bits) + 0.5) / 2**bits
    ordered = (groups / largest)[real > 0].sort().values
    found = []
    for start in (torch.linspace(-1.0, 1.0, 2**bits), ordered[(share * len(ordered)).long()]):
        scale, entries = largest, start
        for _ in range(rounds):
            codes = nearest(groups / scale, entries)
            flat, mass = codes.flatten(), (real * scale.square()).double().flatten()
            total = torch.bincount(flat, (scale * groups).double().flatten(), minlength=2**bits)
            mass = torch.bincount(flat, mass, minlength=2**bits)
            entries = torch.where(mass > 0, total / mass, entries).float().sort().values
            chosen = real * entries[nearest(groups / scale, entries)]
            best = (groups * chosen).sum(dim=1, keepdim=True) / chosen.square().sum(dim=1, keepdim=True)
            scale = torch.where(best > SMALLEST_HALF, best, scale)
        scale, entries = scale.half().float(), entries.half().float()
        found.append(real * scale * entries[nearest(groups / scale, entries)])
    return min(found, key=lambda each: (groups - each).double().square().sum().item())


def _over_the_range(weight: torch.Tensor, bits: int) -> torch.Tensor:
    return round_to_grid(weight, parameters_for(weight, bits=bits))


FORMS: Mapping[str, Form] = {
    "one grid over the range": Form(_over_the_range, lambda weight, bits: 16 + bits),
    "one grid that clips": _grid(None),
    "one codebook": _codebooks(None),
    "a grid per row": _grid(10**9),
    "a grid per 64": _grid(64),
    "codebooks, 16 entries a row": _codebooks(16),
    "one codebook, scales per 56": _scaled_codebook(56),
    "a grid per 32": _grid(32),
    "ternary": _ternary(None, None),
    "ternary, per row in fc1": _ternary(0, None),
    "ternary, per row in fc2": _ternary(None, 0),
    "ternary, per row": _ternary(0, 0),
}


def count_bytes(model: nn.Module, form: str, bits: int) -> int:
    """Count the bytes of all weights in a form: codes, scales, zero points, entries; biases are not counted."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    more = (FORMS[form].overhead(weight, bits) for weight in weights)
    return sum(accounting.packed_bytes(w.numel(), bits) + -(-each // 8) for w, each in zip(weights, more, strict=True))


def rounded_network(model: nn.Module, form: str, bits: int) -> nn.Module:
    """Return a copy of a network with its weights rounded in a form."""
    rounded = copy.deepcopy(model)
    quantization.replace_weights(rounded, lambda weight: FORMS[form].rounded(weight, bits))
    return rounded


def measure(model: nn.Module, form: str, bits: int, splits: datasets.Splits) -> dict[str, float]:
    """Round a network's weights in a form; return what it takes, how far it is off, and how often it errs.

    "bytes" and "per_weight", bits a weight, count all; "error" is on validation, in per cent. The rest are
    signal-to-noise ratios in decibels, for each layer of its "weights" and of its "outputs" for the inputs that it has
    in the network in float, 10 log10 of tr(W C W^T) / tr(dW C dW^T) with their second moment C; and of the "logits".
    """
    rounded = rounded_network(model, form, bits)
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    size = count_bytes(model, form, bits)
    found = {"bytes": size, "per_weight": 8 * size / weights}
    images = splits.train.images[:CALIBRATION_IMAGES]
    for name, (inputs, _) in quantization.observe(model, LAYERS, [images]).items():
        before, after = (each.get_submodule(name).weight.detach() for each in (model, rounded))
        x = inputs.flatten(1)
        found[f"weights_{name}"] = quantization.signal_to_noise_db(before, after)
        found[f"outputs_{name}"] = quantization.signal_to_noise_db(x @ before.T, x @ after.T)
    with torch.no_grad():
        found["logits"] = quantization.signal_to_noise_db(model(images), rounded(images))
    return found | {"error": error_of(rounded, splits.validation)}


def error_of(model: nn.Module, split: datasets.Examples) -> float:
    """Return the error of a network in per cent."""
    return 100 * (1 - training.evaluate(model, split).accuracy)


def network(seed: int) -> nn.Module:
    """Return the dense network of a seed: the shipped one for 0, and else one trained by its recipe in fewer epochs."""
    if seed == 0:
        return load_checkpoint(MODEL)
    splits = datasets.load("mnist")
    seed_everything(seed)
    model = build(MODEL)
    recipe = replace(dense.RECIPES[MODEL], seed=seed, epochs=EPOCHS)
    training.fit(model, splits.train, recipe, validation=splits.validation)
    return model


def best_forms(rows: Sequence[Mapping]) -> dict[int, str]:
    """Return for each width the form with the least mean error on validation; the shipped network has no say."""
    best = {}
    for bits in BITS:
        errors = {
            form: [row["error"] for row in rows if (row["form"], row["bits"]) == (form, bits) and row["seed"] > 0]
            for form in FORMS
            if bits in FORMS[form].bits
        }
        best[bits] = min(errors, key=lambda form: sum(errors[form]))
    return best


def digest() -> str:
    """Return a digest of what the rows depend on: this module, quantization, training, the shipped network."""
    code = (
        Form, _grid, _codebooks, _scaled_codebook, _ternary, _parts, best_codebook, best_scaled_codebook,
        _over_the_range, count_bytes, rounded_network, measure, error_of, network, best_forms, run,
        quantization.QuantizationParameters, quantization.integer_range, quantization.parameters_from_range,
        quantization.quantize, quantization.dequantize, quantization.minmax_range, quantization.mse_range,
        quantization.in_groups, quantization.out_of_groups, quantization.clipped_half_grid, quantization.ternary,
        quantization.nearest, quantization.codebook, training.fit, training.Recipe, training.rise_then_cosine,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / f"{MODEL}.safetensors"])


def run() -> str:
    """Train the networks, round them in every form, write the table, and return a line that says how much it holds."""
    began = time.perf_counter()
    splits = datasets.load("mnist")
    rows = []
    models = {seed: network(seed) for seed in SEEDS}
    for seed, model in models.items():
        error = round(error_of(model, splits.validation), 4)
        rows.append({"seed": seed, "form": "float32", "bits": 32, "error": error})
        for bits in BITS:
            for form in FORMS:
                if bits in FORMS[form].bits:
                    found = {name: round(value, 4) for name, value in measure(model, form, bits, splits).items()}
                    rows.append({"seed": seed, "form": form, "bits": bits, **found})
    best = best_forms(rows)
    for row in rows:  # once, after the choice
        model = models[row["seed"]]
        if row["form"] == "float32":
            row["test"] = round(error_of(model, splits.test), 4)
        elif row["form"] == best[row["bits"]]:
            row["test"] = round(error_of(rounded_network(model, row["form"], row["bits"]), splits.test), 4)
    minutes = round((time.perf_counter() - began) / 60, 1)
    write_experiment(NAME, {"digest": digest(), "versions": library_versions(), "minutes": minutes}, rows)
    return f"{NAME}: {len(rows)} rows, {minutes} minutes"
