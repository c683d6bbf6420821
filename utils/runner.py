"""Executing notebooks: into `build/` with papermill, resumable, or in place with nbclient to store new outputs.

A notebook is executed again only if something it depends on has changed: its cells, its parameters, the modules of
`utils` that it imports (and those that they import), the data, or the pinned versions.
"""

import ast
import functools
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from utils.results import RESULTS_VARIABLE
from utils.runtime import QUIET_VARIABLE, ROOT, replace_file

NOTEBOOKS = ROOT / "notebooks"
CELL_TIMEOUT = 600
"""Seconds one cell may take before its notebook counts as failed."""


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook: seconds and peak memory of its kernel, or what failed and in which cell."""

    notebook: str
    seconds: float
    peak_memory_mb: float
    failure: str = ""


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """Return the numbered notebooks, all of them or those whose number or name is given, in order.

    Raises:
        ValueError: nothing fits one of the names.
    """
    numbered = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not names:
        return numbered
    chosen = []
    for name in names:
        stem = Path(name).stem
        fitting = [path for path in numbered if path.stem == stem or path.stem[:2] == stem]
        if not fitting:
            raise ValueError(f"no notebook is called {name!r}; there are {', '.join(p.stem for p in numbered)}")
        chosen += fitting
    return sorted(set(chosen))


def run(
    notebooks: Sequence[Path],
    *,
    parameters: Mapping[str, object],
    output: Path,
    keep_going: bool = False,
    force: bool = False,
) -> list[Outcome]:
    """Execute notebooks into `output/notebooks`, their claims and records into `output/results`.

    What has not changed since it last succeeded is not executed again, so an interrupted run goes on where it was.

    Args:
        notebooks: from `find_notebooks`.
        parameters: replace the values in the cell tagged "parameters"; the same for all notebooks.
        output: the folder to write to; `build` for a learner's run.
        keep_going: go on to the next notebook after a failure.
        force: execute also what has not changed.

    Returns:
        An outcome for each notebook that was reached; those with a `failure` did not succeed.
    """
    outcomes = []
    for index, path in enumerate(notebooks, start=1):
        print(f"[{index}/{len(notebooks)}] {path.stem} ", end="", flush=True)
        fingerprint = fingerprint_of(path, parameters)
        done = None if force else _finished(output, path.stem, fingerprint)
        if done:
            print(f"unchanged, executed before in {done.seconds:.0f} s")
        else:
            done = _execute_into(output, path, parameters, fingerprint)
            print(f"{'FAILED' if done.failure else 'done'} in {done.seconds:.0f} s, peak {done.peak_memory_mb:,.0f} MB")
        outcomes.append(done)
        if done.failure:
            print(done.failure, file=sys.stderr)
            if not keep_going:
                break
    _write_summary(output, outcomes)
    return outcomes


def execute_in_place(path: Path) -> None:
    """Execute a notebook and store its new outputs in the file itself, without times or other volatile metadata.

    Raises:
        RuntimeError: a cell failed; the file is left as it was.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {QUIET_VARIABLE: "1", RESULTS_VARIABLE: str(ROOT / "build" / "execute" / "results")}
    client = NotebookClient(
        notebook,
        config=_encrypted(),
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise RuntimeError(f"{path.name} was left as it was, because a cell failed:\n{error}") from None
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    replace_file(path, (nbformat.writes(notebook) + "\n").encode())


def fingerprint_of(path: Path, parameters: Mapping[str, object]) -> str:
    """Return a digest of all that the result of a notebook depends on."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    digest = hashlib.sha256(json.dumps([code, dict(parameters)], sort_keys=True).encode())
    for module in sorted(_modules_behind("\n".join(code))):
        digest.update(module.encode() + _module_path(module).read_bytes())
    digest.update(_inputs_digest())
    return digest.hexdigest()


@functools.cache
def _inputs_digest() -> bytes:
    """Return a digest of the files in `data/` and of the pinned versions."""
    digest = hashlib.sha256()
    files = [p for folder in ("mnist", "checkpoints") for p in (ROOT / "data" / folder).rglob("*")]
    for path in sorted([*files, ROOT / "requirements.txt", ROOT / "constraints.txt"]):
        if path.is_file():
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def imported_modules(source: str) -> set[str]:
    """Return the modules of `utils` that a source imports by name.

    >>> sorted(imported_modules("from utils.data import load\\nimport torch"))
    ['utils.data']
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            candidates = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        else:
            continue
        found |= {name for name in candidates if name.startswith("utils.") and _module_path(name)}
    return found


def _modules_behind(source: str) -> set[str]:
    """Return the modules of `utils` that a source needs, directly or through others."""
    found: set[str] = set()
    waiting = imported_modules(_without_magics(source))
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= imported_modules(_module_path(module).read_text(encoding="utf-8")) - found
    return found


def _without_magics(source: str) -> str:
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def _module_path(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _execute_into(output: Path, path: Path, parameters: Mapping[str, object], fingerprint: str) -> Outcome:
    import papermill  # four seconds, and only when there is something to execute
    from papermill.exceptions import PapermillExecutionError

    folder, results = output / "notebooks", output / "results"
    folder.mkdir(parents=True, exist_ok=True)
    _stamp(output, path.stem).unlink(missing_ok=True)
    os.environ.update({QUIET_VARIABLE: "1", RESULTS_VARIABLE: str(results.resolve())})
    failure, started = "", time.perf_counter()
    with _PeakMemory() as memory:
        try:
            papermill.execute_notebook(
                str(path),
                str(folder / path.name),
                parameters=dict(parameters),
                progress_bar=sys.stderr.isatty(),
                cwd=str(path.parent),
                kernel_name="python3",
                execution_timeout=CELL_TIMEOUT,
                config=_encrypted(),
            )
        except PapermillExecutionError as error:
            failure = _describe(error, path, folder / path.name)
        except Exception as error:  # a dead kernel, a time-out: named like any other failure
            failure = f"  {path.name} failed: {type(error).__name__}: {error}"
    outcome = Outcome(path.stem, time.perf_counter() - started, memory.peak_mb, failure)
    if not failure:
        content = {"fingerprint": fingerprint, "seconds": outcome.seconds, "peak_memory_mb": outcome.peak_memory_mb}
        replace_file(_stamp(output, path.stem), json.dumps(content).encode())
    return outcome


def _encrypted() -> object:
    """Return the setting that encrypts the traffic with a kernel where it can be; without it each kernel warns."""
    from traitlets.config import Config

    return Config({"KernelManager": {"transport_encryption": "auto"}})


def _describe(error: object, path: Path, executed: Path) -> str:
    """Say which cell of the notebook failed, with its first line, and what it raised."""
    first_line = next(iter(error.source.strip().splitlines()), "")
    where = executed.relative_to(ROOT) if executed.is_relative_to(ROOT) else executed
    return (
        f"  {path.name} failed in its cell {error.exec_count} which begins: {first_line}\n"
        f"  {error.ename}: {error.evalue}\n  The whole story is in {where}"
    )


def _stamp(output: Path, name: str) -> Path:
    return output / "notebooks" / f"{name}.done.json"


def _finished(output: Path, name: str, fingerprint: str) -> Outcome | None:
    """Return the earlier outcome of a notebook that succeeded with this fingerprint and left its results."""
    try:
        stamp = json.loads(_stamp(output, name).read_text(encoding="utf-8"))
        whole = (output / "notebooks" / f"{name}.ipynb").is_file() and (output / "results" / f"{name}.jsonl").is_file()
        if whole and stamp["fingerprint"] == fingerprint:
            return Outcome(name, stamp["seconds"], stamp["peak_memory_mb"])
    except (OSError, ValueError, KeyError):
        pass  # never run, or interrupted while writing: run it
    return None


def _write_summary(output: Path, outcomes: Sequence[Outcome]) -> None:
    """Write `results/run.json`: seconds and peak memory of each notebook that succeeded, and the sum of the seconds."""
    path = output / "results" / "run.json"
    notebooks = read_summary(output)["notebooks"]
    for outcome in outcomes:
        notebooks.pop(outcome.notebook, None)
        if not outcome.failure:
            notebooks[outcome.notebook] = {"seconds": outcome.seconds, "peak_memory_mb": outcome.peak_memory_mb}
    content = {
        "total_seconds": sum(n["seconds"] for n in notebooks.values()),
        "notebooks": dict(sorted(notebooks.items())),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def read_summary(output: Path) -> dict:
    """Return the content of `results/run.json`, or an empty summary if there is none yet."""
    try:
        return json.loads((output / "results" / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"total_seconds": 0.0, "notebooks": {}}


class _PeakMemory:
    """Watches the kernel and its children while a notebook runs; `peak_mb` is the most they held together."""

    def __enter__(self) -> "_PeakMemory":
        self.peak_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._stop.wait(0.2):
            held = 0
            for child in this.children(recursive=True):
                try:
                    held += child.memory_info().rss
                except psutil.Error:
                    continue  # it ended between the two calls
            self.peak_mb = max(self.peak_mb, held / 1e6)
