"""Checks for notebook 01, measuring_a_network."""

import secrets
from collections.abc import Callable
from random import Random

import torch
from torch import nn

from utils.accounting import count_macs, count_parameters
from utils.checks import WrongAnswerError, check_cases, exercise
from utils.datasets import load
from utils.training import evaluate

MOST_PARAMETERS, MOST_MACS, LEAST_ACCURACY = 20_000, 100_000, 0.975


@exercise("01.1")
def lenet5_cost(answer: Callable) -> None:
    """Parameters, MACs and bytes moved of LeNet-5, 20-50-500-10, for an image of 32 x 32."""
    layers = [  # weights, outputs' biases, places, inputs
        (20 * 25, 20, 28**2, 32**2),
        (50 * 20 * 25, 50, 10**2, 20 * 14**2),
        (500 * 50 * 25, 500, 1, 50 * 25),
        (10 * 500, 10, 1, 500),
    ]
    parameters = sum(weights + biases for weights, biases, _, _ in layers)
    macs = sum(weights * places for weights, _, places, _ in layers)
    moved = 4 * sum(weights + inputs + biases * places for weights, biases, places, inputs in layers)
    check_cases(answer, [((), (parameters, macs, moved))])


@exercise("01.2")
def conv_intensity(answer: Callable) -> None:
    """FLOP per byte of a square convolution with stride, padding and groups; the MACs are counted one by one."""

    def macs_and_bytes(
        inputs: int, outputs: int, kernel: int, side: int, stride: int, padding: int, groups: int
    ) -> tuple[int, int]:
        places = 0
        for _top in range(-padding, side + padding - kernel + 1, stride):
            for _left in range(-padding, side + padding - kernel + 1, stride):
                places += 1
        weights = outputs * kernel * kernel * (inputs // groups)
        return weights * places, 4 * (weights + inputs * side * side + outputs * places)

    def specification(*case: int) -> float:
        macs, moved = macs_and_bytes(*case)
        return 2 * macs / moved

    drawn = Random(secrets.randbits(32))

    def case() -> tuple[int, ...]:
        groups = drawn.choice((1, 2, 3))
        ends = groups * drawn.randint(1, 4), groups * drawn.randint(1, 4)
        kernel, side = drawn.choice((1, 2, 3, 5)), drawn.randint(5, 12)
        return (*ends, kernel, side, drawn.randint(1, 3), drawn.randint(0, 2), groups)

    plain = [(1, 1, 1, 1, 1, 0, 1), (1, 1, 3, 3, 1, 0, 1), (2, 3, 3, 5, 1, 0, 1), (1, 10, 5, 28, 1, 0, 1)]
    too_large = [(1, 1, 3, 1, 1, 0, 1), (2, 2, 5, 1, 1, 1, 1), (1, 1, 4, 2, 2, 0, 1)]
    strided = [(1, 1, 1, 4, 2, 0, 1), (1, 1, 3, 6, 2, 0, 1), (2, 2, 2, 7, 3, 0, 1)]
    padded = [(1, 1, 3, 3, 1, 1, 1), (3, 4, 5, 8, 1, 2, 1), (3, 4, 3, 8, 2, 1, 1)]
    grouped = [(2, 2, 1, 1, 1, 0, 2), (4, 8, 3, 6, 1, 1, 2), (6, 6, 3, 9, 2, 1, 6), (16, 16, 3, 14, 2, 1, 16)]
    cases = [*plain, *too_large, *strided, *padded, *grouped, *(case() for _ in range(6))]
    cases.sort(key=lambda each: macs_and_bytes(*each))
    check_cases(answer, [(each, specification(*each)) for each in cases], tolerance=1e-9)


@exercise("01.3")
def within_two_budgets(answer: Callable) -> None:
    """A trained network within 20,000 parameters and 100,000 MACs; counted and measured here, not by the clock."""
    received = answer()
    if not isinstance(received, tuple | list) or len(received) != 3 or not isinstance(received[0], nn.Module):
        raise WrongAnswerError(f"return (network, parameters, macs); got {type(received).__name__}")
    network, *predicted = received
    one_digit = torch.zeros(1, 1, 28, 28)
    network = network.cpu().eval()
    with torch.inference_mode():
        shape = _shape_of(network, one_digit)
    if shape != (1, 10):
        raise WrongAnswerError(f"for one image of shape (1, 1, 28, 28) it must return 10 scores; got {shape}")
    counted = {"parameters": count_parameters(network), "MACs": count_macs(network, one_digit)}
    for (what, count), most, guess in zip(counted.items(), (MOST_PARAMETERS, MOST_MACS), predicted, strict=True):
        if count > most:
            raise WrongAnswerError(f"{count:,} {what} are more than {most:,}")
        if guess != count:
            way = f"are too {'few' if guess < count else 'many'}" if isinstance(guess, int | float) else "is no number"
            raise WrongAnswerError(f"your prediction of the {what}, {guess!r}, {way}; biases are parameters, not MACs")
    accuracy = evaluate(network, load("mnist").validation).accuracy
    if accuracy < LEAST_ACCURACY:
        raise WrongAnswerError(
            f"within both budgets, but it classifies {accuracy:.2%} of the validation digits correctly, "
            f"not {LEAST_ACCURACY:.1%}"
        )


def _shape_of(network: nn.Module, images: torch.Tensor) -> object:
    try:
        scores = network(images)
    except Exception as error:  # whatever the learner's network raises is a wrong answer, told as one
        raise WrongAnswerError(f"the network fails on one image: {type(error).__name__}: {error}") from error
    return tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
