"""The rival that `06_trained_alike` lacks, for notebook 06: fewer neurons, chosen by the data that chose the cut.

`python -m utils experiments 06_chosen_neurons` gives the start of `low_rank_controls.chosen_neurons` the trainings of
`06_trained_alike` and writes `data/experiments/06_chosen_neurons.jsonl`: a row for each training, with the error on
test in per cent. Nothing is chosen by it: all learn from the labels, and the last weights count.
Interrupted, the same command goes on from there.
"""

from collections.abc import Iterator

from torch import nn

from utils import structured_pruning
from utils.experiment_files import complete, digest_of
from utils.models import load_checkpoint
from utils.recipes import experiment_06_trained_alike as alike
from utils.recipes import low_rank_controls
from utils.training import evaluate, fit

NAME = "06_chosen_neurons"

MINUTES = 2

SHAPE = "narrow by data"

NEURONS = 60
"""Of 300 in the first layer, which makes the network as small as rank 21 does."""


def start() -> nn.Module:
    """Return LeNet300100 with the neurons that the data chose, and its second layer fitted to them."""
    return low_rank_controls.chosen_neurons(load_checkpoint(alike.LONG.source), NEURONS)


def tune(shape: str, epochs: int, seed: int) -> float:
    """Train on as `06_trained_alike` does, and return the error on test in per cent."""
    network = start().requires_grad_()
    fit(network, alike.splits().train, alike.recipe(seed, epochs))
    return 100 * (1 - evaluate(network, alike.splits().test).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in the order of `06_trained_alike`."""
    for seed in alike.SEEDS:
        for epochs in alike.EPOCHS:
            yield {"shape": SHAPE, "epochs": epochs, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: what the rows of `06_trained_alike` do, and the start."""
    code = (start, tune, low_rank_controls.chosen_neurons, structured_pruning.fewer_inputs)
    return f"{alike.digest()}-{digest_of(code)}"


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
