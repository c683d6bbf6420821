"""Drawings of rounding with repair: what stands in the boxes, and in which colour."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tests.drawing_parts import texts
from utils.drawings import REMOVED
from utils.figures import COLOURS, SIZE
from utils.rounding_drawings import repair_step_by_step

STEPS = np.array([[0.4, 1.4], [0.0, 1.6], [0.0, 2.0]])


pytestmark = pytest.mark.usefixtures("closed_figures")


def test_each_step_has_a_line_and_the_prices_stand_beside_the_last_two():
    figure = repair_step_by_step(STEPS, [0, 1], prices=(0.28, 0.48))
    shown = texts(figure.axes[0])
    assert [text for text in shown if text.endswith("rounded") or text.startswith("to ")] == [
        "1 rounded",
        "2 rounded",
        "to nearest",
    ]
    assert [text for text in shown if text.startswith("price")] == ["price 0.28", "price 0.48"]
    numbers = [text for text in shown if text.replace(".", "").isdigit()]
    assert numbers == ["0.4", "1.4", "0", "1.6", "0", "2", "0", "1"]
    assert figure.get_figheight() <= SIZE[1]


def test_what_is_rounded_what_moved_and_what_waits_have_three_colours():
    figure = repair_step_by_step(STEPS, [0, 1], prices=(0.28, 0.48))
    colours = [patch.get_facecolor()[:3] for patch in figure.axes[0].patches]
    blue, green, grey = (to_rgba(each)[:3] for each in (COLOURS[5], COLOURS[2], REMOVED))
    assert colours == [grey, grey, blue, green, blue, blue, blue, blue]


def test_lines_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 weights have 3 lines"):
        repair_step_by_step(STEPS[:2], [0, 1], prices=(0.0, 0.0))
