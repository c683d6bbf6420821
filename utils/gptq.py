"""Rounding with repair (GPTQ): a column of weights at a time, and those that are not rounded yet make up for it.

It is optimal brain surgeon (`utils.surgeon`) with "set to the nearest value of the grid" in the place of "set to zero",
in a fixed order of the columns, which is the same for all rows (Frantar et al., "GPTQ", 2023; Frantar and Alistarh,
"Optimal brain compression", 2022, section 5).
"""

import copy
from typing import NamedTuple

import torch
from torch import nn

from utils.input_validation import require_int
from utils.models import evaluating
from utils.surgeon import DAMPING, second_moment
from utils.transformer import Block, Transformer
from utils.weight_only import GridChoice, GroupedWeight, WeightOnly, bits_of

BLOCK = 64
"""Columns whose errors are collected before the columns behind them are told, about."""


class _Grids(NamedTuple):
    """The grids of a matrix, a column for each group, filled one after the other."""

    scale: torch.Tensor
    zero_point: torch.Tensor

    @classmethod
    def empty(cls, rows: int, groups: int) -> "_Grids":
        return cls(torch.ones(rows, groups), torch.zeros(rows, groups, dtype=torch.int32))

    def choose(self, group: int, columns: torch.Tensor, grid: GridChoice) -> tuple[int, int, int]:
        """Choose the grids of one group from its columns; return qmin, qmax and the bits."""
        chosen = grid(columns)
        self.scale[:, group] = chosen.scale
        self.zero_point[:, group] = chosen.zero_point
        return chosen.qmin, chosen.qmax, bits_of(chosen)


