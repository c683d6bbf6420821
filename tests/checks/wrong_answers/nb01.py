"""Wrong answers to the exercises of notebook 01."""

import torch
from torch import nn

from utils.models import LiteNetMLP, load_checkpoint


def _places(side, kernel, stride, padding):
    return max(0, (side + 2 * padding - kernel) // stride + 1)


def _intensity(i, o, k, side, places, groups, *, flop=2, outputs=None, inputs=None):
    weights = o * (i // groups) * k * k
    inputs = i * side * side if inputs is None else inputs
    outputs = o * places * places if outputs is None else outputs
    return flop * weights * places * places / (4 * (weights + inputs + outputs))


def _within(*, hidden=None):
    """Networks that are trained too little, or counted wrong."""
    torch.manual_seed(0)
    layers = [nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10)] if hidden else [nn.Linear(784, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


WRONG_ANSWERS = {
    "01.1": [
        lambda: (655_500, 3_522_000, 2_733_536),  # biases forgotten
        lambda: (656_080, 3_522_580, 2_733_536),  # biases counted as multiply-accumulates
        lambda: (656_080, 2 * 3_522_000, 2_733_536),  # floating-point operations
        lambda: (431_080, 2_293_000, 1_808_736),  # 28 x 28
        lambda: (656_080, 3_522_000, 4 * 656_080),  # parameters alone are moved
        lambda: (656_080, 3_522_000, 2_733_536 // 4),  # numbers, not bytes
        lambda: 656_080,
    ],
    "01.2": [
        # the padding forgotten
        lambda i, o, k, side, stride, padding, groups: _intensity(i, o, k, side, _places(side, k, stride, 0), groups),
        # the groups forgotten
        lambda i, o, k, side, stride, padding, groups: _intensity(i, o, k, side, _places(side, k, stride, padding), 1),
        # a kernel larger than the padded image
        lambda i, o, k, side, stride, padding, groups: _intensity(
            i, o, k, side, (side + 2 * padding - k) // stride + 1, groups
        ),
        # a MAC as one operation
        lambda i, o, k, side, stride, padding, groups: _intensity(
            i, o, k, side, _places(side, k, stride, padding), groups, flop=1
        ),
        # the output not moved
        lambda i, o, k, side, stride, padding, groups: _intensity(
            i, o, k, side, _places(side, k, stride, padding), groups, outputs=0
        ),
        # the padding moved too
        lambda i, o, k, side, stride, padding, groups: _intensity(
            i, o, k, side, _places(side, k, stride, padding), groups, inputs=i * (side + 2 * padding) ** 2
        ),
        # the stride rounded up
        lambda i, o, k, side, stride, padding, groups: _intensity(
            i, o, k, side, max(0, -(-(side + 2 * padding - k) // stride) + 1), groups
        ),
    ],
    "01.3": [
        lambda: (_within(), 7_850, 7_840),  # not trained
        lambda: (_within(hidden=25), 19_885, 19_885),  # the biases counted as MACs
        lambda: (_within(hidden=25), 19_850, 19_850),  # the biases forgotten
        lambda: (load_checkpoint("LiteNetCNN"), 21_840, 480_500),  # too many of both
        lambda: (LiteNetMLP(hidden=25), None, None),  # nothing predicted
        lambda: (nn.Flatten(), 0, 0),  # 784 scores
        lambda: load_checkpoint("SmallDepthwiseNet"),
    ],
}
