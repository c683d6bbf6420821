"""Claims and records: what is printed, what is kept, and what happens when the disk is full."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils import claims, datasets
from utils.claims import ClaimError, ResultsError, begin, claim, claim_about_this_machine, read_results, record
from utils.files import ROOT, results_folder

NOTEBOOK = "02_unstructured_pruning"
ROW = {"family": "low rank", "epochs": 0}


@pytest.fixture(autouse=True)
def _no_notebook_has_begun(monkeypatch):
    monkeypatch.setattr(claims, "_notebook", "")
    monkeypatch.setattr(claims, "_lines", {})


@pytest.fixture
def file() -> Path:
    begin(NOTEBOOK)
    return results_folder() / f"{NOTEBOOK}.jsonl"


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


# --- claims ---------------------------------------------------------------------------------------------------------


def test_a_claim_that_holds_prints_its_sentence_and_is_kept(file, capsys):
    claim("80 % costs under one point", True, drop=0.003, tries=2, model="LeNet5", shared=False)
    said = "✓ 80 % costs under one point  [drop 0.003, model LeNet5, shared False, 2 tries]\n"
    assert capsys.readouterr().out == said
    assert file.read_bytes() == (
        b'{"kind": "claim", "notebook": "02_unstructured_pruning", "statement": "80 % costs under one point", '
        b'"holds": true, "measured": {"drop": 0.003, "tries": 2, "model": "LeNet5", "shared": false}}\n'
    )


def test_a_claim_that_fails_raises_with_the_values_and_is_kept_too(file, capsys):
    with pytest.raises(ClaimError, match=r"^does not hold: pruning is free\. Measured: drop 0\.333, ratio 4x$"):
        claim("pruning is free", False, drop=1 / 3, ratio=4)
    assert capsys.readouterr().out == ""
    assert lines(file)[0]["holds"] is False
    assert lines(file)[0]["measured"] == {"drop": 1 / 3, "ratio": 4}


def test_a_claim_about_a_templates_example_says_what_to_do_with_it():
    with pytest.raises(
        ClaimError, match=r"does not hold: in this example it is small\. Measured: size 9\. It was .*or del"
    ):
        claim("in this example it is small", False, size=9)
    with pytest.raises(ClaimError, match=r"Measured: size 9$"):
        claim("it is small in this example", False, size=9)


def test_a_claim_made_again_replaces_its_line_in_its_place(file):
    claim("first", True, a=1)
    claim("second", True, a=1)
    with pytest.raises(ClaimError):
        claim("first", False, a=2)
    assert [(row["statement"], row["holds"], row["measured"]) for row in lines(file)] == [
        ("first", False, {"a": 2}),
        ("second", True, {"a": 1}),
    ]


@pytest.mark.parametrize("yes", [True, np.True_, np.float32(1) < 2, torch.tensor(1.0) < 2])
def test_every_kind_of_bool_is_taken(file, yes):
    claim("holds", yes, a=1)
    assert lines(file)[0]["holds"] is True
    with pytest.raises(ClaimError):
        claim("does not", ~torch.tensor(bool(yes)), a=1)


@pytest.mark.parametrize("holds", [(False, "it is false"), None, 1, "yes", torch.tensor([True, True])])
def test_what_is_no_bool_does_not_pass_by_being_truthy(file, holds):
    with pytest.raises(TypeError, match="holds must be a bool"):
        claim("anything", holds, a=1)
    assert lines(file) == []


def test_a_claim_needs_a_measured_value():
    with pytest.raises(TypeError, match="needs at least one measured value"):
        claim("trust me", True)


@pytest.mark.parametrize("statement", [None, 3])
def test_a_statement_is_text(statement):
    with pytest.raises(TypeError, match="statement must be a sentence"):
        claim(statement, True, a=1)


@pytest.mark.parametrize("value", [None, [1], 1j, torch.ones(2)])
def test_what_cannot_be_kept_is_named(value):
    with pytest.raises(TypeError, match="speedup must be a number, text or bool"):
        claim("s", True, speedup=value)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (np.float32("nan"), "nan"),
        (np.float64(0.25), 0.25),
        (np.int64(3), 3),
        (torch.tensor(2.5), 2.5),
        (torch.tensor(True), True),
    ],
)
def test_measured_values_become_strict_json(file, value, kept):
    claim("s", True, value=value)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    row = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    assert row["measured"] == {"value": kept}
    assert type(row["measured"]["value"]) is type(kept)


def test_nan_is_shown_when_a_claim_fails():
    with pytest.raises(ClaimError, match="loss nan"):
        claim("it converged", False, loss=math.nan)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=5))
def test_any_statement_is_read_back(statements):
    begin(NOTEBOOK)
    for statement in statements:
        claim(statement, True, a=1)
    assert [row["statement"] for row in read_results()] == statements


# --- what a claim shows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.98712, "%", "98.71 %"),
        (0.9, "%", "90 %"),
        (2.3149, "x", "2.31x"),
        (2733.4, "x", "2,733x"),
        (814120, "B", "814,120 B"),
        (0.3251, "points", "0.325 points"),
        (0.00018, "s", "180 µs"),
        (12.5, "us", "12.5 µs"),
        (0.0, "s", "0 ns"),
        (203530, "", "203,530"),
        (1 / 3, "", "0.333"),
        (2e-7, "", "2e-07"),
        (math.nan, "", "nan"),
        (True, "x", "True"),
        ("LeNet5", "%", "LeNet5"),
    ],
)
def test_values_are_rounded_for_reading_and_have_their_unit(value, unit, shown):
    assert claims.format_measured(value, unit) == shown


def test_units_are_for_all_values_or_by_name_or_what_the_name_says(capsys):
    claim("s", True, unit="%", dense=0.9, pruned=0.8)
    claim("s", True, unit={"drop": "points"}, drop=0.3, speedup=2.0, saved_bytes=1000)
    assert (
        capsys.readouterr().out
        == "✓ s  [dense 90 %, pruned 80 %]\n✓ s  [drop 0.3 points, speedup 2x, saved bytes 1,000 B]\n"
    )
    with pytest.raises(TypeError, match="a unit for gain, which it does not measure"):
        claim("s", True, unit={"gain": "x"}, drop=0.3)


def test_a_long_list_of_values_is_cut_and_kept_whole(file, capsys):
    claim("s", True, **{f"layer {n}": n for n in range(9)})
    assert capsys.readouterr().out.endswith("layer 5 5, 3 more in the report]\n")
    assert len(lines(file)[0]["measured"]) == 9


def test_a_null_result_keeps_its_reason(file):
    claim("it is not faster", True, null_result="Nobody tells the kernel.", speedup=1.0)
    assert lines(file)[0]["null_result"] == "Nobody tells the kernel."


# --- claims about this machine ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lucky", [1, 3])
def test_a_claim_about_this_machine_measures_until_it_holds(file, capsys, lucky):
    ratios = []

    def measure():
        ratios.append(1.0 + len(ratios))
        return {"ratio": ratios[-1]}

    measured = claim_about_this_machine("it is faster", measure, lambda m: m["ratio"] >= lucky)
    assert len(ratios) == lucky
    assert measured == {"ratio": lucky, "tries": lucky}
    assert [row["measured"] for row in lines(file)] == [measured]
    tries = f", {lucky} tries" if lucky > 1 else ""
    assert capsys.readouterr().out == f"⏱ ✓ it is faster  [ratio {lucky}x{tries}]\n"


def test_where_it_does_not_hold_it_says_what_other_machines_measured_and_stops_nothing(file, capsys, monkeypatch):
    monkeypatch.setattr(claims, "measured_elsewhere", lambda notebook, statement: {"x86-64 avx2": {"ratio": 3.0}})
    measured = []
    claim_about_this_machine("s", lambda: measured.append(1) or {"ratio": 1.5}, lambda m: m["ratio"] > 2, tries=4)
    assert len(measured) == 4
    assert [(row["holds"], row["machine"]) for row in lines(file)] == [(False, True)]
    assert capsys.readouterr().out == "⏱ ✗ not on this machine: s  [ratio 1.5x, 4 tries; x86-64 avx2: ratio 3x]\n"


def test_side_by_side_a_claim_about_this_machine_is_measured_once(file, monkeypatch):
    monkeypatch.setenv("WORKBOOK_SIDE_BY_SIDE", "1")
    assert claim_about_this_machine("s", lambda: {"ratio": 1.5}, lambda m: False) == {"ratio": 1.5, "tries": 1}
    with pytest.raises(ClaimError):
        claim("any other claim is enforced", False, a=1)


def test_a_further_claim_about_what_was_measured_is_judged_once(file):
    measured = claim_about_this_machine("it is faster", lambda: {"ratio": 1.5}, lambda m: m["ratio"] > 1)
    assert claim_about_this_machine("but not twice as fast", measured, lambda m: m["ratio"] < 2) == measured
    claim_about_this_machine("it is twice as fast", measured, lambda m: m["ratio"] > 2)
    assert [row["holds"] for row in lines(file)] == [True, True, False]


def test_the_condition_sees_what_was_measured_and_not_how_often(capsys):
    claim_about_this_machine("all are large", {"ratio": 1.5, "other": 2.0}, lambda m: min(m.values()) > 1.2)
    assert capsys.readouterr().out == "⏱ ✓ all are large  [ratio 1.5x, other 2]\n"


@pytest.mark.parametrize(("tries", "error"), [(0, ValueError), (1.5, TypeError)])
def test_tries_is_a_positive_integer(tries, error):
    with pytest.raises(error, match="tries must be"):
        claim_about_this_machine("s", lambda: {"a": 1}, lambda m: True, tries=tries)


@pytest.mark.parametrize("returned", [None, {}])
def test_measure_returns_values_by_name(returned):
    with pytest.raises(TypeError, match="measure must return at least one value by name"):
        claim_about_this_machine("s", lambda: returned, lambda m: True)


def test_a_condition_that_is_no_bool_is_refused():
    with pytest.raises(TypeError, match="holds must be a bool"):
        claim_about_this_machine("s", lambda: {"a": 1}, lambda m: m["a"])


# --- records --------------------------------------------------------------------------------------------------------


def test_a_record_is_one_line_of_the_documented_format(file):
    given = {"accuracy": torch.tensor(0.5), "parameters": np.int64(10), "latency_s": 0.25}
    record("svd", "LeNet5", **ROW, **given, rank=8, speedup=1.5)
    assert file.read_bytes() == (
        b'{"kind": "record", "notebook": "02_unstructured_pruning", "technique": "svd", "model": "LeNet5", '
        b'"variant": "", "family": "low rank", "accuracy": 0.5, "parameters": 10, "macs": null, "bytes": null, '
        b'"latency_s": 0.25, "epochs": 0.0, "training": "none", "rank": 8, "speedup": 1.5}\n'
    )


def test_a_record_replaces_the_one_of_the_same_technique_model_and_variant(file):
    for technique, model, variant in [("svd", "A", ""), ("svd", "B", ""), ("pca", "A", ""), ("svd", "A", "rank 8")]:
        record(technique, model, variant=variant, bytes=1, **ROW)
    record("svd", "A", bytes=2, **ROW)
    assert [row["bytes"] for row in lines(file)] == [2, 1, 1, 1]


def test_a_record_names_its_data_set_only_if_that_is_not_mnist(file):
    for data_set in ("mnist", "fashion_mnist", "imagenet"):
        record("dense", "LeNet5", data_set=data_set, **ROW)
    record("dense", "LeNet5", data_set="fashion_mnist", bytes=7, **ROW)
    assert [row.get("data_set") for row in lines(file)] == [None, "fashion_mnist", "imagenet"]
    assert [row["bytes"] for row in lines(file)] == [None, 7, None], "one replaces that of its own data set"


def test_whatever_can_be_loaded_can_be_recorded():
    assert datasets._LOADERS.keys() <= claims.DATA_SETS.keys()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"data_set": "fashion"}, ValueError),
        ({"data_set": None}, ValueError),
        ({"accuracy": 98.7}, ValueError),
        ({"accuracy": math.nan}, ValueError),
        ({"parameters": -1}, ValueError),
        ({"macs": 1.5}, TypeError),
        ({"bytes": True}, TypeError),
        ({"latency_s": -1e-3}, ValueError),
        ({"speedup": [1.0]}, TypeError),
        ({"family": ""}, ValueError),
        ({"family": "cut"}, ValueError),
        ({"epochs": None}, TypeError),
        ({"epochs": -1}, ValueError),
        ({"kind": "claim"}, TypeError),
        ({"notebook": "03_other"}, TypeError),
        ({"variant": None}, TypeError),
    ],
)
def test_a_bad_column_is_named_and_nothing_is_kept(file, wrong, error):
    with pytest.raises(error, match=next(iter(wrong))):
        record("svd", "LeNet5", **(ROW | wrong))
    assert lines(file) == []


@pytest.mark.parametrize(("technique", "model"), [(None, "LeNet5"), ("svd", torch.nn.ReLU())])
def test_technique_and_model_are_text(technique, model):
    with pytest.raises(TypeError, match="must be text"):
        record(technique, model, **ROW)


# --- notebooks and folders ------------------------------------------------------------------------------------------


def test_beginning_again_forgets_the_earlier_run_of_that_notebook_only(file):
    claim("old", True, a=1)
    begin("03_other")
    claim("kept", True, a=1)
    begin(NOTEBOOK)
    claim("new", True, a=1)
    assert [(row["notebook"], row["statement"]) for row in read_results()] == [(NOTEBOOK, "new"), ("03_other", "kept")]


def test_without_a_notebook_a_claim_is_checked_but_kept_nowhere(capsys):
    claim("it holds", True, a=1)
    record("svd", "LeNet5", accuracy=0.9, **ROW)
    assert capsys.readouterr().out == "✓ it holds  [a 1]\n"
    assert list(results_folder().iterdir()) == []


@pytest.mark.parametrize("name", ["pruning", "2_pruning", "02_", "02_../up", "²³_x", "", None])
def test_a_name_that_is_no_notebook_is_refused(name):
    with pytest.raises(ValueError, match="must be the name of a notebook such as"):
        begin(name)


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_RESULTS", str(tmp_path / "deep" / "er"))
    begin(NOTEBOOK)
    assert (tmp_path / "deep" / "er" / f"{NOTEBOOK}.jsonl").exists()


@pytest.mark.parametrize("value", ["", None])
def test_without_it_results_lie_in_build(monkeypatch, value):
    monkeypatch.delenv("WORKBOOK_RESULTS")
    if value is not None:
        monkeypatch.setenv("WORKBOOK_RESULTS", value)
    assert results_folder() == ROOT / "build" / "results"


def test_read_results_takes_another_folder_and_only_files_of_notebooks(tmp_path):
    row = {"kind": "claim", "notebook": "07_pca", "statement": "s", "holds": True, "measured": {"a": 1}}
    (tmp_path / "07_pca.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "08_half.jsonl.part").write_text("{")
    assert read_results(tmp_path) == read_results(str(tmp_path)) == [row]
    assert read_results(tmp_path / "absent") == []


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"kind": "claim", "noteb',
        b"",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"7",
        b"{}",
        b'{"kind": "opinion", "notebook": "02_unstructured_pruning"}',
        b'{"kind": "claim", "notebook": "03_other"}',
    ],
)
def test_a_damaged_line_is_named_with_the_remedy(file, damaged):
    claim("good", True, a=1)
    file.write_bytes(file.read_bytes() + damaged + b"\n")
    with pytest.raises(ResultsError, match=rf"line 2 of {NOTEBOOK}\.jsonl is damaged .* run the notebook again"):
        read_results()


# --- a disk that fails ----------------------------------------------------------------------------------------------


def half_a_write(self, content):
    with open(self, "wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError(28, "No space left on device")


def no_move(self, target):
    raise OSError(13, "Permission denied")


@pytest.mark.parametrize(("method", "broken"), [("write_bytes", half_a_write), ("replace", no_move)])
def test_a_failed_write_is_named_and_leaves_the_earlier_file_whole(file, monkeypatch, method, broken):
    claim("good", True, a=1)
    before = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, method, broken)
        with pytest.raises(ResultsError, match=rf"{NOTEBOOK} .*(No space|Permission).* WORKBOOK_RESULTS"):
            claim("second", True, a=2)
    assert file.read_bytes() == before
    assert [row["statement"] for row in read_results()] == ["good"]
    claim("third", True, a=3)
    assert "third" in [row["statement"] for row in read_results()]


def test_a_file_in_the_place_of_the_folder_is_a_results_error(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("WORKBOOK_RESULTS", str(tmp_path / "taken"))
    with pytest.raises(ResultsError, match="cannot write the results"):
        begin(NOTEBOOK)
