"""The fifth experiment of notebook 19: 70 % of the weights gone, but not as many from each block (OWL).

`python -m utils experiments 19_shares` writes `data/experiments/19_shares.jsonl`, further rows of the same form as
those of `experiment_19_one_shot`, with the same draws of calibration text and the same stretches to judge. Wanda and
SparseGPT leave more to the blocks that have more outliers among Wanda's scores. The control turns the shares round:
the blocks with more outliers lose more. Nothing is trained. Interrupted, the same command goes on.

Source: Yin et al., "Outlier Weighed Layerwise Sparsity (OWL)", 2024, with its M = 5 and lambda = 0.08; not tuned here.
"""

import functools
from functools import partial

import torch

from utils import language_models, pruning, sparsegpt, surgeon, transformer, weight_only
from utils import transformer_pruning as pruned
from utils.experiment_files import complete, digest_of
from utils.pruning import mask_by_score, mask_each_row
from utils.recipes import experiment_19_one_shot as one_shot
from utils.recipes.experiment_19_one_shot import SEEDS
from utils.transformer import LANGUAGE, Transformer

NAME = "19_shares"

MINUTES = 2

OUTLIER, REACH = 5.0, 0.08
"""M: a score of over M times the mean of its matrix is an outlier. Lambda: the shares kept reach over 2 lambda."""

PATTERN = "70 %"

METHODS = ("Wanda, OWL", "SparseGPT, OWL", "Wanda, OWL turned round", "SparseGPT, OWL turned round")


@functools.cache
def outliers(seed: int) -> tuple[float, ...]:
    """Return for each block which share of its scores are outliers, the mean taken over the block."""
    layers = pruned.block_layers(one_shot.network())
    scores: dict[str, list[torch.Tensor]] = {}
    for name, layer in layers.items():
        found = one_shot.wanda_score(seed, name, layer.weight.detach())
        scores.setdefault(name.split(".")[1], []).append(found.flatten())
    return tuple((both > OUTLIER * both.mean()).double().mean().item() for both in map(torch.cat, scores.values()))


def shares_gone(seed: int, *, turned_round: bool = False) -> list[float]:
    """Return the sparsity of each block; their mean is that of the pattern, as all blocks are of one size."""
    found = torch.tensor(outliers(seed), dtype=torch.float64)
    kept = 2 * REACH * (found - found.min()) / (found.max() - found.min())
    kept = kept - kept.mean()
    return (float(PATTERN[:-2]) / 100 - (-kept if turned_round else kept)).tolist()


def make(wanted: dict) -> Transformer:
    """Return the pruned network of a row."""
    method, seed = wanted["method"], wanted["seed"]
    shares = shares_gone(seed, turned_round=method.endswith("turned round"))
    seen = one_shot.statistics(seed)

    def prune(name: str, weight: torch.Tensor) -> torch.Tensor:
        sparsity = shares[int(name.split(".")[1])]
        if method.startswith("Wanda"):
            return weight * mask_each_row(one_shot.wanda_score(seed, name, weight), sparsity)
        return sparsegpt.sparsegpt(weight, seen[name].moment, partial(mask_by_score, sparsity=sparsity))

    return pruned.prune_blocks(one_shot.network(), prune)


def conditions() -> list[dict]:
    """List method, pattern and seed of every row."""
    return [{"method": method, "pattern": PATTERN, "seed": seed} for method in METHODS for seed in SEEDS]


def digest() -> str:
    """Return a digest of what a row depends on: the shares, the first experiment's module, the library's pruning, the
    shipped network.
    """
    code = (
        outliers, shares_gone, make, one_shot, sparsegpt, surgeon.second_moment, transformer.Transformer,
        transformer.Block, transformer.Attention, transformer.FeedForward, language_models.evaluate_text,
        language_models.strided_windows, weight_only.input_statistics, pruning.mask_by_score, pruning.mask_each_row,
        pruned.prune_blocks,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{one_shot.CHECKPOINT}.safetensors"])


def run() -> str:
    """Measure what the table lacks, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: one_shot.nats_by_part(make(wanted)), result="nats")
