"""Drawings of what the notebooks work on: matrices cell by cell, layers as boxes, arrows; in the style of `figures`.

Every function takes plain numbers and returns a Matplotlib figure, which `figures.show` displays.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

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


def column_times_row(kernel: np.ndarray, column: np.ndarray, row: np.ndarray) -> Figure:
    """Draw a small filter and, beside it, the column and the row whose product stands for it, and that product.

    Args:
        kernel: shape (height, width).
        column: of length height.
        row: of length width.
    """
    column, row = np.reshape(column, (-1, 1)), np.reshape(row, (1, -1))
    kernel, product = np.asarray(kernel), column * row
    high, wide = kernel.shape
    figure, axis = canvas(3 * wide + 6, high + 1.4)
    limit = max(float(np.abs(part).max()) for part in (kernel, product))
    parts = (
        (kernel, 0.0, "the filter", limit),
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


def narrowing_interval(letters: Sequence[int], p_one: Fraction) -> Figure:
    """Draw arithmetic coding: a bar for each letter, cut in the ratio of the probabilities, and below it what is left.

    Each bar is the part that the bar above has kept, drawn at full width again. The last line marks the fraction with
    the fewest binary digits inside.

    Args:
        letters: 0 or 1 each, few of them.
        p_one: probability of a 1, between 0 and 1.
    """
    if not letters or not set(letters) <= {0, 1} or not 0 < p_one < 1:
        raise ValueError(f"letters must be 0 or 1 and p_one between 0 and 1, got {letters} and {p_one}")
    left, long, apart = 2.6, 14.0, 2.1
    figure, axis = canvas(left + long + 0.8, apart * (len(letters) + 1) + 0.9)
    cut = left + long * float(1 - p_one)
    low, width = Fraction(0), Fraction(1)
    for number, letter in enumerate(letters, start=1):
        top = 0.8 + apart * (number - 1)
        zeros = width * (1 - p_one)
        axis.text(left - 0.3, top + 0.4, f"place {number} is {letter}", ha="right", va="center")
        for start, end, of in ((left, cut, 0), (cut, left + long, 1)):
            box(axis, start, top, end - start, 0.8, f"{of}", COLOURS[5] if of == letter else REMOVED)
        for x, value in ((left, low), (cut, low + zeros), (left + long, low + width)):
            axis.text(x, top - 0.1, f"{value}", ha="center", va="bottom", fontsize=8)
        low, width = (low + zeros, width - zeros) if letter else (low, zeros)
        for x, below in zip((cut, left + long) if letter else (left, cut), (left, left + long), strict=True):
            axis.plot([x, below], [top + 0.8, top + apart - 0.5], color="0.5", linestyle=":", marker="", linewidth=1)
    top = 0.8 + apart * len(letters)
    axis.text(left - 0.3, top + 0.4, "what is left", ha="right", va="center")
    box(axis, left, top, long, 0.8, "", COLOURS[5])
    for x, value in ((left, low), (left + long, low + width)):
        axis.text(x, top - 0.1, f"{value}", ha="center", va="bottom", fontsize=8)
    number, word = _shortest(low, width)
    x = left + long * float((number - low) / width)
    axis.plot([x, x], [top, top + 0.8], color="0.2", marker="")
    axis.text(x + 0.2, top + 0.4, f"{number}, in binary 0.{word}", ha="left", va="center")
    return figure


def _shortest(low: Fraction, width: Fraction) -> tuple[Fraction, str]:
    """Return the fraction of the interval with the fewest binary digits, and these."""
    bits = 0
    while math.ceil(low * 2**bits) >= (low + width) * 2**bits:
        bits += 1
    number = math.ceil(low * 2**bits)
    return Fraction(number, 2**bits), f"{number:0{bits}b}" if bits else "0"


def affine_grid(scale: float, zero_point: int, qmin: int, qmax: int, *, values: Sequence[float] = ()) -> Figure:
    """Draw a grid as two lines: the real axis above, the integers below, and where each of some values goes.

    Args:
        scale, zero_point, qmin, qmax: the grid.
        values: real values; from each an arrow leads to its integer. What lies beyond the grid is clipped.
    """
    first = min([scale * (qmin - zero_point), *values]) / scale - 1.0
    last = max([scale * (qmax - zero_point), *values]) / scale + 1.0
    unit = 24.0 / (last - first)  # of a step, on a canvas 24 wide
    figure, axis = canvas(24, 9.5)

    def place(real: float) -> float:
        return (real / scale - first) * unit

    ends = [scale * (q - zero_point) for q in (qmin, qmax)]
    for left, right in ((0.0, place(ends[0])), (place(ends[1]), 24.0)):
        axis.add_patch(Rectangle((left, 2.2), right - left, 1.0, facecolor=REMOVED, edgecolor="none"))
        axis.text((left + right) / 2, 1.9, "clipped", ha="center", va="bottom", color="0.3")
    axis.plot([0, 24], [3.2, 3.2], color="0.3", marker="", linewidth=1)
    for q in range(qmin, qmax + 1):
        x = place(scale * (q - zero_point))
        axis.plot([x, x], [2.9, 3.5], color="0.3", marker="", linewidth=1)
        axis.text(x, 2.5, f"{scale * (q - zero_point):g}", ha="center", va="bottom")
        box(axis, x - 0.45 * unit, 6.4, 0.9 * unit, 1.1, str(q), COLOURS[4] if q == zero_point else COLOURS[5])
    for value in values:
        q = min(max(round(value / scale) + zero_point, qmin), qmax)
        axis.plot([place(value)], [3.2], marker="o", color=COLOURS[1], markersize=5)
        arrow(axis, (place(value), 3.4), (place(scale * (q - zero_point)), 6.3))
    axis.text(0, 0.9, "real values r; a step is S", ha="left", va="center")
    axis.text(0, 8.2, "integers q", ha="left", va="center")
    zero = place(0.0)
    axis.text(zero, 8.0, "Z: the integer of 0", ha="center", va="top")
    return figure


def integer_layer(inputs: int, outputs: int) -> Figure:
    """Draw how a layer is computed in integers: codes, a wide sum, and back to a code; with the bits of each."""
    figure, axis = canvas(30, 11)
    box(axis, 0.2, 1.2, 5.6, 2.2, f"codes $q_x$, int8\n{inputs:,} inputs", COLOURS[5])
    box(axis, 0.2, 5.6, 5.6, 2.2, f"codes $q_w$, int8\n{outputs:,} x {inputs:,}", COLOURS[5])
    box(axis, 7.6, 3.2, 7.0, 2.6, "sum of products\nand bias: $a$, int32", COLOURS[4])
    box(axis, 16.6, 3.2, 5.8, 2.6, "$a\\,m$ in 64 bits,\nshifted by $n$", COLOURS[2])
    box(axis, 24.9, 3.2, 4.9, 2.6, f"codes $q_y$, int8\n{outputs:,} outputs", COLOURS[5])
    arrow(axis, (5.8, 2.3), (7.6, 3.9))
    arrow(axis, (5.8, 6.7), (7.6, 5.1))
    arrow(axis, (14.6, 4.5), (16.6, 4.5))
    arrow(axis, (22.4, 4.5), (24.9, 4.5))
    box(axis, 7.6, 7.9, 7.0, 2.8, "known beforehand:\n$q_c - Z_x \\sum q_w$, int32", COLOURS[4])
    arrow(axis, (11.1, 7.9), (11.1, 5.8))
    axis.text(23.6, 6.3, "round, add $Z_y$, clip", ha="center", va="top")
    return figure


def quantized_graph() -> Figure:
    """Draw a convolution between its pairs of QuantizeLinear and DequantizeLinear, and the kernel that takes its place.

    Above what the file says, in float32 with rounding; below what the runtime computes, in integers.
    """
    figure, axis = canvas(34, 15)
    for left, text in ((0.3, "Quantize\nLinear"), (6.8, "Dequantize\nLinear"), (21.0, "Quantize\nLinear")):
        box(axis, left, 4.4, 4.8, 2.6, text, COLOURS[5])
    box(axis, 13.3, 4.4, 5.0, 2.6, "Conv, ReLU\nin float32", COLOURS[4])
    box(axis, 27.5, 4.4, 4.8, 2.6, "Dequantize\nLinear", COLOURS[5])
    box(axis, 0.3, 0.6, 4.8, 2.2, "$q_W$, int8", REMOVED)
    box(axis, 6.8, 0.6, 4.8, 2.2, "Dequantize\nLinear", COLOURS[5])
    for start, end, text in ((5.1, 6.8, "$q_x$"), (11.6, 13.3, "$x$"), (18.3, 21.0, "$y$"), (25.8, 27.5, "$q_y$")):
        arrow(axis, (start, 5.7), (end, 5.7), text)
    arrow(axis, (5.1, 1.7), (6.8, 1.7))
    arrow(axis, (11.6, 1.7), (13.9, 4.4), "$W$")
    axis.plot([6.1, 6.1, 26.6, 26.6], [7.4, 8.3, 8.3, 7.4], color="0.3", marker="", linewidth=1)
    arrow(axis, (15.8, 8.3), (15.8, 10.4))
    axis.text(16.3, 9.4, "in the runtime one kernel takes their place", ha="left", va="center")
    box(
        axis,
        8.3,
        10.4,
        15.0,
        3.6,
        "QLinearConv: products of codes,\nadded in int32, rescaled, and\nclipped to 0 ... 255",
        COLOURS[2],
    )
    arrow(axis, (2.3, 12.2), (8.3, 12.2), "$q_x$, uint8")
    arrow(axis, (23.3, 12.2), (29.3, 12.2), "$q_y$, uint8")
    return figure


def groups_of_a_row(row: np.ndarray, size: int, scales: Sequence[float]) -> Figure:
    """Draw a row of weights cut into groups of `size` neighbours, with the scale of each group below it."""
    row = np.asarray(row)
    if row.ndim != 1 or len(scales) != -(-len(row) // size):
        raise ValueError(
            f"a row of {row.shape} in groups of {size} has {-(-len(row) // size)} scales, got {len(scales)}"
        )
    gap = 0.6
    figure, axis = canvas(len(row) + gap * len(scales), 4.4)
    for group, scale in enumerate(scales):
        part = row[group * size : (group + 1) * size]
        left = gap / 2 + group * (size + gap)
        matrix(axis, part[None], left=left, top=0.4, texts=[[f"{value:.2g}" for value in part]])
        box(axis, left, 2.8, len(part), 1.0, f"S = {scale:.2g}", COLOURS[4])
        axis.text(left + len(part) / 2, 2.1, "one scale", ha="center", va="center")
    return figure


def layer_traffic(layers: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw what each layer moves and computes for one input: inputs and weights in, outputs out, MACs between.

    Args:
        layers: for each name how many "inputs", "weights", "outputs" and "MACs" it has; four bytes a number.
    """
    figure, axis = canvas(26, 5.6 * len(layers))
    for number, (name, layer) in enumerate(layers.items()):
        top = 5.6 * number
        uses = layer["MACs"] // layer["weights"]
        moved = 4 * (layer["inputs"] + layer["weights"] + layer["outputs"])
        axis.text(0.1, top + 0.7, name, va="center", weight="bold")
        for place, (part, colour) in enumerate((("weights", COLOURS[4]), ("inputs", COLOURS[5]))):
            box(axis, 0.1, top + 1.4 + 2.0 * place, 7, 1.6, f"{layer[part]:,} {part}", colour)
            arrow(axis, (7.2, top + 2.2 + 2.0 * place), (9.9, top + 2.9 + 0.6 * place))
        box(axis, 10, top + 1.9, 7, 2.6, f"{layer['MACs']:,} MACs\neach weight: {uses:,}x", COLOURS[2])
        arrow(axis, (17.1, top + 3.2), (19.2, top + 3.2))
        box(axis, 19.3, top + 2.4, 6.6, 1.6, f"{layer['outputs']:,} outputs", COLOURS[5])
        axis.text(
            25.9, top + 0.7, f"{moved:,} bytes, {2 * layer['MACs'] / moved:.1f} FLOP a byte", ha="right", va="center"
        )
    return figure


