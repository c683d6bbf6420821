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
    """Draw a batch of which each text goes through the same base and an adapter of its own.

    Args:
        adapters: what each is called, two or three.
        base: what is written into the base's box.
    """
    figure, axis = canvas(30, 3.2 * len(adapters) + 1.6)
    height = 3.2 * len(adapters)
    box(axis, 9.0, 0.8, 5.0, height - 0.6, base, REMOVED)
    for number, name in enumerate(adapters):
        middle = 0.6 + 3.2 * number + 1.4
        box(axis, 0.6, middle - 0.9, 5.6, 1.8, f"text {number + 1}", "white")
        arrow(axis, (6.3, middle), (8.9, middle))
        arrow(axis, (14.1, middle), (16.9, middle))
        box(axis, 17.0, middle - 0.9, 6.0, 1.8, name, COLOURS[(1, 2, 4)[number % 3]])
        arrow(axis, (23.1, middle), (26.2, middle))
        axis.text(26.5, middle, f"answer {number + 1}", ha="left", va="center")
    return figure
