"""The experiment of notebook 08: even grids and codebooks at counted bytes, on six networks that differ in their seed.

`python -m utils experiments 08_grids_and_codebooks` trains LiteNetMLP with five further seeds, rounds the weights of
all six in each form at 2, 3 and 4 bits, and writes `data/experiments/08_grids_and_codebooks.jsonl`. Nothing is trained
after rounding, and only the validation split is looked at.
"""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from utils import accounting, datasets, quantization, training
from utils.checkpoint_files import CHECKPOINTS
from utils.environment import library_versions, seed_everything
from utils.experiment_files import digest_of, write_experiment
from utils.models import build, load_checkpoint
from utils.quantization import clipped_half_grid, codebook, in_groups, out_of_groups, parameters_for, round_to_grid
from utils.recipes import dense

NAME = "08_grids_and_codebooks"

MINUTES = 12

MODEL = "LiteNetMLP"

SEEDS = range(6)

BITS = (4, 3, 2)


class Form(NamedTuple):
    """A way to store a weight in codes of `bits` bits."""

    rounded: Callable[[torch.Tensor, int], torch.Tensor]
    """Of a weight and `bits`: what comes back."""
    overhead: Callable[[torch.Tensor, int], int]
    """Of a weight and `bits`: bits beside the codes; scales and entries are float16, zero points have `bits` bits."""


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


def _parts(weight: torch.Tensor, size: int | None) -> torch.Tensor:
    return weight.reshape(1, -1) if size is None else in_groups(weight, min(size, weight[0].numel()))


def best_codebook(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Round to the better of two codebooks: k-means from equally spaced values, and from quantiles; float16 entries."""
    share = (torch.arange(2**bits) + 0.5) / 2**bits
    ordered = values.flatten().sort().values
    quantiles = ordered[(share * len(ordered)).long()]
    found = [codebook(values, bits=bits, iterations=200, start=start) for start in (None, quantiles)]
    rounded = [each.entries.half().float()[each.codes.long()] for each in found]
    return min(rounded, key=lambda each: (values - each).double().square().sum().item())


def _over_the_range(weight: torch.Tensor, bits: int) -> torch.Tensor:
    return round_to_grid(weight, parameters_for(weight, bits=bits))


FORMS: Mapping[str, Form] = {
    "one grid over the range": Form(_over_the_range, lambda weight, bits: 16 + bits),
    "one grid that clips": _grid(None),
    "one codebook": _codebooks(None),
    "a grid per row": _grid(10**9),
    "a grid per 64": _grid(64),
    "codebooks, 16 entries a row": _codebooks(16),
    "a grid per 32": _grid(32),
}


def count_bytes(model: nn.Module, form: str, bits: int) -> int:
    """Count the bytes of all weights in a form: codes, scales, zero points, entries; biases are not counted."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    more = (FORMS[form].overhead(weight, bits) for weight in weights)
    return sum(accounting.packed_bytes(w.numel(), bits) + -(-each // 8) for w, each in zip(weights, more, strict=True))


def measure(model: nn.Module, form: str, bits: int, validation: datasets.Examples) -> dict[str, float]:
    """Round a network's weights in a form; return bits a weight, decibels of fc1, and the error in per cent."""
    rounded = copy.deepcopy(model)
    quantization.replace_weights(rounded, lambda weight: FORMS[form].rounded(weight, bits))
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    size = count_bytes(model, form, bits)
    decibels = quantization.signal_to_noise_db(model.fc1.weight, rounded.fc1.weight)
    error = 100 * (1 - training.evaluate(rounded, validation).accuracy)
    return {"bytes": size, "per_weight": 8 * size / weights, "decibels": decibels, "error": error}


def network(seed: int) -> nn.Module:
    """Return the dense network of a seed: the shipped one for 0, and else one trained by the same recipe."""
    if seed == 0:
        return load_checkpoint(MODEL)
    splits = datasets.load("mnist")
    seed_everything(seed)
    model = build(MODEL)
    training.fit(model, splits.train, replace(dense.RECIPES[MODEL], seed=seed), validation=splits.validation)
    return model


def digest() -> str:
    """Return a digest of what the rows depend on: this module, quantization, training, the shipped network."""
    code = (
        Form, _grid, _codebooks, _parts, best_codebook, _over_the_range, count_bytes, measure, network,
        quantization.QuantizationParameters, quantization.integer_range, quantization.parameters_from_range,
        quantization.quantize, quantization.dequantize, quantization.minmax_range, quantization.mse_range,
        quantization.in_groups, quantization.out_of_groups, quantization.clipped_half_grid,
        quantization.nearest, quantization.codebook, training.fit, training.Recipe, training.rise_then_cosine,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / f"{MODEL}.safetensors"])


def run() -> str:
    """Train the networks, round them in every form, write the table, and return a line that says how much it holds."""
    began = time.perf_counter()
    validation = datasets.load("mnist").validation
    rows = []
    for seed in SEEDS:
        model = network(seed)
        dense_error = 100 * (1 - training.evaluate(model, validation).accuracy)
        rows.append({"seed": seed, "form": "float32", "bits": 32, "error": round(dense_error, 4)})
        for bits in BITS:
            for form in FORMS:
                found = {name: round(value, 4) for name, value in measure(model, form, bits, validation).items()}
                rows.append({"seed": seed, "form": form, "bits": bits, **found})
    minutes = round((time.perf_counter() - began) / 60, 1)
    write_experiment(NAME, {"digest": digest(), "versions": library_versions(), "minutes": minutes}, rows)
    return f"{NAME}: {len(rows)} rows, {minutes} minutes"
