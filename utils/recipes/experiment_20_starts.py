"""The third experiment of notebook 20: is it the directions that PiSSA starts from, or the size of its start?

`python -m utils experiments 20_starts` writes `data/experiments/20_starts.jsonl`, further rows of the same form as
those of `experiment_20_adapters`, with the same steps, windows and texts to judge. Adapters of rank 2 and scale 1 start
along the largest singular directions of their weight, the smallest, or drawn ones, each with the two largest singular
values or the two smallest; what they start with is taken out of the base. PiSSA itself, the largest directions with the
largest values, is in `experiment_20_adapters`. The best of four rates each, then five seeds.

Interrupted, the same command goes on.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from utils import adapters
from utils.adapters import LowRankAdapter, adapted
from utils.experiment_files import complete_rows, digest_of
from utils.recipes import experiment_20_adapters as experiment
from utils.recipes.experiment_20_adapters import RANK, in_blocks, network

NAME = "20_starts"

MINUTES = 8

ENDS = {"largest": slice(0, RANK), "smallest": slice(-RANK, None)}
"""Of the singular values and their directions, which descend."""


@torch.no_grad()
def start_along(layer: nn.Linear, *, directions: str, values: str) -> LowRankAdapter:
    """Return an adapter that starts as U diag(s) V^T and a base that makes up for it; each factor gets the root of s.

    Args:
        layer: of weight W; its weight becomes W - U diag(s) V^T and is frozen.
        directions: U and V, RANK columns each; singular vectors of W, "largest" or "smallest", or "drawn" by the global
            generator, orthonormal.
        values: s, RANK singular values of W, "largest" or "smallest".

    >>> layer = nn.Linear(3, 3, bias=False)
    >>> layer.weight.data = torch.diag(torch.tensor([4.0, 2.0, 1.0]))
    >>> start_along(layer, directions="smallest", values="largest").change().diag().detach().round()
    tensor([0., 4., 2.])
    """
    u, s, v = torch.linalg.svd(layer.weight, full_matrices=False)
    if directions == "drawn":
        u, v = (torch.linalg.qr(torch.randn(side, RANK)).Q for side in layer.weight.shape)
        v = v.T
    else:
        u, v = u[:, ENDS[directions]], v[ENDS[directions]]
    root = s[ENDS[values]].sqrt()
    started = LowRankAdapter(layer, rank=RANK)
    started.up.copy_(u * root)
    started.down.copy_(root[:, None] * v)
    started.base.weight -= started.change()
    return started


def _way(directions: str, values: str) -> nn.Module:
    make = partial(start_along, directions=directions, values=values)
    return adapted(network(), make, choose=in_blocks)


WAYS: dict[str, Callable[[], nn.Module]] = {
    f"{directions} directions, {values} values": partial(_way, directions, values)
    for directions in ("largest", "smallest", "drawn")
    for values in ENDS
    if (directions, values) != ("largest", "largest")
}
"""By name; all but PiSSA. The smallest directions with their own values are MiLoRA's start."""

TRIED: dict[str, tuple[float, ...]] = {
    way: (1.2e-3, 2.5e-3, 5e-3, 1e-2) if "largest values" in way else (2.5e-3, 5e-3, 1e-2, 2e-2) for way in WAYS
}
"""Highest learning rates: of large starts those that were tried for PiSSA, of small ones those of LoRA with scale 1."""


def conditions(rows: list[dict]) -> Iterator[dict]:
    """Yield what is trained, in order; the seeds need the rows of the rates, which may be added while this yields."""
    yield from experiment.rates_then_seeds(rows, TRIED, WAYS)


def measured(wanted: dict) -> dict:
    """Train what a row is about and return the row, as `experiment_20_adapters.measured` does."""
    torch.manual_seed(wanted["seed"])
    model = WAYS[wanted["way"]]()
    experiment.trained(wanted["way"], wanted["rate"], wanted["seed"], model=model)
    row = {**wanted, "trained": adapters.trained_parameters(model), "nats": experiment.judged(model, "validation")}
    row["original"] = experiment.judged(model, "validation", "")
    return row | ({"test": experiment.judged(model, "test")} if wanted["part"] == "seeds" else {})


def digest() -> str:
    """Return a digest of what the rows depend on: the first experiment's, and the starts of this one."""
    own = digest_of((start_along, _way, measured))
    return f"{experiment.digest()}-{own}"


def run() -> str:
    """Train what the table lacks, write it after each row, and return a line that says how much it holds."""
    return complete_rows(NAME, {"digest": digest()}, conditions, measured)
