"""Drawings of what the notebooks work on: matrices cell by cell, layers as boxes, arrows; in the style of `figures`.

Every function takes plain numbers and returns a Matplotlib figure, which `figures.show` displays.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from utils.figures import COLOURS, SIZE, new

REMOVED = "#F2F2F2"
"""The grey of what is not kept."""


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Make an empty drawing: axes without ticks or frame, `width` by `height` units, y downwards, all units square.

    The figure is 6 inches wide and as high as its units ask for, at most 3.5 inches; the units shrink to fit.
    """
    figure, axes = new(height=min(SIZE[1], max(1.0, SIZE[0] * height / width)))
    axis = axes[0, 0]
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axis.axis("off")
    return figure, axis


def box(
    axis: Axes, left: float, top: float, width: float, height: float, text: str = "", colour: str = COLOURS[5]
) -> None:
    """Draw a rectangle with its text in the middle; coordinates in the units of `canvas`."""
    axis.add_patch(Rectangle((left, top), width, height, facecolor=colour, edgecolor="0.3", alpha=0.85))
    axis.text(left + width / 2, top + height / 2, text, ha="center", va="center")


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    """Draw an arrow from one point (x, y) to another, with its text above the middle."""
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="0.3", shrinkA=0, shrinkB=0))
    axis.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 0.1, text, ha="center", va="bottom")


def matrix(
    axis: Axes,
    values: np.ndarray,
    *,
    left: float = 0.0,
    top: float = 0.0,
    kept: np.ndarray | None = None,
    title: str = "",
    colour: str = COLOURS[5],
    texts: Sequence[Sequence[str]] | None = None,
) -> None:
    """Draw a small matrix, a unit square for each value with the value in it; what is not kept is grey and empty.

    Args:
        axis: of a `canvas`.
        values: shape (rows, columns).
        left, top: where its upper left corner is.
        kept: a mask of the same shape; all of it if None.
        title: written above it.
        colour: of the squares that are kept.
        texts: what stands in the squares in place of the values.
    """
    values = np.asarray(values)
    kept = np.ones(values.shape, dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
    if values.ndim != 2 or kept.shape != values.shape:
        raise ValueError(f"values and kept must be matrices of one shape, got {values.shape} and {kept.shape}")
    for (row, column), value in np.ndenumerate(values):
        stays = kept[row, column]
        text = (texts[row][column] if texts is not None else f"{value:g}") if stays else ""
        box(axis, left + column, top + row, 1, 1, text, colour if stays else REMOVED)
    axis.text(left + values.shape[1] / 2, top - 0.15, title, ha="center", va="bottom")


def drop_and_grow(mask: np.ndarray, weight: np.ndarray, gradient: np.ndarray, moved: np.ndarray) -> Figure:
    """Draw one step of RigL on a small matrix: what is dropped, what is grown, and the new mask.

    Args:
        mask, moved: bool, shape (rows, columns): what is kept before and after.
        weight, gradient: of the same shape.
    """
    mask, moved, weight, gradient = (np.asarray(each) for each in (mask, moved, weight, gradient))
    rows, columns = mask.shape
    apart = columns + 1.2
    figure, axis = canvas(2 * apart + columns + 0.2, rows + 1.1)
    panels = (
        ("weights: the smallest are dropped", mask, weight, mask & ~moved, COLOURS[4]),
        ("|gradient| of the others: the largest grow", ~mask, np.abs(gradient), moved & ~mask, COLOURS[2]),
        ("the new weights; the grown start at 0", moved, weight * (mask & moved) + 0.0, moved & ~mask, COLOURS[2]),
    )
    for number, (title, shown, values, marked, colour) in enumerate(panels):
        left = 0.1 + number * apart
        matrix(axis, values, left=left, top=1, kept=shown, title="")
        axis.text(left + columns / 2, 0.5, title.replace(": ", ":\n").replace("; ", ";\n"), ha="center", va="center")
        for row, column in np.argwhere(marked):
            box(axis, left + column, 1 + row, 1, 1, "", "white")
            box(axis, left + column, 1 + row, 1, 1, f"{values[row, column]:g}", colour)
    for number in (1, 2):
        middle = 0.1 + number * apart - 0.6
        arrow(axis, (middle - 0.45, 1 + rows / 2), (middle + 0.45, 1 + rows / 2))
    return figure