def shrinking_file(sizes: Mapping[str, int], steps: Sequence[str]) -> Figure:
    """Draw a file from step to step as squares whose areas are its bytes, an arrow for each step between them.

    Args:
        sizes: bytes of the file at each stage, by the stage's name.
        steps: what is done between one stage and the next; one fewer than there are stages.
    """
    if len(steps) != len(sizes) - 1:
        raise ValueError(f"steps must be one fewer than sizes, got {len(steps)} and {len(sizes)}")
    side, gap = 4.0, 2.6
    figure, axis = canvas(len(sizes) * side + len(steps) * gap + 0.4, side + 2.0)
    largest = max(sizes.values())
    for number, (stage, size) in enumerate(sizes.items()):
        middle, edge = 0.2 + number * (side + gap) + side / 2, side * (size / largest) ** 0.5
        box(axis, middle - edge / 2, 0.1 + (side - edge) / 2, edge, edge)
        axis.text(middle, side + 0.3, f"{stage}\n{size:,} bytes", ha="center", va="top")
        if number:
            start = middle - side / 2 - gap + 0.3
            arrow(axis, (start, side / 2 + 0.1), (start + gap - 0.6, side / 2 + 0.1), steps[number - 1])
    return figure


def one_weight_less(
    weights: Sequence[float],
    scores: dict[str, Sequence[float]],
    after: dict[str, Sequence[float]],
    errors: dict[str, float],
) -> Figure:
    """Draw a row of weights, the prices of each criterion, what it leaves of the row, and the error of the output.

    Args:
        weights: the row.
        scores: by criterion, one price for each weight; the lowest goes.
        after: by criterion, the row without that weight; what has moved is in another colour.
        errors: by criterion, the mean squared change of the output.
    """
    count = len(weights)
    figure, axis = canvas(5.4 + 2 * count, 1.35 * len(scores) + 2.7)
    matrix(axis, np.array([weights]), left=2.2, top=0.8, title="the row")
    axis.text(2.2 + count / 2, 2.3, "price", ha="center", va="bottom")
    axis.text(3.2 + 1.5 * count, 2.3, "what is left", ha="center", va="bottom")
    axis.text(4.4 + 2 * count, 2.3, "error", ha="center", va="bottom")
    for line, (name, row) in enumerate(scores.items()):
        top, lowest = 2.5 + 1.35 * line, int(np.argmin(row))
        axis.text(2.0, top + 0.5, name, ha="right", va="center")
        for column in range(count):
            text = f"{row[column]:.2g}"
            box(axis, 2.2 + column, top, 1, 1, text, COLOURS[1] if column == lowest else "white")
            moved = not np.isclose(after[name][column], weights[column])
            left = 3.2 + count + column
            if column == lowest:
                box(axis, left, top, 1, 1, "", REMOVED)
            else:
                box(axis, left, top, 1, 1, f"{after[name][column]:.3g}", COLOURS[2] if moved else COLOURS[5])
        arrow(axis, (2.3 + count, top + 0.5), (3.1 + count, top + 0.5))
        axis.text(4.4 + 2 * count, top + 0.5, f"{errors[name]:.3f}", ha="center", va="center")
    return figure


