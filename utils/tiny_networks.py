"""Networks of a few hundred to a few thousand parameters, each written as one line of text, for digits of 28x28 pixels.

A design is a list of blocks and a head. It says how many parameters the network has once its batch norms are folded
into the convolutions, before any network is built; a search can so stay within a budget.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from utils.checkpoint_files import CHECKPOINTS, checkpoint_card
from utils.input_validation import require_int
from utils.models import load_checkpoint

LADDER = CHECKPOINTS / "ladder"
"""Where the course's tiny networks lie; `utils.recipes.ladder` says how they were trained."""

SIDE = 28
"""Pixels of the square input, which has one channel."""

CLASSES = 10

KINDS = ("full", "separable")

KERNELS = (3, 5)

HEADS = ("mean", "weighted")

SMALLEST_SIDE = 3
"""Pixels below which no further pooling is allowed."""


class Block(NamedTuple):
    """A convolution to `channels`, or one per channel and a 1x1 across them, then ReLU.

    `pool` halves the side at the end, written "/2"; `stride` halves it in the first convolution, written "s2", which
    saves three quarters of the arithmetic. Where a separable block keeps the number of channels and the side, its input
    is added to its output: a shortcut costs nothing.
    """

    kind: str
    kernel: int
    channels: int
    pool: bool
    stride: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{self.kernel}-{self.channels}" + ("/2" if self.pool else "s2" if self.stride else "")


class Design(NamedTuple):
    """Blocks in order, and how each channel becomes one number: its mean, or a sum with a weight for each place."""

    blocks: tuple[Block, ...]
    head: str

    def __str__(self) -> str:
        return " ".join([*map(str, self.blocks), self.head])

    @classmethod
    def parse(cls, text: str) -> "Design":
        """Return the design that a line of text stands for.

        Raises `ValueError` if a part is no block, the first is not full, or the pooling leaves less than 3x3 places.

        >>> print(Design.parse("full3-6/2 separable5-10/2 mean"))
        full3-6/2 separable5-10/2 mean
        """
        *parts, head = text.split() or [""]
        if head not in HEADS:
            raise ValueError(f"a design ends with its head, one of {', '.join(HEADS)}; got {text!r}")
        blocks = []
        for part in parts:
            found = re.fullmatch(r"(full|separable)(3|5)-(\d+)(/2|s2)?", part)
            if found is None or int(found[3]) < 1:
                raise ValueError(f"a block is written full3-8, full3-8s2 or separable5-12/2; got {part!r}")
            blocks.append(Block(found[1], int(found[2]), int(found[3]), found[4] == "/2", found[4] == "s2"))
        design = cls(tuple(blocks), head)
        if not blocks or blocks[0].kind != "full":
            raise ValueError(f"the first block must be full, since the image has one channel; got {text!r}")
        if side_after(design.blocks) < SMALLEST_SIDE:
            raise ValueError(f"pooling must leave at least {SMALLEST_SIDE}x{SMALLEST_SIDE} places; got {text!r}")
        return design


class Step(NamedTuple):
    """A block where it stands in a network: its inputs, and the pixels of its square input."""

    block: Block
    inputs: int
    side: int


def steps(design: Design) -> Iterator[Step]:
    """Yield the blocks of a design with their inputs and sides.

    >>> [step.side for step in steps(Design.parse("full3-6/2 separable5-10/2 mean"))]
    [28, 14]
    """
    inputs, side = 1, SIDE
    for block in design.blocks:
        yield Step(block, inputs, side)
        inputs, side = block.channels, _side_behind(block, side)


