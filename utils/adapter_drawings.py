"""Drawings of low-rank adapters: the frozen weight with B and A beside it, and one base with several adapters."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from utils.drawings import REMOVED, arrow, box, canvas
from utils.figures import COLOURS


def adapter(rows: int, columns: int, rank: int) -> Figure:
    """Draw y = W x + s B (A x): the frozen weight, and beside it the narrow path that is trained."""
    figure, axis = canvas(30, 12.4)
    box(axis, 0.6, 5.0, 1.0, 5.2, "x", "white")
    axis.text(1.1, 10.9, f"{columns} numbers", ha="center", va="center")
    box(axis, 9.5, 0.7, 9.0, 4.6, f"W: {rows} × {columns},\nfrozen", REMOVED)
    box(axis, 6.2, 8.7, 8.0, 1.1, f"A: {rank} × {columns}", COLOURS[1])
    box(axis, 19.2, 6.9, 1.3, 4.6, "", COLOURS[1])
    axis.text(21.0, 10.6, f"B: {rows} × {rank},\nzero at first", ha="left", va="center")
    box(axis, 25.0, 4.9, 1.6, 1.6, "+", "white")
    box(axis, 28.0, 3.1, 1.0, 5.2, "y", "white")
    arrow(axis, (1.7, 6.4), (9.4, 3.0))
    arrow(axis, (1.7, 8.0), (6.1, 9.2))
    arrow(axis, (14.3, 9.2), (19.1, 9.2))
    axis.text(16.7, 8.5, f"{rank} numbers", ha="center", va="center")
    arrow(axis, (18.6, 3.0), (24.9, 5.4))
    arrow(axis, (20.6, 8.6), (24.9, 6.2))
    axis.text(22.0, 6.5, "times s", ha="center", va="center")
    arrow(axis, (26.7, 5.7), (27.9, 5.7))
    return figure


def one_base(adapters: Sequence[str], *, base: str) -> Figure:
    """Draw a batch that goes through one base as a whole and, beside it, text by text through an adapter, and the sum.

    Args:
        adapters: what each is called, two or three.
        base: what is written into the base's box.
    """
    end = 4.0 + 2.4 * len(adapters)
    figure, axis = canvas(30, end + 0.4)
    box(axis, 9.5, 0.4, 8.0, 2.8, base, REMOVED)
    box(axis, 21.0, 0.4, 1.6, end - 0.6, "+", "white")
    axis.plot([3.1, 3.1], [3.9, 1.8], color="0.3", linewidth=1.0, marker="")
    arrow(axis, (3.1, 1.8), (9.4, 1.8), "all texts together")
    arrow(axis, (17.6, 1.8), (20.9, 1.8))
    for number, name in enumerate(adapters):
        middle = 5.2 + 2.4 * number
        box(axis, 0.6, middle - 1.2, 5.0, 2.4, f"text {number + 1}", "white")
        arrow(axis, (5.7, middle), (9.4, middle))
        box(axis, 9.5, middle - 0.9, 8.0, 1.8, name, COLOURS[(1, 2, 4)[number % 3]])
        arrow(axis, (17.6, middle), (20.9, middle))
        arrow(axis, (22.7, middle), (25.0, middle))
        axis.text(25.4, middle, f"answer {number + 1}", ha="left", va="center")
    return figure