def image_grid(images: np.ndarray, columns: Sequence[str], rows: Sequence[str] = (), *, signed: bool = False) -> Figure:
    """Show a grid of images with a title above each column and a label left of each row.

    Args:
        images: shape (rows, columns, height, width); bright values are ink.
        columns, rows: short texts.
        signed: 0 is white in every image, orange is above, violet below; each image by its own largest value.
    """
    images = np.asarray(images)
    down, across = images.shape[:2]
    figure, axes = new(columns=across, rows=down, height=0.3 + SIZE[0] / across * 0.9 * down)
    for (row, column), axis in np.ndenumerate(axes):
        image = images[row, column]
        limits = {"vmin": -np.abs(image).max(), "vmax": np.abs(image).max()} if signed else {"vmin": 0, "vmax": 1}
        axis.imshow(image, cmap=SIGNED if signed else "gray_r", **limits)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.grid(visible=False)
        if row == 0:
            axis.set_title(columns[column])
        if rows and column == 0:
            axis.set_ylabel(rows[row])
    return figure


def folded_projection(inputs: int = 784, hidden: int = 300, kept: int = 40) -> Figure:
    """Draw what a projection P of the inputs and a projection Q of hidden values fold into, matrix by matrix.

    A matrix is as wide as what it takes and as high as what it gives, both to the power 0.6, so that all are seen.
    """
    figure, axis = canvas(13.1, 7.4)
    n, m, k = (2.1 * (count / inputs) ** 0.6 for count in (inputs, hidden, kept))

    def shape(left: float, middle: float, wide: float, high: float, name: str, size: str, colour: str) -> float:
        box(axis, left, middle - high / 2, wide, high, "", colour)
        axis.text(left + wide / 2, middle - high / 2 - 0.08, name, ha="center", va="bottom")
        axis.text(left + wide / 2, middle + high / 2 + 0.08, size, ha="center", va="top", fontsize=7)
        return left + wide

    def flow(start: float, middle: float, steps: Sequence[tuple]) -> None:
        left = start
        for wide, high, name, size, colour in steps:
            arrow(axis, (left, middle), (left + 0.55, middle))
            if name == "ReLU":
                axis.plot([left + 0.7] * 2, [middle - 0.95, middle + 1.0], color=COLOURS[1], linewidth=3, marker="")
                axis.text(left + 0.7, middle + 1.1, "ReLU", ha="center", va="top", color=COLOURS[1])
                left += 0.85
            else:
                left = shape(left + 0.55, middle, wide, high, name, size, colour)
        arrow(axis, (left, middle), (left + 0.55, middle))

    weight, way, folded = COLOURS[5], COLOURS[4], COLOURS[2]
    down = (n, k, "$P$", f"{kept} x {inputs}", way)
    up = (k, n, "$P^T$", f"{inputs} x {kept}", way)
    first = (n, m, "$W$", f"{hidden} x {inputs}", weight)
    relu = (0.0, 0.0, "ReLU", "", "")
    back = (k, m, "$Q^T$", f"{hidden} x {kept}", way)
    flow(0.2, 2.15, (down, up, first))
    flow(8.0, 2.15, (down, (k, m, "$W P^T$", f"{hidden} x {kept}", folded)))
    flow(0.2, 6.1, (first, (m, k, "$Q$", f"{kept} x {hidden}", way), back, relu))
    flow(8.0, 6.1, ((n, k, "$Q W$", f"{kept} x {inputs}", folded), back, relu))
    for middle, text in (
        (2.15, "Inputs: $P^T$ and $W$ become one matrix, and $P$ stays"),
        (6.1, "Hidden values: $W$ and $Q$ become one matrix; $Q^T$ cannot pass the ReLU"),
    ):
        axis.text(7.4, middle, "=", ha="center", va="center", fontsize=14)
        axis.text(0.2, middle - 1.75, text, ha="left", va="center", fontweight="bold")
    return figure


