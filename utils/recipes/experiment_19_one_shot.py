"""The first experiment of notebook 19: what pruning costs without retraining, method by method.

`python -m utils experiments 19_one_shot` prunes the blocks of the shipped transformer with every method and writes
`data/experiments/19_one_shot.jsonl`. Nothing is trained. What is calibrated is calibrated on five draws of 8,192
characters of the training part; all is judged on twenty stretches of 640 characters, spread evenly over the validation
part. The test part is not read. Interrupted, the same command goes on.
"""

import functools
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from utils import gptq, language_models, pruning, quantization, sparsegpt, surgeon, transformer, weight_only
from utils import transformer_pruning as pruned
from utils.characters import load_shakespeare, windows
from utils.experiment_files import complete, digest_of
from utils.pruning import mask_by_score, mask_each_row, n_of_m_mask
from utils.quantization import clipped_half_grid
from utils.sparsegpt import MaskChoice
from utils.transformer import LANGUAGE, Transformer, load_transformer
from utils.weight_only import InputStatistics, Stored, WeightOnly, input_statistics

NAME = "19_one_shot"

MINUTES = 15

CHECKPOINT = "Shakespeare-transformer"

WINDOWS, LENGTH = 32, 256
"""Of calibration, drawn from the training part."""

SEEDS = range(5)
"""Of that draw, and of random masks."""

PARTS, JUDGED = 20, 640
"""Stretches of the validation part, and characters of each."""

PATTERNS = ("30 %", "50 %", "60 %", "70 %", "2:4")
"""Shares of zeros in each matrix of the blocks; 2:4 keeps two of each four neighbours."""

GROUP = 64
"""Columns that share a scale where weights are rounded, too."""


@functools.cache
def network() -> Transformer:
    """Return the network that all methods prune."""
    return load_transformer(CHECKPOINT)


