"""Checks for notebook 02, unstructured_pruning."""

from collections.abc import Callable

import numpy as np
import torch

from utils.checks import Case, check_cases, check_choice, exercise


@exercise("02.1")
def break_even(answer: Callable) -> None:
    """Counts of weights kept at which sparse formats of a 100 x 300 layer are smaller than dense; bytes of 2:4."""
    dense, starts = 4 * 100 * 300, 4 * (100 + 1)
    in_rows = max(kept for kept in range(30_001) if 6 * kept + starts < dense)
    in_bitmap = max(kept for kept in range(30_001) if 4 * kept + 30_000 // 8 < dense)
    two_four = (100 * 300 // 4) * (2 * 32 + 2 * 2) // 8
    check_cases(answer, [((), (in_rows, in_bitmap, two_four))])


@exercise("02.2")
def sparse_product(answer: Callable) -> None:
    """Product of a matrix in compressed rows and a vector, against the dense sum written out."""

    def case(matrix: list[list[float]], x: list[float]) -> Case:
        values, columns, starts = [], [], [0]
        for row in matrix:
            for column, value in enumerate(row):
                if value != 0:
                    values.append(value)
                    columns.append(column)
            starts.append(len(values))
        arguments = (
            torch.tensor(values, dtype=torch.float32),
            torch.tensor(columns, dtype=torch.int64),
            torch.tensor(starts, dtype=torch.int64),
            torch.tensor(x, dtype=torch.float32),
        )
        expected = [sum(row[column] * x[column] for column in range(len(x))) for row in matrix]
        return arguments, torch.tensor(expected, dtype=torch.float32)

    by_hand = [
        ([[2]], [3]),  # one weight
        ([[0]], [3]),  # none at all
        ([[0, 5]], [1, 2]),  # the column counts, not the row
        ([[5, 0], [0, 7]], [1, 2]),
        ([[0, 0], [3, 4]], [1, 2]),  # an empty row first
        ([[3, 4], [0, 0], [5, 0]], [1, 2]),  # in the middle
        ([[3, 4, 1], [0, 0, 0]], [1, 2, 3]),  # last
    ]
    # Small integers, so that the order of the additions does not matter: float32 adds them exactly.
    generator = np.random.default_rng(2)
    drawn = []
    for rows, columns, kept in [(3, 4, 0.5), (5, 3, 0.3), (8, 8, 0.1), (1, 20, 0.5), (20, 1, 0.5), (12, 30, 0.9)]:
        matrix = generator.integers(-4, 5, (rows, columns)) * (generator.random((rows, columns)) < kept)
        drawn.append((matrix.tolist(), generator.integers(-4, 5, columns).tolist()))
    check_cases(answer, [case(matrix, x) for matrix, x in [*by_hand, *drawn]])


@exercise("02.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about zeros are true."""
    check_choice(
        answer,
        right={"B", "D"},
        why_wrong={
            "A": "look at the file after prune.remove, and at what became of weight_orig and weight_mask.",
            "C": "we timed it: a dense product does not look whether a factor is zero.",
            "E": "the pattern is a mask like any other, unless the hardware has units made for it.",
            "F": "written into the weights, a zero has a gradient like any weight; what happened without the hook?",
        },
        why_missing={
            "B": "write down the bytes of one kept value with its column, and of one dense value of 8 bits.",
            "D": "what does each of the two spend on positions, in bits for each weight of the matrix?",
        },
    )