def cloud_with_axes(
    points: np.ndarray, directions: Mapping[str, np.ndarray], centre: np.ndarray, labels: tuple[str, str]
) -> Figure:
    """Draw points in the plane and, for each name, one direction through their centre, of unit aspect.

    Args:
        points: shape (count, 2).
        directions: a vector of two numbers for each name.
        centre: where the lines cross, two numbers.
        labels: of the axes.
    """
    figure, axes = new()
    axis = axes[0, 0]
    axis.scatter(*np.asarray(points).T, s=5, color="0.6", marker=".")
    limits = axis.get_xlim(), axis.get_ylim()
    for index, (name, direction) in enumerate(directions.items()):
        style = {"color": COLOURS[index], "linestyle": ("-", "--", ":")[index % 3], "linewidth": 2.2}
        axis.axline(tuple(centre), tuple(np.asarray(centre) + np.asarray(direction)), marker="", label=name, **style)
    axis.set(xlim=limits[0], ylim=limits[1], aspect="equal", xlabel=labels[0], ylabel=labels[1])
    axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def channel_ends(filters: int, inputs: int, readers: int, channel: int, *, positions: int = 4) -> Figure:
    """Draw everything that one channel touches: its filter, its bias, its batch norm, and a slice of each reader.

    Args:
        filters, inputs: of the convolution that makes the channel.
        readers: filters of the convolution that reads it; beside it stands a linear layer behind flatten.
        channel: the one that is marked, from 0.
        positions: inputs of the linear layer that hang on each channel.
    """
    marked, other, high = COLOURS[1], COLOURS[5], filters
    figure, axis = canvas(inputs + filters * (1 + positions) * 0.8 + 11.2, high + 2.6)
    top, left = 2.1, 0.3

    def block(rows: int, columns: int, width: float, title: str, mark: str) -> None:
        nonlocal left
        y = top + (high - rows) / 2
        for row in range(rows):
            for column in range(columns):
                ours = row == channel if mark == "row" else column // (columns // filters) == channel
                box(axis, left + column * width, y + row, width, 1, "", marked if ours else other)
        axis.text(left + columns * width / 2, top - 0.25, title, ha="center", va="bottom")
        left += columns * width + 1.0

    block(filters, inputs, 1, "conv1\nfilters", "row")
    block(filters, 1, 1, "\nbias", "row")
    block(filters, 4, 0.8, "batch norm,\nif there is one", "row")
    arrow(axis, (left - 0.7, top + channel + 0.5), (left + 1.1, top + channel + 0.5))
    left += 1.6
    block(readers, filters, 0.8, "a convolution\nthat reads it", "column")
    axis.text(left - 0.3, top + high / 2, "or", ha="center", va="center")
    left += 0.4
    block(readers, filters * positions, 0.8, f"a linear layer\nbehind flatten ({positions} places)", "column")
    return figure


