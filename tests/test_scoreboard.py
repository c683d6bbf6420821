"""The scoreboard: rows of two runs, the frontier, what can be told apart, README's table, and whether it is stale."""

import json
import math

import ipywidgets
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.notebooks.reading import code
from utils import scoreboard
from utils.__main__ import main
from utils.claims import ResultsError
from utils.course.notebook_runner import MEASURED, find_notebooks, fingerprint_of
from utils.files import ROOT
from utils.models import checkpoint_card
from utils.recipes.narrow_from_scratch import SCRATCH
from utils.scoreboard import (
    BEGIN,
    END,
    NULL_RESULTS,
    budget_of,
    changed_notebooks,
    collect,
    dense_of,
    error_of,
    family_of,
    frontier,
    interval,
    key_of,
    missing,
    of_one_machine,
    put_table,
    read_reference,
    render_table,
    size_of,
    told_apart,
)


def row(notebook="02_x", variant="", **values):
    known = {"technique": "svd", "model": "LeNet5", "accuracy": 0.99, "parameters": 10, "bytes": 40, "latency_s": 1e-3}
    return {"kind": "record", "notebook": notebook, "variant": variant, **known, **values}


# --- the reference run and README, as they are in git -----------------------------------------------------------------


def test_the_reference_run_is_of_these_notebooks():
    changed = changed_notebooks(read_reference()[0])
    assert not changed, f"data/records.jsonl is older than {', '.join(changed)}. To mend it: {scoreboard.COMMAND}"


def test_the_table_in_readme_is_that_of_the_reference_run():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    same = put_table(readme, render_table(*read_reference())) == readme
    assert same, f"README's table is not that of data/records.jsonl. To mend it: {scoreboard.COMMAND}"


def test_every_null_result_is_a_claim_that_held():
    claims = {key_of(each): each["holds"] for each in read_reference()[1] if each["kind"] == "claim"}
    assert claims == {("claim", null.notebook, null.statement): True for null in NULL_RESULTS}


@pytest.mark.parametrize("null", NULL_RESULTS, ids=lambda null: f"{null.notebook[:2]}: {null.statement}")
def test_a_null_result_is_cited_word_for_word(null):
    cells = code(ROOT / "notebooks" / f"{null.notebook}.ipynb")
    printed = "".join("".join(output.get("text", ())) for cell in cells for output in cell.outputs)
    assert f"✓ {null.statement}\n" in printed, "the notebook no longer claims it: mend scoreboard.NULL_RESULTS"


def test_every_row_of_the_reference_has_a_family_and_a_budget():
    for each in read_reference()[1]:
        if each["kind"] == "record":
            assert family_of(each)
            assert budget_of(each)[0] is not None, key_of(each)


@pytest.mark.parametrize(
    ("checkpoint", "notebook", "technique", "variant"),
    [
        *((name, "01_x", "dense", "") for name in ("LiteNetMLP", "LiteNetCNN", "LeNet300100", "LeNet5", "SmallResNet")),
        ("SmallDepthwiseNet", "01_x", "dense", ""),
        ("LeNet5-pruned-3-12-64", "03_x", "structured pruning", "3-12-64"),
        ("LeNet300100-pruned-80-40", "03_x", "structured pruning", "80-40"),
        ("LeNet5-pruned-3-12-64-labels", "12_x", "inference", "3-12-64, ONNX Runtime"),
        ("LeNet300100-rank-21", "06_x", "svd", "rank 21, long"),
        *((name, "16_x", "trained from scratch", "") for name in SCRATCH),
    ],
)
def test_a_budget_is_what_the_card_of_the_checkpoint_says(checkpoint, notebook, technique, variant):
    card = checkpoint_card(checkpoint)
    epochs = card["recipe"]["epochs"] if "recipe" in card and "epochs" in card["recipe"] else card["epochs"]
    assert budget_of(row(notebook, variant, technique=technique, model=card["model"]))[0] == epochs


