"""Checks for notebook 23, scoreboard."""

import secrets
from collections.abc import Callable
from random import Random

from utils.checks import check_cases, check_choice, exercise


@exercise("23.1")
def coded_size(answer: Callable) -> None:
    """The bytes of a coded network with all side information, its bits a weight and how many times smaller it is."""

    def whole_bytes(numbers: int, bits: int) -> int:
        count, filled = 0, 8  # a new byte is begun for the first bit
        for _ in range(numbers * bits):
            if filled == 8:
                count, filled = count + 1, 0
            filled += 1
        return count

    def specification(weights: int, kept: int, bits: int, position_bits: int, biases: int) -> tuple:
        size = 16 + whole_bytes(kept, bits) + whole_bytes(kept, position_bits)
        for _ in range(2**bits):
            size += 2
        for _ in range(biases):
            size += 4
        return size, 8 * size / weights, (16 + 4 * weights + 4 * biases) / size

    random = Random(secrets.randbits(32))
    drawn = []
    for _ in range(5):
        weights = random.randint(100, 3000)
        case = (weights, random.randint(1, weights), random.randint(1, 6), random.randint(3, 8), random.randint(0, 40))
        drawn.append(case)
    cases = [(1, 1, 1, 0, 0), (10, 0, 2, 5, 0), (8, 3, 3, 0, 1), (100, 9, 1, 5, 2), (1000, 1000, 8, 0, 10), *drawn]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


@exercise("23.2")
def frontier_positions(answer: Callable) -> None:
    """The positions of the points that no other point dominates."""

    def specification(points: list) -> list:
        staying = []
        for position, (size, error) in enumerate(points):
            dominated = False
            for other_size, other_error in points:
                nowhere_worse = other_size <= size and other_error <= error
                somewhere_better = other_size < size or other_error < error
                if nowhere_worse and somewhere_better:
                    dominated = True
            if not dominated:
                staying.append(position)
        return staying

    small = [[], [(1.0, 1.0)], [(1.0, 2.0), (2.0, 1.0)], [(1.0, 1.0), (2.0, 1.0)], [(2.0, 2.0), (2.0, 1.0)]]
    equal = [[(1.0, 1.0), (1.0, 1.0)], [(3.0, 1.0), (1.0, 3.0), (3.0, 1.0), (3.0, 3.0)]]
    random = Random(secrets.randbits(32))
    drawn = [[(float(random.randint(0, 9)), random.randint(0, 9) / 2) for _ in range(n)] for n in (4, 8, 15, 30)]
    check_cases(answer, [((points,), specification(points)) for points in (*small, *equal, *drawn)])


@exercise("23.3")
def true_statements(answer: Callable) -> None:
    """Which readings of four rows are right."""
    check_choice(
        answer,
        right={"C", "D"},
        why_wrong={
            "A": "they differ by 0.05 points, a sixth of what 10,000 digits can tell apart.",
            "B": "Q has the smaller file and not the larger error.",
            "E": "a dense kernel multiplies by zeros as by other numbers, and the column says 1.0x.",
        },
        why_missing={
            "C": "the frontier was drawn for two columns; is the need one of them?",
            "D": "how many points apart must two errors near 1.2 % be?",
        },
    )
