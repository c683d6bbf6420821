"""Checks for notebook 16, search_under_a_budget."""

import random
import secrets
from collections.abc import Callable

import torch
from torch import nn

from utils.checks import WrongAnswerError, below, check_cases, exercise, told_as_wrong
from utils.datasets import Examples, load
from utils.onnx_export import fold_batch_norm
from utils.training import evaluate


@exercise("16.1")
def deployed_count(answer: Callable) -> None:
    """Parameters of a design once its batch norms are folded."""

    def specification(blocks: list[tuple[str, int, int, bool]], head: str) -> int:
        total, inputs, side = 0, 1, 28
        for kind, kernel, channels, pool in blocks:
            if kind == "full":
                total += channels * inputs * kernel * kernel + channels
            else:
                total += inputs * kernel * kernel + inputs + channels * inputs + channels
            inputs, side = channels, side // 2 if pool else side
        return total + (inputs * side * side if head == "weighted" else 0) + 10 * inputs + 10

    drawn = random.Random(secrets.randbits(32))

    def case(blocks: int) -> tuple[list, str]:
        pools = drawn.sample(range(blocks), min(blocks - 1, 3))
        kinds = ["full", *(drawn.choice(("full", "separable")) for _ in range(blocks - 1))]
        found = [(kind, drawn.choice((3, 5)), drawn.randint(2, 16), i in pools) for i, kind in enumerate(kinds)]
        return found, drawn.choice(("mean", "weighted"))

    fixed = [
        ([("full", 3, 1, False)], "mean"),
        ([("full", 3, 2, True)], "weighted"),
        ([("full", 3, 2, False), ("separable", 3, 4, False)], "mean"),
        ([("full", 5, 3, True), ("separable", 3, 3, True), ("separable", 5, 4, True)], "weighted"),
    ]
    cases = [*fixed, case(3), case(4), case(6)]
    check_cases(answer, [(each, specification(*each)) for each in cases])


@exercise("16.2")
def parent_and_leaver(answer: Callable) -> None:
    """The tournament of regularized evolution, and who leaves."""

    def specification(errors: list[float], population: int, drawn: list[int]) -> tuple[int, int]:
        alive = list(range(max(0, len(errors) - population), len(errors)))
        parent = alive[drawn[0]]
        for position in drawn[1:]:
            if errors[alive[position]] < errors[parent]:
                parent = alive[position]
        return parent, alive[0]

    drawn = random.Random(secrets.randbits(32))

    def case(count: int, population: int, tournament: int) -> tuple[list[float], int, list[int]]:
        errors = [drawn.randint(4, 12) / 2 for _ in range(count)]
        return errors, population, drawn.sample(range(min(count, population)), tournament)

    fixed = [
        ([3.0, 2.0], 2, [0]),
        ([3.0, 2.0], 2, [0, 1]),
        ([1.0, 3.0, 2.0], 2, [0, 1]),  # the best of all has left
        ([2.0, 4.0, 3.0, 5.0], 4, [1, 3]),  # the best that lives was not drawn
        ([5.0, 2.0, 2.0], 3, [2, 1]),  # a tie: the one drawn first
        ([9.0, 1.0, 4.0, 4.0, 6.0], 3, [2, 0, 1]),
    ]
    cases = [*fixed, case(6, 6, 2), case(9, 4, 3), case(30, 8, 3)]
    check_cases(answer, [(each, specification(*each)) for each in cases])


CHALLENGE = {"parameters": 1000, "error": 3.0, "images": 20_000}
"""What 16.3 asks for: parameters at most, the error on validation in per cent, and from how many images."""


@exercise("16.3")
def train_tiny(answer: Callable) -> None:
    """A network of at most 1,000 parameters: the check counts them and measures it."""
    digits = load("mnist")
    images, labels = digits.train.take(CHALLENGE["images"])
    with told_as_wrong("train_tiny raised "):
        network = answer(Examples(images.clone(), labels.clone()))
    if not isinstance(network, nn.Module):
        raise WrongAnswerError(f"not yet right: return the trained network, an nn.Module; received: {network!r}")
    count = deployed_numbers(network)
    if count > CHALLENGE["parameters"]:
        raise WrongAnswerError(
            f"not yet right: a device would have to store {count:,} numbers, and {CHALLENGE['parameters']:,} are "
            "allowed; batch norms are folded before we count, and buffers count too"
        )
    error = 100 * (1 - evaluate(network, digits.validation).accuracy)
    if error > CHALLENGE["error"]:
        raise WrongAnswerError(
            f"not yet: the error on validation is {error:.2f} %, and at most {CHALLENGE['error']:g} % is asked for"
        )
    print(f"{count:,} parameters, error on validation {below(error)}")


def deployed_numbers(network: nn.Module) -> int:
    """Return how many numbers a network has to store once its batch norms are folded: parameters and buffers."""
    folded = fold_batch_norm(network.cpu())
    numbers = {id(tensor): tensor.numel() for tensor in (*folded.parameters(), *folded.buffers())}
    hidden = [value for module in folded.modules() for value in vars(module).values() if torch.is_tensor(value)]
    return sum((numbers | {id(tensor): tensor.numel() for tensor in hidden}).values())
