"""Drawings of a transformer: what stands where, by the figure's own texts, rectangles and images."""

import numpy as np
import pytest

from tests.drawing_parts import grey, texts
from utils import language_drawings
from utils.figures import SIZE

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_a_block_has_two_branches_with_the_sizes_of_their_matrices():
    figure = language_drawings.transformer_block(160, 416, 5)
    shown = texts(figure.axes[0])
    assert shown.count("+") == shown.count("norm") == 2
    assert "attention,\n5 heads\nof 32" in shown
    assert {"gate, up\n2 × 416 × 160", "down\n160 × 416", "output\n160 × 160"} <= set(shown)
    assert figure.get_figheight() <= SIZE[1]


def test_who_looks_at_whom_greys_what_lies_ahead():
    weights = np.array([[1, 0, 0], [0.25, 0.75, 0], [0.5, 0.3, 0.2]])
    figure = language_drawings.who_looks_at_whom("abc", weights)
    numbers = [text for text in texts(figure.axes[0]) if "." in text]
    assert numbers == ["1.00", "0.25", "0.75", "0.50", "0.30", "0.20"]
    squares = [patch for patch in figure.axes[0].patches if patch.get_width() == 1]
    assert [grey(square) for square in squares] == [False, True, True, False, False, True, False, False, False]
    with pytest.raises(ValueError, match=r"3 characters have weights of shape \(3, 3\), got \(2, 2\)"):
        language_drawings.who_looks_at_whom("abc", np.eye(2))


def test_pictures_show_the_weights_and_name_the_characters():
    weights = np.stack([np.eye(4), np.full((4, 4), 0.25)])
    figure = language_drawings.attention_pictures("a b\n", weights, ["itself", "all"])
    assert [axis.get_title() for axis in figure.axes] == ["itself", "all"]
    assert np.array_equal(figure.axes[0].images[0].get_array(), np.eye(4))
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["a", " ", "b", "¶"]


def test_decode_adds_one_row_to_the_triangle():
    figure = language_drawings.prefill_and_decode(3)
    squares = [patch for patch in figure.axes[0].patches if patch.get_width() == 1]
    first, second = squares[:6], squares[6:]
    assert not any(map(grey, first))
    assert [grey(square) for square in second] == [True] * 6 + [False] * 4
    assert texts(figure.axes[0]).count("k v") == 3 + 1
