"""Wrong answers to the exercises of notebook 16."""

import torch
from torch import nn

from utils.tiny_networks import Design, TinyNet, deployed_parameters
from utils.training import Recipe, fit

SMALL = Design.parse("full3-6/2 separable3-11/2 separable3-22/2 weighted")


def _count(
    blocks, head, *, depthwise_bias=True, norm=0, side_halved=True, head_bias=10, bias=True, depthwise_by_outputs=False
):
    total, inputs, side = 0, 1, 28
    for kind, kernel, channels, pool in blocks:
        if kind == "full":
            total += kernel**2 * inputs * channels + bias * channels
        else:
            filters = channels if depthwise_by_outputs else inputs
            total += kernel**2 * filters + depthwise_bias * inputs + inputs * channels + bias * channels
        total += norm * channels
        inputs, side = channels, side // 2 if pool and side_halved else side
    return total + (inputs * side**2 if head == "weighted" else 0) + 10 * inputs + head_bias


class _WithBuffer(nn.Module):
    """Keeps most of its numbers in a buffer, which a device has to store all the same."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(10, 784))

    def forward(self, x):
        return x.flatten(1) @ self.weight.t()


def _trained_for_a_moment(examples):
    network = TinyNet(SMALL)
    fit(network, examples.take(1000), Recipe(epochs=1, batch_size=64, learning_rate=1e-2))
    return network


WRONG_ANSWERS = {
    "16.1": [
        lambda blocks, head: _count(blocks, head, depthwise_bias=False),
        lambda blocks, head: _count(blocks, head, norm=2),  # batch norms not folded
        lambda blocks, head: _count(blocks, head, side_halved=False),  # pooling forgotten
        lambda blocks, head: _count(blocks, head, head_bias=0),
        lambda blocks, head: _count(blocks, head, bias=False),
        lambda blocks, head: _count(blocks, head, depthwise_by_outputs=True),
        lambda blocks, head: _count(blocks, "mean"),  # the head's weights forgotten
        lambda blocks, head: float(_count(blocks, head)) + 0.5,
        lambda blocks, head: deployed_parameters(SMALL),
    ],
    "16.2": [
        # the best of all that ever lived
        lambda errors, population, drawn: (errors.index(min(errors)), max(0, len(errors) - population)),
        # the best that lives, drawn or not
        lambda errors, population, drawn: (
            min(range(max(0, len(errors) - population), len(errors)), key=errors.__getitem__),
            max(0, len(errors) - population),
        ),
        # positions in place of numbers
        lambda errors, population, drawn: (min(drawn, key=lambda p: errors[-population:][p]), 0),
        # the worst leaves: evolution without the regularization
        lambda errors, population, drawn: (
            len(errors) - len(errors[-population:]) + min(drawn, key=lambda p: errors[-population:][p]),
            max(range(len(errors) - len(errors[-population:]), len(errors)), key=errors.__getitem__),
        ),
        # of equal ones the older
        lambda errors, population, drawn: (
            len(errors) - len(errors[-population:]) + min(sorted(drawn), key=lambda p: errors[-population:][p]),
            max(0, len(errors) - population),
        ),
        # the largest error wins
        lambda errors, population, drawn: (
            len(errors) - len(errors[-population:]) + max(drawn, key=lambda p: errors[-population:][p]),
            max(0, len(errors) - population),
        ),
        # positions counted from the beginning
        lambda errors, population, drawn: (min(drawn, key=errors.__getitem__), max(0, len(errors) - population)),
        lambda errors, population, drawn: min(drawn, key=errors.__getitem__),
    ],
    "16.3": [
        lambda examples: TinyNet(SMALL),
        _trained_for_a_moment,
        lambda examples: TinyNet(Design.parse("full3-16/2 separable3-32/2 mean")),  # over 1,000
        lambda examples: _WithBuffer(),
        lambda examples: SMALL,
        lambda examples: examples.no_such_split,
        lambda examples: None,
    ],
}
