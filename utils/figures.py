"""The course's one plot style and its plots; every function takes plain numbers and returns a Matplotlib figure.

A figure is shown by `show`, with a one-sentence takeaway that is also its alternative text.
"""

import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

SIZE = (6.0, 3.5)
"""Inches; no figure of the course is larger."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people with any colour vision tell apart (Okabe and Ito, 2008); never used without a marker."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

STYLE = {
    "figure.figsize": SIZE,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "axes.prop_cycle": mpl.cycler(color=COLOURS, marker=MARKERS),
}

mpl.rcParams.update(STYLE)

Series = Sequence[float]


def show(figure: Figure, takeaway: str) -> None:
    """Display a figure as PNG with the sentence `takeaway` below it and as its alternative text, and close it."""
    if not takeaway.strip().endswith((".", "!", "?")):
        raise ValueError(f"takeaway must be a sentence that ends with a full stop, got {takeaway!r}")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    plt.close(figure)
    display(
        {"image/png": image.getvalue(), "text/plain": takeaway},
        metadata={"image/png": {"alt": takeaway, "width": int(figure.get_figwidth() * 96)}},
        raw=True,
    )
    display({"text/markdown": f"*{takeaway}*", "text/plain": takeaway}, raw=True)


def new(
    columns: int = 1, rows: int = 1, *, height: float = SIZE[1], share_axes: bool = False
) -> tuple[Figure, np.ndarray]:
    """Make an empty figure of at most 6 x 3.5 inches; return it and its axes as an array of shape (rows, columns)."""
    size = (SIZE[0], min(height, SIZE[1]))
    return plt.subplots(rows, columns, figsize=size, squeeze=False, sharex=share_axes, sharey=share_axes)


def images_with_labels(images: np.ndarray, labels: Sequence[str]) -> Figure:
    """Show a row of images, each with a label above.

    Args:
        images: shape (N, height, width), bright values are ink.
        labels: N short texts.
    """
    figure, axes = new(columns=len(images), height=1.1)
    for axis, image, label in zip(axes[0], images, labels, strict=True):
        axis.imshow(image, cmap="gray_r")
        axis.set_title(label)
        axis.axis("off")
    return figure


def curves(
    x: Series,
    lines: Mapping[str, Series],
    *,
    labels: tuple[str, str],
    reference: tuple[str, float] | None = None,
    bands: Mapping[str, tuple[Series, Series]] | None = None,
    logarithmic: str = "",
) -> Figure:
    """Draw one line for each name over a common x, with an optional dashed reference and bands of spread.

    Args:
        x: the common values.
        lines: y values for each name.
        labels: of the x and y axes, with units.
        reference: name and height of a dashed horizontal line, such as the dense network.
        bands: lower and upper y values for some of the names.
        logarithmic: the axes to make logarithmic, "x", "y" or "xy".
    """
    figure, axes = new()
    axis = axes[0, 0]
    for index, (name, y) in enumerate(lines.items()):
        axis.plot(x, y, label=name, color=_colour(index), marker=_marker(index))
        if bands and name in bands:
            lower, upper = bands[name]
            axis.fill_between(x, lower, upper, color=_colour(index), alpha=0.2, linewidth=0)
    if reference is not None:
        axis.axhline(reference[1], color="0.3", linestyle="--", marker="", label=reference[0])
    axis.set(xlabel=labels[0], ylabel=labels[1])
    for name in logarithmic:
        axis.set(**{f"{name}scale": "log"})
        _plain_ticks(getattr(axis, f"{name}axis"))
    axis.legend()
    return figure


def bars(
    values: Mapping[str, float], *, label: str, reference: tuple[str, float] | None = None, logarithmic: bool = False
) -> Figure:
    """Draw a horizontal bar for each name, its value written beside it, with an optional dashed reference."""
    figure, axes = new(height=0.9 + 0.35 * len(values))
    axis = axes[0, 0]
    drawn = axis.barh(list(values), list(values.values()), color=COLOURS[0])
    axis.bar_label(drawn, fmt="{:,.3g}", padding=3)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    if logarithmic:
        axis.set_xscale("log")
        _plain_ticks(axis.xaxis)
    below = not logarithmic and min(values.values(), default=0) < 0
    axis.margins(x=0.25 if below else 0.2 if logarithmic else 0.12)  # room for labels left of bars below zero
    if reference is not None:
        axis.axvline(reference[1], color="0.3", linestyle="--", marker="", label=reference[0])
        axis.legend()
    axis.set(xlabel=label)
    return figure


def waterfall(factors: Mapping[str, float], *, label: str, total: str = "together") -> Figure:
    """Draw how steps multiply up: a bar for each, from the product before it to the product with it, and the total.

    The bar of a step that makes things worse, with a factor below 1, runs to the left and is hatched.

    Args:
        factors: what each step multiplies by, in their order, such as 2.0 for twice as fast.
        label: of the x axis, which is logarithmic.
        total: name of the last bar.
    """
    if not factors or not all(0 < factor < float("inf") for factor in factors.values()):
        raise ValueError(f"factors must hold at least one step, all of them positive, got {dict(factors)}")
    after = np.cumprod(list(factors.values()))
    before = np.concatenate([[1.0], after[:-1]])
    figure, axes = new(height=1.1 + 0.35 * len(factors))
    axis = axes[0, 0]
    for (name, factor), left, right in zip(factors.items(), before, after, strict=True):
        worse = factor < 1
        hatch = "//" if worse else ""
        axis.barh(name, right - left, left=left, color=COLOURS[worse], hatch=hatch, edgecolor="white")
    axis.barh(total, after[-1] - 1, left=1, color="0.3")
    shown = [*factors.values(), after[-1]]
    right_ends = [*np.maximum(before, after), max(1, after[-1])]
    for row, (factor, right) in enumerate(zip(shown, right_ends, strict=True)):
        axis.annotate(f"× {factor:.3g}", (right, row), (4, 0), textcoords="offset points", va="center")
    axis.axvline(1, color="0.3", linestyle="--", marker="")
    axis.set_axisbelow(True)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set(xscale="log", xlabel=label, xlim=(0.8 * min(1, after.min()), 1.6 * max(1, after.max())))
    _plain_ticks(axis.xaxis)
    return figure


def histograms(values: Mapping[str, np.ndarray], *, label: str, bins: int = 80) -> Figure:
    """Draw a histogram for each name side by side, with common axes and counts on a logarithmic scale."""
    figure, axes = new(columns=len(values), height=2.4, share_axes=True)
    low = min(float(np.min(v)) for v in values.values())
    high = max(float(np.max(v)) for v in values.values())
    for index, (axis, (name, v)) in enumerate(zip(axes[0], values.items(), strict=True)):
        axis.hist(np.ravel(v), bins=bins, range=(low, high), color=_colour(index))
        axis.set(title=name, xlabel=label, yscale="log")
    axes[0, 0].set_ylabel("how many (log scale)")
    return figure


def size_against_error(
    points: Mapping[str, tuple[Series, Series]],
    *,
    labels: tuple[str, str],
    reference: tuple[str, float, float],
    others: Mapping[str, tuple[Series, Series]] = MappingProxyType({}),
) -> Figure:
    """Draw size against error, a line of points for each method, with the dense network as dashed lines.

    Args:
        points: x (such as kB) and y (such as error in %) values for each method.
        labels: of the axes, with units; x is logarithmic.
        reference: name, x and y of the dense network.
        others: points to compare with, such as published ones; grey and hollow, so that none has a colour of `points`.
    """
    figure, axes = new()
    axis = axes[0, 0]
    name, x, y = reference
    axis.axhline(y, color="0.3", linestyle="--", marker="", label=name)
    axis.axvline(x, color="0.3", linestyle="--", marker="")
    for index, (method, (xs, ys)) in enumerate(points.items()):
        axis.plot(xs, ys, label=method, color=_colour(index), marker=_marker(index))
    for index, (method, (xs, ys)) in enumerate(others.items(), start=len(points)):
        axis.plot(xs, ys, label=method, color="0.45", marker=_marker(index), markerfacecolor="white")
    axis.set(xlabel=labels[0], ylabel=labels[1], xscale="log")
    _plain_ticks(axis.xaxis)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def tradeoff(
    points: Mapping[str, tuple[Series, Series]],
    *,
    labels: tuple[str, str],
    line: tuple[str, Series, Series],
    names: Sequence[str] = (),
    intervals: Sequence[tuple[float, float, float]] = (),
) -> Figure:
    """Draw cost against error on two logarithmic axes, a marker for each kind of point, and a frontier as steps.

    Args:
        points: x (such as kB) and y (such as error in %) values for each kind, at most eleven kinds; one without
            points is not drawn but keeps its marker, so that two charts can share them.
        labels: of the axes, with units.
        line: name, x and y values of the points on the frontier, in the order of x.
        names: of those points; each gets a number, and the names stand by their numbers beside the chart.
        intervals: x, the lower and the upper y of points whose y is known so far only; drawn as thin grey lines.
    """
    markers = (*MARKERS, "*", "<", "d", ">")
    if len(points) > len(markers):
        raise ValueError(f"at most {len(markers)} kinds of points can be told apart, got {len(points)}")
    name, *frontier = line
    if names and len(names) != len(frontier[0]):
        raise ValueError(
            f"names must name each point of the line: got {len(names)} names, and {len(frontier[0])} points"
        )
    figure, axes = new()
    axis = axes[0, 0]
    axis.step(*frontier, where="post", color="0.3", linestyle="--", marker="", label=name, zorder=1)
    for index, (kind, (xs, ys)) in enumerate(points.items()):
        if len(xs):
            axis.plot(xs, ys, label=kind, color=_colour(index), marker=markers[index], linestyle="", alpha=0.8)
    if intervals:
        xs, lows, highs = zip(*intervals, strict=True)
        axis.vlines(xs, lows, highs, color="0.6", linewidth=1, zorder=0, label="95 % interval")
    axis.set(xlabel=labels[0], ylabel=labels[1], xscale="log", yscale="log")
    _plain_ticks(axis.xaxis)
    _plain_ticks(axis.yaxis)
    figure.legend(loc="outside right upper", fontsize=8)
    if names:
        numbered = [f"{number}  {name}" for number, name in enumerate(names, start=1)]
        blank = [mpl.lines.Line2D([], [], linestyle="")] * len(numbered)
        figure.legend(blank, numbered, loc="outside right lower", fontsize=6.5, handlelength=0, labelspacing=0.3)
        axis.margins(y=0.09)  # room for the lowest number
        _number_below(axis, *frontier)
    return figure


def _number_below(axis: mpl.axes.Axes, xs: Series, ys: Series) -> None:
    """Write 1, 2, 3 ... below the points of a falling line; where two are close, the second number further down."""
    axis.figure.draw_without_rendering()  # only now are the axes where they will be
    places = axis.transData.transform(np.column_stack([xs, ys])) * 72 / axis.figure.dpi
    last = np.full(2, np.inf)
    for number, (x, y, place) in enumerate(zip(xs, ys, places, strict=True), start=1):
        close = abs(place[0] - last[0]) < 7 and place[1] > last[1] - 8
        at = np.array([place[0] - 2, min(place[1] - 2, last[1] - 8) if close else place[1] - 2])
        axis.annotate(number, (x, y), at - place, textcoords="offset points", ha="right", va="top", fontsize=7)
        last = at


def roofline(
    points: Mapping[str, tuple[float, float]],
    *,
    peak_flops: float,
    bandwidth: float,
    roof_name: str = "roof: a product and a copy, measured",
) -> Figure:
    """Draw measured points under the machine's roofline (Williams, Waterman and Patterson, 2009).

    Args:
        points: arithmetic intensity (FLOP per byte) and reached rate (FLOP per second) for each name.
        peak_flops: the highest rate that was measured, such as that of a large matrix product, FLOP per second.
        bandwidth: the measured memory bandwidth, bytes per second.
        roof_name: what the roof was measured with.
    """
    figure, axes = new()
    axis = axes[0, 0]
    ridge = peak_flops / bandwidth
    low = min([ridge, *(x for x, _ in points.values())]) / 4
    high = max([ridge, *(x for x, _ in points.values())]) * 4
    x = np.array([low, ridge, high])
    roof = np.minimum(peak_flops, x * bandwidth) / 1e9
    axis.plot(x, roof, color="0.3", marker="", label=roof_name)
    for index, (name, (intensity, rate)) in enumerate(points.items()):
        axis.plot([intensity], [rate / 1e9], linestyle="", color=_colour(index), marker=_marker(index), label=name)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="arithmetic intensity (FLOP per byte moved)",
        ylabel="rate (GFLOP per second)",
    )
    _plain_ticks(axis.xaxis)
    _plain_ticks(axis.yaxis)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def roofline_by_batch(
    paths: Mapping[str, Sequence[tuple[float, float]]],
    *,
    peak_flops: float,
    bandwidth: float,
    lower: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Draw a path for each network under the machine's roofline, from its smallest batch (hollow) to its largest.

    The names stand at the hollow ends, and the two regions of the roof are named.

    Args:
        paths: for each name the arithmetic intensity (FLOP per byte) and the reached rate (FLOP per second), batch by
            batch.
        peak_flops: the highest rate that was measured, FLOP per second.
        bandwidth: the measured bandwidth, bytes per second.
        lower: peak and bandwidth of further roofs and ceilings by their names, two at most; then a legend names them.
    """
    figure, axes = new()
    axis = axes[0, 0]
    ridge, peak = peak_flops / bandwidth, peak_flops / 1e9
    intensities = [intensity for path in paths.values() for intensity, _ in path]
    low, high = min([ridge, *intensities]) / 2, max([ridge, *intensities]) * 6
    x = np.array([low, ridge, high])
    axis.plot(x, np.minimum(peak_flops, x * bandwidth) / 1e9, color="0.3", marker="", label="roof")
    for style, (name, (flops, speed)) in zip((":", "-."), (lower or {}).items(), strict=False):
        x = np.array([low, flops / speed, high])
        rates = np.minimum(flops, x * speed) / 1e9
        axis.plot(x, rates, color="0.3", marker="", linestyle=style, label=name, zorder=1.5)
    if lower:
        figure.legend(loc="outside upper center", ncols=2)
    axis.axvspan(low, ridge, color=COLOURS[5], alpha=0.12, linewidth=0)
    axis.axvspan(ridge, high, color=COLOURS[4], alpha=0.12, linewidth=0)
    for index, (name, path) in enumerate(paths.items()):
        along, rates = zip(*((intensity, rate / 1e9) for intensity, rate in path), strict=True)
        colour, marker = _colour(index), _marker(index)
        axis.plot(along, rates, color=colour, marker=marker, markevery=[-1])
        axis.plot(along[:1], rates[:1], color=colour, marker=marker, markerfacecolor="white", linestyle="--")
        axis.annotate(name, (along[0], rates[0]), (5, -4), textcoords="offset points", va="top", color=colour)
    names = ((low, ridge, "bytes limit"), (ridge, high, "arithmetic limits"))
    for left, right, text in names:
        axis.annotate(text, ((left * right) ** 0.5, peak), (0, 6), textcoords="offset points", ha="center", color="0.3")
    axis.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        ylim=(0.5 * min(rate for path in paths.values() for _, rate in path) / 1e9, 2.2 * peak),
        xlabel="arithmetic intensity (FLOP per byte moved)",
        ylabel="rate (GFLOP per second)",
    )
    _plain_ticks(axis.xaxis)
    _plain_ticks(axis.yaxis)
    return figure


def _plain_ticks(axis: mpl.axis.Axis) -> None:
    """Label a logarithmic axis with plain numbers: at least three of them, at most about ten."""
    low, high = axis.get_view_interval()
    wide, narrow = high > 500 * low, high < 8 * low
    steps = (1,) if wide else (1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5)
    axis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _marker(index: int) -> str:
    """Return the marker of a series; where the colours begin again, the markers are one further on."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]
