"""The ten commands of the teacher's guide do what the page says, in its order, for a class of thirty students."""

import contextlib
import csv
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.course.synthetic_class import AWKWARD, HOSTILE, PLAIN, right_answers, write_submissions
from tests.course.test_classroom_sandbox import WORKING
from utils.course.pin_resolution import pins
from utils.files import ROOT

GUIDE = (ROOT / "lessons" / "teaching.md").read_text(encoding="utf-8")
COMMANDS = {
    int(number): command.strip()
    for command, number in re.findall(r"^(\S.*?)  +# (\d+)\b.*$", GUIDE.split("## What an answer")[0], re.MULTILINE)
}
FIRST = "00_start_here"
HARM = ("reads-everything", "replaces-check", "leaves-a-process", "leaves")  # those that waste no time
MANGLED = tuple(AWKWARD)[-18:]
OTHERS = PLAIN | {name: AWKWARD[name] for name in MANGLED} | {name: HOSTILE[name] for name in HARM}


def test_there_are_ten_commands_each_of_which_exists():
    assert list(COMMANDS) == list(range(1, 11))
    assert COMMANDS[1] == "make class"
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "\nclass: $(VENV)/class-ready" in targets
    assert "$(RUN) -m utils class\n" in targets


def test_what_a_class_needs_is_pinned_beside_the_course():
    course = {Requirement(line).name for line in pins("constraints.txt")}
    own = [Requirement(line) for line in pins("requirements-class.txt")]
    assert {"nbgrader", "dask", "distributed"} <= {requirement.name for requirement in own}
    assert not course & {requirement.name for requirement in own}, "pinned there already"
    for requirement in own:
        assert [each.operator for each in requirement.specifier] == ["=="]
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            assert requirement.specifier.contains(importlib.metadata.version(requirement.name)), requirement


def _run(number, folder, shared, where=None):
    """Run one of the commands and return what it prints."""
    command = COMMANDS[number].replace("$SHARED", str(shared))
    if number == 1:
        command = f"python -m utils class --output {folder / 'build' / 'class'}"
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    own["WORKBOOK_RESULTS"] = str(shared / "results")
    done = subprocess.run(
        command.split(),
        cwd=where or folder / "build" / "class",
        env=os.environ | own,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not WORKING, reason="no sandbox works on this machine: install bubblewrap")
def test_a_course_from_hand_out_to_grades(tmp_path):
    pytest.importorskip("nbgrader", reason="nbgrader is not installed: pip install -r requirements-class.txt")
    pytest.importorskip("distributed", reason="Dask is not installed: pip install -r requirements-class.txt")
    folder, shared, student = tmp_path / "course", tmp_path / "shared", tmp_path / "student"
    for each in (folder / "build", shared, student):
        each.mkdir(parents=True)
    shared.chmod(0o777)
    _run(1, folder, shared, where=ROOT)
    class_folder = folder / "build" / "class"
    for number in (2, 3):
        _run(number, folder, shared)

    _run(4, folder, shared, where=student)
    path = student / FIRST / f"{FIRST}.ipynb"
    released = path.read_text(encoding="utf-8")
    assert "HIDDEN" not in released
    assert "SOLUTION" not in released
    body = right_answers(FIRST)["00.1"].split("\n    ", 1)[1].split("\n\n\ncheck(")[0]
    noisy = "import sys; print('careful', file=sys.stderr)\n    " + body
    answered = noisy.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert released.count("    raise NotImplementedError") == 1
    path.write_text(released.replace("    raise NotImplementedError", "    " + answered), encoding="utf-8")
    _run(5, folder, shared, where=student)

    _run(6, folder, shared)
    (collected,) = (class_folder / "submitted").iterdir()
    assert len([collected, *OTHERS]) == 30
    write_submissions(class_folder, OTHERS)
    said = _run(7, folder, shared)
    assert "00_start_here                           1 graded, mean 2.00 of 2 points" in said
    assert "The points are in nbgrader's gradebook too." in said
    grades = list(csv.DictReader((class_folder / "grades" / "grades.csv").open(encoding="utf-8")))
    expected = {name: str(sum(student.points.values())) for name, student in OTHERS.items()}
    assert {row["student"]: row["total"] for row in grades} == expected | {collected.name: "2.0"}
    assert (class_folder / "grades" / "feedback" / "wrong.html").exists()

    _run(8, folder, shared)
    exported = list(csv.DictReader((class_folder / "grades.csv").open(encoding="utf-8")))
    assert {row["student_id"]: row["score"] for row in exported if row["assignment"] == FIRST}[collected.name] == "2.0"

    _run(9, folder, shared)
    _run(8, folder, shared)
    exported = list(csv.DictReader((class_folder / "grades.csv").open(encoding="utf-8")))
    assert ("2.0", "2.0") in [(row["score"], row["max_score"]) for row in exported], "stderr costs nothing here"
    _run(10, folder, shared)
    assert (class_folder / "feedback" / collected.name / FIRST / f"{FIRST}.html").exists()
