"""The rival that `06_trained_alike` lacks, for notebook 06: fewer neurons, chosen by the data that chose the cut.

The second layer may be fitted to what arrives, behind the neurons as behind the cut, so both are begun in both ways:
the neurons as chosen and fitted, the cut fitted (as cut it is in `06_trained_alike`).
`python -m utils experiments 06_chosen_neurons` gives them the trainings of `06_trained_alike` and writes
`data/experiments/06_chosen_neurons.jsonl`: a row for each training, with the error on test in per cent. Nothing is
chosen by it: all learn from the labels, and the last weights count.
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

MINUTES = 6

SHAPES = ("narrow by data, fitted", "narrow by data", "rank 21, fitted")
"""What the trainings start from; "narrow by data" has the weights of the dense network on the neurons that stay."""

NEURONS = 60
"""Of 300 in the first layer, which makes the network as small as rank 21 does."""


def start(shape: str) -> nn.Module:
    """Return LeNet300100 with the neurons that the data chose, or cut for the data; its second layer may be fitted."""
    dense = load_checkpoint(alike.LONG.source)
    if shape == "rank 21, fitted":
        return low_rank_controls.fit_second_layer(alike.start("rank 21"), dense)
    return low_rank_controls.chosen_neurons(dense, NEURONS, fitted=shape.endswith("fitted"))


def tune(shape: str, epochs: int, seed: int) -> float:
    """Train on as `06_trained_alike` does, and return the error on test in per cent."""
    network = start(shape).requires_grad_()
    fit(network, alike.splits().train, alike.recipe(seed, epochs))
    return 100 * (1 - evaluate(network, alike.splits().test).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in the order of `06_trained_alike`."""
    for seed in alike.SEEDS:
        for epochs in alike.EPOCHS:
            for shape in SHAPES:
                yield {"shape": shape, "epochs": epochs, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: what the rows of `06_trained_alike` do, and the start."""
    controls = low_rank_controls.chosen_neurons, low_rank_controls.fit_second_layer
    code = (start, tune, *controls, structured_pruning.fewer_inputs)
    return f"{alike.digest()}-{digest_of(code)}"


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
