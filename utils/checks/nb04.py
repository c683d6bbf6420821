"""Checks for notebook 04, random_and_norm_pruning."""

import copy
import itertools
import random
import secrets
from collections.abc import Callable
from typing import Any

from utils.checks import Case, WrongAnswerError, check_cases, exercise

_SEED = secrets.randbits(32)

_TELLING = 1837
"""The seed of a row of six weights on which no mistake that we thought of gives the right places."""
"""Fresh cases in every process; the same at every try within one."""

LEAST_ZEROS, MOST_ERRORS, IMAGES = 228_000, 0.03, 1000
"""What the challenge asks of the first layer and of the network, and how many images its answer may look at."""


@exercise("04.1")
def first_to_go(answer: Callable) -> None:
    """The weight of a row that each of three criteria removes first."""
    import torch

    def price(row: torch.Tensor, moment: torch.Tensor, gone: int) -> float:
        # OBS by brute force: the error that is left when all other weights do their best
        stays = [j for j in range(len(row)) if j != gone]
        best = torch.zeros_like(row)
        if stays:
            best[stays] = torch.linalg.solve(moment[stays][:, stays], moment[stays] @ row)
        return float((row - best) @ moment @ (row - best))

    def lowest(values: list[float]) -> int | None:
        ordered = sorted(values)
        clear = len(values) == 1 or ordered[1] > 1.05 * ordered[0]
        return values.index(ordered[0]) if clear else None

    def draw_case(draw: random.Random, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.tensor([[draw.gauss(0, 1) for _ in range(size)] for _ in range(4 * size)]).double()
        x = x.abs() + 0.8 * x[:, :1]  # inputs that go together, as pixels do
        x = x * torch.tensor([draw.choice([0.1, 0.5, 1.0, 2.0]) for _ in range(size)]).double()
        row = torch.tensor([draw.choice([-1, 1]) * round(draw.uniform(0.1, 2), 2) for _ in range(size)])
        return row, (x.T @ x / len(x)).float()

    def expected_of(row: torch.Tensor, moment: torch.Tensor) -> tuple[int | None, int | None, int | None]:
        wide, exact = row.double(), moment.double()
        return (
            lowest(wide.abs().tolist()),
            lowest((wide.abs() * exact.diagonal().sqrt()).tolist()),
            lowest([price(wide, exact, gone) for gone in range(len(row))]),
        )

    def cases() -> list[Case]:
        draw = random.Random(_SEED)
        found: list[Case] = []
        for size in (1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8):
            while True:
                arguments = draw_case(draw, size)
                expected = expected_of(*arguments)
                if None not in expected and (size < 3 or len(set(expected)) == 3):
                    break
            found.append((arguments, expected))
        # one that tells every mistake apart that we thought of, in a new order and scale each time
        row, moment = draw_case(random.Random(_TELLING), 6)
        order = draw.sample(range(6), 6)
        row, moment = draw.choice([0.5, 1, 2]) * row[order], moment[order][:, order]
        return [*found, ((row, moment), expected_of(row, moment))]

    def as_ints(*arguments: torch.Tensor) -> Any:
        received = answer(*arguments)
        if isinstance(received, tuple | list):
            return tuple(r.item() if hasattr(r, "item") else r for r in received)
        return received

    check_cases(as_ints, cases())


@exercise("04.2")
def sign_flip(answer: Callable) -> None:
    """The share of all sign patterns whose sum is at least as far from zero as the observed one."""

    def specification(differences: list[int]) -> float:
        observed = abs(sum(differences))
        patterns = list(itertools.product([1, -1], repeat=len(differences)))
        as_far = [p for p in patterns if abs(sum(s * d for s, d in zip(p, differences, strict=True))) >= observed]
        return len(as_far) / len(patterns)

    draw = random.Random(_SEED)
    cases = [[3], [-3], [0], [2, 1], [2, -1], [1, 1], [-4, -4], [3, -3], [5, 5, -1], [0, 0, 7], [-2, -9, -4]]
    cases += [[draw.randint(-9, 9) for _ in range(size)] for size in (2, 3, 4, 5, 5, 6, 7, 8)]
    check_cases(answer, [((case,), specification(case)) for case in cases], tolerance=1e-9)


@exercise("04.3")
def prune_first_layer(answer: Callable) -> None:
    """The zeros of the weight that is handed in, and the errors on validation of the network that has it."""
    import torch

    from utils.datasets import load
    from utils.models import load_checkpoint
    from utils.training import evaluate

    digits, network = load("mnist"), load_checkpoint("LeNet300100")
    generator = torch.Generator().manual_seed(_SEED)
    chosen = torch.randperm(len(digits.train.labels), generator=generator)[:IMAGES]
    images = digits.train.images[chosen].flatten(start_dim=1)
    weight = network.fc1.weight.detach()
    given = copy.deepcopy((weight, images))
    received = answer(*given)
    if not (torch.equal(given[0], weight) and torch.equal(given[1], images)):
        raise WrongAnswerError("not yet right: the function changed its arguments; work on a copy")
    received = _as_weight(received, weight)
    zeros = int((received == 0).sum())
    with torch.no_grad():
        network.fc1.weight.copy_(received)
    errors = 1 - evaluate(network, digits.validation).accuracy
    measured = f"{zeros:,} weights are zero, and {errors:.2%} of the validation digits are classified wrongly"
    if zeros < LEAST_ZEROS or errors > MOST_ERRORS:
        raise WrongAnswerError(
            f"not yet right: {measured}; at least {LEAST_ZEROS:,} zeros are asked for, "
            f"and at most {MOST_ERRORS:.0%} errors"
        )


def _as_weight(received: Any, weight: Any) -> Any:
    import torch

    try:
        received = torch.as_tensor(received)
    except (TypeError, ValueError, RuntimeError):
        raise WrongAnswerError(f"return the new weight; got {type(received).__name__}") from None
    if received.shape != weight.shape:
        raise WrongAnswerError(
            f"return a weight of the shape {tuple(weight.shape)}; got the shape {tuple(received.shape)}"
        )
    if received.dtype == torch.bool:
        raise WrongAnswerError("return the new weight itself; what came back is a mask")
    received = received.detach().to(weight)
    if not received.isfinite().all():
        raise WrongAnswerError("some of the weights that came back are not finite")
    return received
