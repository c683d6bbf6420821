"""Wrong answers to the exercises of notebook 06."""

from functools import partial

import torch

from utils.datasets import load
from utils.low_rank import input_moment, split_layers, split_linear


def _times(rank, lead):
    """Return a wrong answer to 06.1: the quotient of dense MACs and `lead(...)` of a rank."""

    def answer(c, o, kernel, height, width, times):
        down, right = height - kernel + 1, width - kernel + 1
        return rank(o * c * kernel**2 * down * right, lead(c, o, kernel, height, width, down, right) * times)

    return answer


def _spatial(c, o, kernel, height, width, down, right):
    return c * kernel * down * width + o * kernel * down * right


def _outputs(weight, moment):
    weight, moment = weight.double(), moment.double()
    return torch.linalg.eigvalsh(weight @ moment @ weight.T).flip(0).clamp(min=0)


def _count(squares, error):
    tail = torch.cat([squares.flip(0).cumsum(0).flip(0), torch.zeros(1).double()])
    return int((tail > error * tail[0]).sum())


def _scaled(network):
    for parameter in network.parameters():
        parameter.data.mul_(0.5)
    return split_layers(network, {"fc1": 19, "fc2": 10})


def _untrained(dense):
    """Return both layers cut for the data, and no training."""
    images = load("mnist").train.take(5_000).images.flatten(1)
    inputs = {"fc1": images, "fc2": dense.fc1(images).relu()}
    network = dense
    for name, rank in (("fc1", 19), ("fc2", 10)):
        split = partial(split_linear, moment=input_moment(inputs[name]))
        network = split_layers(network, {name: rank}, split=split)
    return network


WRONG_ANSWERS = {
    "06.1": [
        # the columns already lost after the vertical convolution, as the weights alone would have it
        _times(lambda a, b: a // b, lambda c, o, k, h, w, down, right: k * (c + o) * down * right),
        # nothing lost, as with padding
        _times(lambda a, b: a // b, lambda c, o, k, h, w, down, right: k * (c + o) * h * w),
        # the horizontal convolution first
        _times(lambda a, b: a // b, lambda c, o, k, h, w, down, right: k * (c * h * right + o * down * right)),
        # the channel split
        _times(lambda a, b: a // b, lambda c, o, k, h, w, down, right: (c * k * k + o) * down * right),
        _times(lambda a, b: round(a / b), _spatial),  # rounded up now and then
        _times(lambda a, b: a // b or 1, _spatial),  # never below 1
        _times(lambda a, b: a / b, _spatial),  # no integer
        _times(lambda a, b: (a - 1) // b, _spatial),  # more than so many times fewer
        # weights instead of MACs
        lambda c, o, kernel, height, width, times: o * c * kernel // (times * (c + o)),
    ],
    "06.2": [
        # the data not asked
        lambda w, moment, error: _count(torch.linalg.svdvals(w.double()).square(), error**2),
        # the error not squared
        lambda w, moment, error: _count(_outputs(w, moment), error),
        # the moment in place of its root
        lambda w, moment, error: _count(torch.linalg.svdvals(w.double() @ moment.double()).square(), error**2),
        # the energy that is kept taken for the one that is lost
        lambda w, moment, error: _count(_outputs(w, moment), 1 - error**2),
        # squares of what is squared already
        lambda w, moment, error: _count(_outputs(w, moment).square(), error**2),
        # at least 1
        lambda w, moment, error: max(1, _count(_outputs(w, moment), error**2)),
        # one rank too many
        lambda w, moment, error: _count(_outputs(w, moment), error**2) + 1,
    ],
    "06.3": [
        lambda dense: dense,  # too large
        lambda dense: split_layers(dense, {"fc1": 19, "fc2": 10}),  # the data not asked
        _untrained,
        lambda dense: split_layers(dense, {"fc1": 300}),  # larger than the dense network
        _scaled,  # changes what it was given
        lambda dense: {"fc1": 19, "fc2": 10},
        lambda dense: torch.nn.Linear(784, 10),  # takes no images
        lambda dense: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)),
    ],
}