def shortcut_group(*, marked: bool = True) -> Figure:
    """Draw the first block of `SmallResNet`, and mark the layers that lose the same channels as the sum, or none."""
    figure, axis = canvas(21.5, 7.6)
    others = REMOVED
    ours = COLOURS[1] if marked else others
    middle, below = 3.0, 5.6

    def layer(left: float, y: float, name: str, colour: str, width: float = 2.2) -> None:
        box(axis, left, y - 0.75, width, 1.5, name, colour)

    line = ((0.1, "stem\nout", ours, 2.0), (2.8, "bn", ours, 1.5), (5.6, "conv1\nin", ours, 2.2))
    rest = ((8.4, "bn1", others, 1.7), (10.7, "conv2\nout", ours, 2.2), (13.5, "bn2", ours, 1.7))
    for left, name, colour, width in (*line, *rest):
        layer(left, middle, name, colour, width)
    for start, end in ((2.1, 2.8), (4.3, 5.6), (7.8, 8.4), (10.1, 10.7), (12.9, 13.5), (15.2, 15.9)):
        arrow(axis, (start, middle), (end, middle))
    layer(15.9, middle, "+", ours, 0.9)
    axis.plot([4.9, 4.9, 16.35], [middle, below, below], color="0.3", marker="")
    arrow(axis, (16.35, below), (16.35, middle + 0.75))
    axis.text(10.6, below - 0.15, "the shortcut of block 1: the same numbers", ha="center", va="bottom")
    for y, name in ((1.8, "conv1\nin"), (4.4, "shortcut\nin")):
        layer(18.4, y, name, ours, 3.0)
        arrow(axis, (16.8, middle), (18.4, y))
    axis.text(10.4, 2.0, "block 1", ha="center", va="bottom")
    axis.text(19.9, 0.8, "block 2", ha="center", va="bottom")
    if marked:
        axis.text(0.1, 7.3, "orange: loses the same channels as the sum, as its outputs or as its inputs", va="bottom")
    return figure


