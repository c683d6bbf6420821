"""The second experiment of notebook 20: start and scale crossed, DoRA, and forgetting with further seeds.

`python -m utils experiments 20_forms` writes `data/experiments/20_forms.jsonl`, further rows of the same form as those
of `experiment_20_adapters`, with the same steps, windows and texts to judge:

- "rates", "seeds": LoRA's start with PiSSA's scale of 1, PiSSA's start with LoRA's scale of 4, and DoRA, at the best of
  four rates each;
- "equal learning": full fine-tuning and LoRA at the lower rates at which both had learned the same, five new seeds;
- "near slice": LoRA on this text at twice the rate that was the highest of the four tried there, and the best of them.

Interrupted, the same command goes on.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from utils import adapters
from utils.adapters import DecomposedAdapter, adapted, principal_adapter, rescaled
from utils.experiment_files import complete_rows, digest_of
from utils.recipes import experiment_20_adapters as experiment
from utils.recipes.experiment_20_adapters import CHOOSING_SEEDS, FEW_PAIRS, RANK, SCALE, in_blocks, network

NAME = "20_forms"

MINUTES = 7


def pissa_scaled() -> nn.Module:
    """Return the network with PiSSA's adapters, their factors halved so that with LoRA's scale they start the same."""
    return adapted(network(), lambda layer: rescaled(principal_adapter(layer, rank=RANK), SCALE), choose=in_blocks)


def dora() -> nn.Module:
    """Return the network with LoRA's adapters, and the lengths of the rows trained besides."""
    return adapted(network(), lambda layer: DecomposedAdapter(layer, rank=RANK, scale=SCALE), choose=in_blocks)


WAYS: dict[str, Callable[[], nn.Module]] = {
    "LoRA, scale 1": lambda: experiment.low_rank(scale=1.0),
    "PiSSA, scale 4": pissa_scaled,
    "DoRA": dora,
}

TRIED: dict[str, tuple[float, ...]] = {
    "LoRA, scale 1": (2.5e-3, 5e-3, 1e-2, 2e-2),
    "PiSSA, scale 4": (6e-4, 1.2e-3, 2.5e-3, 5e-3),
    "DoRA": (1.2e-3, 2.5e-3, 5e-3, 1e-2),
}
"""Highest learning rates. With both factors multiplied by the root of the scale, Adam's rate is, too: those of the two
starts go with it, twice as high and half as high as with the other scale."""

EQUAL: tuple[tuple[str, float], ...] = (("full", 1.2e-4), ("LoRA", 1.2e-3), ("LoRA", 2.5e-3))
"""Ways and rates; full fine-tuning at 2.5e-4 stands among the seeds of `experiment_20_adapters`."""

HIGHER = 1e-2
"""The rate that is tried on the near slice."""


def conditions(rows: list[dict]) -> Iterator[dict]:
    """Yield what is trained, in order; the seeds need the rows of the rates, which may be added while this yields."""
    yield from experiment.rates_then_seeds(rows, TRIED, WAYS)
    for seed in FEW_PAIRS:
        for way, rate in EQUAL:
            yield {"part": "equal learning", "way": way, "rate": rate, "seed": seed}
    for seed in (*CHOOSING_SEEDS, *FEW_PAIRS):
        yield {"part": "near slice", "way": "LoRA", "rate": HIGHER, "seed": seed}


def measured(wanted: dict) -> dict:
    """Train what a row is about and return the row, as `experiment_20_adapters.measured` does."""
    if wanted["way"] in experiment.WAYS:
        return experiment.measured(wanted)
    torch.manual_seed(wanted["seed"])
    model = WAYS[wanted["way"]]()
    experiment.trained(wanted["way"], wanted["rate"], wanted["seed"], model=model)
    row = {**wanted, "trained": adapters.trained_parameters(model), "nats": experiment.judged(model, "validation")}
    row["original"] = experiment.judged(model, "validation", "")
    return row | ({"test": experiment.judged(model, "test")} if wanted["part"] == "seeds" else {})


def digest() -> str:
    """Return a digest of what the rows depend on: the first experiment's, and the forms of this one."""
    own = digest_of((pissa_scaled, dora, measured, DecomposedAdapter, rescaled))
    return f"{experiment.digest()}-{own}"


def run() -> str:
    """Train what the table lacks, write it after each row, and return a line that says how much it holds."""
    return complete_rows(NAME, {"digest": digest()}, conditions, measured)
