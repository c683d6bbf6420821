"""Drawings for the notebooks that use Keras: how channels are laid in a row, and how losses of shards are scaled."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.drawings import arrow, box, canvas
from utils.figures import COLOURS

TONES = (COLOURS[5], COLOURS[4], COLOURS[2], COLOURS[3])
"""Of the channels, or of the replicas."""


def flatten_orders(channels: np.ndarray) -> Figure:
    """Draw the channels of an image, and the rows that PyTorch and Keras flatten them to, a colour for each channel.

    Args:
        channels: shape (channels, rows, columns), up to four channels.
    """
    count, rows, columns = channels.shape
    if count > len(TONES):
        raise ValueError(f"at most {len(TONES)} channels can be told apart, got {count}")
    left, length = 4.6, channels.size
    figure, axis = canvas(left + max(length, count * (columns + 1)) + 0.4, rows + 4.4)
    for number, channel in enumerate(channels):
        start = left + number * (columns + 1)
        axis.text(start + columns / 2, 0.7, f"channel {number}", ha="center", va="bottom")
        for (row, column), value in np.ndenumerate(channel):
            box(axis, start + column, 0.8 + row, 1, 1, f"{value}", TONES[number])
    of_channel = np.broadcast_to(np.arange(count)[:, None, None], channels.shape)
    for line, (name, order) in enumerate((("PyTorch's row", (0, 1, 2)), ("Keras's row", (1, 2, 0)))):
        top = rows + 1.5 + 1.4 * line
        axis.text(left - 0.4, top + 0.5, name, ha="right", va="center")
        both = zip(channels.transpose(order).ravel(), of_channel.transpose(order).ravel(), strict=True)
        for place, (value, number) in enumerate(both):
            box(axis, left + place, top, 1, 1, f"{value}", TONES[number])
    return figure


def scales_of_a_loss(shards: Sequence[Sequence[float]]) -> Figure:
    """Draw the losses of a global batch as they are dealt out, and what comes of two ways to scale their sums.

    Above, each replica divides by the global batch and the sum is the mean over all; below, each takes the mean of its
    own shard, and the mean of these means is another number where the shards are unequal.

    Args:
        shards: for each replica its losses, at least one.
    """
    total = sum(map(len, shards))
    rows = [2.0 + sum(map(len, shards[:number])) + 0.7 * number for number in range(len(shards))]
    high = rows[-1] + len(shards[-1])
    figure, axis = canvas(27, high + 0.3)
    titles = {1.5: "global batch", 6.6: "shards", 12.6: f"sum over {total},\nthe global batch"}
    titles |= {17.6: "mean of\nthe shard", 23.7: "after the all-reduce"}
    for x, title in titles.items():
        axis.text(x, 1.5, title, ha="center", va="bottom")
    height = (high - 2.0 - total) / 2 + 2.0
    place = 0
    for number, (shard, top) in enumerate(zip(shards, rows, strict=True)):
        middle = top + len(shard) / 2
        for row, loss in enumerate(shard):
            box(axis, 0.5, height + place, 2, 1, f"{loss:g}", TONES[number])
            box(axis, 5.6, top + row, 2, 1, f"{loss:g}", TONES[number])
            place += 1
        arrow(axis, (2.7, height + place - len(shard) / 2), (5.4, middle))
        arrow(axis, (7.8, middle), (10.8, middle), f"replica {number}")
        box(axis, 11.0, middle - 0.6, 3.2, 1.2, f"{sum(shard) / total:g}", TONES[number])
        box(axis, 16.0, middle - 0.6, 3.2, 1.2, f"{sum(shard) / len(shard):g}", TONES[number])
    means = [sum(shard) / len(shard) for shard in shards]
    middle = (2.0 + high) / 2
    _result(axis, middle - 1.9, f"sums added: {sum(map(sum, shards)) / total:g}\nthe mean of all")
    _result(axis, middle + 0.1, f"means averaged:\n{sum(means) / len(means):g}")
    return figure


def _result(axis: Axes, top: float, text: str) -> None:
    box(axis, 20.4, top, 6.4, 1.8, text, "white")
