"""Wrong answers to the exercises of notebook 18."""

from functools import partial

import torch

from utils.gptq import gptq
from utils.quantization import clipped_half_grid, parameters_for
from utils.weight_only import minmax_half_grid, round_to_nearest


def _bytes(rows, columns, bits, group_size, with_zero_point, **wrong):
    groups = wrong.get("groups", rows * -(-columns // group_size))
    codes = wrong.get("codes", -(-rows * columns * bits // 8))
    zero_points = -(-groups * wrong.get("zero_bits", bits) // 8) if wrong.get("zero", with_zero_point) else 0
    return codes + wrong.get("scale", 2) * groups + zero_points


def _in_order(
    weight, moment, step, order, *, moved_moment=True, repaired=True, back=True, diagonal=True, lower=False, one=False
):
    left = weight[:, order].clone()
    inverse = torch.linalg.inv(moment[order][:, order] if moved_moment else moment)
    factor = torch.linalg.cholesky(inverse, upper=not lower)
    whole = torch.empty_like(left)
    for j in range(left.shape[1]):
        whole[:, j] = (left[:, j] / step).round()
        share = left[:, j] - step * whole[:, j]
        if diagonal:
            share = share / factor[j, j]
        if repaired:
            taken = factor[j, j:]
            if one:
                taken = torch.cat([taken[:2], torch.zeros_like(taken[2:])])
            left[:, j:] -= torch.outer(share, taken)
    if not back:
        return whole
    there = torch.empty_like(whole)
    there[:, order] = whole
    return there


def _into_the_argument(weight, moment, step, order):
    received = _in_order(weight, moment, step, order)
    weight.copy_(step * received)
    return received


def _parts(rounded):
    return rounded.codes, rounded.scale, rounded.zero_point


def _grid(bits, choose=clipped_half_grid):
    return partial(choose, bits=bits)


WRONG_ANSWERS = {
    "18.1": [
        # the last, shorter group is forgotten
        lambda *sizes: _bytes(*sizes, groups=sizes[0] * (sizes[1] // sizes[3])),
        # groups over the whole matrix, across rows
        lambda *sizes: _bytes(*sizes, groups=-(-sizes[0] * sizes[1] // sizes[3])),
        # scales of 32 bits
        lambda *sizes: _bytes(*sizes, scale=4),
        # zero points of a byte each
        lambda *sizes: _bytes(*sizes, zero_bits=8),
        # always, or never, a zero point
        lambda *sizes: _bytes(*sizes, zero=True),
        lambda *sizes: _bytes(*sizes, zero=False),
        # each row filled up to whole bytes
        lambda *sizes: _bytes(*sizes, codes=sizes[0] * -(-sizes[1] * sizes[2] // 8)),
        # the last byte cut off
        lambda *sizes: _bytes(*sizes, codes=sizes[0] * sizes[1] * sizes[2] // 8),
        lambda *sizes: _bytes(*sizes) / sizes[0],
    ],
    "18.2": [
        # to nearest
        lambda *given: _in_order(*given, repaired=False),
        # the moment stays in its order
        lambda *given: _in_order(*given, moved_moment=False),
        # columns are not moved back
        lambda *given: _in_order(*given, back=False),
        # always from left to right
        lambda weight, moment, step, order: _in_order(weight, moment, step, sorted(order)),
        # the diagonal forgotten
        lambda *given: _in_order(*given, diagonal=False),
        # a row of the lower factor, zero behind the diagonal: nothing is handed on
        lambda *given: _in_order(*given, lower=True),
        # only the next column takes over
        lambda *given: _in_order(*given, one=True),
        # a moment of the identity
        lambda weight, moment, step, order: _in_order(weight, torch.eye(len(moment)).to(moment), step, order),
        # the weight, not the whole numbers
        lambda weight, moment, step, order: step * _in_order(weight, moment, step, order),
        _into_the_argument,
    ],
    "18.3": [
        # to nearest in groups of 64, on a grid that just holds them
        lambda name, weight, moment: _parts(round_to_nearest(weight, _grid(2, minmax_half_grid), group_size=64)),
        # three bits
        lambda name, weight, moment: _parts(gptq(weight, moment, _grid(3), group_size=64)),
        # groups so narrow that the scales take more than the codes
        lambda name, weight, moment: _parts(round_to_nearest(weight, _grid(2), group_size=8)),
        # scales that float16 does not hold
        lambda name, weight, moment: _parts(
            round_to_nearest(weight, partial(parameters_for, bits=2, axis=0), group_size=64)
        ),
        # the codes turned round
        lambda name, weight, moment: (
            gptq(weight, moment, _grid(2), group_size=64).codes.flip(1),
            *_parts(gptq(weight, moment, _grid(2), group_size=64))[1:],
        ),
        # no codes at all
        lambda name, weight, moment: (weight, torch.ones(len(weight), 1), torch.zeros(len(weight), 1)),
        lambda name, weight, moment: (weight * float("nan"), *_parts(round_to_nearest(weight, _grid(2)))[1:]),
        # too few groups for the columns, a scale only
        lambda name, weight, moment: _parts(round_to_nearest(weight, _grid(2)))[:2],
        lambda name, weight, moment: None,
    ],
}
