"""Drawings: what stands where, by the figure's own texts and rectangles."""

from fractions import Fraction

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, Rectangle

from tests.drawing_parts import texts
from utils import drawings
from utils.figures import COLOURS, SIZE

pytestmark = pytest.mark.usefixtures("closed_figures")


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


def test_low_rank_factors_are_drawn_to_scale_and_say_what_they_hold():
    figure = drawings.low_rank_factors(300, 784, 21)
    shapes = [(patch.get_width(), patch.get_height()) for patch in figure.axes[0].patches]
    assert shapes == [(784, 300), (21, 300), (21, 21), (784, 21), (21, 300), (784, 21)]
    shown = " ".join(texts(figure.axes[0]))
    assert "235,200" in shown
    assert "together 22,764 numbers" in shown


def test_a_column_times_a_row_has_the_product_beside_the_filter():
    figure = drawings.column_times_row(np.eye(3), np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, -1.0]))
    patches = figure.axes[0].patches
    assert len(patches) == 9 + 3 + 3 + 9
    product = [patch.get_facecolor() for patch in patches[-9:]]
    assert product[0] != product[2], "of opposite signs"
    assert product[1] == product[4], "both 0"


def test_compressed_rows_shows_the_three_arrays_and_an_arrow_for_each_start():
    figure = drawings.compressed_rows(np.array([[9, 0, 4], [0, 0, 0], [0, 7, 0]]))
    shown = texts(figure.axes[0])
    assert shown[shown.index("values") + 1 : shown.index("columns")] == ["9", "4", "7"]
    assert shown[shown.index("columns") + 1 : shown.index("row starts")] == ["0", "2", "1"]
    assert shown[shown.index("row starts") + 1 :] == ["0", "2", "2", "3"], "an empty row has two equal starts"


def test_each_letter_keeps_its_part_of_the_interval():
    figure = drawings.narrowing_interval([0, 0, 1], Fraction(1, 4))
    assert [text for text in texts(figure.axes[0]) if "/" in text and "in" not in text] == [
        *("3/4", "9/16", "3/4", "27/64", "9/16"),
        *("27/64", "9/16"),
    ]
    assert "1/2, in binary 0.1" in texts(figure.axes[0])
    assert figure.get_figheight() <= SIZE[1]


@pytest.mark.parametrize(("letters", "digits"), [([1], "11"), ([0], "0"), ([1, 1], "1111"), ([0, 1], "101")])
def test_the_marked_fraction_is_the_shortest_inside(letters, digits):
    assert any(
        text.endswith(f" 0.{digits}") for text in texts(drawings.narrowing_interval(letters, Fraction(1, 4)).axes[0])
    )


@pytest.mark.parametrize(("letters", "p_one"), [([], Fraction(1, 4)), ([2], Fraction(1, 4)), ([1], Fraction(1))])
def test_other_letters_and_probabilities_are_refused(letters, p_one):
    with pytest.raises(ValueError, match="letters must be 0 or 1 and p_one between 0 and 1"):
        drawings.narrowing_interval(letters, p_one)


def test_two_of_four_shows_the_values_and_their_places_in_bits():
    kept = np.array([True, False, False, True, False, True, True, False])
    shown = texts(drawings.two_of_four(np.arange(1, 9), kept).axes[0])
    assert shown[3:] == ["1", "4", "1", "00", "4", "11", "6", "7", "6", "01", "7", "10"]


def test_an_affine_grid_shows_each_integer_and_sends_what_is_beyond_it_to_its_ends():
    axis = drawings.affine_grid(0.5, 2, 0, 7, values=[-9.0, 0.6]).axes[0]
    assert {str(q) for q in range(8)} <= set(texts(axis))
    arrows = [patch for patch in axis.patches if hasattr(patch, "get_arrowstyle")]
    (_, down), (start, end) = [patch._posA_posB for patch in arrows]
    codes = {patch.get_x() + patch.get_width() / 2: n for n, patch in enumerate(axis.patches[2:10])}
    assert min(codes, key=lambda x: abs(x - down[0])) == min(codes), "clipped to the smallest integer"
    assert codes[min(codes, key=lambda x: abs(x - end[0]))] == 3
    assert start[0] > end[0], "0.6 is nearest to 0.5, which is on its left"
    assert texts(axis).count("clipped") == 2


def test_a_quantized_graph_rounds_the_weight_the_input_and_the_output():
    written = texts(drawings.quantized_graph().axes[0])
    assert written.count("Quantize\nLinear") == 2
    assert written.count("Dequantize\nLinear") == 3
    assert any(text.startswith("QLinearConv") for text in written)


def test_an_integer_layer_names_the_width_of_each_number():
    written = " ".join(texts(drawings.integer_layer(784, 256).axes[0]))
    assert all(each in written for each in ("784 inputs", "256 outputs", "int8", "int32", "64 bits"))


def test_a_row_in_groups_has_a_scale_for_each():
    axis = drawings.groups_of_a_row(np.arange(5.0), 2, [0.1, 0.2, 0.3]).axes[0]
    assert [text for text in texts(axis) if text.startswith("S")] == ["S = 0.1", "S = 0.2", "S = 0.3"]
    assert len(axis.patches) == 5 + 3
    with pytest.raises(ValueError, match="has 3 scales, got 2"):
        drawings.groups_of_a_row(np.arange(5.0), 2, [0.1, 0.2])


