"""The folder of a class for nbgrader, written from the course's notebooks and solutions.

Each notebook is an assignment. An exercise becomes a solution cell, the solution between nbgrader's marks, and behind
it stands a test cell whose hidden part grades the answer with the class's own cases.
"""

import ast
import contextlib
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.course.classroom_judge import exercises, points_for
from utils.course.notebook_runner import NAME
from utils.files import ROOT

CARD = "class.json"
"""The file of a class that says which cases it is graded with: it stays with the teacher."""

_CONFIGURATION = '''"""Settings of nbgrader for this class; written by `make class`, and yours to change."""

c = get_config()  # noqa: F821 - nbgrader defines it

c.CourseDirectory.course_id = {course!r}
c.ClearSolutions.code_stub = {{"python": "raise NotImplementedError"}}
c.ExecutePreprocessor.timeout = 600  # seconds that a cell may take when nbgrader itself runs a notebook
c.ClearHiddenTests.enforce_metadata = True
'''


@dataclass(frozen=True)
class ClassCard:
    """What a class is graded with.

    Args:
        seed: of the cases.
        assignments: names of notebooks of the course, in its order.
    """

    seed: int
    assignments: tuple[str, ...]


def read_card(folder: Path) -> ClassCard:
    """Return the card of a class.

    Raises:
        FileNotFoundError: the folder is no class.
        ValueError: the card is damaged.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no class: it has no {CARD}. `python -m utils class` writes a class")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return ClassCard(int(content["seed"]), tuple(map(str, content["assignments"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, for other cases would be other grades") from None


def write_class_folder(folder: Path, *, seed: int | None = None) -> Path:
    """Write a class: nbgrader's source folder and settings, and the card with the seed of its cases.

    Args:
        folder: where; it must not exist.
        seed: of the cases; drawn if none is given.

    Raises:
        FileExistsError: there is something already; nothing is overwritten.
        ValueError: an exercise has no solution, or is not blank.
    """
    folder = Path(folder).resolve()
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists already: move it away, or give another one with --output; nothing was written"
        )
    seed = secrets.randbits(64) if seed is None else seed
    beside = folder.with_name(folder.name + ".part")  # a whole folder or none
    shutil.rmtree(beside, ignore_errors=True)
    names = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if NAME.fullmatch(path.stem)]
    for name in names:
        target = beside / "source" / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(_source(name, seed), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    card = {"seed": seed, "assignments": names}
    (beside / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    settings = _CONFIGURATION.format(course=re.sub(r"\W+", "-", folder.name))
    (beside / "nbgrader_config.py").write_text(settings, encoding="utf-8")
    beside.rename(folder)
    return folder


def _source(name: str, seed: int) -> dict:
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    solutions = json.loads((ROOT / "notebooks" / "solutions" / f"{name}.ipynb").read_text(encoding="utf-8"))
    solved = ["".join(c["source"]) for c in solutions["cells"] if "solution" in c["metadata"].get("tags", ())]
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        cells.append(cell)
        if "exercise" not in cell["metadata"].get("tags", ()):
            continue
        source = "".join(cell["source"])
        exercise = next(each for each in exercises(name).values() if f'check("{each.identity}",' in source)
        solution = [each for each in solved if f'check("{exercise.identity}",' in each]
        if len(solution) != 1:
            raise ValueError(f"exercise {exercise.identity} of {name} has no solution")
        cell["source"] = marked(source, solution[0], exercise.function)
        mark = exercise.identity.replace(".", "-")
        cell["metadata"] |= {"nbgrader": _mark(f"exercise-{mark}", solution=True)}
        cells.append(
            {
                "cell_type": "code",
                "id": f"points-{mark}",
                "metadata": {"nbgrader": _mark(f"points-{mark}", grade=True, locked=True, points=exercise.points)},
                "outputs": [],
                "execution_count": None,
                "source": f"# Up to {exercise.points} points for the answer above, with cases drawn for this class.\n"
                "### BEGIN HIDDEN TESTS\n"
                "from utils.course.classroom_folder import points\n\n"
                f'points("{name}", "{exercise.identity}", {exercise.function}, seed={seed})\n'
                "### END HIDDEN TESTS",
            }
        )
    notebook["cells"] = cells
    return notebook


def _mark(identity: str, **settings: Any) -> dict[str, Any]:
    plain = {"schema_version": 3, "grade_id": identity, "grade": False, "locked": False, "solution": False}
    return plain | {"task": False} | settings


def marked(blank: str, solution: str, function: str) -> str:
    """Return the cell of an exercise with its solution between nbgrader's marks, so that clearing it gives the blank.

    What the solution defines beside its function goes into the function: a mark at the outermost level would leave a
    `raise` there.

    Raises:
        ValueError: the exercise is not blank.

    >>> print(marked("def f():\\n    raise NotImplementedError", "A = 1\\ndef f():\\n    return A", "f"))
    def f():
        ### BEGIN SOLUTION
        A = 1
        return A
        ### END SOLUTION
    """
    lines = solution.split("\n")
    node = next(
        each for each in ast.parse(solution).body if isinstance(each, ast.FunctionDef) and each.name == function
    )
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    before = [f"    {line}" if line else "" for line in lines[: node.lineno - 1]]
    while before and not before[-1]:
        before.pop()
    inside = [*before, *lines[body[0].lineno - 1 : node.end_lineno]]
    text = "\n".join(["    ### BEGIN SOLUTION", *inside, "    ### END SOLUTION"])
    result, count = re.subn(r"^    raise NotImplementedError$", lambda _: text, blank, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"the exercise {function} is not blank: it needs one `raise NotImplementedError`")
    return result


def points(assignment: str, exercise: str, answer: Callable, *, seed: int) -> float:
    """Return the points of an answer, in the kernel that runs it: for nbgrader's own `autograde`.

    Nothing is printed, not even by the answer, for nbgrader gives no points to a cell that writes to stderr. What is
    graded here can reach the notebook's cases: `python -m utils grade` is for submissions that are not trusted.
    """
    silent = os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(2)
    os.dup2(silent, 2)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return points_for(exercises(assignment)[exercise], answer, seed)[1]
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)
