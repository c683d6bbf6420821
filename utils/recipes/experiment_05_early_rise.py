"""The control of notebook 05's comparison at equal cost: gradual pruning that is done early and trains on.

Its sparsity rises over 8 % of ten epochs, which costs about as many multiply-accumulates as ten epochs of RigL.
`python -m utils experiments 05_early_rise` writes `data/experiments/05_early_rise.jsonl`: a row for each training, with
the error on validation in per cent. Interrupted, the same command goes on from there.
"""

from collections.abc import Iterator

from utils import datasets, models, pruning, sparse_training, training
from utils.experiment_files import complete, digest_of
from utils.pruning import GradualPruner
from utils.recipes import experiment_05_schedules as schedules
from utils.recipes.experiment_05_schedules import SEEDS, STEPS, TRAIN_IMAGES
from utils.training import fit

NAME = "05_early_rise"

MINUTES = 2


def early_rise(share: float, sparsity: float, epochs: int, seed: int) -> float:
    """Prune a new network along the cubic curve within a share of the steps; return its error in per cent."""
    network = schedules.first_weights(seed)
    layers = sparse_training.erdos_renyi_sparsities(network, sparsity)
    hook = GradualPruner(network, final=layers, start=0, end=round(share * epochs * STEPS), every=10)
    fit(network, datasets.load().train.take(TRAIN_IMAGES), schedules.recipe(seed, epochs), after_step=hook)
    return schedules.error(network)


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in SEEDS:
        yield {"share": 0.08, "sparsity": 0.98, "epochs": 10, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: these functions and those they train with."""
    code = (
        early_rise, schedules.first_weights, schedules.recipe, schedules.error,
        sparse_training.erdos_renyi_sparsities, pruning.GradualPruner, pruning.cubic_sparsity,
        pruning.layerwise_magnitude_masks, pruning.mask_by_score, pruning.apply_masks, models.LeNet300100,
        training.fit, training.Recipe, training.rise_then_cosine, training.cross_entropy,
    )  # fmt: skip
    return digest_of(code)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: early_rise(**wanted))
