"""Drawings of what the notebooks work on: matrices cell by cell, layers as boxes, arrows; in the style of `figures`.

Every function takes plain numbers and returns a Matplotlib figure, which `figures.show` displays.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
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


def low_rank_factors(outputs: int, inputs: int, rank: int) -> Figure:
    """Draw a weight, its three factors and the two layers made of them, all to scale, with what each holds.

    Args:
        outputs, inputs, rank: the weight is `outputs` by `inputs`, the factors are of that rank.
    """
    gap = 0.09 * inputs
    text = 0.3 * outputs  # room for a line of text
    figure, axis = canvas(2.35 * inputs + 2 * rank + 2 * gap, 2 * outputs + 4.4 * text)
    top = 1.4 * text
    middle = top + outputs / 2
    box(axis, 0, top, inputs, outputs, f"$W$\n{outputs} × {inputs} = {outputs * inputs:,}")
    axis.text(inputs + gap / 2, middle, "≈", ha="center", va="center")
    left = inputs + gap
    box(axis, left, top, rank, outputs, colour=COLOURS[4])
    box(axis, left + rank + gap, top, rank, rank, colour=COLOURS[3])
    box(axis, left + 2 * (rank + gap), top, inputs, rank, colour=COLOURS[2])
    names = (f"$U_k$\n{outputs} × {rank}", f"$\\Sigma_k$\n{rank} × {rank}", f"$V_k^T$  {rank} × {inputs}")
    axis.text(left + rank / 2, top - 0.1 * text, names[0], ha="center", va="bottom")
    axis.text(left + rank + gap, top + rank + 0.2 * text, names[1], ha="left", va="top")
    axis.text(left + 2 * (rank + gap) + inputs / 2, top - 0.1 * text, names[2], ha="center", va="bottom")
    top += outputs + 2.2 * text
    box(axis, left, top, rank, outputs, colour=COLOURS[4])
    box(axis, left + rank + gap, top, inputs, rank, colour=COLOURS[2])
    first, second = f"second $A_2$:  {outputs} × {rank} = {outputs * rank:,}", f"{rank} × {inputs} = {rank * inputs:,}"
    axis.text(left - 0.3 * gap, top + outputs / 2, first, ha="right", va="center")
    axis.text(left + rank + gap + inputs / 2, top - 0.1 * text, f"first $A_1$:  {second}", ha="center", va="bottom")
    together = f"together {rank * (outputs + inputs):,} numbers"
    axis.text(left + rank + gap + inputs / 2, top + outputs / 2, together, ha="center", va="center")
    return figure


SIGNED = "PuOr_r"
"""A colour map with white in the middle, orange above and violet below, for values of both signs."""


def vectors_as_images(rows: Mapping[str, np.ndarray], *, height: int, width: int) -> Figure:
    """Draw vectors as images, a row of them for each name, all on one scale: orange above 0, violet below.

    Args:
        rows: shape (images, height * width) for each name.
        height, width: of an image.
    """
    rows = {name: np.asarray(vectors) for name, vectors in rows.items()}
    count = len(next(iter(rows.values())))
    limit = max(float(np.abs(vectors).max()) for vectors in rows.values())
    figure, axes = new(columns=count, rows=len(rows), height=0.2 + 5.0 / count * len(rows))
    for line, (name, vectors) in zip(axes, rows.items(), strict=True):
        for axis, vector in zip(line, vectors, strict=True):
            axis.imshow(vector.reshape(height, width), cmap=SIGNED, vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
        line[0].set_ylabel(name)
    return figure


def column_times_row(filter_: np.ndarray, column: np.ndarray, row: np.ndarray) -> Figure:
    """Draw a small filter and, beside it, the column and the row whose product stands for it, and that product.

    Args:
        filter_: shape (height, width).
        column: of length height.
        row: of length width.
    """
    column, row = np.reshape(column, (-1, 1)), np.reshape(row, (1, -1))
    filter_, product = np.asarray(filter_), column * row
    high, wide = filter_.shape
    figure, axis = canvas(3 * wide + 6, high + 1.4)
    limit = max(float(np.abs(part).max()) for part in (filter_, product))
    parts = (
        (filter_, 0.0, "the filter", limit),
        (column, wide + 1.5, "column", float(np.abs(column).max())),
        (row, wide + 4.0, "row", float(np.abs(row).max())),
        (product, 2 * wide + 5.9, "column × row", limit),
    )
    for values, left, title, scale in parts:
        top = 1.2 + (high - values.shape[0]) / 2
        colours = colormaps[SIGNED](0.5 + 0.5 * values / scale)
        for (y, x), _ in np.ndenumerate(values):
            axis.add_patch(Rectangle((left + x, top + y), 1, 1, facecolor=colours[y, x], edgecolor="0.3"))
        axis.text(left + values.shape[1] / 2, top - 0.15, title, ha="center", va="bottom")
    for x, sign in ((wide + 0.75, "≈"), (wide + 3.25, "×"), (2 * wide + 4.95, "=")):
        axis.text(x, 1.2 + high / 2, sign, ha="center", va="center")
    return figure


def compressed_rows(weight: np.ndarray) -> Figure:
    """Draw a small matrix and beside it the three arrays that compressed rows (CSR) keep of it.

    An arrow leads from each row start to the place where the row begins; the last one points behind the last value.

    Args:
        weight: shape (rows, columns); the values that are zero are not stored.
    """
    weight = np.asarray(weight)
    rows, columns = weight.shape
    at_rows, at_columns = np.nonzero(weight)
    starts = np.searchsorted(at_rows, np.arange(rows + 1))
    left = columns + 4.2
    figure, axis = canvas(left + max(len(at_rows), rows + 1) + 0.4, max(rows + 1.6, 5.2))
    matrix(axis, weight, left=0.8, top=1.4, kept=weight != 0)
    for column in range(columns):
        axis.text(1.3 + column, 1.25, f"{column}", ha="center", va="bottom", color="0.4")
    for row in range(rows):
        axis.text(0.6, 1.9 + row, f"{row}", ha="right", va="center", color="0.4")
    values = [f"{value:g}" for value in weight[at_rows, at_columns]]
    arrays = (("values", 0.3, values, 5), ("columns", 1.3, at_columns, 4), ("row starts", 3.8, starts, 2))
    for name, top, numbers, colour in arrays:
        axis.text(left - 0.3, top + 0.5, name, ha="right", va="center")
        for place, number in enumerate(numbers):
            box(axis, left + place, top, 1, 1, f"{number}", COLOURS[colour])
    for place, start in enumerate(starts):
        arrow(axis, (left + place + 0.5, 3.8), (left + start + 0.12, 2.35))
    return figure


def two_of_four(weight: np.ndarray, kept: np.ndarray) -> Figure:
    """Draw a row of weights in groups of four, and below it what the 2:4 pattern stores: two values, two places.

    Args:
        weight: shape (inputs,), inputs a multiple of 4.
        kept: bool, of the same shape; two of each four.
    """
    weight, kept = np.asarray(weight), np.asarray(kept, dtype=bool)
    figure, axis = canvas(2.6 + 1.2 * len(weight), 4.6)
    for name, height in (("row of W", 0.9), ("values", 2.9), ("places, 2 bits", 3.9)):
        axis.text(2.2, height, name, ha="right", va="center")
    for group in range(len(weight) // 4):
        left = 2.5 + 4.8 * group
        here = slice(4 * group, 4 * group + 4)
        matrix(axis, weight[None, here], left=left, top=0.4, kept=kept[None, here])
        for stored, place in enumerate(np.flatnonzero(kept[here])):
            box(axis, left + 1 + stored, 2.4, 1, 1, f"{weight[here][place]:g}", COLOURS[5])
            box(axis, left + 1 + stored, 3.4, 1, 1, f"{place:02b}", COLOURS[4])
            arrow(axis, (left + place + 0.5, 1.4), (left + 1.5 + stored, 2.4))
    return figure
