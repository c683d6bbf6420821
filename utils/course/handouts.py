"""Folders for a class: the course without outputs and solutions, and the course with its exercises solved."""

import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from utils.course.notebook_runner import NAME
from utils.files import ROOT

HANDED_OUT = (
    *("notebooks", "lessons", "utils", "data"),
    *("README.md", "CONTRIBUTING.md", "NOTICE.md", "LICENSE", "LICENSE-text", "CITATION.cff", "Makefile"),
    *("pyproject.toml", "requirements.txt", "constraints.txt", "environment.yml"),
)
"""What a folder holds, so that `make run` works in it on another machine."""

LEFT_OUT = ("solutions", "__pycache__", ".ipynb_checkpoints", "*.part")

_CHECK = re.compile(r'^check\("(\d\d\.\d)", \w+\)$', flags=re.MULTILINE)


def write_student_folder(folder: Path) -> Path:
    """Write the course with blank exercises, without outputs and without solutions, ready to hand out.

    Raises:
        FileExistsError: there is something at `folder` already; nothing is overwritten.
        ValueError: an exercise is not blank: somebody has answered it in `notebooks/`.
    """
    return _write(folder, _without_outputs)


def write_solutions_folder(folder: Path) -> Path:
    """Write the course with the solution in the place of each blank exercise; outputs are kept.

    Raises:
        FileExistsError: there is something at `folder` already; nothing is overwritten.
        ValueError: an exercise has no solution.
    """
    return _write(folder, _solved)


def _write(folder: Path, change: Callable[[dict, Path], dict]) -> Path:
    folder = Path(folder).resolve()
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists already: move it away, or give another one with --output; nothing was written"
        )
    beside = folder.with_name(folder.name + ".part")  # a whole folder or none
    shutil.rmtree(beside, ignore_errors=True)
    for name in HANDED_OUT:
        source, target = ROOT / name, beside / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copyfile(source, target)
    for path in sorted((beside / "notebooks").glob("*.ipynb")):
        if not NAME.fullmatch(path.stem):  # a copy, or a notebook of the teacher's own
            path.unlink()
            continue
        notebook = json.loads(path.read_text(encoding="utf-8"))
        content = json.dumps(change(notebook, path), indent=1, ensure_ascii=False) + "\n"
        path.write_text(content, encoding="utf-8")
    beside.rename(folder)
    return folder


def _without_outputs(notebook: dict, path: Path) -> dict:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            if "exercise" in cell["metadata"].get("tags", ()) and not _is_blank("".join(cell["source"])):
                raise ValueError(
                    f"exercise {_exercise(cell)} of {path.name} is answered, and that would be handed out. To get the "
                    f"blank back: git checkout -- notebooks/{path.name}"
                )
            cell |= {"outputs": [], "execution_count": None}
    return notebook


def _is_blank(source: str) -> bool:
    """Tell whether the function that an exercise checks has a docstring and one `raise`, and no more."""
    try:
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError:
        return False
    checked = [node for node in functions if re.search(rf'^check\("[0-9.]+", {node.name}\)$', source, re.MULTILINE)]
    return bool(checked) and all(
        len(node.body) == 2 and ast.get_docstring(node) and isinstance(node.body[1], ast.Raise) for node in checked
    )


def _solved(notebook: dict, path: Path) -> dict:
    solutions = json.loads((ROOT / "notebooks" / "solutions" / path.name).read_text(encoding="utf-8"))
    solved = {_exercise(cell): cell for cell in solutions["cells"] if "solution" in cell["metadata"].get("tags", ())}
    for cell in notebook["cells"]:
        if "exercise" in cell["metadata"].get("tags", ()):
            if _exercise(cell) not in solved:
                raise ValueError(f"exercise {_exercise(cell)} of {path.name} has no solution")
            solution = solved[_exercise(cell)]
            cell |= {"source": solution["source"], "outputs": solution["outputs"]}
    return notebook


def _exercise(cell: dict) -> str:
    match = _CHECK.search("".join(cell["source"]))
    if match is None:
        raise ValueError(f"the cell {cell.get('id')!r} is tagged as an exercise or solution and checks none")
    return match[1]
