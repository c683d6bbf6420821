"""What `07_starts` lacks, for notebook 07: the data's directions at the ranks of the weight's, and at their own.

There all ways have the ranks 20 and 15, which are PCA's own, and the two ways with the weight's directions their own,
21 and 10, too. Here both ways with the data's directions have 21 and 10, and data-aware SVD has its own.
`python -m utils experiments 07_ranks` writes `data/experiments/07_ranks.jsonl`: a row for each training, with the error
on validation in per cent. Interrupted, the same command goes on from there.
"""

from collections.abc import Iterator

from torch import nn

from utils.experiment_files import complete, digest_of
from utils.models import load_checkpoint
from utils.recipes import experiment_07_starts as starts
from utils.training import distillation, evaluate, fit

NAME = "07_ranks"

MINUTES = 3

OF_SVD = ", ranks of SVD"

WAYS = (f"PCA of outputs{OF_SVD}", f"data-aware SVD{OF_SVD}", f"data-aware SVD{starts.OWN}")


def start(way: str, seed: int) -> nn.Module:
    """Return LeNet300100 with `fc1` and `fc2` as pairs, before any training; the seed draws the calibration images."""
    cut_by = way.removesuffix(OF_SVD).removesuffix(starts.OWN)
    ranks = starts.own_ranks("SVD" if way.endswith(OF_SVD) else cut_by)
    return starts.cut(load_checkpoint(starts.SOURCE), cut_by, starts.images(seed), ranks)


def tune(way: str, epochs: int, seed: int) -> float:
    """Fine-tune a start as `07_starts` does, and return its error on validation in per cent."""
    network = start(way, seed).requires_grad_()
    if epochs:
        teacher = distillation(load_checkpoint(starts.SOURCE).requires_grad_(False), teacher_share=1.0)
        fit(network, starts.splits().train.take(starts.TRAIN_IMAGES), starts.recipe(seed, epochs), loss=teacher)
    return 100 * (1 - evaluate(network, starts.splits().validation).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in the order of `07_starts`."""
    for seed in starts.SEEDS:
        for epochs in starts.EPOCHS:
            for way in WAYS:
                yield {"way": way, "epochs": epochs, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: what the rows of `07_starts` do, and these functions."""
    return f"{starts.digest()}-{digest_of((start, tune))}"


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
