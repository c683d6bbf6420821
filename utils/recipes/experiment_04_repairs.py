"""The long experiment of notebook 04: which weights go, in one cut or in rounds, repaired or not, then retrained.

`python -m utils experiments 04_repairs` writes `data/experiments/04_repairs.jsonl`: a row for each network and way,
with the error on validation in per cent. Network 0 is the shipped one, on which notebook 04 looks around (its pilot);
networks 1 to 5 are trained here from other first weights, and only they count in its tests. Interrupted, the same
command goes on from there.
"""

import copy
import functools
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from utils import datasets, pruning, surgeon, training
from utils.checkpoint_files import CHECKPOINTS
from utils.datasets import Examples
from utils.environment import seed_everything
from utils.experiment_files import complete, condition, digest_of
from utils.models import LeNet300100, load_checkpoint
from utils.pruning import Masks, mask_by_score, mask_each_row, prunable
from utils.training import Recipe, evaluate, fit

NAME = "04_repairs"

MINUTES = 10

SOURCE = "LeNet300100"

FRESH = range(1, 6)
"""The networks of the tests; 0 is the shipped one."""

CALIBRATION, RETRAINING = 1000, 5000  # images that the number of the network draws

THREE_ROUNDS = (16 / 19, 18 / 19, 1.0)
"""Of the final sparsity, after each round: 80, 90 and 95 % where 95 % is wanted."""

PICKS = {"magnitude": surgeon.magnitude_price, "Wanda": surgeon.wanda_price, "OBS": surgeon.surgeon_price}

SCHEDULES = ("one cut", "in rounds", "in ten rounds")

# --- the tests, named before there was a table ------------------------------------------------------------------------

CUT_PAIRS = (
    ("magnitude in rounds, repaired", "magnitude one cut, repaired"),
    ("Wanda in rounds, repaired", "Wanda one cut, repaired"),
    ("OBS in rounds, repaired", "OBS one cut, repaired"),
    ("OBS one cut, repaired", "Wanda one cut, repaired"),
    ("OBS in rounds, repaired", "Wanda in rounds, repaired"),
    ("OBS in ten rounds, repaired", "Wanda in ten rounds, repaired"),
)
"""Compared at 95 % of the first layer, without training."""

PAIRS = (
    ("random, drawn again", "random"),
    ("magnitude", "random"),
    ("activation", "magnitude"),
    ("Wanda", "activation"),
    ("Taylor, by row in fc3", "Taylor"),
    ("magnitude, repaired", "magnitude"),
    ("Wanda, repaired", "Wanda"),
    ("OBS in rounds, repaired", "Wanda, repaired"),
)
"""Compared at 90 % of each layer, after retraining."""

HALF_PAIRS = (("magnitude", "random"), ("activation", "magnitude"))
"""Compared at 50 % of each layer, after retraining."""

MASK_PAIRS = (
    ("Wanda in rounds, mask alone", "Wanda"),
    ("Wanda in rounds, repaired", "Wanda in rounds, mask alone"),
    ("OBS in rounds, mask alone", "Wanda"),
    ("OBS in rounds, repaired", "OBS in rounds, mask alone"),
)
"""Compared at 90 % of each layer, after retraining: another mask on the same weights, other weights in the same mask.
Named after PAIRS had been judged, and before any network with a "mask alone" was measured."""


# --- networks and images ----------------------------------------------------------------------------------------------


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


splits = _splits
"""The digits, loaded once: notebook 04 takes the same tensors, since a second copy would cost its memory twice."""


def recipe(number: int) -> Recipe:
    """Return how a network of the tests is trained: as the shipped one, with an eighth of its epochs."""
    return Recipe(epochs=5, learning_rate=2e-3, weight_decay=0.02, shift=1, seed=number)


@functools.cache
def _dense(number: int) -> nn.Module:
    if number == 0:
        return load_checkpoint(SOURCE)
    seed_everything(number)
    network = LeNet300100()
    fit(network, _splits().train, recipe(number))
    return network


def dense(number: int) -> nn.Module:
    """Return a copy of dense network 0, the shipped one, or of 1 to 5, trained here."""
    return copy.deepcopy(_dense(number))


def draw(count: int, seed: int) -> Examples:
    """Return training images that the seed draws."""
    train = _splits().train
    chosen = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(seed))[:count]
    return Examples(train.images[chosen], train.labels[chosen])


def error(network: nn.Module) -> float:
    """Return the error on validation in per cent."""
    return 100 * (1 - evaluate(network, _splits().validation).accuracy)


# --- scores of all layers ---------------------------------------------------------------------------------------------


