"""Checks for notebook 22, your_own_network."""

import random
import secrets
from collections.abc import Callable

from utils.checks import check_cases, check_choice, exercise


@exercise("22.1")
def to_ship(answer: Callable) -> None:
    """Which row of a table is shipped under a budget."""

    def specification(rows: list, most_bytes: int, most_errors: float) -> str:
        best = None
        for name, errors, size, is_control in rows:
            if is_control or size > most_bytes or errors > most_errors:
                continue
            if best is None or size < best[2] or (size == best[2] and errors < best[1]):
                best = (name, errors, size)
        return "" if best is None else best[0]

    drawn = random.Random(secrets.randbits(32))

    def table(count: int) -> list:
        return [(f"row {n}", drawn.randint(2, 8) / 2, drawn.randint(1, 6), drawn.random() < 0.3) for n in range(count)]

    one = ("a", 2.0, 5, False)
    fixed = [
        ([], 9, 9.0),
        ([one], 5, 2.0),  # both limits at their edge
        ([one], 4, 2.0),
        ([one], 5, 1.9),
        ([("a", 2.0, 5, True)], 9, 9.0),
        ([one, ("b", 1.0, 5, False)], 9, 9.0),
        ([one, ("b", 1.0, 6, False)], 9, 9.0),
        ([one, ("b", 2.0, 5, False)], 9, 9.0),
        ([("b", 2.0, 5, False), one, ("c", 1.0, 1, True)], 9, 9.0),
    ]
    cases = [*fixed, (table(4), 4, 3.0), (table(8), 5, 3.5), (table(30), 3, 2.0)]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("22.2")
def safe_ratio(answer: Callable) -> None:
    """The largest ratio of a group up to which all errors are allowed."""

    def specification(measured: list, dense_error: float, allowed: float) -> float:
        best = 0.0
        for ratio, _ in measured:
            errors = [error for other, error in measured if other <= ratio]
            if all(error <= dense_error + allowed for error in errors):
                best = max(best, ratio)
        return best

    drawn = random.Random(secrets.randbits(32))

    def case(count: int) -> tuple[list, float, float]:
        points = [(n / count, drawn.randint(0, 8) / 64) for n in range(1, count)]
        drawn.shuffle(points)
        return points, 0.03125, 0.0625

    fixed = [
        ([], 0.125, 0.125),
        ([(0.5, 0.25)], 0.125, 0.125),  # at the edge
        ([(0.5, 0.5)], 0.125, 0.125),
        ([(0.25, 0.5), (0.5, 0.125)], 0.125, 0.125),  # a lucky value behind a bad one
        ([(0.75, 0.5), (0.25, 0.125), (0.5, 0.25)], 0.125, 0.125),  # not in order
        ([(0.5, 0.125), (0.25, 0.125), (0.75, 0.125)], 0.125, 0.125),
    ]
    cases = [*fixed, case(4), case(8), case(16)]
    check_cases(answer, [(each, specification(*each)) for each in cases])


@exercise("22.3")
def right_objections(answer: Callable) -> None:
    """Which objections to a report are right."""
    check_choice(
        answer,
        right={"B", "C", "D", "E", "F"},
        why_wrong={
            "A": "the budget is about the file that is shipped; both files are said to be what they are.",
            "G": "it can: ten epochs more, or less overfitting, may do it. What is missing is the control that tells.",
        },
        why_missing={
            "B": "by what was the ratio chosen, and on which split was it then reported?",
            "C": "how many epochs had the dense network that it is compared with?",
            "D": "for how many inputs at a time is the budget, and for how many the measurement?",
            "E": "how many clips are 0.1 points of 1,000?",
            "F": "a tenth of the numbers is a tenth of the bytes only if a reader knows where they belong.",
        },
    )
