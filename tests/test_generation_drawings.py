"""Drawings of faster generation, by their own texts and rectangles."""

import pytest

from tests.drawing_parts import grey, texts
from utils import generation_drawings as drawings
from utils.figures import SIZE

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_a_slot_is_grey_from_the_end_of_its_text_to_the_end_of_its_batch():
    figure = drawings.slots_as_gantt({"static": [(0, 8, 8), (0, 1, 8), (8, 1, 9)]}, slots=2)
    (axis,) = figure.axes
    assert texts(axis) == ["1", "2", "3"]
    idle = [patch for patch in axis.patches if grey(patch) and patch.get_width() > 0]
    assert [(patch.get_x(), patch.get_width()) for patch in idle] == [(1, 7)]
    assert figure.get_figheight() <= SIZE[1]


def test_tables_point_to_pages_and_shared_ones_are_marked():
    figure = drawings.pages_and_tables({"a": [0, 1], "b": [0, 3]}, {"a": 20, "b": 18}, pages=5, page=16)
    shown = texts(figure.axes[0])
    assert {"a: 20 characters", "b: 18 characters", "a page holds 16 characters"} <= set(shown)
    assert shown.count("0") == 3  # the page and its two places


@pytest.mark.parametrize(("accepted", "written"), [(0, "x"), (2, "hex"), (4, "herex")])
def test_a_round_shows_what_is_kept_and_the_networks_own(accepted, written):
    figure = drawings.round_of_speculation("ab", "here", accepted, "x")
    below = [t.get_text() for t in figure.axes[0].texts if len(t.get_text()) == 1 and t.get_position()[1] > 5]
    assert "".join(below) == "ab" + written


def test_each_seed_is_a_point_and_the_mean_a_bar():
    figure = drawings.points_by_seed({"a": [1, 3], "b": [5, 7]}, label="refused (%)", reference=("half", 50))
    (axis,) = figure.axes
    *points, _ = axis.lines
    assert [list(line.get_ydata()) for line in points] == [[1, 3], [5, 7]]
    assert [line.get_segments()[0][:, 1].tolist() for line in axis.collections] == [[2, 2], [6, 6]]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["a", "b"]
    assert [each.get_text() for each in axis.get_legend().get_texts()] == ["half"]
