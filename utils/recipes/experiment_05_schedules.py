"""The long experiments of notebook 05: when weights go, which may come back, and in what pattern; five seeds each.

`python -m utils experiments 05_schedules` writes `data/experiments/05_schedules.jsonl`: a row for each training, with
the error on validation in per cent. Interrupted, the same command goes on from there.
"""

import copy
import functools
from collections.abc import Callable, Iterator

import torch
from torch import nn

from utils import datasets, models, pruning, sparse_training, training
from utils.checkpoint_files import CHECKPOINTS
from utils.environment import seed_everything
from utils.experiment_files import complete, condition, digest_of
from utils.models import LeNet300100, load_checkpoint
from utils.pruning import GradualPruner, apply_masks, keep_masks
from utils.sparse_training import MovingMasks, RoundsPruner
from utils.training import Recipe, evaluate, fit

NAME = "05_schedules"

MINUTES = 12

SOURCE = "LeNet300100"

FILES = (CHECKPOINTS / f"{SOURCE}.safetensors",)

SEEDS = range(5)

TRAIN_IMAGES = 20_000

STEPS = 313  # of an epoch

Hook = Callable[[int], None]


# --- what every training shares ---------------------------------------------------------------------------------------


def recipe(seed: int, epochs: int = 1) -> Recipe:
    """Return how every network here is trained; only the seed and the number of epochs differ."""
    return Recipe(epochs=epochs, batch_size=64, learning_rate=2e-3, seed=seed)


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


def _train(network: nn.Module, seed: int, epochs: int, hook: Hook | None) -> float:
    """Train a network in place; return its error on validation in per cent."""
    fit(network, _splits().train.take(TRAIN_IMAGES), recipe(seed, epochs), after_step=hook)
    return error(network)


def error(network: nn.Module) -> float:
    """Return the error on validation in per cent."""
    return 100 * (1 - evaluate(network, _splits().validation).accuracy)


# --- the experiments: arguments of a row, and its error ---------------------------------------------------------------


def pruner(network: nn.Module, way: str, sparsity: float, steps: int) -> Hook:
    """Return the hook of one of three ways; the slow two are done with pruning at 70 % of the steps."""
    end = round(0.7 * steps)
    makers = {
        "one cut": lambda: GradualPruner(network, final=sparsity, start=0, end=0, every=1),
        "ten rounds": lambda: RoundsPruner(network, final=sparsity, rounds=10, end=end),
        "gradually": lambda: GradualPruner(network, final=sparsity, start=0, end=end, every=10),
    }
    return makers[way]()


def ways(way: str, sparsity: float, epochs: int, seed: int) -> float:
    """Prune the dense network in one of three ways during one learning-rate cycle."""
    network = load_checkpoint(SOURCE)
    return _train(network, seed, epochs, pruner(network, way, sparsity, epochs * STEPS))


def cycles(way: str, sparsity: float, epochs: int, seed: int) -> float:
    """Prune the dense network at once or in rounds, with a learning-rate cycle of its own for each epoch."""
    network = load_checkpoint(SOURCE)
    ratio = 1 - (1 - sparsity) ** (1 / epochs)
    for number in range(1, epochs + 1):
        now = sparsity if way == "one cut" else pruning.sparsity_after(number, ratio)
        masks = pruning.global_magnitude_masks(network, now)  # what is gone is zero and stays away
        found = _train(network, seed + 100 * number, 1, keep_masks(network, masks))
    return found


def grid(start: float, length: float, sparsity: float, seed: int) -> float:
    """Raise the sparsity along the cubic curve from `start` on, within `length`, both as shares of the steps."""
    network = load_checkpoint(SOURCE)
    first, last = (round(share * (STEPS - 1)) for share in (start, start + length))
    return _train(network, seed, 1, GradualPruner(network, final=sparsity, start=first, end=last, every=10))


def patterns(pattern: str, trained: bool, seed: int) -> float:
    """Prune the dense network in a pattern with one cut, and train it for an epoch, or not."""
    network = load_checkpoint(SOURCE)
    masks = pattern_masks(network, pattern)
    hook = keep_masks(network, masks)
    return _train(network, seed, 1, hook) if trained else error(network)


