"""A table of block latencies, and the time of a tiny network as the sum of what it holds.

As in `utils.latency_table`, after NetAdapt (Yang et al., 2018, section 3.3), but of the blocks of
`utils.tiny_networks`: kind, kernel, channels and the pixels of the input say how long a block takes.
"""

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from utils.experiment_files import read_experiment
from utils.onnx_export import fold_batch_norm
from utils.tiny_networks import (
    HEADS,
    KERNELS,
    KINDS,
    SIDE,
    SMALLEST_SIDE,
    Block,
    Design,
    Step,
    TinyNet,
    block_parameters,
    side_after,
    steps,
)

BATCH_SIZE = 64
"""Images a call. With a single one the calls of small layers, and not their arithmetic, would take most of the time."""

WIDTHS = (1, 2, 4, 8, 16, 32)
"""Channels that are timed; the time of a number between two of them is interpolated."""

MOST_PARAMETERS = 1000
"""Of a block: no network of the search has a larger one."""

SIDES = tuple(SIDE >> pools for pools in range(4))
"""Pixels of the square input: 28, 14, 7, 3."""


class Part(NamedTuple):
    """What is timed: a block without its pooling, a pooling ("pool"), or a head ("mean", "weighted").

    A head includes the last layer. `kernel` is 0 for a pooling or a head, which have as many outputs as inputs.
    """

    kind: str
    kernel: int
    inputs: int
    outputs: int
    side: int


Table = Mapping[Part, float]
"""Seconds for a batch, by part."""


def parts(design: Design) -> Iterator[Part]:
    """Yield what a network consists of, with its own widths.

    >>> [part.kind for part in parts(Design.parse("full3-6/2 separable5-10/2 mean"))]
    ['full', 'pool', 'separable', 'pool', 'mean']
    """
    for block, inputs, side in steps(design):
        yield Part(block.kind, block.kernel, inputs, block.channels, side)
        if block.pool:
            yield Part("pool", 0, block.channels, block.channels, side)
    channels = design.blocks[-1].channels
    yield Part(design.head, 0, channels, channels, side_after(design.blocks))


def microseconds(table: Table, design: Design) -> float:
    """Return the sum over the parts of a network for one image of a batch, interpolated between the widths.

    Raises `ValueError` if a part is larger than what was timed.

    >>> table = {Part("full", 3, 1, 4, 28): 64e-6, Part("full", 3, 1, 8, 28): 128e-6}
    >>> table |= {Part("mean", 0, width, width, 28): 32e-6 for width in (4, 8)}
    >>> round(microseconds(table, Design.parse("full3-5 mean")), 9)
    1.75
    """
    try:
        return 1e6 * sum(_seconds(table, part) for part in parts(design)) / BATCH_SIZE
    except KeyError as error:
        raise ValueError(f"the table has no time for {error.args[0]}, which {design} needs") from error


def part_calls() -> dict[Part, Callable[[], object]]:
    """Return what is timed: each part at each width, with batch norms folded, on random images."""
    calls: dict[Part, Callable[[], object]] = {}
    for side in SIDES:
        for inputs in WIDTHS:
            for kind, kernel, outputs in itertools.product(KINDS, KERNELS, WIDTHS):
                if _is_needed(kind, kernel, inputs, outputs, side):
                    calls[Part(kind, kernel, inputs, outputs, side)] = _block_call(kind, kernel, inputs, outputs, side)
            if side // 2 >= SMALLEST_SIDE:
                calls[Part("pool", 0, inputs, inputs, side)] = _pool_call(inputs, side)
            for head in HEADS:
                calls[Part(head, 0, inputs, inputs, side)] = _head_call(head, inputs, side)
    return calls


def network_call(design: Design) -> Callable[[], object]:
    """Return what is timed of a whole network: a batch through it, with batch norms folded."""
    network, images = fold_batch_norm(TinyNet(design)).eval(), torch.rand(BATCH_SIZE, 1, SIDE, SIDE)
    return lambda: network(images)


def stored_table() -> dict[Part, float]:
    """Return the table that comes with the course, measured on one machine: the same on every other.

    >>> table = stored_table()
    >>> small, large = (Design.parse(f"full3-{channels} mean") for channels in (2, 8))
    >>> microseconds(table, small) < microseconds(table, large)
    True
    """
    _, rows = read_experiment("16_latencies")
    return {Part(*(row[name] for name in Part._fields)): row["seconds"] for row in rows if "kind" in row}


def stored_networks() -> dict[Design, float]:
    """Return the microseconds an image of whole networks, measured together with `stored_table`."""
    _, rows = read_experiment("16_latencies")
    return {Design.parse(row["design"]): 1e6 * row["seconds"] / BATCH_SIZE for row in rows if "design" in row}


def _seconds(table: Table, part: Part) -> float:
    outputs = _neighbours(part.outputs)
    if part.kind in ("full", "separable"):
        corners = itertools.product(_neighbours(part.inputs), outputs)
        cells = {part._replace(inputs=i, outputs=o): share * other for (i, share), (o, other) in corners}
    else:
        cells = {part._replace(inputs=width, outputs=width): share for width, share in outputs}
    return sum(share * table[cell] for cell, share in cells.items())


def _neighbours(width: int) -> list[tuple[int, float]]:
    """Return the timed widths that a width lies between, with the share of each in an interpolation."""
    if not WIDTHS[0] <= width <= WIDTHS[-1]:
        raise ValueError(f"a width must be from {WIDTHS[0]} to {WIDTHS[-1]}, got {width}")
    if width in WIDTHS:
        return [(width, 1.0)]
    after = bisect.bisect(WIDTHS, width)
    below, above = WIDTHS[after - 1 : after + 1]
    share = (width - below) / (above - below)
    return [(below, 1 - share), (above, share)]


def _is_needed(kind: str, kernel: int, inputs: int, outputs: int, side: int) -> bool:
    """Whether a network of the search looks this entry up: its smallest block that does is within the limit."""
    smallest = (max((w for w in WIDTHS if w < width), default=0) + 1 for width in (inputs, outputs))
    least_inputs, least_outputs = smallest
    return block_parameters(Step(Block(kind, kernel, least_outputs, False), least_inputs, side)) <= MOST_PARAMETERS


def _block_call(kind: str, kernel: int, inputs: int, outputs: int, side: int) -> Callable[[], object]:
    before, block = Block("full", 3, inputs, False), Block(kind, kernel, outputs, False)
    body = fold_batch_norm(TinyNet(Design((before, block), "mean"))).eval().body
    layers, x = body[3:], torch.rand(BATCH_SIZE, inputs, side, side)  # the first three are the block before it
    return lambda: layers(x)


def _pool_call(channels: int, side: int) -> Callable[[], object]:
    x = torch.rand(BATCH_SIZE, channels, side, side)
    return lambda: F.max_pool2d(x, 2)


def _head_call(head: str, channels: int, side: int) -> Callable[[], object]:
    pools = SIDES.index(side)
    blocks = tuple(Block("full", 3, channels, index < pools) for index in range(max(1, pools)))
    network = TinyNet(Design(blocks, head)).eval()
    layers, x = nn.Sequential(network.head, network.fc), torch.rand(BATCH_SIZE, channels, side, side)
    return lambda: layers(x)
