"""README's picture: every file of the course by size and test error, the networks of README's table by name."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

from utils import figures
from utils.claims import MAIN_DATA_SET
from utils.course.readme_table import NETWORK_NAMES, SELECTED, find_record
from utils.files import ROOT
from utils.scoreboard import by_data_set, error_of, frontier, is_control

PATH = ROOT / "site" / "static" / "frontier.svg"
"""Where it lies: README shows it, and so does the site's scoreboard to whoever has no JavaScript."""

MOST = 4.0
"""Errors in % up to which the picture goes: random controls and failures stand higher."""

Row = Mapping[str, object]
Point = tuple[float, float]
"""kB of a file, and its errors on the test digits in %."""


def digest_of(rows: Sequence[Row]) -> str:
    """Return a digest of what the picture shows of some rows; the picture carries it, so that a test sees it is old.

    >>> digest_of([]) == digest_of([{"kind": "claim"}])
    True
    """
    return hashlib.sha256(json.dumps([_points(rows), _named(rows)]).encode()).hexdigest()[:16]


def picture(rows: Sequence[Row]) -> bytes:
    """Return the picture of a reference run's rows as an SVG file, with the digest of what it shows as description."""
    points = list(_points(rows).values())
    best = sorted(point for point, chosen in zip(points, frontier(points), strict=True) if chosen)
    figure, axes = figures.new()
    axis = axes[0, 0]
    axis.plot(*zip(*points, strict=True), linestyle="", marker="o", color="0.75", label="other files", zorder=1)
    axis.step(
        *zip(*best, strict=True), where="post", color="0.3", linestyle="--", marker="", label="frontier", zorder=2
    )
    named = _named(rows)
    for name, (size, error), dense in named:
        axis.plot(
            [size], [error], linestyle="", marker="s" if dense else "o", color=figures.COLOURS[not dense], zorder=3
        )
        below = any(size / 1.5 < x < size * 1.5 and error < y < error * 1.3 for _, (x, y), _ in named)
        offset = (5, -10 if below else 4)
        box = {"boxstyle": "square,pad=0.05", "facecolor": "white", "alpha": 0.7, "linewidth": 0}
        axis.annotate(name, (size, error), xytext=offset, textcoords="offset points", fontsize=9, zorder=4, bbox=box)
    axis.set(xscale="log", yscale="log", xlabel="file (kB)", ylabel="errors on 10,000 test digits (%)")
    axis.set(xlim=(0.7, 9_000), ylim=(0.35, MOST))
    axis.legend(loc="upper left")
    axis.xaxis.set_major_formatter("{x:,g}")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_locator(LogLocator(subs=(0.5, 1, 2)))
    axis.yaxis.set_minor_formatter(NullFormatter())
    content = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "frontier"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Description": digest_of(rows)})
    plt.close(figure)
    return content.getvalue()


def _records(rows: Sequence[Row]) -> list[Row]:
    """Return the records on MNIST among some rows."""
    return by_data_set(row for row in rows if row["kind"] == "record").get(MAIN_DATA_SET, [])


def _points(rows: Sequence[Row]) -> dict[str, Point]:
    """Return size and error of the records on MNIST that have both and are no controls, by number and label."""
    return {
        f"{number} {row['technique']}": (row["bytes"] / 1000, 100 * error_of(row))
        for number, row in enumerate(_records(rows))
        if None not in (row["bytes"], row["accuracy"]) and not is_control(row)
    }


def _named(rows: Sequence[Row]) -> list[tuple[str, Point, bool]]:
    """Return the name, the point, and whether it is a dense network, of each row of README's table that is there."""
    records = _records(rows)
    found = [(selected, find_record(selected, records)) for selected in SELECTED]
    return [
        (selected.named or NETWORK_NAMES[row["model"]], (row["bytes"] / 1000, 100 * error_of(row)), not selected.named)
        for selected, row in found
        if row is not None
    ]