def inputs_and_gradients(network: nn.Module, batch: Examples) -> tuple[dict, dict]:
    """Return, by layer, its inputs and the gradients of each image's loss by its outputs."""
    probe, inputs, outputs = copy.deepcopy(network), {}, {}
    names = {id(w): name for name, w in prunable(probe).items()}

    def keep(layer: nn.Module, received: tuple, output: torch.Tensor) -> None:
        output.retain_grad()
        inputs[names[id(layer.weight)]] = received[0].detach()
        outputs[names[id(layer.weight)]] = output

    for layer in (probe.fc1, probe.fc2, probe.fc3):
        layer.register_forward_hook(keep)
    F.cross_entropy(probe(batch.images), batch.labels, reduction="sum").backward()
    return inputs, {name: output.grad for name, output in outputs.items()}


def scores(criterion: str, network: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Return the scores of a criterion for each layer: "random", "magnitude", "Taylor" or "activation"."""
    weights = prunable(network)
    if criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        return {name: pruning.random_scores(w, generator) for name, w in weights.items()}
    if criterion == "magnitude":
        return {name: pruning.magnitude_scores(w) for name, w in weights.items()}
    inputs, gradients = inputs_and_gradients(network, draw(CALIBRATION, seed))
    if criterion == "activation":
        return {name: pruning.activation_scores(w, inputs[name].norm(dim=0)) for name, w in weights.items()}
    by_image = {name: gradients[name].abs().T @ inputs[name].abs() / CALIBRATION for name in weights}
    return {name: pruning.taylor_scores(w, by_image[name]) for name, w in weights.items()}


def _by_row_in_fc3(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    return mask_each_row(scores, sparsity) if len(scores) == 10 else mask_by_score(scores, sparsity)


MASKS = {
    "random": ("random", mask_by_score),
    "random, drawn again": ("random", mask_by_score),
    "magnitude": ("magnitude", mask_by_score),
    "Taylor": ("Taylor", mask_by_score),
    "Taylor, by row in fc3": ("Taylor", _by_row_in_fc3),
    "activation": ("activation", mask_by_score),
    "Wanda": ("activation", mask_each_row),
}
"""By name: the scores, and the group in which they are compared."""

REPAIRED = ("magnitude, repaired", "Wanda, repaired")
"""The same masks, and then least squares, one layer after the other."""

IN_ROUNDS = {"Wanda in rounds, repaired": "Wanda", "OBS in rounds, repaired": "OBS"}
"""Priced and repaired in rounds, one layer after the other."""

WAYS = (*MASKS, *REPAIRED, *IN_ROUNDS)

MASK_ALONE = {
    "Wanda in rounds, mask alone": "Wanda in rounds, repaired",
    "OBS in rounds, mask alone": "OBS in rounds, repaired",
}
"""The mask that rounds with repair found, laid on the weights of the dense network: nothing is repaired."""


def whole_rows(weight: torch.Tensor, sparsity: float) -> float:
    """Return the sparsity at which each row loses the same whole number of weights, so that all ways keep as many."""
    columns = weight.shape[1]
    return pruning.pruned_count(columns, sparsity) / columns


def masks_of(way: str, network: nn.Module, sparsity: float, seed: int) -> Masks:
    """Return the masks of one of MASKS."""
    criterion, make_mask = MASKS[way]
    found = scores(criterion, network, seed + 60 * (way == "random, drawn again"))
    return {name: make_mask(each, whole_rows(each, sparsity)) for name, each in found.items()}


def in_turn(network: nn.Module, seed: int, prune: Callable) -> None:
    """Replace the weight of each layer, first to last, by prune(name, weight, C of what reaches it by then)."""
    images = draw(CALIBRATION, seed)
    for name, weight in prunable(network).items():
        moment = surgeon.second_moment(inputs_and_gradients(network, images)[0][name])
        with torch.no_grad():
            weight.copy_(prune(name, weight.detach(), moment))


def rounds_of(schedule: str, sparsity: float) -> list[float]:
    """Return the sparsities of the rounds: one, three, or 50 % and nine that each remove the same share of the rest."""
    ten = [1 - 0.5 * (2 * (1 - sparsity)) ** (number / 9) for number in range(9)]
    return {
        "one cut": [sparsity],
        "in rounds": [share * sparsity for share in THREE_ROUNDS],
        "in ten rounds": [*ten, sparsity],
    }[schedule]


# --- the experiments: arguments of a row, and its error ---------------------------------------------------------------


def prune_all(network: nn.Module, way: str, sparsity: float, seed: int) -> Masks:
    """Prune every layer in place in one of WAYS or MASK_ALONE; return the masks."""
    if way in MASK_ALONE:
        masks = prune_all(copy.deepcopy(network), MASK_ALONE[way], sparsity, seed)
        pruning.apply_masks(network, masks)
        return masks
    if way in IN_ROUNDS:

        def prune(name: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
            rounds = rounds_of("in rounds", whole_rows(weight, sparsity))
            return surgeon.prune_in_rounds(weight, moment, PICKS[IN_ROUNDS[way]], rounds)

        in_turn(network, seed, prune)
        return {name: weight.detach() != 0 for name, weight in prunable(network).items()}
    masks = masks_of(way.removesuffix(", repaired"), network, sparsity, seed)
    if way in REPAIRED:
        in_turn(network, seed, lambda name, weight, moment: surgeon.repair(weight, masks[name], moment))
    pruning.apply_masks(network, masks)
    return masks


def retrained(way: str, sparsity: float, epochs: int, number: int) -> float:
    """Prune every layer of a dense network, and retrain it with the masks held."""
    seed = 2000 + number
    network = dense(number)
    masks = prune_all(network, way, sparsity, seed)
    if epochs:
        images = draw(RETRAINING, seed + 50)
        how = Recipe(epochs=epochs, batch_size=64, learning_rate=5e-3, seed=seed)
        fit(network, images, how, after_step=pruning.keep_masks(network, masks))
    return error(network)


def cut(pick: str, schedule: str, repaired: bool, sparsity: float, number: int) -> float:
    """Prune the first layer of a dense network, in one cut or in rounds, with or without repair, without training."""
    network = dense(number)
    weight = network.fc1.weight.detach()
    moment = surgeon.second_moment(draw(CALIBRATION, 2000 + number).images.flatten(1))
    rounds = rounds_of(schedule, sparsity)
    with torch.no_grad():
        weight.copy_(surgeon.prune_in_rounds(weight.clone(), moment, PICKS[pick], rounds, repaired=repaired))
    return error(network)


def unpruned(number: int) -> float:
    """Return the error of a dense network."""
    return error(dense(number))


EXPERIMENTS_OF_04 = {"unpruned": unpruned, "cut": cut, "retrained": retrained}


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order: the experiment and its arguments."""
    for number in FRESH:
        yield {"experiment": "unpruned", "number": number}
        for pick in PICKS:
            for schedule in SCHEDULES[:2]:
                for repaired in (False, True):
                    yield _cut(pick, schedule, repaired, number)
        for way in WAYS:
            for epochs in (0, 2):
                yield _retrained(way, 0.9, epochs, number)
        for way in ("random", "magnitude", "activation"):
            for epochs in (0, 2):
                yield _retrained(way, 0.5, epochs, number)
        for pick in ("Wanda", "OBS"):
            yield _cut(pick, "in ten rounds", True, number)
    # the shipped network counts in no test: these can be measured again without training a dense network first
    yield {"experiment": "unpruned", "number": 0}
    yield _cut("Wanda", "in rounds", True, 0)
    yield _retrained("Wanda, repaired", 0.9, 2, 0)
    for number in FRESH:
        for way in MASK_ALONE:
            for epochs in (0, 2):
                yield _retrained(way, 0.9, epochs, number)


def _cut(pick: str, schedule: str, repaired: bool, number: int) -> dict:
    case = {"pick": pick, "schedule": schedule, "repaired": repaired, "sparsity": 0.95}
    return {"experiment": "cut", **case, "number": number}


def _retrained(way: str, sparsity: float, epochs: int, number: int) -> dict:
    return {"experiment": "retrained", "way": way, "sparsity": sparsity, "epochs": epochs, "number": number}


# --- the table --------------------------------------------------------------------------------------------------------


def digest() -> str:
    """Return a digest of what the rows depend on: this module, the functions it trains with, the dense network."""
    code = (
        *EXPERIMENTS_OF_04.values(), recipe, _dense, draw, inputs_and_gradients, scores, _by_row_in_fc3, whole_rows,
        masks_of, in_turn, rounds_of, prune_all, surgeon, pruning.mask_by_score, pruning.mask_each_row,
        pruning.random_scores, pruning.activation_scores, pruning.taylor_scores, pruning.apply_masks,
        pruning.keep_masks, training.fit, training.Recipe, training.rise_then_cosine, training.cross_entropy,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / f"{SOURCE}.safetensors"])


def run() -> str:
    """Measure what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), measure)


def measure(row: dict) -> float:
    """Prune, and train, what a row says, and return its error."""
    arguments = {name: value for name, value in condition(row).items() if name != "experiment"}
    return EXPERIMENTS_OF_04[row["experiment"]](**arguments)