def stages(shapes: Sequence[tuple[int, int]], steps: Sequence[str]) -> Figure:
    """Draw what flows through a network: a square for each tensor, its side to scale, and what is done between them.

    Args:
        shapes: channels and side in pixels of each tensor, the image first.
        steps: what leads from each to the next, one text fewer.
    """
    if len(steps) != len(shapes) - 1:
        raise ValueError(f"{len(shapes)} tensors need {len(shapes) - 1} steps between them, got {len(steps)}")
    largest = max(side for _, side in shapes)
    gap = 1.5 * largest
    figure, axis = canvas(sum(side for _, side in shapes) + gap * len(steps) + 0.6 * largest, 2.0 * largest)
    left, middle = 0.3 * largest, 0.8 * largest
    for index, (channels, side) in enumerate(shapes):
        box(axis, left, middle - side / 2, side, side, "", COLOURS[5] if index else REMOVED)
        label = f"{channels} × {side}²" if side > 1 else f"{channels}"
        axis.text(left + side / 2, middle + largest / 2 + 0.15 * largest, label, ha="center", va="top")
        if index < len(steps):
            right = left + side
            arrow(axis, (right + 0.1 * gap, middle), (right + 0.9 * gap, middle), steps[index])
            left = right + gap
    return figure


def ring(pieces: Sequence[Sequence[str]], passed: Sequence[int]) -> Figure:
    """Draw workers in a ring, the pieces that each holds, and which piece each passes on to the next one.

    Args:
        pieces: the text of each piece, for each worker.
        passed: for each worker the piece that it passes on, which is marked.
    """
    count, width = len(pieces), len(pieces[0])
    figure, axis = canvas(count * (width + 1.6) + 0.4, 3.6)
    for worker, texts in enumerate(pieces):
        left = 0.9 + worker * (width + 1.6)
        axis.text(left + width / 2, 0.35, f"worker {worker}", ha="center", va="center")
        for piece, text in enumerate(texts):
            box(axis, left + piece, 0.8, 1, 1, colour=COLOURS[4] if piece == passed[worker] else COLOURS[5])
            size = {"fontsize": 6} if len(text) > 2 else {}  # a square is as wide as two digits
            axis.text(left + piece + 0.5, 1.3, text, ha="center", va="center", **size)
        if worker + 1 < count:
            arrow(axis, (left + width + 0.1, 1.3), (left + width + 1.5, 1.3))
    last = 0.9 + count * (width + 1.6) - 1.6
    axis.plot([last + 0.1, last + 0.7, last + 0.7, 0.3, 0.3], [1.3, 1.3, 2.7, 2.7, 1.3], color="0.3", marker="")
    arrow(axis, (0.3, 1.3), (0.8, 1.3))
    axis.text((last + 1) / 2, 2.6, "and from the last one back to worker 0", ha="center", va="bottom")
    return figure


