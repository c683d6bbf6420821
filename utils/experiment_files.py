"""The tables of long experiments, `data/experiments/NN_name.jsonl`: what does not fit a notebook's time.

The first line says how the rest came about: `{"digest", "versions", ...}`; each other line is a row. The digest is of
the code and the files that the rows depend on, so that a test can tell when they are stale.
"""

import ast
import hashlib
import inspect
import json
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from utils.environment import library_versions
from utils.files import ROOT, replace_file

EXPERIMENTS = ROOT / "data" / "experiments"


def read_experiment(name: str, *, folder: Path = EXPERIMENTS) -> tuple[dict, list[dict]]:
    """Return what the first line of an experiment's table says, and its rows.

    >>> about, rows = read_experiment("05_schedules")
    >>> sorted(about), sorted(rows[0])
    (['digest', 'minutes', 'versions'], ['epochs', 'error', 'experiment', 'seed', 'sparsity', 'way'])
    """
    about, *rows = map(json.loads, (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return about, rows


def write_experiment(name: str, about: Mapping, rows: Iterable[Mapping], *, folder: Path = EXPERIMENTS) -> None:
    """Write an experiment's table, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in (about, *rows))
    replace_file(folder / f"{name}.jsonl", text.encode())


def complete(
    name: str,
    digest: str,
    conditions: Iterable[Mapping],
    measure: Callable[[dict], float | list[float]],
    *,
    folder: Path = EXPERIMENTS,
    result: str = "error",
) -> str:
    """Train what an experiment's table lacks, write it after each row, and return a line that says how much it holds.

    Interrupted, the same call goes on from there; a table of another digest or other versions is made anew.

    Args:
        name: of the table.
        digest: of what its rows depend on.
        conditions: what each row is about, in order, without the result.
        measure: returns the error of a condition, in per cent, or a list of numbers.
        folder: where the table lies.
        result: under which name a row stores what was measured.
    """
    about, rows = _so_far(name, {"digest": digest}, folder)
    done = [condition(row, result) for row in rows]
    for wanted in conditions:
        if wanted in done:
            continue
        began = time.perf_counter()
        measured = measure(wanted)
        rows.append({**wanted, result: measured if isinstance(measured, list) else round(measured, 4)})
        about["minutes"] = round(about["minutes"] + (time.perf_counter() - began) / 60, 3)
        write_experiment(name, about, rows, folder=folder)
    return f"{name}: {len(rows)} rows, {about['minutes']:.1f} minutes"


def complete_rows(
    name: str,
    about: Mapping,
    conditions: Callable[[list[dict]], Iterable[dict]],
    measure: Callable[[dict], dict],
    *,
    folder: Path = EXPERIMENTS,
) -> str:
    """Measure what a table lacks, write it after each row, and return a line that says how much it holds.

    As `complete`, for rows of several values, of which later ones may depend on earlier ones.

    Args:
        name: of the table.
        about: its first line; versions and minutes are added. A table of another digest or other versions is made anew.
        conditions: yields what each row is about, given the rows so far, which grow while it yields.
        measure: returns the row of a condition, the condition in it.
        folder: where the table lies.
    """
    about, rows = _so_far(name, about, folder)
    for wanted in conditions(rows):
        if any(wanted.items() <= row.items() for row in rows):
            continue
        began = time.process_time()
        rows.append(measure(wanted))
        about["minutes"] = round(about["minutes"] + (time.process_time() - began) / 60, 3)
        write_experiment(name, about, rows, folder=folder)
    return f"{name}: {len(rows)} rows, {about['minutes']:.1f} minutes"


def _so_far(name: str, about: Mapping, folder: Path) -> tuple[dict, list[dict]]:
    """Return the table that is there, if it is of this digest and these versions, and else one without rows."""
    anew = {**about, "versions": library_versions(), "minutes": 0.0}
    if (folder / f"{name}.jsonl").exists():
        before, rows = read_experiment(name, folder=folder)
        if (before["digest"], before["versions"]) == (anew["digest"], anew["versions"]):
            return before, rows
    return anew, []


def condition(row: Mapping, result: str = "error") -> dict:
    """Return a row of an experiment without its result.

    >>> condition({"way": "PCA", "epochs": 1, "seed": 0, "error": 1.5})
    {'way': 'PCA', 'epochs': 1, 'seed': 0}
    """
    return {name: value for name, value in row.items() if name != result}


def digest_of(code: Iterable[object], files: Iterable[Path] = ()) -> str:
    """Return a digest of functions, classes or modules, and of files, that changes when the code or a file does.

    Docstrings, comments, layout and messages with values in them do not count.

    >>> digest_of([read_experiment]) == digest_of([write_experiment])
    False
    """
    found = hashlib.sha256()
    for each in code:
        found.update(_what_it_does(each).encode())
    for path in files:
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def _what_it_does(code: object) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Expr(ast.Constant("docstring"))
    return ast.unparse(_WithoutMessages().visit(tree))


class _WithoutMessages(ast.NodeTransformer):
    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        return ast.Constant("message")
