"""Checks for notebook 02, unstructured_pruning."""

import math
import secrets
from collections.abc import Callable, Mapping

import torch

from utils.accounting import layer_costs
from utils.checks import Case, WrongAnswerError, below, check_cases, exercise, told_as_wrong
from utils.datasets import load
from utils.models import load_checkpoint
from utils.pruning import apply_masks, prunable
from utils.training import evaluate


@exercise("02.1")
def break_even(answer: Callable) -> None:
    """Counts of weights kept at which sparse formats are smaller than the dense matrix; bytes of 2:4."""

    def specification(rows: int, columns: int, value_bytes: int) -> tuple[int, int, int]:
        weights = rows * columns
        counts, dense = range(weights + 1), weights * value_bytes
        in_rows = max(kept for kept in counts if kept * (value_bytes + 2) + 4 * (rows + 1) < dense)
        in_bitmap = max(kept for kept in counts if kept * value_bytes + math.ceil(weights / 8) < dense)
        two_four = math.ceil(weights // 4 * (2 * 8 * value_bytes + 2 * 2) / 8)
        return in_rows, in_bitmap, two_four

    drawn = torch.Generator().manual_seed(secrets.randbits(32))

    def case(value_bytes: int) -> tuple[int, int, int]:
        rows, groups = torch.randint(3, 60, (2,), generator=drawn).tolist()
        return rows, 4 * (groups + 2), value_bytes

    fixed = [(1, 8, 4), (2, 12, 4), (3, 12, 2), (3, 20, 1), (100, 300, 4)]
    cases = [*fixed, *(case(value_bytes) for value_bytes in (4, 2, 1, 4))]
    check_cases(answer, [(each, specification(*each)) for each in cases])


@exercise("02.2")
def sparse_product(answer: Callable) -> None:
    """Product of a matrix in compressed rows and a vector, against the sum over the values that are there."""

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
        expected = [sum(value * x[column] for column, value in enumerate(row) if value != 0) for row in matrix]
        return arguments, torch.tensor(expected, dtype=torch.float32)

    unneeded = math.nan  # zero times NaN is NaN: a product that goes through all columns gives itself away
    by_hand = [
        ([[2]], [3]),  # one weight
        ([[0]], [3]),  # none at all
        ([[0, 5]], [1, 2]),  # the column counts, not the row
        ([[0, 5]], [unneeded, 2]),  # what no value needs is not touched
        ([[5, 0], [0, 7]], [1, 2]),
        ([[0, 0], [3, 4]], [1, 2]),  # an empty row first
        ([[3, 4], [0, 0], [5, 0]], [1, 2]),  # in the middle
        ([[3, 4, 1], [0, 0, 0]], [1, 2, 3]),  # last
    ]
    # Small integers, so that the order of the additions does not matter: float32 adds them exactly.
    generator = torch.Generator().manual_seed(secrets.randbits(32))

    def drawn(rows: int, columns: int, kept: float) -> tuple[list[list[int]], list[float]]:
        matrix = torch.randint(-4, 5, (rows, columns), generator=generator)
        matrix *= torch.rand(rows, columns, generator=generator) < kept
        x = torch.randint(-4, 5, (columns,), generator=generator).float()
        x[(matrix == 0).all(dim=0)] = unneeded
        return matrix.tolist(), x.tolist()

    shapes = [(3, 4, 0.5), (5, 3, 0.3), (8, 8, 0.1), (1, 20, 0.5), (20, 1, 0.5), (12, 30, 0.9), (4, 50, 0.05)]
    check_cases(answer, [case(matrix, x) for matrix, x in [*by_hand, *(drawn(*shape) for shape in shapes)]])


CHALLENGE = {"sparsity": 0.95, "macs": 573_250, "error": 5.0}
"""What 02.3 asks for: the sparsity of LeNet5, and the MACs of its kept weights, a quarter of all, and the error on
validation in per cent that it may have at most."""


@exercise("02.3")
def choose_masks(answer: Callable) -> None:
    """Masks of one's own for LeNet5: the check applies them to the shipped network and measures it."""
    with told_as_wrong("choose_masks raised "):
        masks = answer(load_checkpoint("LeNet5"))
    network = load_checkpoint("LeNet5")
    weights = prunable(network)
    if not isinstance(masks, Mapping) or masks.keys() != weights.keys():
        raise WrongAnswerError(f"not yet right: return a dictionary with a mask for each of {', '.join(weights)}")
    for name, mask in masks.items():
        shape = tuple(weights[name].shape)
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != shape:
            got = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, torch.Tensor) else repr(mask)
            raise WrongAnswerError(f"not yet right: the mask of {name} must be torch.bool of shape {shape}, got {got}")
    total = sum(mask.numel() for mask in masks.values())
    removed = sum(int((~mask).sum()) for mask in masks.values())
    wanted = round(CHALLENGE["sparsity"] * total)
    if removed < wanted:
        raise WrongAnswerError(
            f"not yet: the masks remove {removed:,} of {total:,} weights, {removed / total:.2%}, and {wanted:,} are "
            f"asked for, {CHALLENGE['sparsity']:.0%}"
        )
    costs = {f"{layer.name}.weight": layer for layer in layer_costs(network, torch.zeros(1, 1, 28, 28))}
    # each kept weight works at every place of its layer's output
    macs = sum(int(mask.sum()) * costs[name].macs // mask.numel() for name, mask in masks.items())
    if macs > CHALLENGE["macs"]:
        raise WrongAnswerError(
            f"not yet: the kept weights do {macs:,} multiply-accumulates, and at most {CHALLENGE['macs']:,} are asked "
            "for, a quarter of all"
        )
    apply_masks(network, masks)
    error = 100 * (1 - evaluate(network, load("mnist").validation).accuracy)
    if error > CHALLENGE["error"]:
        raise WrongAnswerError(
            f"not yet: with these masks the error on validation is {error:.2f} %, and at most {CHALLENGE['error']:g} % "
            "is asked for"
        )
    print(f"{removed / total:.0%} of the weights removed, {macs:,} MACs left, error on validation {below(error)}")