def pattern_masks(network: nn.Module, pattern: str) -> pruning.Masks:
    """Return the masks of a pattern: N:4, a share of each layer, a share of the whole, or none."""
    scores = {name: pruning.magnitude_scores(weight) for name, weight in pruning.prunable(network).items()}
    makers = {
        "dense": lambda: pruning.global_masks(scores, 0.0),
        "2:4": lambda: {name: pruning.n_of_m_mask(each, n=2, m=4) for name, each in scores.items()},
        "50 % of each layer": lambda: {name: pruning.mask_by_score(each, 0.5) for name, each in scores.items()},
        "50 % of the whole": lambda: pruning.global_masks(scores, 0.5),
        "1:4": lambda: {name: pruning.n_of_m_mask(each, n=1, m=4) for name, each in scores.items()},
        "75 % of each layer": lambda: {name: pruning.mask_by_score(each, 0.75) for name, each in scores.items()},
        "75 % of the whole": lambda: pruning.global_masks(scores, 0.75),
    }
    return makers[pattern]()


def first_weights(seed: int) -> LeNet300100:
    """Return a network that has not been trained."""
    seed_everything(seed)
    return LeNet300100()


def from_step(network: nn.Module, masks: pruning.Masks, step: int) -> Hook:
    """Return a hook that leaves the network dense for `step` updates and holds the masks from then on."""
    if step == 0:
        apply_masks(network, masks)
    return lambda now: apply_masks(network, masks) if now + 1 >= step else None


@functools.cache
def ticket_masks(sparsity: float, step: int, seed: int, rounds: int = 2) -> dict[str, torch.Tensor]:
    """Find a ticket's masks: train, prune, go back to step `step`, and so on."""
    if rounds == 0:
        return pruning.global_magnitude_masks(LeNet300100(), 0.0)
    ratio = 1 - (1 - sparsity) ** (1 / 2)
    network = first_weights(seed)
    step_before = step if rounds > 1 else 0  # the first round has no mask: rewound or not, it is the same training
    before = ticket_masks(sparsity, step_before, seed, rounds - 1)
    _train(network, seed, 1, from_step(network, before, step_before))
    return pruning.global_magnitude_masks(network, pruning.sparsity_after(rounds, ratio))


def tickets(weights: str, places: str, step: int, sparsity: float, seed: int) -> float:
    """Train a ticket, or a control, that goes back to step `step`: the masks hold from there on."""
    masks = copy.deepcopy(ticket_masks(sparsity, step, seed))
    seed_everything(seed + 1000)
    network = LeNet300100()
    if weights == "its own":
        network.load_state_dict(first_weights(seed).state_dict())
    if places == "random":
        generator = torch.Generator().manual_seed(seed + 1000)
        layers = {name: pruning.mask_sparsity({name: mask}) for name, mask in masks.items()}
        masks = sparse_training.random_masks(network, layers, generator)
    return _train(network, seed, 1, from_step(network, masks, step))


def moving(way: str, sparsity: float, epochs: int, seed: int) -> float:
    """Train a new network: dense, pruned gradually, or sparse from the start with masks that stay or move."""
    network = first_weights(seed)
    if way == "dense":
        return _train(network, seed, epochs, None)
    layers = sparse_training.erdos_renyi_sparsities(network, sparsity)
    steps = epochs * STEPS
    if way == "pruned gradually":
        hook = GradualPruner(network, final=layers, start=0, end=round(0.7 * steps), every=10)
        return _train(network, seed, epochs, hook)
    generator = torch.Generator().manual_seed(seed + 1000)
    masks = sparse_training.random_masks(network, layers, generator)
    how = {"every": 20, "end": round(0.75 * steps)}
    makers = {
        "fixed random mask": lambda: MovingMasks(network, masks, every=20, end=0),
        "moved at random": lambda: MovingMasks(
            network, masks, **how, grow_by=lambda gradient: pruning.random_scores(gradient, generator)
        ),
        "moved by gradient": lambda: MovingMasks(network, masks, **how),
    }
    return _train(network, seed, epochs, makers[way]())