def calibration(seed: int, *, of_text: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw calibration windows and what comes next, (32, 256) each: of the training part, or evenly of all letters."""
    generator = torch.Generator().manual_seed(seed)
    if not of_text:
        drawn = torch.randint(len(load_shakespeare().vocabulary.characters), (WINDOWS, LENGTH + 1), generator=generator)
        return drawn[:, :-1], drawn[:, 1:]
    return windows(load_shakespeare().train, LENGTH, WINDOWS, generator)


@functools.cache
def statistics(seed: int, of_text: bool = True) -> dict[str, InputStatistics]:
    """Return the statistics of the network's inputs for one draw."""
    return input_statistics(network(), calibration(seed, of_text=of_text)[0].split(8))


@functools.cache
def gradients(seed: int) -> dict[str, torch.Tensor]:
    """Return the mean squared gradients for one draw."""
    return pruned.mean_squared_gradients(network(), *calibration(seed))


@functools.cache
def removal_costs(seed: int) -> dict[str, torch.Tensor]:
    """Return the diagonal of the inverse moment of each layer's inputs."""
    layers = pruned.block_layers(network())
    return {name: torch.linalg.inv(statistics(seed)[name].moment).diagonal().float() for name in layers}


# --- methods ----------------------------------------------------------------------------------------------------------


def choice(pattern: str, *, rows: bool = False) -> MaskChoice:
    """Return what chooses a mask from scores: in a whole matrix, in each row, or in each four neighbours."""
    if pattern == "2:4":
        return n_of_m_mask
    return partial(mask_each_row if rows else mask_by_score, sparsity=float(pattern[:-2]) / 100)


def by_score(score: Callable[[str, torch.Tensor], torch.Tensor], choose: MaskChoice) -> Transformer:
    """Keep what has the highest scores, and leave its values as they were."""
    return pruned.prune_blocks(network(), lambda name, weight: weight * choose(score(name, weight)))


def at_random(pattern: str, seed: int) -> Transformer:
    """Prune at random."""
    generator = torch.Generator().manual_seed(seed)
    return by_score(lambda _, weight: torch.rand(weight.shape, generator=generator), choice(pattern))


def wanda_score(seed: int, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return |w| times the root mean square of the weight's input."""
    return weight.abs() * statistics(seed)[name].moment.diagonal().sqrt().float()


def wanda(pattern: str, seed: int) -> Transformer:
    """Prune each row by Wanda's score."""
    return by_score(partial(wanda_score, seed), choice(pattern, rows=True))


def wanda_mask(pattern: str, seed: int, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return which weights Wanda keeps."""
    return choice(pattern, rows=True)(wanda_score(seed, name, weight))


def sparsegpt_mask(pattern: str, seed: int, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return which weights SparseGPT keeps."""
    return sparsegpt.sparsegpt(weight, statistics(seed)[name].moment, choice(pattern)) != 0


def at_once(mask: Callable[[str, torch.Tensor], torch.Tensor], seed: int) -> Transformer:
    """Give what stays in a row the values of least squares, all at once."""

    def prune(name: str, weight: torch.Tensor) -> torch.Tensor:
        return surgeon.repair(weight, mask(name, weight), statistics(seed)[name].moment.float())

    return pruned.prune_blocks(network(), prune)


def left_to_right(mask: Callable[[str, torch.Tensor], torch.Tensor], seed: int) -> Transformer:
    """Repair as SparseGPT does, but with a mask that is given."""

    def prune(name: str, weight: torch.Tensor) -> torch.Tensor:
        columns = iter(mask(name, weight).split(sparsegpt.COLUMNS, dim=1))
        return sparsegpt.sparsegpt(weight, statistics(seed)[name].moment, lambda _: next(columns))

    return pruned.prune_blocks(network(), prune)


def repaired(pattern: str, seed: int, *, of_text: bool = True) -> Transformer:
    """Prune by SparseGPT."""
    seen, choose = statistics(seed, of_text), choice(pattern)
    return pruned.prune_blocks(network(), lambda name, weight: sparsegpt.sparsegpt(weight, seen[name].moment, choose))


# --- fewer bits, too --------------------------------------------------------------------------------------------------


def in_codes(form: Callable[[str, torch.Tensor], Stored]) -> WeightOnly:
    """Return the network with what `form(name, weight)` stands for in its blocks."""
    stored: dict[str, Stored] = {}

    def keep(name: str, weight: torch.Tensor) -> torch.Tensor:
        stored[name] = form(name, weight)
        return stored[name].dequantize()

    return WeightOnly(pruned.prune_blocks(network(), keep), stored)


def joint(seed: int) -> WeightOnly:
    """Prune half and round to 4 bits in one go."""
    seen, choose = statistics(seed), choice("50 %")
    grid = partial(clipped_half_grid, bits=4)
    return in_codes(
        lambda name, weight: sparsegpt.sparse_gptq(weight, seen[name].moment, choose, grid, group_size=GROUP)
    )


def prune_then_round(seed: int) -> WeightOnly:
    """Prune half by SparseGPT; then round to 4 bits by GPTQ, which repairs only what has stayed."""
    seen, choose = statistics(seed), choice("50 %")
    grid = partial(clipped_half_grid, bits=4)

    def form(name: str, weight: torch.Tensor) -> Stored:
        moment = seen[name].moment
        sparse = sparsegpt.sparsegpt(weight, moment, choose)
        mask = sparse != 0
        columns = iter(mask.split(sparsegpt.COLUMNS, dim=1))
        return sparsegpt.sparse_gptq(sparse, moment, lambda _: next(columns), grid, group_size=GROUP)

    return in_codes(form)


def round_then_prune(seed: int) -> WeightOnly:
    """Round to 4 bits by GPTQ; then prune half of the codes by Wanda: nothing can be repaired on the grid any more."""
    seen, choose = statistics(seed), choice("50 %", rows=True)
    grid = partial(clipped_half_grid, bits=4)

    def form(name: str, weight: torch.Tensor) -> Stored:
        rounded = gptq.gptq(weight, seen[name].moment, grid, group_size=GROUP)
        return sparsegpt.SparseGroupedWeight(choose(wanda_score(seed, name, rounded.dequantize())), rounded)

    return in_codes(form)


def three_bits(seed: int) -> WeightOnly:
    """Round to 3 bits by GPTQ, none pruned: about the bytes of half of the weights in 4 bits and a mask."""
    seen, grid = statistics(seed), partial(clipped_half_grid, bits=3)
    return in_codes(lambda name, weight: gptq.gptq(weight, seen[name].moment, grid, group_size=GROUP))


class Method(NamedTuple):
    """A way to prune, as a function of pattern and seed; with which patterns; whether the seed changes anything."""

    prune: Callable[[str, int], Transformer]
    patterns: tuple[str, ...] = PATTERNS
    drawn: bool = True


HALF = ("50 %",)

METHODS: dict[str, Method] = {
    "magnitude": Method(lambda pattern, _: by_score(lambda _, weight: weight.abs(), choice(pattern)), drawn=False),
    "Wanda": Method(wanda),
    "SparseGPT": Method(repaired),
    "Wanda's mask, left to right": Method(
        lambda pattern, seed: left_to_right(partial(wanda_mask, pattern, seed), seed), HALF
    ),
    "Wanda's mask, at once": Method(lambda pattern, seed: at_once(partial(wanda_mask, pattern, seed), seed), HALF),
    "SparseGPT's mask, at once": Method(
        lambda pattern, seed: at_once(partial(sparsegpt_mask, pattern, seed), seed), HALF
    ),
    "OBD": Method(
        lambda pattern, seed: by_score(lambda name, weight: weight.square() * gradients(seed)[name], choice(pattern)),
        HALF,
    ),
    "OBS prices, no repair": Method(
        lambda pattern, seed: by_score(
            lambda name, weight: weight.square() / removal_costs(seed)[name], choice(pattern, rows=True)
        ),
        HALF,
    ),
    "random": Method(at_random, HALF),
    "SparseGPT on random characters": Method(lambda pattern, seed: repaired(pattern, seed, of_text=False), HALF),
}
"""By name; the last two are controls, and so is magnitude."""

FEW_BITS: dict[str, Callable[[int], WeightOnly]] = {
    "pruned and rounded together": joint,
    "pruned, then rounded": prune_then_round,
    "rounded, then pruned": round_then_prune,
    "3 bits, not pruned": three_bits,
}
"""Half of the weights in 4 bits with a mask, in three orders, and none pruned in 3 bits: rows of pattern "bits"."""


# --- the table --------------------------------------------------------------------------------------------------------


def nats_by_part(model: Transformer) -> list[float]:
    """Return the nats a character of each of twenty stretches of the validation part, in windows side by side."""
    parts = [part[: JUDGED + 1] for part in load_shakespeare().validation.tensor_split(PARTS)]
    return [round(language_models.evaluate_text(model, part, stride=LENGTH).nats, 5) for part in parts]


def make(wanted: dict) -> Transformer:
    """Return the pruned network of a row."""
    method, pattern, seed = wanted["method"], wanted["pattern"], wanted["seed"]
    if method == "dense":
        return network()
    return FEW_BITS[method](seed).model if pattern == "bits" else METHODS[method].prune(pattern, seed)


def conditions() -> list[dict]:
    """List method, pattern and seed of every row."""
    rows = [("dense", "0 %", 0)]
    for name, method in METHODS.items():
        rows += [(name, pattern, seed) for pattern in method.patterns for seed in (SEEDS if method.drawn else (0,))]
    rows += [(name, "bits", seed) for name in FEW_BITS for seed in SEEDS]
    return [dict(zip(("method", "pattern", "seed"), row, strict=True)) for row in rows]


def digest() -> str:
    """Return a digest of what the rows depend on: this module, the library's pruning, the shipped network."""
    code = (
        sys.modules[__name__], sparsegpt, gptq.gptq, surgeon.repair, surgeon.second_moment, transformer.Transformer,
        transformer.Block, transformer.Attention, transformer.FeedForward, language_models.evaluate_text,
        language_models.strided_windows, weight_only.input_statistics, pruning.mask_by_score, pruning.mask_each_row,
        pruning.n_of_m_mask, pruned.prune_blocks, pruned.mean_squared_gradients,
        quantization.clipped_half_grid,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{CHECKPOINT}.safetensors"])


def run() -> str:
    """Measure what the table lacks, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: nats_by_part(make(wanted)), result="nats")
