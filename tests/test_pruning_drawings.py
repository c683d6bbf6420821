"""Drawings of pruning a transformer: what stands in the boxes, and in which colour."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tests.drawing_parts import texts
from utils.drawings import REMOVED
from utils.figures import COLOURS, SIZE
from utils.pruning_drawings import branches_left, half_way

pytestmark = pytest.mark.usefixtures("closed_figures")


def _colours(figure):
    return [patch.get_facecolor()[:3] for patch in figure.axes[0].patches if patch.get_facecolor()[3] < 1]


def test_settled_chosen_and_still_to_come_have_their_colours():
    figure = half_way(np.array([[True, False, False, True, True, False]]), passed=2, columns=2)
    blue, orange, green, grey = (to_rgba(each)[:3] for each in (COLOURS[5], COLOURS[4], COLOURS[2], REMOVED))
    assert _colours(figure)[:6] == [blue, grey, grey, orange, green, green]
    shown = texts(figure.axes[0])
    assert shown[:2] == ["0", "×"]
    assert {"settled", "chosen now", "may still move"} < set(shown)
    assert figure.get_figheight() <= SIZE[1]


def test_all_passed_is_refused():
    with pytest.raises(ValueError, match="passed must be from 0 to 1"):
        half_way(np.ones((1, 2), dtype=bool), passed=2, columns=1)


def test_a_branch_that_is_gone_is_grey_and_without_a_name():
    figure = branches_left(2, [(1, "attention")])
    shown = texts(figure.axes[0])
    assert shown.count("atten-\ntion") == 1
    assert shown.count("feed-\nforward") == 2
    grey = to_rgba(REMOVED)[:3]
    assert _colours(figure).count(grey) == 1
