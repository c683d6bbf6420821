"""Break a notebook in many ways at the cost of running it once.

The notebook runs in one process. Where a break would first tell - before the first cell that is changed, or in the
first call of the function that is changed - the process forks: the child goes on with the break until a claim fails,
the parent goes on without it. So no cell runs twice to get to where a break begins. A process in which TensorFlow runs
cannot be forked: there each break gets a process of its own, and of the notebook only the cells that its claim needs.

    python -m tests.notebooks.break_in_turn 08 "words of the claim"

runs the breaks of notebook 08 whose claims hold these words, and prints what each broke.
"""

import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.notebooks.broken import IN_LIBRARY, IN_NOTEBOOK
from tests.notebooks.cells_needed import cells_that_claim, needed_cells
from tests.notebooks.read_notebooks import COURSE, code
from utils.claims import ClaimError

MISSED = "✗ not on this machine"

ABOUT_TIME = {"the small network is not faster"}
"""Where no such claim is broken clocks need not be exact: what a notebook times on the way is timed in a hurry."""

LIMIT_S = 400
"""Seconds that a child may take."""


MOST_BYTES = 50_000
"""Of what a child says: less than a pipe holds."""


class Break(NamedTuple):
    """What is replaced by what, in the cells or, where `module` is named, in a function of the library."""

    old: str
    new: str
    claim: str
    module: str | None = None

    def __str__(self) -> str:
        return f"{self.module or 'cells'}: {self.claim} | {self.new}"

    @property
    def about_time(self) -> bool:
        return self.claim in ABOUT_TIME

    def told_by(self, said: str) -> bool:
        """Tell whether what a run said shows that the claim failed."""
        return f"{MISSED if self.about_time else 'does not hold'}: {self.claim}" in said


def breaks_of(name: str) -> list[Break]:
    """Return the breaks of a notebook, of its cells first."""
    cells = [Break(old, new, claim) for notebook, old, new, claim in IN_NOTEBOOK if notebook == name]
    library = [Break(old, new, claim, module) for notebook, module, old, new, claim in IN_LIBRARY if notebook == name]
    return cells + library


class _Target(NamedTuple):
    """A function of the library, and what it becomes."""

    function: Callable
    broken: Callable

    def put(self) -> None:
        for part in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(self.function, part, getattr(self.broken, part))


def _target(each: Break) -> _Target:
    """Compile the changed version of the one function or method that holds what is replaced."""
    module = importlib.import_module(each.module)
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.count(each.old) == 1, f"{each.old!r} stands {source.count(each.old)} times in {module.__name__}"
    line = source[: source.index(each.old)].count("\n") + 1
    owner, node = module, _at(ast.parse(source.replace(each.old, each.new)), line)
    namespace: dict = {}
    if isinstance(node, ast.ClassDef):
        owner, name = getattr(module, node.name), _at(node, line).name
        exec(compile(ast.Module([node], []), module.__file__, "exec"), vars(module), namespace)
        changed = vars(namespace[node.name])[name]
    else:
        name = node.name
        exec(compile(ast.Module([node], []), module.__file__, "exec"), vars(module), namespace)
        changed = namespace[name]
    return _Target(_plain(vars(owner)[name]), _plain(changed))


def _at(parent: ast.AST, line: int) -> ast.AST:
    return next(node for node in parent.body if node.lineno <= line <= node.end_lineno)


def _plain(function: object) -> Callable:
    """Return the function itself, without property, class method and decorators around it."""
    if isinstance(function, property):
        function = function.fget
    return inspect.unwrap(getattr(function, "__func__", function))


