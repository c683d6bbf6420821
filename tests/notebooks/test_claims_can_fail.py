"""A claim that cannot fail says nothing: each notebook is broken on purpose, and the claim about it must notice."""

import ast
import contextlib
import importlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebooks.broken import IN_LIBRARY, IN_NOTEBOOK
from tests.notebooks.read_notebooks import COURSE, code
from utils.claims import ClaimError
from utils.files import ROOT

MISSED = "✗ not on this machine"
ABOUT_TIME = {"the small network is not faster"}
"""Where no such claim is broken clocks need not be exact: what a notebook times on the way is timed in a hurry."""


def run_broken(name, old="", new=""):
    """Run a notebook's cells in this process, with `old` replaced by `new`; return the claims that did not hold."""
    sources = [cell.source for cell in code(ROOT / "notebooks" / f"{name}.ipynb")]
    assert any(old in source for source in sources), f"{old!r} no longer stands in {name}"
    namespace, printed = {}, io.StringIO()
    for source in sources:
        changed = source.replace(old, new) if old else source
        ast.parse(changed)
        try:
            with contextlib.redirect_stdout(printed):
                exec(changed, namespace)
        except ClaimError as error:
            return str(error)
    missed = [line for line in printed.getvalue().splitlines() if MISSED in line]
    return "\n".join(missed) or "every claim held"


@contextlib.contextmanager
def broken_library(module, old, new):
    """Replace `old` by `new` in the one function or method of a module that holds it, inside the block."""
    module = importlib.import_module(module)
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {module.__name__}"
    changed = ast.parse(source.replace(old, new))
    line = source[: source.index(old)].count("\n") + 1
    owner, node = module, next(n for n in changed.body if n.lineno <= line <= n.end_lineno)
    if isinstance(node, ast.ClassDef):
        owner = getattr(module, node.name)
        node = next(n for n in node.body if n.lineno <= line <= n.end_lineno)
    namespace = {}
    exec(compile(ast.Module([node], []), module.__file__, "exec"), vars(module), namespace)
    kept = vars(owner)[node.name]
    setattr(owner, node.name, namespace[node.name])
    try:
        yield
    finally:
        setattr(owner, node.name, kept)


def run_broken_library(name, module, old, new):
    """Run a notebook with a broken library; return the claims that did not hold."""
    with broken_library(module, old, new):
        return run_broken(name)


def apart(function, *arguments):
    """Call one of the two in a process of its own: TensorFlow fixes its devices once, and stays apart from PyTorch."""
    name = function.__name__
    script = f"from tests.notebooks.test_claims_can_fail import {name}\nprint({name}(*{arguments!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def _hurried(request, monkeypatch):
    """Show no figures, and time in a hurry, unless the claim that is broken is about time."""
    claim = request.node.callspec.params["claim"]
    monkeypatch.setattr("utils.figures.display", lambda *_, **__: None)
    monkeypatch.setenv("WORKBOOK_SIDE_BY_SIDE", "0" if claim in ABOUT_TIME else "1")


def said_of(claim):
    return f"{MISSED}: {claim}" if claim in ABOUT_TIME else f"does not hold: {claim}"


@pytest.mark.slow
@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(("name", "old", "new", "claim"), IN_NOTEBOOK, ids=[f"{b[0][:2]}: {b[3]}" for b in IN_NOTEBOOK])
def test_breaking_the_notebook_breaks_the_claim(name, old, new, claim):
    said = apart(run_broken, name, old, new) if "keras" in name else run_broken(name, old, new)
    assert said_of(claim) in said


@pytest.mark.slow
@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(
    ("name", "module", "old", "new", "claim"), IN_LIBRARY, ids=[f"{b[0][:2]}: {b[1]}: {b[4]}" for b in IN_LIBRARY]
)
def test_breaking_the_library_breaks_a_claim(name, module, old, new, claim):
    arguments = (name, module, old, new)
    said = apart(run_broken_library, *arguments) if "keras" in name else run_broken_library(*arguments)
    assert said_of(claim) in said


@pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)
def test_each_notebook_is_broken_in_its_cells_and_twice_in_the_library(path):
    assert sum(each[0] == path.stem for each in IN_NOTEBOOK) >= 1
    assert sum(each[0] == path.stem for each in IN_LIBRARY) >= 2