def _side_behind(block: Block, side: int) -> int:
    if block.stride:
        return -(-side // 2)  # the padding keeps the last place of an odd side
    return side // 2 if block.pool else side


def side_after(blocks: tuple[Block, ...]) -> int:
    """Return the pixels of the square that the blocks leave.

    >>> side_after(Design.parse("full3-6/2 separable5-10/2 mean").blocks)
    7
    """
    side = SIDE
    for block in blocks:
        side = _side_behind(block, side)
    return side


def block_parameters(step: Step) -> int:
    """Return the weights and biases of a block after its batch norms are folded in."""
    block, inputs, area = step.block, step.inputs, step.block.kernel**2
    if block.kind == "full":
        return area * inputs * block.channels + block.channels
    return area * inputs + inputs + inputs * block.channels + block.channels


def block_macs(step: Step) -> int:
    """Return the multiply-accumulates of a block for one image; pooling and ReLU count none."""
    block, inputs = step.block, step.inputs
    places = (_side_behind(block, step.side) if block.stride else step.side) ** 2  # pooling comes behind the arithmetic
    if block.kind == "full":
        return places * block.kernel**2 * inputs * block.channels
    return places * (block.kernel**2 * inputs + inputs * block.channels)


def _head_weights(design: Design) -> int:
    """Return the weights of the head, as many as its multiply-accumulates, without those of the last layer."""
    return side_after(design.blocks) ** 2 * design.blocks[-1].channels if design.head == "weighted" else 0


def deployed_parameters(design: Design) -> int:
    """Return the number of parameters that a device has to store: batch norms folded, everything else counted.

    >>> deployed_parameters(Design.parse("full3-6/2 separable5-10/2 mean"))
    396
    """
    channels = design.blocks[-1].channels
    return sum(map(block_parameters, steps(design))) + _head_weights(design) + CLASSES * channels + CLASSES


def macs(design: Design) -> int:
    """Return the multiply-accumulates for one image.

    >>> macs(Design.parse("full3-6/2 separable5-10/2 mean"))
    83596
    """
    channels = design.blocks[-1].channels
    return sum(map(block_macs, steps(design))) + _head_weights(design) + CLASSES * channels


class _Separable(nn.Module):
    """A convolution per channel, then a 1x1 convolution across channels, each with its batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.depthwise = nn.Conv2d(
            inputs, inputs, kernel, stride=stride, padding=kernel // 2, groups=inputs, bias=False
        )
        self.bn1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.adds = inputs == outputs and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.pointwise(torch.relu(self.bn1(self.depthwise(x)))))
        return torch.relu(y + x if self.adds else y)


class _WeightedSum(nn.Module):
    """Sum every channel over its places, each with a weight of its own, which starts at the mean's."""

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, side, side), 1 / side**2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).sum(dim=(2, 3))


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


class TinyNet(nn.Module):
    """The network of a design: images of shape (N, 1, 28, 28) to logits of shape (N, 10)."""

    def __init__(self, design: Design):
        super().__init__()
        layers: list[nn.Module] = []
        for block, inputs, _ in steps(design):
            stride = 2 if block.stride else 1
            if block.kind == "full":
                convolution = nn.Conv2d(
                    inputs, block.channels, block.kernel, stride=stride, padding=block.kernel // 2, bias=False
                )
                layers += [convolution, nn.BatchNorm2d(block.channels), nn.ReLU()]
            else:
                layers.append(_Separable(inputs, block.channels, block.kernel, stride))
            if block.pool:
                layers.append(nn.MaxPool2d(2))
        channels = design.blocks[-1].channels
        self.body = nn.Sequential(*layers)
        self.head = _WeightedSum(channels, side_after(design.blocks)) if design.head == "weighted" else _Mean()
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.head(self.body(x)))


def fill(design: Design, most: int) -> Design:
    """Scale the channels of a design, all by one factor, to the largest that keeps at most `most` parameters.

    Raises `ValueError` if even one channel a block is too much.

    >>> filled = fill(Design.parse("full3-6/2 separable5-10/2 mean"), 1000)
    >>> print(filled, deployed_parameters(filled))
    full3-13/2 separable5-21/2 mean 982
    """
    require_int("most", most, minimum=1)

    def scaled(factor: float) -> Design:
        blocks = tuple(block._replace(channels=max(1, round(factor * block.channels))) for block in design.blocks)
        return design._replace(blocks=blocks)

    low, high = 0.0, math.sqrt(most) + 1.0
    if deployed_parameters(scaled(low)) > most:
        raise ValueError(f"one channel a block makes {deployed_parameters(scaled(low))} parameters, over {most}")
    for _ in range(40):
        middle = (low + high) / 2
        if deployed_parameters(scaled(middle)) <= most:
            low = middle
        else:
            high = middle
    return scaled(low)


def ladder_card(most: int, seed: int = 0, *, folder: Path = LADDER) -> dict:
    """Return the card of a network of the ladder: its design, how it was trained, its accuracy.

    Raises:
        CheckpointError: there is none.
    """
    return checkpoint_card(f"TinyNet-{most}-seed{seed}", folder=folder)


def load_tiny_network(most: int, seed: int = 0, *, folder: Path = LADDER) -> TinyNet:
    """Load the network of the ladder that has at most `most` parameters, in evaluation mode.

    Raises:
        CheckpointError: there is none, or its file is damaged.
    """
    design = Design.parse(ladder_card(most, seed, folder=folder)["design"])
    return load_checkpoint(f"TinyNet-{most}-seed{seed}", model=TinyNet(design), folder=folder)
