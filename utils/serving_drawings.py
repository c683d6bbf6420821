"""Drawings of a server: its queue as a Gantt chart, and the way of a request; in the style of `drawings`."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from utils.drawings import REMOVED, arrow, box, canvas
from utils.figures import COLOURS, new
from utils.serving import Served


def queue_as_gantt(servers: Mapping[str, Served]) -> Figure:
    """Draw what becomes of a few requests: a row for each, grey while it waits, coloured during its call.

    Requests of one call have one colour, and neighbouring calls have different ones.

    Args:
        servers: for each name what a server did with the same arrivals; the panels share their time axis.
    """
    figure, axes = new(columns=len(servers), height=0.9 + 0.24 * max(len(s.arrivals) for s in servers.values()))
    last = max(float(served.ends.max()) for served in servers.values())
    for axis, (name, served) in zip(axes[0], servers.items(), strict=True):
        _rows(axis, served)
        axis.set(title=name, xlabel="time (s)", xlim=(0, 1.02 * last), ylim=(len(served.arrivals) - 0.4, -0.6))
        axis.set_yticks(range(len(served.arrivals)), [f"{number + 1}" for number in range(len(served.arrivals))])
        axis.grid(visible=False, axis="y")
    axes[0, 0].set_ylabel("request")
    return figure


def _rows(axis: Axes, served: Served) -> None:
    _, calls = np.unique(served.starts, return_inverse=True)
    for row, (arrival, start, end, call) in enumerate(
        zip(served.arrivals, served.starts, served.ends, calls, strict=True)
    ):
        axis.add_patch(Rectangle((arrival, row - 0.35), start - arrival, 0.7, facecolor=REMOVED, edgecolor="0.3"))
        colour = COLOURS[5] if call % 2 == 0 else COLOURS[4]
        axis.add_patch(Rectangle((start, row - 0.35), end - start, 0.7, facecolor=colour, edgecolor="0.3"))
        axis.text((start + end) / 2, row, f"call {call + 1}", ha="center", va="center", fontsize=7)


def way_of_a_request(max_batch: int, max_queue: int) -> Figure:
    """Draw the parts of a batching server that a request passes, and where it is refused."""
    figure, axis = canvas(34, 9.4)
    for row in range(3):
        box(axis, 0.2, 0.6 + 2.2 * row, 4.4, 1.6, "client", REMOVED)
        arrow(axis, (4.6, 1.4 + 2.2 * row), (7.4, 3.2 + 0.4 * row))
    box(axis, 7.4, 2.0, 6.0, 3.2, "HTTP:\nread, decode", COLOURS[5])
    arrow(axis, (13.4, 3.6), (16.0, 3.6))
    for place in range(4):
        box(axis, 16.0 + 1.3 * place, 2.8, 1.3, 1.6, "", COLOURS[4])
    axis.text(18.6, 2.5, f"queue, at most {max_queue:,}", ha="center", va="bottom")
    arrow(axis, (21.2, 3.6), (23.8, 3.6))
    box(axis, 23.8, 2.0, 9.8, 3.2, f"model, one thread:\na call for 1 to {max_batch}", COLOURS[2])
    axis.plot([28.7, 28.7, 10.4], [5.2, 8.4, 8.4], color="0.3", marker="", linewidth=1)
    arrow(axis, (10.4, 8.4), (10.4, 5.2))
    axis.text(20.5, 8.2, "each answer to its own request", ha="center", va="bottom")
    axis.text(9.2, 6.8, "full: 503,\ncome back later", ha="right", va="center")
    return figure