@pytest.mark.parametrize("percent", [5, 2])
def test_the_gradual_budget_is_that_of_the_cards(percent):
    card = checkpoint_card(f"LeNet300100-{percent}-percent-seed0")
    assert budget_of(row("05_x", f"{percent} % of weights", technique="iterative pruning"))[0] == card["epochs"]


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


def test_the_smallest_file_counts():
    assert size_of(row(bytes=40, packed_bytes=10)) == 10
    assert size_of(row(bytes=40)) == 40
    assert size_of(row(bytes=None)) is None


def test_a_network_of_another_size_is_not_made_of_the_dense_one():
    dense = row(technique="dense", parameters=100, bytes=400)
    assert dense_of(row(parameters=100), [dense]) is dense
    assert dense_of(row(parameters=101), [dense]) is None
    assert dense_of(row(model="LeNet300100"), [dense]) is None
    assert dense_of(row(), []) is None


def test_families():
    assert family_of(row(technique="random pruning")) == "random control"
    assert family_of(row(technique="post-training quantization", bits=32)) == "another runtime"
    assert family_of(row(technique="post-training quantization", bits=8)) == "fewer bits"
    with pytest.raises(ValueError, match=r"add one to scoreboard\.FAMILIES"):
        family_of(row(technique="magic"))


def test_what_a_record_says_of_its_training_comes_first():
    assert budget_of(row("02_x", technique="unstructured pruning", epochs=7)) == (7, "see the notebook")
    assert budget_of(row("99_x")) == (None, "see the notebook")


def test_the_table_has_a_line_for_each_row():
    dense = row("01_x", technique="dense", bytes=400, parameters=10)
    board = scoreboard.table(collect([dense, row(speedup=2.0), row("11_x", accuracy=None, bytes=None)], []))
    assert list(board["smaller"].fillna(0)) == [1.0, 10.0, 0.0]
    assert board["error, %"].iloc[0] == pytest.approx(1.0)
    assert math.isnan(board["error, %"].iloc[2])


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
    low, high = interval(right / count, count, z=stats.norm.ppf(0.975))
    theirs = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert low == pytest.approx(theirs.low, abs=1e-9)
    assert high == pytest.approx(theirs.high, abs=1e-9)
    assert 0 <= low <= right / count <= high <= 1


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


def test_the_best_row_is_the_least_of_those_allowed():
    rows = [row(bytes=5, accuracy=0.9), row(bytes=7), row(bytes=None), row(bytes=1, accuracy=None)]
    assert scoreboard.best(rows, size_of)["bytes"] == 5
    assert scoreboard.best(rows, size_of, max_error=0.02)["bytes"] == 7
    with pytest.raises(ValueError, match="allow more"):
        scoreboard.best(rows, size_of, max_error=0.001)
    fast = [row(speedup=2.0), row(speedup=3.0), row()]
    assert scoreboard.best(fast, scoreboard.slowness())["speedup"] == 3.0


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("not json\n", "line 1 .* is damaged"),
        ('{"kind": "record"}\n', "line 1 .*the first line"),
        ('{"kind": "run"}\n{"kind": "run"}\n', "line 2 .*the first line"),
        ('{"kind": "run"}\n{"kind": "record", "notebook": "01_x"}\n', "line 2 .* is damaged"),
    ],
)
def test_a_damaged_reference_is_a_clear_error(tmp_path, content, message):
    (tmp_path / "records.jsonl").write_text(content)
    with pytest.raises(ResultsError, match=f"{message}.*git checkout") as caught:
        read_reference(tmp_path / "records.jsonl")
    assert "python -m utils scoreboard" in str(caught.value)


def test_a_missing_reference_is_a_clear_error(tmp_path):
    with pytest.raises(ResultsError, match="cannot be read"):
        read_reference(tmp_path / "none.jsonl")


def notebook_file(path, code, prose="words"):
    cells = [{"cell_type": "markdown", "source": [prose]}, {"cell_type": "code", "source": [code], "outputs": []}]
    path.write_text(json.dumps({"cells": cells}))
    return path


