"""Figures: the plots draw what they are given, in the course's style, and are shown with their takeaway."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from utils import figures

mpl.use("Agg")

PLOTS = {
    "curves": lambda: figures.curves(
        [1, 2, 3],
        {"a": [1, 2, 3], "b": [3, 2, 1]},
        labels=("x", "y"),
        reference=("dense", 2),
        bands={"a": ([0] * 3, [4] * 3)},
    ),
    "bars": lambda: figures.bars({"one": 1.0, "two": 2.0}, label="kB", reference=("dense", 1.5)),
    "histograms": lambda: figures.histograms({"before": np.arange(9.0), "after": np.zeros(9)}, label="weight"),
    "size_against_error": lambda: figures.size_against_error(
        {"a": ([1, 10], [2, 3])}, labels=("kB", "%"), reference=("dense", 800, 2)
    ),
    "size_against_error_of_others": lambda: figures.size_against_error(
        {"a": ([1, 10], [2, 3])},
        labels=("kB", "%"),
        reference=("dense", 800, 2),
        others={str(year): ([year / 100], [2]) for year in range(2016, 2022)},
    ),
    "tradeoff": lambda: figures.tradeoff(
        {"a": ([1, 10], [20, 3]), "b": ([5], [4])}, labels=("kB", "%"), line=("frontier", [1, 5, 10], [20, 4, 3])
    ),
    "tradeoff_named": lambda: figures.tradeoff(
        {"a": ([1, 1.02, 1.04, 10], [20, 4, 3.9, 3.8])},
        labels=("kB", "%"),
        line=("frontier", [1, 1.02, 1.04, 10], [20, 4, 3.9, 3.8]),
        names=["the smallest", "in between, with a name that is not short", "its neighbour", "the best"],
    ),
    "tradeoff_uncertain": lambda: figures.tradeoff(
        {"a": ([1, 10], [9, 7])},
        labels=("kB", "%"),
        line=("frontier", [1, 10], [9, 7]),
        intervals=[(1, 8, 10), (10, 6, 8)],
    ),
    "roofline": lambda: figures.roofline({"net": (0.5, 1e9)}, peak_flops=1e11, bandwidth=1e10),
    "roofline_by_batch": lambda: figures.roofline_by_batch(
        {"a": [(0.5, 1e9), (20, 5e10)], "b": [(5, 1e9), (9, 8e9)]}, peak_flops=1e11, bandwidth=1e10
    ),
    "roofline_with_ceilings": lambda: figures.roofline_by_batch(
        {"a": [(0.5, 1e9), (20, 5e10)]},
        peak_flops=1e11,
        bandwidth=1e10,
        lower={"slower memory": (1e11, 5e9), "another library": (4e10, 1e10)},
    ),
    "waterfall": lambda: figures.waterfall({"faster": 2.0, "slower": 0.8, "a long name, faster again": 5.0}, label="x"),
    "images": lambda: figures.images_with_labels(np.zeros((3, 28, 28)), ["1", "2", "3"]),
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", PLOTS)
def test_no_plot_is_too_large_or_clipped(name):
    figure = PLOTS[name]()
    assert figure.get_figwidth() <= 6
    assert figure.get_figheight() <= 3.5
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for axis in figure.axes:
        box = axis.get_tightbbox()
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1


@pytest.mark.parametrize(
    "name", ["curves", "size_against_error", "size_against_error_of_others", "tradeoff", "roofline"]
)
def test_lines_are_told_apart_by_marker_and_not_colour_alone(name):
    lines = [line for line in PLOTS[name]().axes[0].lines if line.get_linestyle() != "--"]
    named = [line for line in lines if line.get_marker() not in ("", "None")]
    assert len({line.get_marker() for line in named}) == len(named) > 0


@pytest.mark.parametrize("name", [name for name in PLOTS if name != "images"])
def test_axes_are_labelled(name):
    axis = PLOTS[name]().axes[0]
    assert axis.get_xlabel()
    assert axis.get_ylabel() or name in ("bars", "waterfall")  # the bars are named one by one


def test_the_reference_is_drawn_where_it_is():
    dashed = [line for line in PLOTS["curves"]().axes[0].lines if line.get_linestyle() == "--"]
    assert list(dashed[0].get_ydata()) == [2, 2]


def test_points_of_others_are_hollow_and_have_no_colour_of_ours():
    lines = PLOTS["size_against_error_of_others"]().axes[0].lines[2:]
    ours, *theirs = lines
    assert ours.get_color() == ours.get_markerfacecolor() == figures.COLOURS[0]
    assert len(theirs) == 6
    assert {(line.get_color(), line.get_markerfacecolor()) for line in theirs} == {("0.45", "white")}


def test_the_roof_has_its_ridge_where_both_limits_meet():
    x, y = PLOTS["roofline"]().axes[0].lines[0].get_data()
    assert list(y[1:]) == [100.0, 100.0]
    assert x[1] == 10.0


def test_a_lower_roof_is_below_the_roof_and_named():
    figure = PLOTS["roofline_with_ceilings"]()
    roof, memory, library = figure.axes[0].lines[:3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["roof", "slower memory", "another library"]
    assert list(library.get_ydata()) == [roof.get_ydata()[0], 40.0, 40.0]
    assert list(memory.get_ydata()) == [roof.get_ydata()[0] / 2, 100.0, 100.0]
    assert len({line.get_linestyle() for line in (roof, memory, library)}) == 3


def test_the_waterfall_multiplies_up_and_hatches_what_makes_it_worse():
    axis = PLOTS["waterfall"]().axes[0]
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axis.patches]
    assert np.allclose(ends, [(1, 2), (2, 1.6), (1.6, 8), (1, 8)])
    assert [bool(bar.get_hatch()) for bar in axis.patches] == [False, True, False, False]
    assert [text.get_text() for text in axis.texts] == ["× 2", "× 0.8", "× 5", "× 8"]


def test_show_gives_the_takeaway_as_alternative_text(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda *args, **kwargs: shown.append((args, kwargs)))
    figures.show(PLOTS["bars"](), "Two is more.")
    assert shown[0][1]["metadata"]["image/png"]["alt"] == "Two is more."
    assert shown[0][0][0]["image/png"].startswith(b"\x89PNG")
    assert shown[1][0][0]["text/markdown"] == "*Two is more.*"
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: figures.curves([1, 2], {"a": [1]}, labels=("x", "y")), "same first dimension"),
        (lambda: figures.images_with_labels(np.zeros((2, 28, 28)), ["1"]), "shorter"),
        (lambda: figures.waterfall({"a": 2.0, "b": float("nan")}, label="x"), "all of them positive"),
        (lambda: figures.show(PLOTS["bars"](), ""), "must be a sentence"),
        (
            lambda: figures.tradeoff({str(i): ([1], [1]) for i in range(12)}, labels=("a", "b"), line=("c", [1], [1])),
            "at most 11 kinds",
        ),
    ],
)
def test_what_cannot_be_drawn_is_a_clear_error(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_named_points_are_numbered_and_no_number_covers_another():
    figure = PLOTS["tradeoff_named"]()
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3", "4"]
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
    assert [text.get_text() for text in figure.legends[1].get_texts()][0::3] == ["1  the smallest", "4  the best"]


def test_there_is_a_name_for_every_point_or_none():
    with pytest.raises(ValueError, match="2 names, and 1 points"):
        figures.tradeoff({"a": ([1], [1])}, labels=("a", "b"), line=("c", [1], [1]), names=["one", "two"])


def test_a_kind_without_points_keeps_its_marker():
    points = {"empty": ([], []), "full": ([1], [1])}
    axis = figures.tradeoff(points, labels=("kB", "%"), line=("frontier", [1], [1])).axes[0]
    drawn = [line for line in axis.lines if line.get_linestyle() != "--"]
    assert [line.get_marker() for line in drawn] == [figures.MARKERS[1]]


@pytest.mark.parametrize("high", [1.5, 3, 7, 9, 60, 150, 400, 4_000, 100_000])
def test_a_logarithmic_axis_has_three_labels_at_least_and_not_too_many(high):
    axis = figures.tradeoff({"a": ([1, high], [high, 1])}, labels=("kB", "%"), line=("c", [1], [high])).axes[0]
    axis.figure.canvas.draw()
    low, top = axis.get_ylim()
    shown = [tick for tick in axis.get_yticks() if low <= tick <= top]
    assert 2 + (high > 1.5) <= len(shown) <= 10


def test_intervals_are_drawn_where_they_are():
    lines = PLOTS["tradeoff_uncertain"]().axes[0].collections[0].get_segments()
    assert [line.tolist() for line in lines] == [[[1, 8], [1, 10]], [[10, 6], [10, 8]]]
