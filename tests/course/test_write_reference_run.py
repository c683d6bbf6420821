"""The reference run of a class of machine: whether it is stale, what a row of it must say, and how it is written."""

import json

import pytest

from utils.__main__ import main
from utils.checkpoint_files import checkpoint_card
from utils.course import write_reference_run
from utils.course.notebook_runner import MEASURED, find_notebooks, fingerprint_of
from utils.course.readme_table import BEGIN, END
from utils.course.write_reference_run import changed_notebooks
from utils.reference_runs import machine_class, newest_first, path_of, read_reference, reference_runs
from utils.scoreboard import key_of


def newest():
    return next(iter(newest_first(reference_runs()).values()))


def test_the_newest_reference_run_is_of_these_notebooks():
    about, _ = newest()
    changed = changed_notebooks(about)
    assert not changed, f"{about['class']} is older than {', '.join(changed)}; make run && make reference"


def test_no_two_rows_of_one_run_have_one_name():
    for about, rows in reference_runs().values():
        keys = [key_of(each) for each in rows]
        assert len(keys) == len(set(keys)), about["class"]


def test_the_claims_that_are_no_machines_affair_hold_everywhere():
    for about, rows in reference_runs().values():
        missed = [each for each in rows if each["kind"] == "claim" and not each["holds"] and not each.get("machine")]
        assert not missed, about["class"]


@pytest.mark.parametrize(
    ("checkpoint", "notebook", "technique", "variant"),
    [
        *((name, "01", "dense", "") for name in ("LiteNetMLP", "LiteNetCNN", "LeNet300100", "LeNet5", "SmallResNet")),
        ("LeNet5-pruned-3-12-64", "03", "structured pruning", "3-12-64"),
        ("LeNet300100-pruned-80-40", "03", "structured pruning", "80-40"),
        ("LeNet300100-5-percent-seed0", "05", "iterative pruning", "5 %"),
        ("LeNet300100-2-percent-seed0", "05", "iterative pruning", "2 %"),
        ("LeNet300100-rank-21", "06", "svd", "rank 21, long"),
        ("LeNet5-pruned-3-12-64-labels", "12", "inference", "3-12-64, ONNX Runtime"),
        ("LeNet5-scratch-3-12-64", "23", "trained from scratch", ""),
    ],
)
def test_a_row_says_the_epochs_of_its_checkpoint(checkpoint, notebook, technique, variant):
    card = checkpoint_card(checkpoint)
    epochs = card["recipe"]["epochs"] if "epochs" in card.get("recipe", {}) else card["epochs"]
    rows = [
        row
        for row in newest()[1]
        if row["kind"] == "record" and row["notebook"].startswith(notebook) and row["model"] == card["model"]
        if row["technique"] == technique and row["variant"].startswith(variant)
    ]
    assert {row["epochs"] for row in rows} == {epochs}


def notebook_file(path, code, prose="words"):
    cells = [{"cell_type": "markdown", "source": [prose]}, {"cell_type": "code", "source": [code], "outputs": []}]
    path.write_text(json.dumps({"cells": cells}))
    return path


def test_code_changes_a_digest_and_prose_does_not(tmp_path):
    first = notebook_file(tmp_path / "01_a.ipynb", "1 + 1")
    about = {"notebooks": {"01_a": {"digest": write_reference_run.digest_of(first)}, "02_b": {"digest": "gone"}}}
    notebook_file(first, "1 + 1", prose="other words")
    assert changed_notebooks(about, [first]) == ["02_b"]
    notebook_file(first, "1 + 2")
    new = notebook_file(tmp_path / "03_c.ipynb", "")
    assert changed_notebooks(about, [first, new]) == ["01_a", "02_b", "03_c"]


def a_run(output, *, leave_out=""):
    """Write what a complete run leaves: stamps, results and the summary."""
    for folder in ("notebooks", "results"):
        (output / folder).mkdir(parents=True)
    _, rows = newest()
    for path in find_notebooks():
        lines = [json.dumps(each) + "\n" for each in rows if each["notebook"] == path.stem]
        (output / "results" / f"{path.stem}.jsonl").write_text("".join(lines))
    for path in find_notebooks():
        if path.stem != leave_out:
            fingerprint = fingerprint_of(path, {}, results=output / "results")
            stamp = {"fingerprint": fingerprint} | dict.fromkeys(MEASURED, 1)
            (output / "notebooks" / path.name).touch()
            (output / "notebooks" / f"{path.stem}.done.json").write_text(json.dumps(stamp))
    measured = {path.stem: {"seconds": 2.0} for path in find_notebooks()}
    summary = {"total_seconds": 2.0, "notebooks": measured}
    (output / "results" / "run.json").write_text(json.dumps(summary))


@pytest.mark.slow
def test_the_command_writes_both_files_and_nothing_of_an_unfit_run(tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{BEGIN}\n{END}\nend\n")
    folder = tmp_path / "reference"
    a_run(tmp_path / "whole")
    where = {"folder": folder, "readme": readme, "picture": tmp_path / "frontier.svg"}
    said = write_reference_run.write_reference(tmp_path / "whole", **where)
    path = path_of(machine_class(), folder=folder)
    about, rows = read_reference(path)
    assert rows == newest()[1]
    assert changed_notebooks(about) == []
    assert {each["seconds"] for each in about["notebooks"].values()} == {2.0}
    assert f"{len(rows)} claims and records" in said
    assert "LeNet-300-100" in readme.read_text()
    assert (tmp_path / "frontier.svg").read_bytes().startswith(b"<?xml")

    path.unlink()
    a_run(tmp_path / "broken", leave_out="05_iterative_pruning")
    stamp = tmp_path / "broken" / "notebooks" / "03_structured_pruning.done.json"
    stamp.write_text(json.dumps({"fingerprint": "another"}))
    (tmp_path / "broken" / "results" / "23_scoreboard.jsonl").unlink()  # the last: no other depends on it
    with pytest.raises(ValueError, match="nothing was written") as caught:
        write_reference_run.write_reference(tmp_path / "broken", **where)
    assert ": 03_structured_pruning, 05_iterative_pruning, 23_scoreboard. First: make run" in str(caught.value)
    assert not path.exists()
    assert main(["reference", "--output", str(tmp_path / "nothing")]) == 2
    assert "First: make run" in capsys.readouterr().err