def bucket_timelines(
    layers: Mapping[str, tuple[float, float]], ways: Mapping[str, Sequence[tuple[float, float]]], *, unit: str = "ms"
) -> Figure:
    """Draw the backward pass as a row of layers, and for each way of filling buckets a row of exchanges below it.

    Args:
        layers: when the backward pass of each layer begins and ends.
        ways: for each way the begin and the end of each bucket's exchange.
        unit: of the times.
    """
    figure, axes = new(height=0.9 + 0.45 * (1 + len(ways)))
    axis = axes[0, 0]
    rows = ["backward pass", *ways]
    over = max(end for _, end in layers.values())
    for name, (begin, end) in layers.items():
        axis.barh(0, end - begin, left=begin, height=0.7, color=COLOURS[5], edgecolor="0.3")
        turned = 0 if end - begin > 0.06 * over else 90  # a narrow layer's name stands upright
        axis.text((begin + end) / 2, 0, name, ha="center", va="center", fontsize=7, rotation=turned)
    for row, times in enumerate(ways.values(), start=1):
        for begin, end in times:
            axis.barh(row, end - begin, left=begin, height=0.7, color=COLOURS[4], edgecolor="0.3", hatch="//")
        axis.text(times[-1][1], row, f" {times[-1][1]:.3g} {unit}", ha="left", va="center")
    axis.axvline(over, color="0.3", linestyle="--", marker="")
    axis.set(yticks=range(len(rows)), yticklabels=rows, xlabel=f"{unit} since the backward pass began")
    axis.margins(x=0.12)
    axis.set_xlim(left=0)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    return figure