EXPERIMENTS_OF_05 = {
    "ways": ways,
    "grid": grid,
    "moving": moving,
    "tickets": tickets,
    "patterns": patterns,
    "cycles": cycles,
}


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order: the experiment and its arguments."""
    three = ("one cut", "ten rounds", "gradually")
    fifths = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    sparse = ("pruned gradually", "fixed random mask", "moved at random", "moved by gradient")
    kinds = (
        "dense",
        "2:4",
        "50 % of each layer",
        "50 % of the whole",
        "1:4",
        "75 % of each layer",
        "75 % of the whole",
    )
    for seed in SEEDS:
        for sparsity in (0.5, 0.8, 0.9, 0.95, 0.98):
            for way in three:
                yield {"experiment": "ways", "way": way, "sparsity": sparsity, "epochs": 1, "seed": seed}
    for seed in SEEDS:
        for start in fifths:
            for length in (each for each in fifths if start + each < 1.01):
                yield {"experiment": "grid", "start": start, "length": length, "sparsity": 0.98, "seed": seed}
    for seed in SEEDS:
        for sparsity in (0.95, 0.98):
            for way in sparse:
                yield {"experiment": "moving", "way": way, "sparsity": sparsity, "epochs": 2, "seed": seed}
        yield {"experiment": "moving", "way": "dense", "sparsity": 0.0, "epochs": 2, "seed": seed}
    for seed in SEEDS:
        for step in (0, 10, 30, 100):
            for weights, places in (("its own", "its own"), ("new", "its own"), ("its own", "random")):
                case = {"weights": weights, "places": places, "step": step, "sparsity": 0.96, "seed": seed}
                yield {"experiment": "tickets", **case}
    for seed in SEEDS:
        for pattern in kinds:
            for trained in (False, True):
                yield {"experiment": "patterns", "pattern": pattern, "trained": trained, "seed": seed}
    for seed in SEEDS:
        for way in ("one cut", "rounds"):
            yield {"experiment": "cycles", "way": way, "sparsity": 0.98, "epochs": 4, "seed": seed}
        for way in three:
            yield {"experiment": "ways", "way": way, "sparsity": 0.98, "epochs": 4, "seed": seed}
    for seed in SEEDS:  # at the cost of two epochs of gradual pruning
        yield {"experiment": "moving", "way": "moved by gradient", "sparsity": 0.98, "epochs": 10, "seed": seed}
    for seed in SEEDS:  # and its controls in as many steps
        for way in ("fixed random mask", "moved at random"):
            yield {"experiment": "moving", "way": way, "sparsity": 0.98, "epochs": 10, "seed": seed}


# --- the table --------------------------------------------------------------------------------------------------------


def code() -> tuple[object, ...]:
    """Return the code that the rows depend on: the functions of this module, and those they train with."""
    return (
        *EXPERIMENTS_OF_05.values(), recipe, pruner, pattern_masks, first_weights, from_step, ticket_masks,
        sparse_training, pruning.GradualPruner, pruning.cubic_sparsity, pruning.sparsity_after,
        pruning.global_magnitude_masks, pruning.layerwise_magnitude_masks, pruning.global_masks,
        pruning.mask_by_score, pruning.n_of_m_mask, pruning.apply_masks, pruning.keep_masks, pruning.random_scores,
        models.LeNet300100, training.fit, training.Recipe, training.rise_then_cosine, training.cross_entropy,
    )  # fmt: skip


def digest() -> str:
    """Return a digest of what the rows depend on: the code, and the dense network."""
    return digest_of(code(), FILES)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), measure)


def measure(row: dict) -> float:
    """Train what a row says, and return its error."""
    arguments = {name: value for name, value in condition(row).items() if name != "experiment"}
    return EXPERIMENTS_OF_05[row["experiment"]](**arguments)
