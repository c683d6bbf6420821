"""Drawings for the notebooks that use Keras: the numbers stand where the frameworks put them."""

import numpy as np
import pytest

from tests.drawing_parts import texts
from utils.figures import SIZE
from utils.keras_drawings import flatten_orders, scales_of_a_loss

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_the_two_rows_have_the_orders_of_the_two_frameworks():
    figure = flatten_orders(np.arange(8).reshape(2, 2, 2))
    shown = texts(figure.axes[0])
    pytorch, keras = shown.index("PyTorch's row"), shown.index("Keras's row")
    assert shown[pytorch + 1 : keras] == list("01234567")
    assert shown[keras + 1 :] == list("04152637")
    colours = [patch.get_facecolor() for patch in figure.axes[0].patches]
    assert colours[:4] == colours[8:12] == colours[16:24:2], "each number has its channel's colour everywhere"
    assert figure.get_figheight() <= SIZE[1]


def test_too_many_channels_are_refused():
    with pytest.raises(ValueError, match="at most 4 channels"):
        flatten_orders(np.zeros((5, 1, 1)))


def test_a_loss_is_scaled_in_two_ways_and_only_one_is_the_mean():
    figure = scales_of_a_loss([[3, 0], [6]])
    shown = texts(figure.axes[0])
    assert "sums added: 3\nthe mean of all" in shown
    assert "means averaged:\n3.75" in shown
    assert [text for text in shown if text.startswith("replica")] == ["replica 0", "replica 1"]
    assert figure.get_figheight() <= SIZE[1]
