"""A class's folder holds every exercise with its solution, which nbgrader takes out again."""

import ast
import json
import os
import re

import pytest

from tests.notebooks.read_notebooks import COURSE, SOLUTIONS, code
from utils.course.classroom_folder import marked, points, read_card, write_class_folder
from utils.course.classroom_judge import POINTS, exercises

REGION = re.compile(r"^    ### BEGIN SOLUTION\n.*?^    ### END SOLUTION$", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a written class."""
    return write_class_folder(tmp_path_factory.mktemp("class") / "autumn", seed=7)


def _cells(folder, path):
    return json.loads((folder / "source" / path.stem / path.name).read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)
def test_without_the_marked_regions_the_exercises_are_those_of_the_course(folder, path):
    own = {cell.identity: cell.source for cell in code(path) if "exercise" in cell.tags}
    solved = {c["id"]: c["source"] for c in _cells(folder, path) if c["metadata"].get("nbgrader", {}).get("solution")}
    assert {key: REGION.sub("    raise NotImplementedError", source) for key, source in solved.items()} == own
    for source in solved.values():
        ast.parse(source)


@pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)
def test_behind_each_exercise_stands_what_grades_it_out_of_sight(folder, path):
    cells = _cells(folder, path)
    assert len({cell["id"] for cell in cells}) == len(cells)
    for number, cell in enumerate(cells):
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            test, mark = cells[number + 1], cells[number + 1]["metadata"]["nbgrader"]
            assert mark["grade"]
            assert mark["locked"]
            seen, hidden = test["source"].split("### BEGIN HIDDEN TESTS\n")
            assert "seed" not in seen
            assert "seed=7" in hidden
    worth = [c["metadata"]["nbgrader"]["points"] for c in cells if c["metadata"].get("nbgrader", {}).get("grade")]
    assert sum(worth) == sum(exercise.points for exercise in exercises(path.stem).values())


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: p.stem)
def test_every_exercise_has_a_kind_and_a_hint(path):
    for exercise in exercises(path.stem).values():
        assert exercise.kind in POINTS
        assert exercise.hint or exercise.kind == "explain", exercise.identity


def test_the_seed_is_drawn_and_kept_on_the_card(folder, tmp_path):
    assert read_card(folder).seed == 7
    seeds = {read_card(write_class_folder(tmp_path / name)).seed for name in "ab"}
    assert len(seeds) == 2


def test_nothing_is_overwritten_and_no_class_is_a_clear_error(folder, tmp_path):
    with pytest.raises(FileExistsError, match="nothing was written"):
        write_class_folder(folder)
    with pytest.raises(FileNotFoundError, match="is no class"):
        read_card(tmp_path)
    (tmp_path / "class.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        read_card(tmp_path)


def test_an_exercise_without_its_raise_is_refused():
    with pytest.raises(ValueError, match="is not blank"):
        marked("def f():\n    return 1", "def f():\n    return 1", "f")


def test_points_are_silent_and_partial(capfd):
    def noisy(count, bits):
        os.write(2, b"careful")
        print("noise")
        return -(-count * bits // 8)

    assert points("00_start_here", "00.1", noisy, seed=7) == 2
    assert points("00_start_here", "00.1", lambda count, bits: 0, seed=7) == 0
    assert capfd.readouterr() == ("", "")
