"""A table of layer latencies, looked up in place of a clock: what LeNet5 takes at any widths.

The table of NetAdapt (Yang et al., 2018, section 3.3): each layer is timed once at every width that is tried, and a
network's time is the sum of its layers' times. Then a search over thousands of networks needs no device. LeNet5 is
small enough to time every whole network, too, which says how far off the sums are.
"""

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from utils.experiment_files import read_experiment
from utils.models import LeNet5
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


def uniform_widths() -> list[Widths]:
    """Return the shapes in which every layer keeps the same share of its width, k / 80 for k = 1, ..., 80.

    >>> uniform_widths()[7], uniform_widths()[-1]
    ((2, 5, 50), (20, 50, 500))
    """
    dense = tuple(grid[-1] for grid in GRID.values())
    shapes = [tuple(max(1, round(k / 80 * width)) for width in dense) for k in range(1, 81)]
    return sorted(set(shapes))


def network_calls() -> dict[Widths, Callable[[], object]]:
    """Return what is timed of whole networks: every shape of `GRID`, and the uniform ones."""
    images = torch.rand(BATCH_SIZE, 1, 28, 28)

    def network(widths: Widths) -> Callable[[], object]:
        model = LeNet5(widths[:2], widths[2]).eval()
        return lambda: model(images)

    shapes = {*itertools.product(*GRID.values()), *uniform_widths()}
    return {widths: network(widths) for widths in sorted(shapes)}


def measure_table(*, repeats: int = 5) -> dict[tuple[str, int, int], float]:
    """Time every layer at every width of `GRID` on this machine, in turn; see `fastest`."""
    return fastest(layer_calls(), repeats=repeats)


def fastest(calls: Mapping, *, repeats: int) -> dict:
    """Time functions in turn, and return the fastest sample of each, in seconds.

    The fastest and not the median: what else a machine does can only make a sample slower.
    """
    with torch.inference_mode():
        timed = compare(calls, repeats=repeats)
    return {name: min(timing.samples) for name, timing in timed.items()}


def stored_table() -> dict[tuple[str, int, int], float]:
    """Return the table that comes with the course, measured on one machine: the same on every other.

    >>> table = stored_table()
    >>> milliseconds(table, (3, 12, 64)) < milliseconds(table, (20, 50, 500))
    True
    """
    _, rows = read_experiment("03_latency")
    return {(row["layer"], row["inputs"], row["outputs"]): row["seconds"] for row in rows if "layer" in row}


def stored_networks() -> dict[Widths, float]:
    """Return the milliseconds of whole networks, by widths, measured together with `stored_table`.

    >>> len(stored_networks()) >= 420
    True
    """
    _, rows = read_experiment("03_latency")
    return {tuple(row["widths"]): 1e3 * row["seconds"] for row in rows if "widths" in row}


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