class Run:
    """A notebook's run, in which breaks begin as children."""

    def __init__(self, name: str, breaks: Sequence[Break]):
        (path,) = (path for path in COURSE if path.stem == name)
        self.sources = [cell.source for cell in code(path)]
        self.breaks = list(breaks)
        self.said: dict[str, str] = {}
        self.change = ("", "")
        self.pipe: int | None = None  # in a child: where it writes what it said
        self.printed = io.StringIO()

    def __call__(self) -> dict[str, str]:
        """Run the cells; return what was said for each break, by its text."""
        for each in self.breaks:
            if each.module is None:
                assert any(each.old in source for source in self.sources), f"{each.old!r} no longer stands there"
        self._watch()
        outcome = self._outcome()
        if self.pipe is not None:
            os.write(self.pipe, outcome.encode()[-MOST_BYTES:])
            os._exit(0)
        for each in self.breaks:
            self.said.setdefault(str(each), f"not come to; the notebook as it is: {outcome}")
        return self.said

    def broken_from_the_start(self) -> dict[str, str]:
        """Run what its claim needs with the one break there is, in this process."""
        (each,) = self.breaks
        self.pipe = 0  # no children
        self.sources = needed_for(each, self.sources)
        if each.module is None:
            self.change = (each.old, each.new)
        else:
            _target(each).put()
        return {str(each): self._outcome()}

    def _outcome(self) -> str:
        """Run the cells, breaking them in turn; return the claims that did not hold, or what else ended the run."""
        namespace: dict = {}
        try:
            with contextlib.redirect_stdout(self.printed):
                for source in self.sources:
                    for each in self.breaks:
                        if self.pipe is None and each.module is None and each.old in source:
                            self._fork(each)
                    if self._finished():
                        break
                    exec(source.replace(*self.change) if self.change[0] else source, namespace)
        except ClaimError as error:
            return str(error)
        except Exception:
            return traceback.format_exc()
        missed = [line for line in self.printed.getvalue().splitlines() if MISSED in line]
        return "\n".join(missed) or "every claim held"

    def _finished(self) -> bool:
        return self.pipe is None and len(self.said) == len(self.breaks)

    def _fork(self, each: Break) -> bool:
        """Let a child go on with a break; return True in the child."""
        if str(each) in self.said:
            return False
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self.pipe = writer
            self.change = ("", "") if each.module else (each.old, each.new)
            os.environ["WORKBOOK_SIDE_BY_SIDE"] = "0" if each.about_time else "1"
            results = tempfile.mkdtemp(dir=os.environ["WORKBOOK_RESULTS"])
            for path in Path(os.environ["WORKBOOK_RESULTS"]).glob("*.jsonl"):
                shutil.copy(path, results)
            os.environ["WORKBOOK_RESULTS"] = results
            return True
        os.close(writer)
        began = time.monotonic()
        self.said[str(each)] = _hear(child, reader)
        print(f"{time.monotonic() - began:6.1f} s  {each}", file=sys.stderr, flush=True)
        return False

    def _watch(self) -> None:
        """Put a probe into each function that is to be broken: its first call forks, once for each break."""
        waiting: dict[Callable, list[tuple[Break, _Target]]] = {}
        for each in self.breaks:
            if each.module is not None:
                target = _target(each)
                waiting.setdefault(target.function, []).append((each, target))
        for number, (function, found) in enumerate(waiting.items()):
            if function.__code__.co_freevars:  # such a function's code cannot be exchanged for the probe's
                self._fork_for(found)
                continue
            kept = _Target(function, _copy(function))

            def begin(*args: object, function=function, found=found, kept=kept, **kwargs: object) -> object:
                kept.put()
                if self.pipe is None:
                    self._fork_for(found)
                return function(*args, **kwargs)

            name = f"_probe_{number}"
            function.__globals__[name] = begin
            _Target(function, _probe(name)).put()

    def _fork_for(self, found: list[tuple[Break, _Target]]) -> None:
        for each, target in found:
            if self._fork(each):
                target.put()
                return


def needed_for(each: Break, sources: Sequence[str]) -> list[str]:
    """Return the cells that the claim of a break needs, and those that the break changes.

    If no cell has the claim's words, since there is a value between them, return all: they run until the claim fails.
    """
    wanted = cells_that_claim(sources, each.claim)
    if not wanted:
        return list(sources)
    if each.module is None:
        wanted += [number for number, source in enumerate(sources) if each.old in source]
    return [sources[number] for number in needed_cells(sources, wanted)]


def _copy(function: Callable) -> Callable:
    copy = type(function)(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _probe(name: str) -> Callable:
    namespace: dict = {}
    exec(f"def probe(*args, **kwargs):\n    return {name}(*args, **kwargs)", namespace)
    return namespace["probe"]


def _hear(child: int, reader: int) -> str:
    """Return what a child writes; it is ended when its time is up."""
    ends = time.monotonic() + LIMIT_S
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return f"did not end within {LIMIT_S} s"
        time.sleep(0.02)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().decode() or "ended without a word"


def main(number: str, words: str = "") -> None:
    """Break a notebook, whose number or name is given, in turn; print what was said as JSON, for each break."""
    from utils import figures

    figures.display = lambda *_, **__: None
    os.environ["WORKBOOK_SIDE_BY_SIDE"] = "1"
    (name,) = (path.stem for path in COURSE if path.stem.startswith(number))
    run = Run(name, [each for each in breaks_of(name) if words in str(each)])
    with tempfile.TemporaryDirectory() as results:
        os.environ["WORKBOOK_RESULTS"] = results
        said = run() if may_fork(name) else run.broken_from_the_start()
    print(json.dumps(said, indent=1, ensure_ascii=False))


def may_fork(name: str) -> bool:
    """Tell whether the notebook's process can be forked."""
    return "keras" not in name


if __name__ == "__main__":
    main(*sys.argv[1:])
