"""The fourth experiment of notebook 19: the repair at once, and statistics that are taken block by block.

`python -m utils experiments 19_repairs` writes `data/experiments/19_repairs.jsonl`, further rows of the same form as
those of `experiment_19_one_shot`, with the same draws of calibration text and the same stretches to judge:

- Wanda's mask, repaired at once, with all patterns and with 4 bits; SparseGPT's mask, repaired at once, at 70 %;
- Wanda, SparseGPT and Wanda's mask repaired at once, as their programs go: from the first block to the last, each with
  the inputs that it has when the blocks before it are pruned already.

Nothing is trained. Interrupted, the same command goes on.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch

from utils import language_models, pruning, quantization, sparsegpt, surgeon, transformer, weight_only
from utils import transformer_pruning as pruned
from utils.experiment_files import complete, digest_of
from utils.quantization import clipped_half_grid
from utils.recipes import experiment_19_one_shot as one_shot
from utils.recipes.experiment_19_one_shot import GROUP, PATTERNS, SEEDS
from utils.transformer import LANGUAGE, Transformer
from utils.weight_only import WeightOnly

NAME = "19_repairs"

MINUTES = 10

BITS = "repaired at once, then rounded"
"""Half of the weights in 4 bits: a row of pattern "bits"."""


def wanda_scores(weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Return |w| times the root mean square of the weight's input."""
    return weight.abs() * moment.diagonal().sqrt().float()


def wanda(pattern: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Prune each row of a matrix by Wanda's score."""
    return weight * one_shot.choice(pattern, rows=True)(wanda_scores(weight, moment))


def wanda_at_once(pattern: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Prune as `wanda`, and give what stays the values of least squares."""
    mask = one_shot.choice(pattern, rows=True)(wanda_scores(weight, moment))
    return surgeon.repair(weight, mask, moment.float())


def sparse(pattern: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Prune by SparseGPT."""
    return sparsegpt.sparsegpt(weight, moment, one_shot.choice(pattern))


def sparse_at_once(pattern: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Prune as `sparse`, and give what stays the values of least squares."""
    return surgeon.repair(weight, sparse(pattern, weight, moment) != 0, moment.float())


def of_the_whole(prune: Callable, pattern: str, seed: int) -> Transformer:
    """Prune with the statistics of the whole network."""
    seen = one_shot.statistics(seed)
    return pruned.prune_blocks(one_shot.network(), lambda name, weight: prune(pattern, weight, seen[name].moment))


def block_by_block(prune: Callable, pattern: str, seed: int) -> Transformer:
    """Prune with statistics that are taken anew for each block."""
    batches = one_shot.calibration(seed)[0].split(8)
    return pruned.prune_block_by_block(
        one_shot.network(), batches, lambda _, weight, moment: prune(pattern, weight, moment)
    )


METHODS: dict[str, Callable[[str, int], Transformer]] = {
    "Wanda's mask, at once": partial(of_the_whole, wanda_at_once),
    "Wanda, block by block": partial(block_by_block, wanda),
    "SparseGPT, block by block": partial(block_by_block, sparse),
    "Wanda's mask, at once, block by block": partial(block_by_block, wanda_at_once),
    "SparseGPT's mask, at once": partial(of_the_whole, sparse_at_once),
}


FEWER = {
    "Wanda's mask, at once, block by block": ("30 %", "50 %", "60 %", "70 %"),
    "SparseGPT's mask, at once": ("50 %", "70 %"),
}
"""Patterns of the methods that were not tried with all of them."""


def at_once_then_round(seed: int) -> WeightOnly:
    """Prune half by Wanda's score, repair at once, then round to 4 bits by GPTQ with the zeros held."""
    seen, grid = one_shot.statistics(seed), partial(clipped_half_grid, bits=4)

    def form(name: str, weight: torch.Tensor) -> sparsegpt.SparseGroupedWeight:
        moment = seen[name].moment
        mask = one_shot.wanda_mask("50 %", seed, name, weight)
        columns = iter(mask.split(sparsegpt.COLUMNS, dim=1))
        values = surgeon.repair(weight, mask, moment.float())
        return sparsegpt.sparse_gptq(values, moment, lambda _: next(columns), grid, group_size=GROUP)

    return one_shot.in_codes(form)


# --- the table --------------------------------------------------------------------------------------------------------


def make(wanted: dict) -> Transformer:
    """Return the pruned network of a row."""
    method, pattern, seed = wanted["method"], wanted["pattern"], wanted["seed"]
    return at_once_then_round(seed).model if method == BITS else METHODS[method](pattern, seed)


def conditions() -> list[dict]:
    """List method, pattern and seed of every row; what `experiment_19_one_shot` has at 50 % stands there."""
    rows = [(BITS, "bits", seed) for seed in SEEDS]
    for name in METHODS:
        patterns = [
            pattern for pattern in FEWER.get(name, PATTERNS) if name not in one_shot.METHODS or pattern != "50 %"
        ]
        rows += [(name, pattern, seed) for pattern in patterns for seed in SEEDS]
    return [dict(zip(("method", "pattern", "seed"), row, strict=True)) for row in rows]


def digest() -> str:
    """Return a digest of what the rows depend on: this module and the first experiment's, the library's pruning, the
    shipped network.
    """
    code = (
        sys.modules[__name__], one_shot, sparsegpt, surgeon.repair, surgeon.second_moment, transformer.Transformer,
        transformer.Block, transformer.Attention, transformer.FeedForward, language_models.evaluate_text,
        language_models.strided_windows, weight_only.input_statistics, pruning.mask_by_score, pruning.mask_each_row,
        pruning.n_of_m_mask, pruned.prune_blocks, pruned.prune_block_by_block, quantization.clipped_half_grid,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{one_shot.CHECKPOINT}.safetensors"])


def run() -> str:
    """Measure what the table lacks, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: one_shot.nats_by_part(make(wanted)), result="nats")
