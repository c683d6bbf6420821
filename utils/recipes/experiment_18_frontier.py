"""The experiment of notebook 18: what rounding the shipped transformer's matrices costs, method by method.

`python -m utils experiments 18_frontier` rounds them with every method at 4, 3 and 2 bits and writes
`data/experiments/18_frontier.jsonl`. Nothing is trained. What is calibrated is calibrated on three draws of 8,192
characters of the training part; all is judged on the whole validation part, cut into twenty stretches, so that two
methods can be compared stretch by stretch. The test part is not read.
"""

import functools
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from utils import gptq as gptq_module
from utils import language_models, quantization, rescaling, surgeon, transformer, weight_only
from utils.characters import load_shakespeare, windows
from utils.environment import library_versions
from utils.experiment_files import digest_of, write_experiment
from utils.gptq import gptq, gptq_in_turn
from utils.quantization import clipped_half_grid
from utils.transformer import LANGUAGE, Transformer, load_transformer
from utils.weight_only import (
    GridChoice,
    InputStatistics,
    WeightOnly,
    input_statistics,
    minmax_half_grid,
    round_linear_layers,
    round_to_nearest,
)

NAME = "18_frontier"

MINUTES = 20

CHECKPOINT = "Shakespeare-transformer"

GROUP = 64
"""Columns that share a scale and a zero point: 4.37, 3.35 and 2.33 bits a weight in this network; 48 are 4.49, 3.46 and
2.44."""

WINDOWS, LENGTH = 32, 256
"""Of calibration, drawn from the training part."""

SEEDS = range(3)
"""Of that draw, of rotations and of shuffles."""

PARTS = 20
"""Stretches of the validation part."""


@functools.cache
def network() -> Transformer:
    """Return the network that all methods round."""
    return load_transformer(CHECKPOINT)


def calibration(seed: int, *, of_text: bool = True) -> torch.Tensor:
    """Draw calibration windows, shape (32, 256): of the training part, or evenly of all characters."""
    generator = torch.Generator().manual_seed(seed)
    if not of_text:
        return torch.randint(len(load_shakespeare().vocabulary.characters), (WINDOWS, LENGTH), generator=generator)
    return windows(load_shakespeare().train, LENGTH, WINDOWS, generator)[0]


@functools.cache
def statistics(seed: int, of_text: bool = True) -> dict[str, InputStatistics]:
    """Return the statistics of the network's inputs for one draw."""
    return input_statistics(network(), calibration(seed, of_text=of_text).split(8))


# --- methods ----------------------------------------------------------------------------------------------------------


def nearest(model: Transformer, bits: int, *, size: int | None, choose: Callable = clipped_half_grid) -> WeightOnly:
    """Round each weight to the nearest value: `size` columns share a grid, or a row where it is None."""
    grid: GridChoice = partial(choose, bits=bits)
    return round_linear_layers(model, lambda _, weight: round_to_nearest(weight, grid, group_size=size))


def per_tensor(model: Transformer, bits: int) -> WeightOnly:
    """Round each weight to the nearest value of one grid for its matrix."""
    grid: GridChoice = partial(minmax_half_grid, bits=bits)
    return round_linear_layers(model, lambda _, weight: round_to_nearest(weight.view(1, -1), grid))


def repaired(
    model: Transformer,
    bits: int,
    seen: dict[str, InputStatistics],
    *,
    size: int | None = GROUP,
    activation_order: bool = False,
) -> WeightOnly:
    """Round with GPTQ."""
    grid: GridChoice = partial(clipped_half_grid, bits=bits)
    return round_linear_layers(
        model,
        lambda name, weight: gptq(weight, seen[name].moment, grid, group_size=size, activation_order=activation_order),
    )


def in_turn(bits: int, seed: int, size: int) -> WeightOnly:
    """Round with GPTQ layer after layer, each for what the rounded layers before it make."""
    return gptq_in_turn(network(), calibration(seed), partial(clipped_half_grid, bits=bits), group_size=size)


def with_awq(bits: int, seed: int) -> Transformer:
    """Return the network with AWQ's factors moved, not yet rounded."""
    grid: GridChoice = partial(minmax_half_grid, bits=bits)
    factors, _ = rescaling.awq_factors(
        network(), statistics(seed), lambda weight: round_to_nearest(weight, grid, group_size=GROUP).dequantize()
    )
    return rescaling.rescale(network(), factors)


def rotated(seed: int, make: Callable[[int, torch.Generator], torch.Tensor]) -> Transformer:
    """Return the network with the sum between its blocks rotated, not yet rounded."""
    width = network().embedding.embedding_dim
    return rescaling.rotate_channels(network(), make(width, torch.Generator().manual_seed(seed)))


def seen_by(model: Transformer, seed: int) -> dict[str, InputStatistics]:
    """Return the statistics of a changed network's own inputs."""
    return input_statistics(model, calibration(seed).split(8))


def shuffled(rounded: WeightOnly, seed: int) -> WeightOnly:
    """Return the same codes in another order within each row: the same bytes and another network."""
    generator = torch.Generator().manual_seed(seed)

    def shuffle(name: str, _: torch.Tensor) -> weight_only.GroupedWeight:
        codes = rounded.stored[name].codes
        return rounded.stored[name]._replace(codes=codes[:, torch.randperm(codes.shape[1], generator=generator)])

    return round_linear_layers(rounded.model, shuffle)


