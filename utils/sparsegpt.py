"""Pruning with repair (SparseGPT): a column at a time, and the columns behind it make up for what was removed.

It is optimal brain surgeon (`utils.surgeon`) in a fixed order of the columns, which is the same for all rows, so that
one Cholesky factor serves a whole layer; `utils.gptq` is the same loop with "rounded" in the place of "removed"
(Frantar and Alistarh, "SparseGPT", 2023).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from utils.accounting import packed_bytes
from utils.input_validation import require_int
from utils.weight_only import GridChoice, GroupedWeight, bits_of

MaskChoice = Callable[[torch.Tensor], torch.Tensor]
"""A function from the prices of some columns, shape (m, columns), to their mask, True for what stays:
`partial(mask_by_score, sparsity=0.5)` for a share of all of them together, `n_of_m_mask` for 2:4."""

COLUMNS = 8
"""Columns whose mask is chosen together; a multiple of 4 for 2:4."""

BLOCK = 64
"""Columns whose errors are collected before the columns behind them are told, about."""


# --- one row, by the book ---------------------------------------------------------------------------------------------


def surgeon_one_by_one(row: torch.Tensor, moment: torch.Tensor, count: int) -> torch.Tensor:
    """Remove `count` weights of a row, each time the cheapest one, and let all others make up for it: the definition.

    With the inverse B of the moment of what is left, weight p costs w_p^2 / B[p, p], the others move by
    -w_p B[:, p] / B[p, p], and then p is eliminated: B - B[:, p] B[p, :] / B[p, p].

    Args:
        row: w, shape (n,).
        moment: C, shape (n, n), of `surgeon.second_moment`.
        count: from 0 to n.

    Source: Hassibi and Stork, 1992, section 2; Frantar and Alistarh, "Optimal brain compression", 2022, algorithm 1.

    >>> surgeon_one_by_one(torch.tensor([2.0, 1.0]), torch.tensor([[1.0, 0.5], [0.5, 1.0]]), 1)
    tensor([2.5000, 0.0000])
    """
    left, inverse = row.double().clone(), torch.linalg.inv(moment.double())
    gone = torch.zeros(len(row), dtype=torch.bool)
    for _ in range(count):
        price = (left.square() / inverse.diagonal()).masked_fill(gone, torch.inf)
        p = int(price.argmin())
        left -= left[p] / inverse[p, p] * inverse[:, p]
        inverse = inverse - torch.outer(inverse[:, p], inverse[p]) / inverse[p, p]
        gone[p] = True
        inverse[p, p] = 1.0  # the row and the column of what has gone are zero; this keeps the division above finite
    return left.masked_fill(gone, 0.0).to(row.dtype)


# --- a whole layer ----------------------------------------------------------------------------------------------------


def sparsegpt_by_elimination(
    weight: torch.Tensor, moment: torch.Tensor, choose: MaskChoice, *, columns: int = COLUMNS
) -> torch.Tensor:
    """Prune column by column with inverses that are computed anew: the definition, and the slow way.

    With B_j the inverse of the moment of the columns from j on, removing w_j costs w_j^2 / B_j[0, 0], and the columns
    behind it move by -w_j B_j[0, k] / B_j[0, 0]. What stays is not changed any more when its column has been passed.

    Args:
        weight: shape (m, n).
        moment: C, shape (n, n), of `surgeon.second_moment`.
        choose: from prices to a mask, `columns` columns at a time, when these are reached.
        columns: see there.

    >>> from utils.pruning import n_of_m_mask
    >>> moment = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> sparsegpt_by_elimination(torch.tensor([[1.0, 2.0]]), moment, lambda p: n_of_m_mask(p, n=1, m=2), columns=2)
    tensor([[0.0000, 2.5000]])
    """
    left, moment = weight.double().clone(), moment.double()
    mask = torch.ones(left.shape, dtype=torch.bool)
    for j in range(left.shape[1]):
        if j % columns == 0:
            some = range(j, min(j + columns, left.shape[1]))
            first = torch.stack([torch.linalg.inv(moment[k:, k:])[0, 0] for k in some])
            mask[:, some] = choose(left[:, some].square() / first)
        inverse = torch.linalg.inv(moment[j:, j:])
        removed = left[:, j].masked_fill(mask[:, j], 0.0)
        left[:, j:] -= torch.outer(removed / inverse[0, 0], inverse[0])
        left[:, j].masked_fill_(~mask[:, j], 0.0)
    return left.to(weight.dtype)


def sparsegpt(
    weight: torch.Tensor, moment: torch.Tensor, choose: MaskChoice, *, columns: int = COLUMNS, block: int = BLOCK
) -> torch.Tensor:
    """Prune as `sparsegpt_by_elimination` does, much faster: with one Cholesky factor, and updates in blocks.

    Row j of the upper factor U of C^-1 = U^T U is the first row of B_j over the root of its diagonal entry.

    Args:
        weight, moment, choose, columns: as in `sparsegpt_by_elimination`.
        block: columns to a block of updates, about: each has whole groups of `columns`.

    Source: Frantar and Alistarh, "SparseGPT", 2023, section 3 and algorithm 1. There a mask is chosen for 128 columns
    at once; a row of ours has 160 or 416.
    """
    values, _ = _sweep(weight, moment, choose, columns, _whole(columns, block), lambda j, left: left[:, j])
    return values.to(weight.dtype)


class SparseGroupedWeight(NamedTuple):
    """A matrix in which some weights are zero and the others codes of few bits: a mask and a `GroupedWeight`.

    Args:
        mask: bool, shape (m, n); True stays.
        rounded: all codes; those of what was removed are the zero points.
    """

    mask: torch.Tensor
    rounded: GroupedWeight

    @property
    def nbytes(self) -> int:
        """Bytes of the mask, a bit a weight, the packed codes of what stays, the scales and the zero points."""
        codes = packed_bytes(self.rounded.codes.numel(), self.rounded.bits)
        kept = packed_bytes(int(self.mask.sum()), self.rounded.bits)
        return packed_bytes(self.mask.numel(), 1) + kept + self.rounded.nbytes - codes

    def dequantize(self) -> torch.Tensor:
        """Return the weight that it stands for."""
        return self.rounded.dequantize().masked_fill(~self.mask, 0.0)


def sparse_gptq(
    weight: torch.Tensor,
    moment: torch.Tensor,
    choose: MaskChoice,
    grid: GridChoice,
    *,
    group_size: int,
    columns: int = COLUMNS,
) -> SparseGroupedWeight:
    """Prune and round in one go: what a column loses either way, the columns behind it make up for.

    Args:
        weight, moment, choose, columns: as in `sparsegpt`; `lambda _: mask` holds none.
        grid: chooses the grids, a group at a time, from the weights as they are when the group is reached.
        group_size: columns that share a scale, a multiple of `columns`.

    Source: Frantar and Alistarh, "SparseGPT", 2023, section 3.5 ("joint sparsification and quantization").
    """
    rows, width = weight.shape
    if require_int("group_size", group_size, minimum=1) % columns:
        raise ValueError(f"group_size must be a multiple of columns, {columns}, got {group_size}")
    codes = torch.empty(weight.shape, dtype=torch.int8)
    scale = torch.ones(rows, -(-width // group_size))
    zero_point = torch.zeros(scale.shape, dtype=torch.int32)
    limits = (0, 0, 0)

    def settle(j: int, left: torch.Tensor) -> torch.Tensor:
        nonlocal limits
        group = j // group_size
        if j % group_size == 0:
            chosen = grid(left[:, j : j + group_size])
            scale[:, group], zero_point[:, group] = chosen.scale, chosen.zero_point
            limits = chosen.qmin, chosen.qmax, bits_of(chosen)
        s, z = scale[:, group], zero_point[:, group]
        codes[:, j] = ((left[:, j] * (1.0 / s)).round() + z).clamp(*limits[:2])
        return (codes[:, j] - z) * s

    _, mask = _sweep(weight, moment, choose, columns, _whole(group_size, BLOCK), settle)
    codes = torch.where(mask, codes, zero_point.repeat_interleave(group_size, dim=1)[:, :width]).to(torch.int8)
    return SparseGroupedWeight(mask, GroupedWeight(codes, scale, zero_point, limits[2], group_size))


def _whole(size: int, block: int) -> int:
    """Return the columns of a block that has whole groups of `size`."""
    return max(1, math.floor(block / size)) * size


def _sweep(
    weight: torch.Tensor,
    moment: torch.Tensor,
    choose: MaskChoice,
    columns: int,
    block: int,
    settle: Callable[[int, torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Go through the columns once; `settle(j, left)` says what column j becomes where it stays. Return values, mask."""
    left = weight.detach().double().clone()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment.double()))
    factor = torch.linalg.cholesky(inverse, upper=True)  # (n, n), U
    mask = torch.ones(left.shape, dtype=torch.bool)
    for start in range(0, left.shape[1], block):
        end = min(start + block, left.shape[1])
        shares = torch.empty(len(left), end - start, dtype=torch.float64)
        for j in range(start, end):
            if (j - start) % columns == 0:
                some = slice(j, min(j + columns, end))
                mask[:, some] = choose(left[:, some].square() / factor.diagonal()[some].square())
            value = settle(j, left).masked_fill(~mask[:, j], 0.0)
            shares[:, j - start] = (left[:, j] - value) / factor[j, j]
            left[:, j + 1 : end] -= torch.outer(shares[:, j - start], factor[j, j + 1 : end])
            left[:, j] = value
        left[:, end:] -= shares @ factor[start:end, end:]
    return left, mask
