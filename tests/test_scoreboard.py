"""The scoreboard: rows of two runs, the frontier, and what can be told apart."""

import math

import ipywidgets
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from utils import scoreboard
from utils.scoreboard import collect, dense_of, frontier, interval, missing, of_one_machine, told_apart


def row(notebook="02_x", variant="", **values):
    known = {"technique": "svd", "model": "LeNet5", "accuracy": 0.99, "parameters": 10, "bytes": 40, "latency_s": 1e-3}
    return {"kind": "record", "notebook": notebook, "variant": variant, "epochs": 0, **known, **values}


# --- rows -------------------------------------------------------------------------------------------------------------


def test_the_reference_fills_what_the_run_lacks_and_says_so():
    run = [row("03_y", accuracy=0.5), row("02_x", "a")]
    rows = collect(run, [row("02_x", "a", accuracy=0.1), row("02_x", "b"), row("01_w")])
    assert [(each["notebook"], each["variant"], each["source"]) for each in rows] == [
        ("01_w", "", "reference"),
        ("02_x", "a", "this run"),
        ("02_x", "b", "reference"),
        ("03_y", "", "this run"),
    ]
    assert missing(rows) == {"01_w": 1, "02_x": 1}
    assert "python -m utils run 01 02" in scoreboard.say_missing(rows)
    assert "source" not in run[0], "what was given is left as it is"


def test_a_complete_run_takes_nothing_from_the_reference():
    rows = collect([row()], [row(accuracy=0.1)])
    assert [each["accuracy"] for each in rows] == [0.99]
    assert scoreboard.say_missing(rows) == "Every row was measured in this run."


def test_without_a_run_everything_is_the_reference():
    rows = collect([], [row(), row(variant="b")])
    assert [each["source"] for each in rows] == ["reference", "reference"]


def test_times_of_two_machines_never_stand_together():
    here, there, untimed = row("01_a"), row("02_b"), row("03_c", latency_s=None)
    partial = of_one_machine(collect([here, untimed], [here, there]), [here, there])
    assert [(each["notebook"], each["source"]) for each in partial] == [("01_a", "reference"), ("02_b", "reference")]
    whole = of_one_machine(collect([here, there], [here, there, untimed]), [here, there, untimed])
    assert [each["source"] for each in whole] == ["this run", "this run"]


def test_a_network_of_another_size_is_not_made_of_the_dense_one():
    dense = row(technique="dense", parameters=100, bytes=400)
    assert dense_of(row(parameters=100), [dense]) is dense
    assert dense_of(row(parameters=101), [dense]) is None
    assert dense_of(row(model="LeNet300100"), [dense]) is None
    assert dense_of(row(), []) is None


def test_data_sets_do_not_mix():
    """A row of another data set is another row, has another dense network, and is told apart in the table."""
    dense = row(technique="dense", bytes=400)
    fashion = [row(data_set="fashion_mnist"), row(technique="dense", data_set="fashion_mnist", bytes=80)]
    assert len(collect([row(), *fashion], [row(), *fashion])) == 3
    assert scoreboard.missing(collect([row()], [row(), *fashion])) == {"02_x": 2}
    assert scoreboard.by_data_set([dense, *fashion]) == {"mnist": [dense], "fashion_mnist": fashion}
    assert dense_of(fashion[0], [dense, *fashion]) is fashion[1]
    assert dense_of(fashion[0], [dense]) is None
    board = scoreboard.table(collect([dense, *fashion], []))
    assert list(board["data"]) == ["MNIST", "Fashion-MNIST", "Fashion-MNIST"]
    assert list(board["smaller"]) == [1.0, 2.0, 1.0]


def test_the_table_has_a_line_for_each_row():
    dense = row("01_x", technique="dense", bytes=400, parameters=10)
    board = scoreboard.table(collect([dense, row(speedup=2.0), row("11_x", accuracy=None, bytes=None)], []))
    assert list(board["smaller"].fillna(0)) == [1.0, 10.0, 0.0]
    assert board["error, %"].iloc[0] == pytest.approx(1.0)
    assert math.isnan(board["error, %"].iloc[2])
    of_text = scoreboard.table(collect([row(data_set="tiny_shakespeare")], []))
    assert math.isnan(of_text["±"].item())
    assert board["±"].iloc[0] > 0


