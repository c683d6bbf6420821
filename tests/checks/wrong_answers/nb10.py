"""Wrong answers to the exercises of notebook 10."""

import torch
from torch import nn
from torch.nn import functional as F


def _sums(x, weight, bias, input_scale, unit, lowest, highest):
    q = (x / input_scale).round().clamp(lowest, highest).int()
    return F.linear(q, weight) + (bias / unit).round().int()


def _layers(network):
    return {name: each.weight for name, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)}


def _raised(network, budget, *, largest_first):
    """Raise one layer after another from 2 bits as far as the bytes reach."""
    weights = _layers(network)
    bits = dict.fromkeys(weights, 2)
    for name in sorted(weights, key=lambda n: weights[n].numel(), reverse=largest_first):
        while (
            bits[name] < 8
            and sum(w.numel() * bits[n] for n, w in weights.items()) + weights[name].numel() <= 8 * budget
        ):
            bits[name] += 1
    return bits


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
        # a product of floats, which loses the last digits of a large sum
        lambda x, w, b, s, t, bits: (
            F.linear((x / s).round().clamp(0, 2**bits - 1), w.float()) + (b / (s * t)).round()
        ).int(),
        lambda x, w, b, s, t, bits: None,
    ],
    "10.3": [
        # within the bytes, but the same bits everywhere
        lambda network, images, budget: dict.fromkeys(_layers(network), 2),
        # too many bytes
        lambda network, images, budget: dict.fromkeys(_layers(network), 3),
        # the bits go to the largest layers
        lambda network, images, budget: _raised(network, budget, largest_first=True),
        # a layer is forgotten
        lambda network, images, budget: dict.fromkeys(list(_layers(network))[1:], 2),
        # no whole numbers
        lambda network, images, budget: dict.fromkeys(_layers(network), 2.4),
        lambda network, images, budget: network.no_such_layer,
        lambda network, images, budget: None,
    ],
}