def gptq_by_elimination(
    weight: torch.Tensor, moment: torch.Tensor, grid: GridChoice, *, group_size: int | None = None
) -> GroupedWeight:
    """Round column by column, as the surgeon would do it: the definition, and the slow way.

    With the inverse B of the moment of the columns that are left, rounding column j to q costs each row
    (w_j - q)^2 / B[j, j] at least, and the columns behind it move by -(w_j - q) / B[j, j] times `B[j, k]`. Then column
    j is eliminated: `B - B[:, j] B[j, :] / B[j, j]` is the inverse for the columns that are left then.

    Args:
        weight: shape (m, n).
        moment: C, shape (n, n), of `surgeon.second_moment`.
        grid: chooses the grids, a group at a time, from the weights as they are when the group is reached.
        group_size: columns that share a scale; the whole row if None.

    >>> from utils.quantization import parameters_for
    >>> two_bits = lambda rows: parameters_for(rows, bits=2, axis=0)
    >>> row, moment = torch.tensor([[-1.0, 0.4, 2.0]]), torch.tensor([[1.0, 0.9, 0], [0.9, 1.0, 0], [0, 0, 1.0]])
    >>> gptq_by_elimination(row, moment, two_bits).dequantize()
    tensor([[-1.,  0.,  2.]])
    """
    size = weight.shape[1] if group_size is None else require_int("group_size", group_size, minimum=1)
    left = weight.detach().double().clone()
    inverse = torch.linalg.inv(moment.double())
    grids = _Grids.empty(len(left), -(-left.shape[1] // size))
    codes = torch.empty(left.shape, dtype=torch.int8)
    for j in range(left.shape[1]):
        if j % size == 0:
            qmin, qmax, bits = grids.choose(j // size, left[:, j : j + size], grid)
        codes[:, j], value = _nearest(left[:, j], grids, j // size, qmin, qmax)
        share = (left[:, j] - value) / inverse[j, j]  # (m,)
        left[:, j:] -= torch.outer(share, inverse[j, j:])
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return GroupedWeight(codes, grids.scale, grids.zero_point, bits, size)


def gptq(
    weight: torch.Tensor,
    moment: torch.Tensor,
    grid: GridChoice,
    *,
    group_size: int | None = None,
    block: int = BLOCK,
    activation_order: bool = False,
) -> GroupedWeight:
    """Round as `gptq_by_elimination` does, much faster: with one Cholesky factor, and updates in blocks.

    Row j of the upper factor U of C^-1 = U^T U, from its diagonal on, is row j of the shrinking inverse over the root
    of its diagonal entry, so that all n inverses are there at once. And the columns behind a block of columns need to
    know only the sum of what the block did to them: one matrix product for each block.

    Args:
        weight, moment, grid, group_size: as in `gptq_by_elimination`.
        block: columns to a block, about: each has whole groups, so that a group's grid is chosen from weights that know
            of everything before them.
        activation_order: take the columns by the size of their inputs, the largest first, when all others can still
            make up for them. All grids are then chosen beforehand, from the weights as they were ("static groups"), so
            that a group has neighbours in it and no order has to be stored.

    Source: Frantar et al., "GPTQ", 2023, section 3 and algorithm 1; the order is an option of its code.
    """
    rows, columns = weight.shape
    size = columns if group_size is None else require_int("group_size", group_size, minimum=1)
    block = max(1, require_int("block", block, minimum=1) // size) * size
    grids = _Grids.empty(rows, -(-columns // size))
    order = torch.arange(columns)
    left = weight.detach().double().clone()
    if activation_order:
        for group in range(grids.scale.shape[1]):
            qmin, qmax, bits = grids.choose(group, left[:, group * size : (group + 1) * size], grid)
        order = moment.diagonal().argsort(descending=True, stable=True)
        left = left[:, order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment.double()[order][:, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)  # (n, n), U
    codes = torch.empty(weight.shape, dtype=torch.int8)
    for start in range(0, columns, block):
        end = min(start + block, columns)
        shares = torch.empty(rows, end - start, dtype=torch.float64)
        for j in range(start, end):
            column = int(order[j])
            if not activation_order and j % size == 0:
                qmin, qmax, bits = grids.choose(j // size, left[:, j : j + size], grid)
            codes[:, column], value = _nearest(left[:, j], grids, column // size, qmin, qmax)
            shares[:, j - start] = (left[:, j] - value) / factor[j, j]
            left[:, j:end] -= torch.outer(shares[:, j - start], factor[j, j:end])
        left[:, end:] -= shares @ factor[start:end, end:]
    return GroupedWeight(codes, grids.scale, grids.zero_point, bits, size)


def _nearest(
    values: torch.Tensor, grids: _Grids, group: int, qmin: int, qmax: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes of a column, float, and the values that they stand for; the arithmetic of `quantize`."""
    scale, zero_point = grids.scale[:, group], grids.zero_point[:, group]
    codes = ((values * (1.0 / scale)).round() + zero_point).clamp(qmin, qmax)
    return codes, (codes - zero_point) * scale


# --- layer after layer ------------------------------------------------------------------------------------------------

IN_TURN = (
    ("attention.query", "attention.key", "attention.value"),
    ("attention.output",),
    ("feed_forward.gate", "feed_forward.up"),
    ("feed_forward.down",),
)
"""The layers of a block in the order in which they are computed; those that read the same stand together."""


def answering_for_others(weight: torch.Tensor, given: torch.Tensor, received: torch.Tensor) -> torch.Tensor:
    """Return the weight that makes of what a layer receives now what the layer made of what it was given before.

    It minimises the mean of |W x - V y|^2 plus lambda |W - V|^2 over V, lambda being a hundredth of the mean square of
    the inputs y: V = (W E[x y^T] + lambda W) (E[y y^T] + lambda)^-1. With y = x that is W.

    Args:
        weight: W, shape (m, n).
        given: x, shape (N, n), in the network in float.
        received: y, shape (N, n), at the same places in the network whose earlier layers are rounded.

    >>> x = torch.tensor([[1.0], [-1.0]])
    >>> answering_for_others(torch.tensor([[1.0]]), x, x / 2)  # 2 but for lambda
    tensor([[1.9901]])
    """
    small = DAMPING * received.square().mean()
    wanted = weight @ given.T @ received / len(received) + small * weight
    return torch.linalg.solve(second_moment(received), wanted, left=False)


@torch.no_grad()
def gptq_in_turn(
    model: Transformer, tokens: torch.Tensor, grid: GridChoice, *, group_size: int | None = None
) -> WeightOnly:
    """Round a transformer layer after layer, each for what it receives from the rounded layers before it.

    The moment is that of the inputs in the rounded network, and the weight that is rounded is the one of
    `answering_for_others`: each layer makes up not only for its own rounding but also for that of those before it.

    Args:
        model: a trained network; it is not changed.
        tokens: calibration text, shape (N, T); the inputs of a whole block are held in memory.
        grid, group_size: as in `gptq_by_elimination`.

    Source: the code of Frantar et al., "GPTQ", 2023, rounds in turn; to aim at the float network's outputs is the idea
    of Li et al., "GPTAQ", 2025, who build it into the steps themselves.
    """
    rounded = copy.deepcopy(model)
    stored: dict[str, GroupedWeight] = {}

    def settle(name: str, given: torch.Tensor, received: torch.Tensor) -> None:
        layer = rounded.get_submodule(name)
        given, received = given.flatten(0, -2).double(), received.flatten(0, -2).double()
        weight = answering_for_others(layer.weight.double(), given, received)
        stored[name] = gptq(weight, second_moment(received), grid, group_size=group_size)
        layer.weight.copy_(stored[name].dequantize())

    with evaluating(model, rounded):
        turns = model.turns(tokens)
        x = y = model.embedding(tokens)
        for number, (block, changed) in enumerate(zip(model.blocks, rounded.blocks, strict=True)):
            given, next_x = _inputs_in(block, x, turns)
            for names in IN_TURN:
                received, _ = _inputs_in(changed, y, turns)
                for name in names:
                    settle(f"blocks.{number}.{name}", given[name], received[name])
            x, y = next_x, changed(y, turns, None, number)
        settle("head", model.norm(x), rounded.norm(y))
    return WeightOnly(rounded, stored)


def _inputs_in(
    block: Block, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return what reaches each linear layer of a block, by its name in the block, and what the block makes of it."""
    inputs: dict[str, torch.Tensor] = {}

    def keep(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_pre_hook(lambda _, given: inputs.update({name: given[0]}))

    hooks = [keep(name, block.get_submodule(name)) for names in IN_TURN for name in names]
    try:
        return inputs, block(x, turns, None, 0)
    finally:
        for hook in hooks:
            hook.remove()
