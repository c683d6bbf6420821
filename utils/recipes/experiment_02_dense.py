"""A control of notebook 02: what the three epochs do to the dense network, when nothing is pruned.

The table `02_controls` gives these epochs to the pruned network and to its two other controls.
`python -m utils experiments 02_dense` writes `data/experiments/02_dense.jsonl`: a row for each training, with the error
on test in per cent. Nothing is chosen by it. Interrupted, the same command goes on from there.
"""

from collections.abc import Iterator

from utils import datasets, training
from utils.checkpoint_files import CHECKPOINTS
from utils.experiment_files import complete, digest_of
from utils.models import load_checkpoint
from utils.recipes.experiment_02_controls import SEEDS, SOURCE, recipe
from utils.training import evaluate, fit

NAME = "02_dense"

MINUTES = 1

WAY = "dense, three epochs"


def train_on(seed: int) -> float:
    """Train the dense network for three more epochs, and return its error on test in per cent."""
    network, splits = load_checkpoint(SOURCE).requires_grad_(), datasets.load("mnist")
    fit(network, splits.train, recipe(seed))
    return 100 * (1 - evaluate(network, splits.test).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        yield {"way": WAY, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions, those they train with, the network they load."""
    code = (train_on, recipe, training.fit, training.Recipe, training.rise_then_cosine, training.random_shifts)
    return digest_of(code, [CHECKPOINTS / f"{SOURCE}.safetensors"])


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: train_on(wanted["seed"]))