class Method(NamedTuple):
    """A way to round the network, as a function of bits and seed; at which bits; whether the seed changes anything."""

    round: Callable[[int, int], WeightOnly]
    bits: tuple[int, ...] = (4, 3, 2)
    drawn: bool = False


METHODS: dict[str, Method] = {
    "nearest, a matrix": Method(lambda bits, _: per_tensor(network(), bits), (8, 4, 3, 2)),
    "nearest, a row": Method(
        lambda bits, _: nearest(network(), bits, size=None, choose=minmax_half_grid), (8, 4, 3, 2)
    ),
    "nearest, 64, min-max": Method(lambda bits, _: nearest(network(), bits, size=GROUP, choose=minmax_half_grid)),
    "nearest, 64": Method(lambda bits, _: nearest(network(), bits, size=GROUP)),
    "GPTQ, a row": Method(lambda bits, seed: repaired(network(), bits, statistics(seed), size=None), drawn=True),
    "GPTQ, 64": Method(lambda bits, seed: repaired(network(), bits, statistics(seed)), drawn=True),
    "GPTQ, 64, in order": Method(
        lambda bits, seed: repaired(network(), bits, statistics(seed), activation_order=True), drawn=True
    ),
    "GPTQ, 48": Method(lambda bits, seed: repaired(network(), bits, statistics(seed), size=48), drawn=True),
    "GPTQ in turn, 64": Method(lambda bits, seed: in_turn(bits, seed, GROUP), drawn=True),
    "GPTQ in turn, 48": Method(lambda bits, seed: in_turn(bits, seed, 48), drawn=True),
    "AWQ, 64": Method(lambda bits, seed: nearest(with_awq(bits, seed), bits, size=GROUP), drawn=True),
    "AWQ and GPTQ, 64": Method(
        lambda bits, seed: repaired(model := with_awq(bits, seed), bits, seen_by(model, seed)), drawn=True
    ),
    "rotated, nearest, 64": Method(
        lambda bits, seed: nearest(rotated(seed, rescaling.random_rotation), bits, size=GROUP), drawn=True
    ),
    "Hadamard, nearest, 64": Method(
        lambda bits, seed: nearest(rotated(seed, rescaling.block_hadamard), bits, size=GROUP), drawn=True
    ),
    "rotated, GPTQ, 64": Method(
        lambda bits, seed: repaired(model := rotated(seed, rescaling.random_rotation), bits, seen_by(model, seed)),
        drawn=True,
    ),
    "NF4, 64": Method(lambda *_: round_linear_layers(network(), lambda _, w: weight_only.nf4(w)), (4,)),
    "MXFP4": Method(lambda *_: round_linear_layers(network(), lambda _, w: weight_only.mxfp4(w)), (4,)),
    "FP8, a row": Method(lambda *_: round_linear_layers(network(), lambda _, w: weight_only.fp8(w)), (8,)),
    "GPTQ, random characters": Method(
        lambda bits, seed: repaired(network(), bits, statistics(seed, False)), drawn=True
    ),
    "GPTQ, codes shuffled": Method(
        lambda bits, seed: shuffled(repaired(network(), bits, statistics(seed)), seed), drawn=True
    ),
}
"""By name; the last two are controls, and so is each "nearest"."""


# --- the table --------------------------------------------------------------------------------------------------------


def nats_by_part(model: Transformer) -> list[float]:
    """Return the nats a character of each of twenty stretches of the validation part, in windows side by side."""
    parts = load_shakespeare().validation.tensor_split(PARTS)
    return [round(language_models.evaluate_text(model, part, stride=LENGTH).nats, 5) for part in parts]


def measured(method: str, bits: int, seed: int) -> dict[str, object]:
    """Round the network and return its row: bytes of the matrices, bits a weight, nats of each stretch."""
    rounded = METHODS[method].round(bits, seed)
    return {
        "method": method,
        "bits": bits,
        "seed": seed,
        "bytes": rounded.nbytes,
        "per_weight": round(rounded.bits_per_weight, 4),
        "nats": nats_by_part(rounded.model),
    }


def conditions() -> list[tuple[str, int, int]]:
    """List method, bits and seed of every row but that of float32, which stands first."""
    return [
        (name, bits, seed)
        for name, method in METHODS.items()
        for bits in method.bits
        for seed in (SEEDS if method.drawn else (0,))
    ]


def digest() -> str:
    """Return a digest of what the rows depend on: this module, the library's rounding, the shipped network."""
    code = (
        sys.modules[__name__], gptq_module, rescaling, weight_only, surgeon.second_moment, transformer.Transformer,
        transformer.Block, transformer.Attention, transformer.FeedForward, language_models.evaluate_text,
        language_models.strided_windows, quantization.mse_range, quantization.parameters_from_range,
        quantization.clipped_half_grid, quantization.quantize, quantization.in_groups, quantization.out_of_groups,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{CHECKPOINT}.safetensors"])


def run() -> str:
    """Round with every method, write the table, and return a line that says how much it holds."""
    began = time.perf_counter()
    rows = [{"method": "float32", "bits": 32, "seed": 0, "nats": nats_by_part(network())}]
    rows += [measured(*condition) for condition in conditions()]
    minutes = round((time.perf_counter() - began) / 60, 1)
    write_experiment(NAME, {"digest": digest(), "versions": library_versions(), "minutes": minutes}, rows)
    return f"{NAME}: {len(rows)} rows, {minutes} minutes"
