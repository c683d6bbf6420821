"""Checks for notebook 06, svd_compression."""

import copy
import secrets
from collections.abc import Callable

import torch
from torch import nn

from utils.checks import WrongAnswerError, below, check_cases, exercise
from utils.datasets import load
from utils.low_rank import input_moment
from utils.models import evaluating, load_checkpoint
from utils.training import evaluate

BUDGET = 106_000
"""Bytes of the challenge's network, at four a number."""

ERROR = 0.022
"""Of the challenge's network on validation, at most."""


def _drawn() -> torch.Generator:
    """Return a generator of fresh cases: a table of answers would not pass twice."""
    return torch.Generator().manual_seed(secrets.randbits(32))


@exercise("06.1")
def largest_rank(answer: Callable) -> None:
    """The largest rank at which a spatial split needs at least so many times fewer MACs."""

    def specification(inputs: int, outputs: int, kernel: int, height: int, width: int, times: int) -> int:
        down, right = height - kernel + 1, width - kernel + 1
        fitting = [0]
        for rank in range(1, min(inputs, outputs) * kernel + 1):
            macs = rank * (inputs * kernel * down * width + outputs * kernel * down * right)
            if macs * times <= outputs * inputs * kernel * kernel * down * right:
                fitting.append(rank)
        return fitting[-1]

    known = [
        (1, 1, 1, 1, 1, 1),
        (1, 1, 3, 3, 3, 1),
        (2, 2, 2, 2, 3, 1),
        (2, 6, 3, 5, 9, 1),
        (6, 2, 3, 9, 5, 1),
        (8, 8, 3, 10, 10, 2),
        (8, 8, 3, 10, 10, 100),
        (20, 50, 5, 12, 12, 3),
        (20, 50, 5, 12, 30, 3),
        (20, 50, 5, 30, 12, 3),
    ]
    equal = [(4, 4, 3, 5, 5, 1), (12, 6, 4, 7, 7, 1)]
    draw = _drawn()

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    fresh = [
        (between(4, 40), between(4, 40), kernel, between(kernel, 20), between(kernel, 20), between(1, 4))
        for kernel in (2, 3, 5, 7)
        for _ in range(3)
    ]
    cases = [*sorted(known + equal, key=lambda case: (sum(case), case)), *fresh]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("06.2")
def rank_for_output_error(answer: Callable) -> None:
    """The smallest rank at which the data-aware cut changes the outputs by at most a given share."""

    def errors(weight: torch.Tensor, moment: torch.Tensor) -> list[float]:
        weight, moment = weight.double(), moment.double()
        _, vectors = torch.linalg.eigh(weight @ moment @ weight.T)
        found = []
        for rank in range(min(weight.shape) + 1):
            leading = vectors[:, len(vectors) - rank :]
            change = weight - leading @ leading.T @ weight
            found.append(float(torch.trace(change @ moment @ change.T).clamp(min=0).sqrt()))
        return found

    def specification(weight: torch.Tensor, moment: torch.Tensor, error: float) -> int:
        found = errors(weight, moment)
        return next(rank for rank, value in enumerate(found) if value <= error * found[0] or rank == len(found) - 1)

    diagonal = torch.diag(torch.tensor([4.0, 1.0]))
    known = [
        (torch.tensor([[2.0]]), torch.tensor([[3.0]]), 0.5),
        (torch.zeros(2, 2), torch.eye(2), 0.1),
        (diagonal, torch.eye(2), 0.3),
        (diagonal, torch.eye(2), 0.2),
        (diagonal, torch.diag(torch.tensor([0.0, 1.0])), 0.3),
        (diagonal, torch.diag(torch.tensor([0.01, 1.0])), 0.3),
        (torch.tensor([[3.0, 0.0], [4.0, 5.0]]), torch.tensor([[1.0, 0.9], [0.9, 1.0]]), 0.2),
        (torch.eye(4), torch.diag(torch.tensor([9.0, 4.0, 1.0, 1.0])), 0.4),
        (torch.eye(4), torch.diag(torch.tensor([9.0, 4.0, 1.0, 1.0])), 1.0),
    ]
    draw = _drawn()
    fresh = []
    for m, n, k in ((3, 5, 1), (5, 3, 2), (4, 4, 2), (8, 6, 4), (6, 9, 3)):
        weight = torch.randn(m, n, generator=draw)
        inputs = torch.randn(50, n, generator=draw) * torch.logspace(1, -1, n)[torch.randperm(n, generator=draw)] + 0.5
        moment = input_moment(inputs).float()
        found = errors(weight, moment)
        fresh.append((weight, moment, (found[k - 1] * found[k]) ** 0.5 / found[0]))  # between the errors of two ranks
    check_cases(answer, [(case, specification(*case)) for case in (*known, *fresh)])


@exercise("06.3")
def compress(answer: Callable) -> None:
    """A network in a tenth of the bytes that classifies as many validation digits as asked for."""
    dense = load_checkpoint("LeNet300100")
    before = copy.deepcopy(dense.state_dict())
    network = answer(dense)
    if not isinstance(network, nn.Module):
        raise WrongAnswerError(f"not yet right: return a network, an nn.Module; got {type(network).__name__}")
    if any(not torch.equal(before[name], value) for name, value in dense.state_dict().items()):
        raise WrongAnswerError("not yet right: the network that was handed in has other weights now; work on a copy")
    numbers = sum(value.numel() for value in network.state_dict().values())
    if 4 * numbers > BUDGET:
        raise WrongAnswerError(
            f"not yet right: {numbers:,} numbers at four bytes are {4 * numbers:,} bytes, allowed are {BUDGET:,}"
        )
    validation = load("mnist").validation
    try:
        with evaluating(network):
            error = 1 - evaluate(network, validation).accuracy
    except Exception as failure:  # whatever a learner's network raises is a wrong answer, told as one
        raise WrongAnswerError(f"the network fails on images: {type(failure).__name__}: {failure}") from failure
    if error > ERROR:
        raise WrongAnswerError(
            f"not yet right: {4 * numbers:,} bytes are within the budget, but the network errs on {error:.2%} of the "
            f"validation digits; at most {ERROR:.2%} are allowed"
        )
    print(f"{4 * numbers:,} of {BUDGET:,} bytes, error on validation {below(100 * error)} (allowed: {ERROR:.2%})")
