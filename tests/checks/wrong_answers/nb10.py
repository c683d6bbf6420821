"""Wrong answers to the exercises of notebook 10."""

import torch
from torch.nn import functional as F


def _sums(x, weight, bias, input_scale, unit, lowest, highest):
    q = (x / input_scale).round().clamp(lowest, highest).int()
    return F.linear(q, weight) + (bias / unit).round().int()


WRONG_ANSWERS = {
    "10.1": [
        # the straight-through part forgotten
        lambda values, scale, qmin, qmax: [min(max(round(v / scale), qmin), qmax) for v in values],
        # the sign turned around
        lambda values, scale, qmin, qmax: [
            qmin if v / scale < qmin else qmax if v / scale > qmax else v / scale - round(v / scale) for v in values
        ],
        # zero outside of the range, as for the value
        lambda values, scale, qmin, qmax: [
            round(v / scale) - v / scale if qmin <= v / scale <= qmax else 0.0 for v in values
        ],
        # the error in real units instead of steps
        lambda values, scale, qmin, qmax: [
            qmin if v / scale < qmin else qmax if v / scale > qmax else scale * round(v / scale) - v for v in values
        ],
        # their sum
        lambda values, scale, qmin, qmax: sum(round(v / scale) - v / scale for v in values),
        lambda values, scale, qmin, qmax: None,
    ],
    "10.2": [
        # the bias in units of the weight alone
        lambda x, w, b, s, t, bits: _sums(x, w, b, s, t, 0, 2**bits - 1),
        # the bias in units of the input alone
        lambda x, w, b, s, t, bits: _sums(x, w, b, s, s, 0, 2**bits - 1),
        # the clip forgotten above
        lambda x, w, b, s, t, bits: _sums(x, w, b, s, s * t, 0, 10**6),
        # the clip forgotten below
        lambda x, w, b, s, t, bits: _sums(x, w, b, s, s * t, -(10**6), 2**bits - 1),
        # one level too many
        lambda x, w, b, s, t, bits: _sums(x, w, b, s, s * t, 0, 2**bits),
        # the bias forgotten
        lambda x, w, b, s, t, bits: _sums(x, w, torch.zeros_like(b), s, s * t, 0, 2**bits - 1),
        lambda x, w, b, s, t, bits: None,
    ],
    "10.3": [
        lambda: {"B"},
        lambda: {"D"},
        lambda: {"A", "B", "D"},
        lambda: {"B", "C", "D"},
        lambda: {"B", "D", "E"},
        lambda: "BD",
        lambda: None,
    ],
}
