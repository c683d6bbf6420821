"""Checks for notebook 04, random_and_norm_pruning."""

import itertools
import math
from collections.abc import Callable

from utils.checks import check_cases, check_choice, exercise


@exercise("04.1")
def independent_draws(answer: Callable) -> None:
    """Mean and spread of the zeros that independent draws leave, and the chance that some neuron loses all inputs."""

    def specification(outputs: int, inputs: int, sparsity: float) -> tuple[float, float, float]:
        mean, variance = 0.0, 0.0
        for _ in range(outputs * inputs):
            mean += sparsity
            variance += sparsity * (1 - sparsity)
        all_survive = 1.0
        for _ in range(outputs):
            lost = 1.0
            for _ in range(inputs):
                lost *= sparsity
            all_survive *= 1.0 - lost
        return mean, math.sqrt(variance), 1.0 - all_survive

    cases = [
        (1, 1, 0.5),
        (1, 2, 0.5),
        (2, 1, 0.5),
        (2, 2, 0.25),
        (3, 4, 0.0),
        (3, 4, 1.0),
        (10, 100, 0.9),
        (50, 40, 0.95),
    ]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-6)


@exercise("04.2")
def sign_flip(answer: Callable) -> None:
    """The share of all sign patterns whose sum is at least as far from zero as the observed one."""

    def specification(differences: list[int]) -> float:
        observed = abs(sum(differences))
        patterns = list(itertools.product([1, -1], repeat=len(differences)))
        as_far = [p for p in patterns if abs(sum(s * d for s, d in zip(p, differences, strict=True))) >= observed]
        return len(as_far) / len(patterns)

    cases = [[3], [-3], [0], [2, 1], [2, -1], [1, 1], [-4, -4], [5, 5, -1], [0, 0, 7], [3, -3, 0], [-2, -9, -4]]
    cases += [
        [12, 7, 9, 15, 4],
        [12, -7, 9, 15, -4],
        [40, 10, 50, -10, 60],
        [0, 0, 0, 0, 0],
        [-1, 2, -3, 4, -5, 6, -7, 8],
    ]
    check_cases(answer, [((case,), specification(case)) for case in cases], tolerance=1e-9)


@exercise("04.3")
def true_statements(answer: Callable) -> None:
    """Which conclusions about criteria are sound."""
    check_choice(
        answer,
        right={"B", "E"},
        why_wrong={
            "A": "the L1 norm of one number is |w|, its L2 norm the root of w squared; we counted the differences.",
            "C": "with five seeds the standard error itself is uncertain; look at what the simulation gave.",
            "D": "compare the gaps before retraining with those after it: some shrink to nearly nothing.",
            "F": "it was one network, pruned five times by the same rule; other networks were never looked at.",
        },
        why_missing={
            "B": "take the three toy rows: which of them has the largest sum, and which the largest single weight?",
            "E": "what do two criteria share when they are retrained with the same seed?",
        },
    )
