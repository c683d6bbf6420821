"""The folders for a class hold what they should, run on their own, and never overwrite anything."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebooks.read_notebooks import COURSE, SOLUTIONS, code
from utils.course import handouts
from utils.course.handouts import write_solutions_folder, write_student_folder
from utils.files import ROOT


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Return a written student folder."""
    return write_student_folder(tmp_path_factory.mktemp("handout") / "student")


@pytest.fixture(scope="module")
def solutions(tmp_path_factory):
    """Return a written solutions folder."""
    return write_solutions_folder(tmp_path_factory.mktemp("handout") / "solutions")


def _source(path):
    return {cell.identity: cell.source for cell in code(path)}


@pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)
def test_the_student_has_every_cell_and_no_output(student, path):
    handed_out = student / "notebooks" / path.name
    assert _source(handed_out) == _source(path)
    assert not any(cell.outputs or cell.execution_count for cell in code(handed_out))


def test_the_student_has_no_solutions_and_no_leftovers(student):
    assert not list(student.rglob("solutions"))
    assert not list(student.rglob("__pycache__"))


ANSWERED = {
    "an answer": "    return 1\n",
    "an answer above the raise": "    return 1\n    raise NotImplementedError\n",
    "no docstring": "    raise NotImplementedError\n",
    "no Python": "    return (\n",
}


@pytest.mark.parametrize("body", ANSWERED.values(), ids=ANSWERED)
def test_an_answered_exercise_is_not_handed_out(body):
    cell = {"id": "a", "cell_type": "code", "metadata": {"tags": ["exercise"]}, "outputs": []}
    document = "" if body == ANSWERED["no docstring"] else '    """What."""\n'
    cell["source"] = f'def f():\n{document}{body}\ncheck("01.1", f)'
    with pytest.raises(ValueError, match=r"exercise 01\.1 of 01_x\.ipynb is answered, and that would be handed out"):
        handouts._without_outputs({"cells": [cell]}, Path("01_x.ipynb"))


def test_a_copy_is_not_handed_out(tmp_path, monkeypatch):
    root = tmp_path / "course"
    for name in handouts.HANDED_OUT:
        if "." in name or name == "Makefile":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("")
        else:
            (root / name).mkdir(parents=True)
    for name in ("01_good", "01_good-Copy1", "my notes"):
        (root / "notebooks" / f"{name}.ipynb").write_text('{"cells": []}')
    monkeypatch.setattr(handouts, "ROOT", root)
    written = write_student_folder(tmp_path / "student")
    assert [path.name for path in (written / "notebooks").iterdir()] == ["01_good.ipynb"]


@pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)
def test_the_solved_notebook_has_every_solution_in_its_place(solutions, path):
    answers = [c.source for c in code(ROOT / "notebooks" / "solutions" / path.name) if "solution" in c.tags]
    solved = [c.source for c in code(solutions / "notebooks" / path.name) if "exercise" in c.tags]
    assert sorted(solved) == sorted(answers), "in the notebook's order, which may be another"
    assert "not attempted yet" not in (solutions / "notebooks" / path.name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: p.stem)
def test_a_solution_needs_no_import_that_its_notebook_lacks(path):
    def imported(notebook):
        return {
            alias.asname or alias.name
            for cell in code(notebook)
            if "solution" not in cell.tags  # such a cell takes the exercise's place, with its own imports
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }

    assert imported(path) <= imported(ROOT / "notebooks" / path.name)


def test_nothing_is_overwritten(student):
    with pytest.raises(FileExistsError, match="nothing was written"):
        write_student_folder(student)


def test_both_folders_have_the_same_files_and_differ_in_the_notebooks_alone(student, solutions):
    def content(folder):
        handed = (p for p in folder.rglob("*") if p.is_file() and not {"build", "__pycache__"} & set(p.parts))
        return {path.relative_to(folder): path.read_bytes() for path in handed}

    handed_out, solved = content(student), content(solutions)
    assert handed_out.keys() == solved.keys()
    assert {path.suffix for path in solved if handed_out[path] != solved[path]} == {".ipynb"}


@pytest.mark.slow
def test_a_folder_runs_on_its_own(solutions):
    """With the solutions in: the student's folder holds the same files and less in its exercises."""
    folder, environment = solutions, {**os.environ, "PYTHONPATH": str(solutions), "WORKBOOK_SIDE_BY_SIDE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "utils", "run", "00"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "build" / "results" / "00_start_here.jsonl").exists()
