"""A table of layer latencies, looked up in place of a clock: what LeNet5 takes at any widths, and a search over them.

The table of NetAdapt (Yang et al., 2018, section 3.3): each layer is timed once at every width that is tried, and a
network's time is the sum of its layers' times. Then a search over thousands of networks needs no device.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from utils.experiment_files import read_experiment
from utils.timing import compare

GRID = {
    "conv1": (1, 2, 3, 4, 5, 6, 8, 10, 14, 20),
    "conv2": (4, 8, 12, 16, 24, 32, 50),
    "fc1": (16, 32, 64, 128, 250, 500),
}
"""The widths that are timed, by layer of LeNet5; the last are the dense network's."""

BATCH_SIZE = 64

Widths = tuple[int, int, int]
"""Channels after both convolutions, and hidden units."""

Table = Mapping[tuple[str, int, int], float]
"""Seconds by (layer, inputs, outputs); a layer's time includes the ReLU, the pooling or the last layer behind it."""


def layer_calls(*, grid: Mapping[str, tuple[int, ...]] = GRID) -> dict[tuple[str, int, int], Callable[[], object]]:
    """Return what is timed: each layer of LeNet5 with what follows it, at all its widths, on random images.

    >>> len(layer_calls())
    122
    """
    images = torch.rand(BATCH_SIZE, 1, 28, 28)
    calls: dict[tuple[str, int, int], Callable[[], object]] = {}

    def convolution(inputs: int, outputs: int, x: torch.Tensor) -> Callable[[], object]:
        layer = nn.Conv2d(inputs, outputs, 5)
        return lambda: F.max_pool2d(F.relu(layer(x)), 2)

    def linear(inputs: int, outputs: int) -> Callable[[], object]:
        hidden, last, x = nn.Linear(16 * inputs, outputs), nn.Linear(outputs, 10), torch.rand(BATCH_SIZE, 16 * inputs)
        return lambda: last(F.relu(hidden(x)))

    for first in grid["conv1"]:
        calls["conv1", 1, first] = convolution(1, first, images)
        for second in grid["conv2"]:
            calls["conv2", first, second] = convolution(first, second, torch.rand(BATCH_SIZE, first, 12, 12))
    for second in grid["conv2"]:
        for hidden in grid["fc1"]:
            calls["fc1", second, hidden] = linear(second, hidden)
    return calls


def measure_table(*, repeats: int = 5) -> dict[tuple[str, int, int], float]:
    """Time every layer at every width of `GRID` on this machine, in turn; the fastest of the samples, in seconds.

    The fastest and not the median: what else a machine does can only make a sample slower.
    """
    with torch.inference_mode():
        timed = compare(layer_calls(), repeats=repeats)
    return {layer: min(timing.samples) for layer, timing in timed.items()}


def stored_table() -> dict[tuple[str, int, int], float]:
    """Return the table that comes with the course, measured on one machine: the same on every other.

    >>> table = stored_table()
    >>> milliseconds(table, (3, 12, 64)) < milliseconds(table, (20, 50, 500))
    True
    """
    _, rows = read_experiment("03_latency")
    return {(row["layer"], row["inputs"], row["outputs"]): row["seconds"] for row in rows}


def milliseconds(table: Table, widths: Widths) -> float:
    """Return the sum over the layers of a LeNet5 of these widths, for one batch.

    A width between two of the table takes as long as the larger one.

    >>> table = {("conv1", 1, 20): 0.003, ("conv2", 20, 50): 0.002, ("fc1", 50, 500): 0.001}
    >>> milliseconds(table, (18, 50, 500))
    6.0
    """
    at = {name: sorted({outputs for layer, _, outputs in table if layer == name}) for name in GRID}
    first, second, hidden = (_next_larger(name, at[name], width) for name, width in zip(at, widths, strict=True))
    parts = table["conv1", 1, first], table["conv2", first, second], table["fc1", second, hidden]
    return 1e3 * sum(parts)


def _next_larger(name: str, timed: list[int], width: int) -> int:
    larger = [each for each in timed if each >= width]
    if not larger or width < 1:
        raise ValueError(f"the width of {name} must be from 1 to {timed[-1]}, got {width}")
    return larger[0]