def test_code_changes_a_digest_and_prose_does_not(tmp_path):
    first = notebook_file(tmp_path / "01_a.ipynb", "1 + 1")
    about = {"notebooks": {"01_a": scoreboard.digest_of(first), "02_b": "gone"}}
    notebook_file(first, "1 + 1", prose="other words")
    assert changed_notebooks(about, [first]) == ["02_b"]
    notebook_file(first, "1 + 2")
    new = notebook_file(tmp_path / "03_c.ipynb", "")
    assert changed_notebooks(about, [first, new]) == ["01_a", "02_b", "03_c"]


@pytest.mark.parametrize("readme", ["no comments", f"{BEGIN} only", f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_a_readme_without_its_comments_is_refused(readme):
    with pytest.raises(ValueError, match="once each, in this order"):
        put_table(readme, "table")


def test_the_table_goes_between_the_comments():
    assert put_table(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb"


def test_a_selected_row_that_was_renamed_is_named():
    about, rows = read_reference()
    others = [each for each in rows if each.get("variant") != "80-40"]
    with pytest.raises(ValueError, match=r"notebook 03 has no record like .*80-40.*SELECTED"):
        render_table(about, others)
    without = [each for each in rows if not each["notebook"].startswith("03")]
    assert "(notebooks/03" not in render_table(about, without)


def a_run(output, *, leave_out=""):
    """Write what a complete run leaves: stamps and results."""
    for folder in ("notebooks", "results"):
        (output / folder).mkdir(parents=True)
    _, rows = read_reference()
    for path in find_notebooks():
        lines = [json.dumps(each) + "\n" for each in rows if each["notebook"] == path.stem]
        (output / "results" / f"{path.stem}.jsonl").write_text("".join(lines))
    for path in find_notebooks():
        if path.stem != leave_out:
            fingerprint = fingerprint_of(path, {}, results=output / "results")
            stamp = {"fingerprint": fingerprint} | dict.fromkeys(MEASURED, 1)
            (output / "notebooks" / path.name).touch()
            (output / "notebooks" / f"{path.stem}.done.json").write_text(json.dumps(stamp))


@pytest.mark.slow
def test_the_command_writes_both_files_and_nothing_of_an_unfit_run(tmp_path, monkeypatch, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{BEGIN}\n{END}\nend\n")
    reference = tmp_path / "records.jsonl"
    a_run(tmp_path / "whole")
    said = scoreboard.write_scoreboard(tmp_path / "whole", reference=reference, readme=readme)
    about, rows = read_reference(reference)
    assert rows == read_reference()[1]
    assert changed_notebooks(about) == []
    assert f"{len(rows)} rows" in said
    assert "LeNet-300-100" in readme.read_text()

    reference.unlink()
    a_run(tmp_path / "broken", leave_out="05_iterative_pruning")
    stamp = tmp_path / "broken" / "notebooks" / "03_structured_pruning.done.json"
    stamp.write_text(json.dumps({"fingerprint": "another"}))
    (tmp_path / "broken" / "results" / "16_scoreboard.jsonl").unlink()  # the last: no other depends on it
    with pytest.raises(ValueError, match="nothing was written") as caught:
        scoreboard.write_scoreboard(tmp_path / "broken", reference=reference, readme=readme)
    assert ": 03_structured_pruning, 05_iterative_pruning, 16_scoreboard. First: make run" in str(caught.value)
    assert not reference.exists()
    cited = NULL_RESULTS[0]
    monkeypatch.setattr(scoreboard, "NULL_RESULTS", (type(cited)(cited.notebook, "no such sentence", "why"),))
    with pytest.raises(
        ValueError, match=f"no longer claimed; nothing was written\n  {cited.notebook}: no such sentence"
    ):
        scoreboard.write_scoreboard(tmp_path / "whole", reference=reference, readme=readme)
    assert main(["scoreboard", "--output", str(tmp_path / "nothing")]) == 2
    assert "First: make run" in capsys.readouterr().err


def test_a_row_says_its_error():
    assert error_of(row(accuracy=0.99)) == pytest.approx(0.01)
    with pytest.raises((TypeError, ValueError), match="accuracy must be"):
        error_of(row(accuracy=None))
