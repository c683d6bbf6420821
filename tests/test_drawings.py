"""Drawings: what stands where, by the figure's own texts and rectangles."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from utils import drawings
from utils.figures import SIZE


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts if text.get_text()]


@pytest.mark.parametrize(("width", "height"), [(10, 1), (10, 4), (3, 30)])
def test_a_canvas_is_no_larger_than_a_figure_of_the_course(width, height):
    figure, axis = drawings.canvas(width, height)
    assert figure.get_figwidth() <= SIZE[0]
    assert figure.get_figheight() <= SIZE[1]
    assert axis.get_ylim() == (height, 0), "y runs downwards, as rows do"


def test_a_matrix_shows_what_is_kept_and_greys_what_is_not():
    _, axis = drawings.canvas(4, 3)
    drawings.matrix(axis, np.array([[1, 2], [3.5, 4]]), kept=np.array([[1, 0], [1, 1]]), title="W", left=1, top=1)
    assert texts(axis) == ["1", "3.5", "4", "W"]
    assert [patch.get_xy() for patch in axis.patches] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    grey = [patch.get_facecolor() for patch in axis.patches]
    assert grey.count(grey[1]) == 1, "only the removed one looks different"


def test_a_mask_of_another_shape_is_refused():
    _, axis = drawings.canvas(4, 3)
    with pytest.raises(ValueError, match=r"one shape, got \(2, 2\) and \(3,\)"):
        drawings.matrix(axis, np.ones((2, 2)), kept=np.ones(3))


def test_drop_and_grow_shows_what_goes_what_comes_and_the_new_weights():
    mask = np.array([[True, True], [False, False]])
    weight, gradient = np.array([[-2, 1], [0, 0]]), np.array([[0, 0], [3, -4]])
    figure = drawings.drop_and_grow(mask, weight, gradient, np.array([[True, False], [False, True]]))
    shown = [text for text in texts(figure.axes[0]) if "\n" not in text]
    assert shown == ["-2", "1", "1", "3", "4", "4", "-2", "0", "0"], "each marked cell is drawn once more in its colour"
