"""Checks for notebook 03, structured_pruning."""

import functools
import secrets
from collections.abc import Callable

import torch

from utils.checks import WrongAnswerError, below, check_cases, exercise, told_as_wrong
from utils.datasets import load
from utils.latency_table import GRID, Widths, milliseconds, stored_table
from utils.models import load_checkpoint
from utils.structured_pruning import keep_best, shrink_lenet5, taylor_scores
from utils.training import Recipe, evaluate, fit


@exercise("03.1")
def whole_speedup(answer: Callable) -> None:
    """Amdahl's law with starts: old time over new time, operation by operation."""

    def specification(seconds: list[float], factors: list[float], overhead: float) -> float:
        before = after = 0.0
        for operation in range(len(seconds)):
            before += seconds[operation]
            after += overhead + (seconds[operation] - overhead) / factors[operation]
        return before / after

    drawn = torch.Generator().manual_seed(secrets.randbits(32))

    def case(operations: int) -> tuple[list[float], list[float], float]:
        seconds = torch.rand(operations, generator=drawn, dtype=torch.float64).add(0.1).mul(100).round().div(100)
        factors = torch.rand(operations, generator=drawn, dtype=torch.float64).mul(20).add(0.5).mul(10).round().div(10)
        return seconds.tolist(), factors.tolist(), 0.05

    fixed = [
        ([1.0], [1.0], 0.0),
        ([2.0], [4.0], 0.0),
        ([2.0], [4.0], 1.0),
        ([1.0, 1.0], [1.0, 2.0], 0.0),
        ([3.0, 1.0], [3.0, 1.0], 1.0),  # an operation that is nothing but its start
        ([1.0, 3.0], [0.5, 6.0], 0.5),  # one that becomes slower
    ]
    cases = [*fixed, *(case(operations) for operations in (2, 3, 5, 10))]
    check_cases(answer, [(each, specification(*each)) for each in cases], tolerance=1e-6)


@exercise("03.2")
def remove_constant_units(answer: Callable) -> None:
    """Remove hidden units whose row of weights is zero, their constant going to the next layer's bias."""

    def specification(weight1: torch.Tensor, bias1: torch.Tensor, weight2: torch.Tensor, bias2: torch.Tensor) -> tuple:
        kept = [unit for unit in range(len(weight1)) if any(w != 0 for w in weight1[unit].tolist())]
        new_bias = bias2.clone()
        for unit in range(len(weight1)):
            if unit not in kept:
                for output in range(len(bias2)):
                    new_bias[output] += weight2[output, unit] * max(0.0, bias1[unit].item())
        index = torch.tensor(kept, dtype=torch.long)
        return weight1[index], bias1[index], weight2[:, index], new_bias

    def network(generator: torch.Generator, inputs: int, hidden: int, outputs: int, zero: list[int]) -> tuple:
        def drawn(*shape: int) -> torch.Tensor:  # halves, so that every sum is exact and readable
            return torch.randint(-4, 5, shape, generator=generator) / 2 + 0.25

        weight1 = drawn(hidden, inputs)
        weight1[zero] = 0.0
        return weight1, drawn(hidden), drawn(outputs, hidden), drawn(outputs)

    def one_unit(bias: float) -> tuple:
        return (
            torch.tensor([[0.0], [1.0]]),
            torch.tensor([bias, 3.0]),
            torch.tensor([[5.0, 2.0]]),
            torch.tensor([0.5]),
        )

    cancelling = (
        torch.tensor([[1.0, -1.0], [0.0, 0.0]]),
        torch.tensor([1.0, 2.0]),
        torch.tensor([[1.0, 4.0]]),
        torch.zeros(1),
    )
    one_zero = (torch.tensor([[0.0, 2.0]]), torch.tensor([1.0]), torch.tensor([[3.0]]), torch.zeros(1))
    generator = torch.Generator().manual_seed(secrets.randbits(32))
    drawn = [
        network(generator, *shape)
        for shape in ((2, 3, 1, []), (2, 3, 2, [0, 1, 2]), (3, 4, 2, [1, 3]), (5, 8, 3, [0, 2, 7]), (10, 20, 4, [4]))
    ]
    cases = [one_zero, one_unit(2.0), one_unit(-2.0), cancelling, *drawn]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-5)


CHALLENGE = {"share": 7, "error": 3.4, "images": 10_000, "seeds": (7, 8)}
"""What 03.3 asks for: the dense network's cost over the budget, the mean error in per cent, and with what training."""


@functools.cache
def challenge_error(widths: Widths) -> tuple[float, ...]:
    """Cut the dense network to these widths, train it with each seed; return the errors on validation in per cent."""
    digits = load("mnist")
    dense = load_checkpoint("LeNet5")
    few = digits.train.take(1000)
    scores = taylor_scores(dense, list(GRID), few.images, few.labels)
    kept = [keep_best(score, width) for score, width in zip(scores.values(), widths, strict=True)]
    errors = []
    for seed in CHALLENGE["seeds"]:
        network = shrink_lenet5(dense, *kept)
        fit(network, digits.train.take(CHALLENGE["images"]), Recipe(epochs=2, learning_rate=4e-3, seed=seed))
        errors.append(100 * (1 - evaluate(network, digits.validation).accuracy))
    return tuple(errors)


@exercise("03.3")
def choose_widths(answer: Callable) -> None:
    """Widths under a budget: the check looks the cost up, trains networks of these widths, and measures their error."""
    cost = functools.partial(milliseconds, stored_table())
    dense = tuple(grid[-1] for grid in GRID.values())
    budget = cost(dense) / CHALLENGE["share"]
    with told_as_wrong("choose_widths raised "):
        received = answer(cost, budget)
    widths = _widths(received, dense)
    if cost(widths) > budget:
        raise WrongAnswerError(
            f"not yet: LeNet5{widths} takes {cost(widths):.3f} ms by the table, and the budget is {budget:.3f} ms"
        )
    errors = challenge_error(widths)
    mean = sum(errors) / len(errors)
    shown = ", ".join(f"{each:.2f}" for each in errors)
    if mean > CHALLENGE["error"]:
        raise WrongAnswerError(
            f"not yet: {widths} keep the budget, but the mean error on validation is {mean:.2f} % (with two seeds: "
            f"{shown}), and at most {CHALLENGE['error']:g} % is asked for"
        )
    print(f"{widths}: {cost(widths):.3f} of {budget:.3f} ms, mean error on validation {below(mean)}")


def _widths(received: object, dense: tuple[int, ...]) -> Widths:
    values = received.tolist() if hasattr(received, "tolist") else received
    if not isinstance(values, tuple | list) or len(values) != len(dense):
        raise WrongAnswerError(f"return three widths (C1, C2, m); received: {received!r}")
    whole = all(not isinstance(v, bool) and isinstance(v, int | float | torch.Tensor) and v == int(v) for v in values)
    if not whole or not all(1 <= v <= most for v, most in zip(values, dense, strict=True)):
        raise WrongAnswerError(f"each width must be a whole number from 1 to {dense}; received: {received!r}")
    return tuple(int(v) for v in values)