def test_bounds_are_those_of_the_row_s_own_examples():
    low, high = scoreboard.error_bounds(row(accuracy=0.99))
    assert low < 0.01 < high
    fewer = scoreboard.error_bounds(row(accuracy=0.99, examples=1000))
    assert fewer[0] < low
    assert fewer[1] > high
    text = {"accuracy": 0.5, "data_set": "tiny_shakespeare"}
    assert scoreboard.error_bounds(row(**text)) is None
    assert scoreboard.error_at_most(row(**text)) == 1.0
    assert scoreboard.error_bounds(row(accuracy=None)) is None
    wide = scoreboard.error_bounds(row(**text, examples=10_000))
    alone = 1 - scoreboard.interval(0.5)[0]
    factor = (wide[1] - 0.5) / (alone - 0.5)  # characters come in runs: fewer independent ones, a wider interval
    assert factor == pytest.approx(scoreboard.TEXT_SPREAD**0.5, rel=0.02)
    board = scoreboard.table(collect([row(**text, examples=10_000)], []))
    assert board["±"].item() == pytest.approx(50 * (wide[1] - wide[0]))


def test_the_menus_sort_and_choose(monkeypatch):
    monkeypatch.setenv("WORKBOOK_QUIET", "0")
    monkeypatch.setattr(scoreboard, "display", lambda *_: None)
    board = pd.DataFrame({"kB": [3, 1, 2], "network": ["a", "b", "a"]})
    widget = scoreboard.show_sortable(board, by="kB")
    assert isinstance(widget, ipywidgets.Widget)
    widget.update()
    assert list(widget.result["kB"]) == [1, 2, 3]
    widget.children[1].value = True
    widget.children[2].value = "a"
    widget.update()
    assert list(widget.result["kB"]) == [3, 2]


def test_where_outputs_are_stored_the_table_is_plain(monkeypatch):
    shown = []
    monkeypatch.setattr(scoreboard, "display", shown.append)
    assert scoreboard.show_sortable(pd.DataFrame({"kB": [3, 1]}), by="kB") is None
    assert shown[0].data.index("<td>1</td>") < shown[0].data.index("<td>3</td>")
    with pytest.raises(ValueError, match="one of kB; got 'MB'"):
        scoreboard.show_sortable(pd.DataFrame({"kB": [3, 1]}), by="MB")


# --- the frontier and what can be told apart --------------------------------------------------------------------------

coordinates = st.integers(0, 6) | st.floats(-1e6, 1e6)
clouds = st.lists(st.tuples(coordinates, coordinates), max_size=25)


def dominated(point, points):
    return any(o[0] <= point[0] and o[1] <= point[1] and (o[0] < point[0] or o[1] < point[1]) for o in points)


@given(clouds)
def test_the_frontier_is_what_nothing_dominates(points):
    assert frontier(points) == [not dominated(point, points) for point in points]


@given(clouds.filter(bool))
def test_a_frontier_is_never_empty_and_is_its_own_frontier(points):
    chosen = [point for point, stays in zip(points, frontier(points), strict=True) if stays]
    assert chosen
    assert all(frontier(chosen))


@given(clouds, st.floats(0.5, 2), st.integers(0, 24))
def test_units_and_order_do_not_matter(points, factor, turn):
    exact = [(2.0 ** round(factor) * float(x), float(y)) for x, y in points]  # a power of two rounds nothing
    assert frontier(exact) == frontier(points)
    turned = points[turn:] + points[:turn]
    assert sorted(zip(turned, frontier(turned), strict=True)) == sorted(zip(points, frontier(points), strict=True))


@pytest.mark.parametrize("point", [(math.nan, 1.0), (1.0, math.inf), (1.0, "2"), (True, 1.0)])
def test_the_frontier_of_what_is_no_number_is_refused(point):
    with pytest.raises((TypeError, ValueError), match="a coordinate must be"):
        frontier([(1.0, 1.0), point])


