"""The controls of notebook 05: other starts, other learning rates, patience without pruning.

`python -m utils experiments 05_controls` writes `data/experiments/05_controls.jsonl`: a row for each training, with the
error in per cent, on validation unless the row says otherwise. Interrupted, the same command goes on from there.
"""

import copy
import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from utils import datasets
from utils.environment import seed_everything
from utils.experiment_files import complete, condition, digest_of
from utils.models import LeNet300100, load_checkpoint
from utils.pruning import GradualPruner
from utils.recipes import experiment_05_schedules as schedules
from utils.recipes import gradually_pruned
from utils.recipes.experiment_05_schedules import SEEDS, SOURCE, STEPS, TRAIN_IMAGES, Hook
from utils.sparse_training import RoundsPruner
from utils.training import Recipe, constant_rate, evaluate, fit, rise_then_cosine

NAME = "05_controls"

MINUTES = 28

RATE = 1e-3  # the mean of a cycle that rises to 2e-3 and falls to 0


# --- what every training shares ---------------------------------------------------------------------------------------


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


def _train(network: nn.Module, seed: int, epochs: int, hook: Hook | None) -> float:
    """Train a network in place as `05_schedules` does; return its error on validation in per cent."""
    fit(network, _splits().train.take(TRAIN_IMAGES), schedules.recipe(seed, epochs), after_step=hook)
    return schedules.error(network)


# --- the experiments: arguments of a row, and its error ---------------------------------------------------------------


def patient(size: str, split: str, seed: int) -> float:
    """Train the dense network on as the shipped sparse ones were, without pruning it."""
    return 100 * (1 - evaluate(patiently_trained(size, seed), getattr(_splits(), split)).accuracy)


@functools.cache
def patiently_trained(size: str, seed: int) -> nn.Module:
    """Return the dense network after both stages of a size's recipe; validation chooses the epoch of the second."""
    seed_everything(seed)
    network = load_checkpoint(SOURCE)
    first, second = gradually_pruned.stages(gradually_pruned.RECIPES[f"{SOURCE}-{size}-seed{seed}"], seed)
    fit(network, _splits().train, first)
    fit(network, _splits().train, second, validation=_splits().validation)
    return network


def ways_at_a_constant_rate(way: str, sparsity: float, epochs: int, seed: int) -> float:
    """Prune the dense network at once, in as many cuts as epochs, or gradually, at one learning rate."""
    network = load_checkpoint(SOURCE)
    steps = epochs * STEPS
    makers = {
        "one cut": lambda: GradualPruner(network, final=sparsity, start=0, end=0, every=1),
        "a cut each epoch": lambda: RoundsPruner(network, final=sparsity, rounds=epochs, end=steps),
        "gradually": lambda: GradualPruner(network, final=sparsity, start=0, end=round(0.7 * steps), every=10),
    }
    with constant_rate(RATE):
        return _train(network, seed, epochs, makers[way]())


def grid_at_a_constant_rate(start: float, length: float, sparsity: float, seed: int) -> float:
    """Train a cell of the grid at one learning rate."""
    with constant_rate(RATE):
        return schedules.grid(start, length, sparsity, seed)


def restarted_rate(way: str, sparsity: float, epochs: int, seed: int) -> float:
    """Prune the dense network at once, or in a cut each epoch, in one training whose rate restarts each epoch.

    The rates are those of `05_schedules`' cycles. There each cycle is a training of its own, with a new optimizer and
    another order of the images; here the optimizer and the order are those of its one long cycle.
    """
    network = load_checkpoint(SOURCE)
    hooks = {
        "one cut": lambda: schedules.pruner(network, "one cut", sparsity, epochs * STEPS),
        "rounds": lambda: RoundsPruner(network, final=sparsity, rounds=epochs, end=epochs * STEPS),
    }
    with restarting_rate(STEPS):
        return _train(network, seed, epochs, hooks[way]())


@contextmanager
def restarting_rate(steps: int) -> Iterator[None]:
    """Let the rate of the one optimizer within `with` rise and fall anew every so many steps."""
    recipe, taken = schedules.recipe(0), itertools.count()

    def set_rate(optimizer: torch.optim.Optimizer, *_: object) -> None:
        rate = recipe.learning_rate * rise_then_cosine(next(taken) % steps, steps, recipe.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = rate

    handle = register_optimizer_step_pre_hook(set_rate)
    try:
        yield
    finally:
        handle.remove()


def starts(way: str, sparsity: float, seed: int) -> float:
    """Prune a dense network that is another one for each seed, in one of three ways, or leave it as it is."""
    network = copy.deepcopy(dense_network(seed))
    if way == "dense":
        return schedules.error(network)
    return _train(network, seed, 1, schedules.pruner(network, way, sparsity, STEPS))


@functools.cache
def dense_network(seed: int) -> LeNet300100:
    """Return a dense network trained from its own first weights for four epochs of all images."""
    network = schedules.first_weights(seed)
    fit(network, _splits().train, Recipe(epochs=4, learning_rate=2e-3, weight_decay=0.02, seed=seed))
    return network


CONTROLS_OF_05 = {
    "patient": patient,
    "ways at a constant rate": ways_at_a_constant_rate,
    "grid at a constant rate": grid_at_a_constant_rate,
    "restarted rate": restarted_rate,
    "starts": starts,
}


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order: the experiment and its arguments."""
    for seed in SEEDS:
        for way in ("one cut", "a cut each epoch", "gradually"):
            yield {"experiment": "ways at a constant rate", "way": way, "sparsity": 0.98, "epochs": 4, "seed": seed}
    for seed in gradually_pruned.SEEDS:
        for split in ("validation", "test"):
            yield {"experiment": "patient", "size": "2-percent", "split": split, "seed": seed}
    for seed in SEEDS:
        yield {"experiment": "starts", "way": "dense", "sparsity": 0.0, "seed": seed}
        for sparsity in (0.5, 0.9, 0.98):
            for way in ("one cut", "ten rounds", "gradually"):
                yield {"experiment": "starts", "way": way, "sparsity": sparsity, "seed": seed}
    for seed in SEEDS:
        for start, length in ((0.0, 0.0), (0.2, 0.0), (0.4, 0.0), (0.6, 0.0), (0.0, 0.6), (0.0, 1.0)):
            case = {"start": start, "length": length, "sparsity": 0.98, "seed": seed}
            yield {"experiment": "grid at a constant rate", **case}
    for seed in gradually_pruned.SEEDS:
        for split in ("validation", "test"):
            yield {"experiment": "patient", "size": "5-percent", "split": split, "seed": seed}
    for seed in SEEDS:
        for way in ("one cut", "rounds"):
            yield {"experiment": "restarted rate", "way": way, "sparsity": 0.98, "epochs": 4, "seed": seed}


# --- the table --------------------------------------------------------------------------------------------------------


def digest() -> str:
    """Return a digest of what the rows depend on: the code of `05_schedules`, and what is added here."""
    code = (*CONTROLS_OF_05.values(), patiently_trained, dense_network, _train, gradually_pruned, constant_rate)
    code += (restarting_rate,)
    return digest_of((*code, *schedules.code()), schedules.FILES)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), measure)


def measure(row: dict) -> float:
    """Train what a row says, and return its error."""
    arguments = {name: value for name, value in condition(row).items() if name != "experiment"}
    return CONTROLS_OF_05[row["experiment"]](**arguments)
