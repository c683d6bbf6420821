"""Classes of machines, and the reference runs that come with the course."""

import json
import subprocess
import sys

import pytest

from utils import reference_runs
from utils.files import ROOT
from utils.reference_runs import (
    ReferenceRunError,
    classify,
    machine_class,
    measured_elsewhere,
    nearest_reference,
    read_reference,
)

ABOUT = {"kind": "run", "class": "x86-64 avx2", "date": "2026-01-01", "machine": {}, "notebooks": {}}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two reference runs that take the place of the course's."""
    claim = {"kind": "claim", "notebook": "09_x", "statement": "int8 is faster", "holds": True, "machine": True}
    for name, date, ratio in (("x86-64 avx2", "2026-02-02", 1.4), ("x86-64 avx512-vnni", "2026-01-01", 2.5)):
        lines = [ABOUT | {"class": name, "date": date}, claim | {"measured": {"speedup": ratio}}]
        path = reference_runs.path_of(name, folder=tmp_path)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(reference_runs, "FOLDER", tmp_path)
    reference_runs.reference_runs.cache_clear()
    yield tmp_path
    reference_runs.reference_runs.cache_clear()


@pytest.mark.parametrize(
    ("architecture", "flags", "name"),
    [
        ("x86_64", {"avx2", "fma", "avx512f", "avx512_vnni"}, "x86-64 avx512-vnni"),
        ("AMD64", {"avx2", "avx512f", "avx512vnni"}, "x86-64 avx512-vnni"),
        ("x86_64", {"avx2", "avx512f"}, "x86-64 avx512"),
        ("x86_64", {"avx2", "avx_vnni"}, "x86-64 avx2-vnni"),
        ("x86_64", {"avx2", "fma"}, "x86-64 avx2"),
        ("x86_64", set(), "x86-64 sse"),
        ("aarch64", {"asimd", "asimddp", "i8mm"}, "arm64 i8mm"),
        ("arm64", set(), "arm64 neon"),
    ],
)
def test_classes(architecture, flags, name):
    assert classify(architecture, flags) == name


def test_a_variable_pretends_another_class():
    """In a process of its own: the class of a process never changes."""
    code = "from utils.reference_runs import machine_class; print(machine_class())"
    environment = {"WORKBOOK_MACHINE_CLASS": "arm64 i8mm", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "arm64 i8mm\n"


def test_what_the_reference_machines_measured_for_a_claim(runs):
    assert measured_elsewhere("09_x", "int8 is faster") == {
        "x86-64 avx2": {"speedup": 1.4},
        "x86-64 avx512-vnni": {"speedup": 2.5},
    }
    assert measured_elsewhere("09_x", "another claim") == {}


def test_a_class_without_a_run_takes_the_newest(runs):
    assert nearest_reference("x86-64 avx512-vnni")[0]["class"] == "x86-64 avx512-vnni"
    assert nearest_reference("riscv64 baseline")[0]["class"] == "x86-64 avx2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is damaged"),
        ("not json\n", "is damaged"),
        ('{"kind": "record"}\n', "line 1: the first line"),
        ('{"kind": "run"}\n', "lacks the class"),
        (f"{json.dumps(ABOUT)}\n{json.dumps(ABOUT)}\n", "line 2: the first line"),
    ],
)
def test_a_damaged_run_is_a_clear_error(tmp_path, content, message):
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(ReferenceRunError, match=f"{message}.*git checkout.*python -m utils reference"):
        read_reference(tmp_path / "x.jsonl")
    with pytest.raises(ReferenceRunError, match="cannot be read"):
        read_reference(tmp_path / "none.jsonl")


def test_the_runs_of_the_course_can_be_read_and_name_their_class():
    runs = reference_runs.reference_runs()
    assert {"x86-64 avx2", "x86-64 avx512-vnni"} <= runs.keys()
    for path in sorted(reference_runs.FOLDER.glob("*.jsonl")):
        assert reference_runs.path_of(read_reference(path)[0]["class"]) == path
    assert machine_class()