def test_a_layer_s_traffic_is_its_numbers_times_four_bytes_and_each_weight_s_uses():
    figure = drawings.layer_traffic({"conv": {"inputs": 10, "weights": 5, "outputs": 10, "MACs": 20}})
    shown = " ".join(texts(figure.axes[0]))
    assert "100 bytes, 0.4 FLOP a byte" in shown
    assert "20 MACs\neach weight: 4x" in shown


def test_the_areas_of_a_shrinking_file_are_its_bytes():
    figure = drawings.shrinking_file({"before": 800, "same": 800, "after": 200}, ["nothing", "zip"])
    areas = [p.get_width() * p.get_height() for p in figure.axes[0].patches if hasattr(p, "get_xy")]
    assert np.allclose(np.array(areas) / areas[0], [1, 1, 0.25])
    with pytest.raises(ValueError, match="one fewer"):
        drawings.shrinking_file({"before": 800}, ["zip"])


def test_a_row_shows_which_weight_each_score_removes_and_what_moved():
    figure = drawings.one_weight_less(
        [3.0, 1.0],
        {"size": [3.0, 1.0], "OBS": [1.0, 2.0]},
        {"size": [3.0, 0.0], "OBS": [0.0, 4.0]},
        {"size": 1, "OBS": 2},
    )
    shown = texts(figure.axes[0])
    assert [shown.count(text) for text in ("size", "OBS", "3", "4", "1.000", "2.000")] == [1, 1, 3, 1, 1, 1]


def test_a_grid_of_images_has_its_titles_and_white_means_zero():
    figure = drawings.image_grid(np.array([[[[-2.0, 1.0]], [[0.0, 4.0]]]]), ["a", "b"], ["row"], signed=True)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    assert figure.axes[0].get_ylabel() == "row"
    assert [axis.images[0].get_clim() for axis in figure.axes] == [(-2, 2), (-4, 4)]
    assert figure.axes[0].images[0].get_cmap().name == drawings.SIGNED, "one sign has one colour in all drawings"


def test_a_folded_projection_names_the_shapes_of_its_matrices():
    shown = texts(drawings.folded_projection(784, 300, 40).axes[0])
    assert shown.count("$P$") == 2, "the projection of the inputs stays"
    assert shown.count("$Q$") == 1, "that of the hidden values folds into the layer before"
    assert [shown[shown.index(name) + 1] for name in ("$W P^T$", "$Q W$")] == ["300 x 40", "40 x 784"]


def test_a_cloud_has_its_points_and_a_line_for_each_direction():
    figure = drawings.cloud_with_axes(np.eye(2), {"a": (1, 0), "b": (1, 1)}, (0.5, 0.5), ("x", "y"))
    axis = figure.axes[0]
    assert len(axis.collections[0].get_offsets()) == 2
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"]


def test_a_channel_is_marked_in_all_that_it_touches():
    figure = drawings.channel_ends(5, 2, 4, 1, positions=2)
    squares = [patch for patch in figure.axes[0].patches if hasattr(patch, "get_width")]
    removed = [square for square in squares if square.get_facecolor()[:3] != squares[0].get_facecolor()[:3]]
    assert len(squares) == 5 * (2 + 1 + 4) + 4 * 5 + 4 * 10
    assert len(removed) == 2 + 1 + 4 + 4 + 4 * 2, "a row on one side, a column or its places on the other"


def test_the_group_of_a_shortcut_has_seven_layers_and_the_sum():
    axis = drawings.shortcut_group().axes[0]
    boxes = [patch for patch in axis.patches if hasattr(patch, "get_width")]
    marked = [each for each in boxes if each.get_facecolor()[:3] == boxes[0].get_facecolor()[:3]]
    assert (len(boxes), len(marked)) == (9, 8)
    unmarked = drawings.shortcut_group(marked=False).axes[0]
    assert len({patch.get_facecolor() for patch in unmarked.patches if hasattr(patch, "get_width")}) == 1


def test_stages_are_to_scale_and_named_with_what_leads_from_each_to_the_next():
    axis = drawings.stages([(1, 28), (6, 14), (10, 1)], ["60", "226"]).axes[0]
    assert [patch.get_width() for patch in axis.patches if hasattr(patch, "get_width")] == [28, 14, 1]
    assert texts(axis) == ["1 × 28²", "60", "6 × 14²", "226", "10"]


def test_stages_need_a_step_between_any_two():
    with pytest.raises(ValueError, match="3 tensors need 2 steps"):
        drawings.stages([(1, 28), (6, 14), (10, 1)], ["60"])


def test_a_ring_shows_each_worker_s_pieces_and_an_arrow_to_the_next():
    axis = drawings.ring([["1", "2"], ["10", "20"], ["100", "200"]], passed=[0, 1, 0]).axes[0]
    assert {"worker 0", "worker 2", "10", "200"} <= set(texts(axis))
    arrows = [patch for patch in axis.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 3
    marked = [p for p in axis.patches if isinstance(p, Rectangle) and p.get_facecolor()[:3] == to_rgb(COLOURS[4])]
    assert len(marked) == 3


def test_a_timeline_of_buckets_has_a_bar_for_each_layer_and_each_exchange():
    layers = {"b": (0.0, 1.0), "a": (1.0, 3.0)}
    axis = drawings.bucket_timelines(layers, {"one": [(3.0, 7.0)], "two": [(1.0, 3.0), (3.0, 5.0)]}).axes[0]
    bars = [(p.get_x(), p.get_width()) for p in axis.patches if isinstance(p, Rectangle)]
    assert bars == [(0, 1), (1, 2), (3, 4), (1, 2), (3, 2)]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["backward pass", "one", "two"]
    assert {" 7 ms", " 5 ms"} <= set(texts(axis))