@given(st.integers(1, 20_000), st.data())
def test_the_interval_is_wilsons(count, data):
    right = data.draw(st.integers(0, count))
    low, high = interval(right / count, count)
    a, z = right / count, stats.norm.ppf(0.975)
    middle = a + z**2 / (2 * count)
    half = z * math.sqrt(a * (1 - a) / count + z**2 / (4 * count**2))
    assert low == pytest.approx((middle - half) / (1 + z**2 / count), abs=1e-9)
    assert high == pytest.approx((middle + half) / (1 + z**2 / count), abs=1e-9)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 100_000))
def test_telling_apart_is_symmetric_and_never_of_equals(first, second, count):
    assert told_apart(first, second, count) == told_apart(second, first, count)
    assert not told_apart(first, first, count)


def test_more_digits_tell_more_apart():
    assert not told_apart(0.99, 0.991, 10_000)
    assert told_apart(0.99, 0.991, 100_000)


@pytest.mark.parametrize(("accuracy", "count"), [(1.5, 10), (99, 100), (0.5, 0), (math.nan, 10)])
def test_impossible_accuracies_are_refused(accuracy, count):
    for function in (interval, lambda a, n: told_apart(a, 0.5, n)):
        with pytest.raises((TypeError, ValueError), match="must be"):
            function(accuracy, count)


def size(each):
    return each["bytes"]


def test_the_best_row_is_the_least_of_those_allowed():
    rows = [row(bytes=5, accuracy=0.9), row(bytes=7), row(bytes=None), row(bytes=1, accuracy=None)]
    assert scoreboard.best(rows, size)["bytes"] == 5
    assert scoreboard.best(rows, size, max_error=0.02)["bytes"] == 7
    with pytest.raises(ValueError, match="allow more"):
        scoreboard.best(rows, size, max_error=0.001)
    controls = [row(bytes=1, control_of="2-kB"), row(bytes=2, family="random control")]
    assert scoreboard.best([*controls, *rows], size)["bytes"] == 5
    surely = {"max_error": 0.011, "error": scoreboard.error_at_most}  # 1 % of 10,000 may be 1.2 %
    with pytest.raises(ValueError, match="allow more"):
        scoreboard.best(rows, size, **surely)
    assert scoreboard.best([*rows, row(bytes=9, accuracy=0.992)], size, **surely)["bytes"] == 9
    fast = [row(speedup=2.0), row(speedup=3.0), row()]
    assert scoreboard.best(fast, scoreboard.slowness())["speedup"] == 3.0


def test_the_smallest_file_is_chosen_by_its_cards_and_not_by_the_test_digits():
    cards = {"technique": "deep compression", "accuracy": 0.5}
    rows = [row(variant=name, bytes=n, **cards) for n, name in enumerate(("1-kB", "2-kB", "3-kB", "3-kB-long"))]
    assert [round(100 * scoreboard.validation_error(each), 2) for each in rows] == [1.56, 1.05, 0.88, 0.72]
    others = [row(bytes=0, accuracy=1.0), row(variant="9-kB", bytes=0, **cards), {**rows[3], "control_of": "3-kB"}]
    assert [round(100 * scoreboard.validation_error_at_most(each), 2) for each in rows] == [1.94, 1.36, 1.18, 1.0]
    assert scoreboard.smallest_file([*others, *rows])["variant"] == "3-kB-long"
    assert scoreboard.smallest_file(rows, max_error=0.014)["variant"] == "2-kB"
    with pytest.raises(ValueError, match="allow more"):
        scoreboard.smallest_file(others)


def test_the_best_of_many_has_a_wider_interval():
    alone, many = (scoreboard.error_bounds(row(), among=among) for among in (1, 40))
    assert many == pytest.approx(tuple(1 - end for end in interval(0.99, confidence=1 - 0.05 / 40)[::-1]))
    assert many[0] < alone[0] < alone[1] < many[1]
    assert scoreboard.error_at_most(row(), among=40) == many[1]
    with pytest.raises(ValueError, match="among"):
        scoreboard.error_bounds(row(), among=0)


def test_a_null_result_is_a_claim_that_says_why():
    null = {"kind": "claim", "notebook": "01_x", "statement": "s", "null_result": "why"}
    assert scoreboard.null_results([null, {**null, "null_result": ""}, row()]) == [null]
