"""Executing notebooks: into `build/` with papermill, resumable, or in place with nbclient to store new outputs.

A notebook is executed again only if something it depends on has changed: its cells, its parameters, the modules of
`utils` that it imports (and those that they import), the data, or the pinned versions.
"""

import ast
import concurrent.futures
import contextlib
import datetime
import functools
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from utils.environment import QUIET_VARIABLE, SIDE_BY_SIDE_VARIABLE, side_by_side
from utils.files import RESULTS_VARIABLE, ROOT, replace_file
from utils.input_validation import require_int
from utils.reference_runs import ReferenceRunError, nearest_reference

NOTEBOOKS = ROOT / "notebooks"
NAME = re.compile(r"[0-9]{2}_[a-z0-9_]+")
"""What the notebooks of the course are called."""

WAITING_VARIABLE = "OMP_WAIT_POLICY"
"""Whether a thread of OpenMP that waits for the others spins ("active") or sleeps ("passive")."""

CELL_TIMEOUT = 600
"""Seconds one cell may take before its notebook counts as failed."""


class NotebookError(RuntimeError):
    """A file is no notebook; the message says which and what to do."""


MEASURED = ("seconds", "peak_memory_mb", "with_workers_mb")
"""What is kept of the run of a notebook, beside its results."""


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook: seconds, peak memory of its kernel, alone and with the processes it started.

    If it failed, `failure` says what and in which cell.
    """

    notebook: str
    seconds: float
    peak_memory_mb: float
    with_workers_mb: float
    failure: str = ""

    def measured(self) -> dict[str, float]:
        """Return the numbers by name, as they are stored."""
        return {name: getattr(self, name) for name in MEASURED}


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """Return the numbered notebooks, all of them or those whose number or name is given, in order.

    A copy, such as JupyterLab's `02_unstructured_pruning-Copy1.ipynb`, is none of them: it says that it is the original
    and would overwrite its results.

    Raises:
        ValueError: nothing fits one of the names.
    """
    numbered = sorted(path for path in NOTEBOOKS.glob("*.ipynb") if NAME.fullmatch(path.stem))
    if not names:
        return numbered
    chosen = []
    for name in names:
        stem = Path(name).stem
        fitting = [path for path in numbered if path.stem == stem or path.stem[:2] == stem]
        if not fitting:
            if (project := ROOT / "projects" / stem).is_dir():
                raise ValueError(
                    f"{stem!r} is a project, and no notebook of the course: run all its cells in JupyterLab, or: "
                    f"jupyter nbconvert --to notebook --execute --inplace {project / stem}.ipynb"
                )
            raise ValueError(f"no notebook is called {name!r}; there are {', '.join(p.stem for p in numbered)}")
        chosen += fitting
    return sorted(set(chosen))


def run(
    notebooks: Sequence[Path],
    *,
    parameters: Mapping[str, object],
    output: Path,
    fail_fast: bool = False,
    force: bool = False,
    processes: int = 1,
    until: float = math.inf,
) -> list[Outcome]:
    """Execute notebooks into `output/notebooks`, their claims and records into `output/results`.

    What has not changed since it last succeeded is not executed again, so an interrupted run goes on where it was.

    Args:
        notebooks: from `find_notebooks`.
        parameters: replace the values in the cell tagged "parameters"; the same for all notebooks.
        output: the folder to write to; `build` for a learner's run.
        fail_fast: stop at the first notebook that fails instead of going on to the next.
        force: execute also what has not changed.
        processes: notebooks that run side by side, each with one thread: sooner done, but its times are not to be
            trusted. Those that read what others measured come after them.
        until: by `time.time()`; a notebook that has not begun by then is left out, and named. Side by side, the
            notebooks then begin in `todays_order`, and those that read what others measured are always executed.

    Returns:
        An outcome for each notebook that was reached; those with a `failure` did not succeed.

    Raises:
        OSError: `output` cannot be written to; the message says what to do.
    """
    with writing_to(output):
        if require_int("processes", processes, minimum=1) == 1:
            return _run(notebooks, parameters, output, fail_fast, force, until)
        return _run_side_by_side(notebooks, parameters, output, fail_fast, force, processes, until)


def todays_order(notebooks: Sequence[Path], day: int) -> list[Path]:
    """Return the notebooks from another one on each day, so that a limit on time cuts off others than the day before.

    Args:
        notebooks: any number.
        day: such as `datetime.date.toordinal` gives.

    >>> [path.stem for path in todays_order([Path("a"), Path("b"), Path("c"), Path("d")], day=3)]
    ['d', 'a', 'b', 'c']
    """
    step = next(step for step in itertools.count(max(1, len(notebooks) // 3)) if math.gcd(step, len(notebooks)) == 1)
    first = day * step % max(1, len(notebooks))
    return [*notebooks[first:], *notebooks[:first]]


def _run(
    notebooks: Sequence[Path],
    parameters: Mapping[str, object],
    output: Path,
    fail_fast: bool,
    force: bool,
    until: float = math.inf,
) -> list[Outcome]:
    outcomes, expected = [], reference_seconds()
    for index, path in enumerate(notebooks, start=1):
        title = f"[{index}/{len(notebooks)}] {path.stem}"
        done, fingerprint = _before(path, parameters, output, force)
        if done:
            print(f"{title} {_said_before(done)}")
        elif time.time() > until:
            print(f"{title} not begun: its time was up")
            continue
        else:
            left = time_left([path.stem for path in notebooks[index - 1 :]], expected)
            print(f"{title}{left} ", end="", flush=True)
            with waiting_as_others_allow(busy_cores()) as note:
                print(note, end="", flush=True)
                done = _execute_into(output, path, parameters, fingerprint)
            print(f"{'FAILED' if done.failure else 'done'} in {done.seconds:.0f} s, peak {done.peak_memory_mb:,.0f} MB")
        outcomes.append(done)
        if done.failure:
            print(done.failure, file=sys.stderr)
            if fail_fast:
                break
    _write_summary(output, outcomes)
    return outcomes


def _before(path: Path, parameters: Mapping[str, object], output: Path, force: bool) -> tuple[Outcome | None, str]:
    """Return what is known of a notebook without executing it, if anything is, and its fingerprint."""
    try:
        fingerprint = fingerprint_of(path, parameters, results=output / "results")
    except NotebookError as error:
        return Outcome(path.stem, 0.0, 0.0, 0.0, f"  {error}"), ""
    return None if force else finished(output, path.stem, fingerprint), fingerprint


def _said_before(done: Outcome) -> str:
    return "FAILED" if done.failure else f"unchanged, executed before in {done.seconds:.0f} s"


def _run_side_by_side(
    notebooks: Sequence[Path],
    parameters: Mapping[str, object],
    output: Path,
    fail_fast: bool,
    force: bool,
    processes: int,
    until: float,
) -> list[Outcome]:
    readers, outcomes, waiting = [], {}, {}
    for path in notebooks:
        done, fingerprint = _before(path, parameters, output, force)
        if not (done and done.failure) and _read_results(code_cells(path)):
            readers.append(path)
        elif done:
            print(f"{path.stem} {_said_before(done)}")
            outcomes[path.stem] = done
        else:
            waiting[path] = fingerprint
    if until < math.inf:
        order = todays_order(list(waiting), datetime.datetime.now(datetime.UTC).toordinal())
    else:
        expected = reference_seconds()
        order = sorted(waiting, key=lambda path: -expected.get(path.stem, 0.0))  # so that all end together
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_compute_with_one_thread
    ) as pool:
        running = [pool.submit(_execute_before, until, output, path, parameters, waiting[path]) for path in order]
        for number, future in enumerate(concurrent.futures.as_completed(running), start=1):
            if future.cancelled() or (done := future.result()) is None:
                continue
            outcomes[done.notebook] = done
            how = "FAILED" if done.failure else "done"
            print(f"[{number}/{len(running)}] {done.notebook} {how} in {done.seconds:.0f} s", flush=True)
            if done.failure and fail_fast:
                pool.shutdown(wait=False, cancel_futures=True)
                break  # those that were cancelled would never be told of as completed
    ended = zip(order, running, strict=True)
    if late := [path.stem for path, each in ended if not each.cancelled() and each.result() is None]:
        print("Not begun, their time was up (tomorrow others come first):", ", ".join(sorted(late)))
    failed = [done for done in outcomes.values() if done.failure]
    print("".join(f"{done.failure}\n" for done in failed), end="", file=sys.stderr)
    _write_summary(output, outcomes.values())
    if not (failed and fail_fast):
        outcomes |= {done.notebook: done for done in _run(readers, parameters, output, fail_fast, force)}
    return [outcomes[path.stem] for path in notebooks if path.stem in outcomes]


def _execute_before(until: float, *what: Any) -> Outcome | None:
    """Execute a notebook as `_execute_into` does, unless it is too late to begin."""
    return _execute_into(*what) if time.time() <= until else None


def _compute_with_one_thread() -> None:
    """Set the environment of a process, and of the kernels it starts, for running beside others."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    os.environ[SIDE_BY_SIDE_VARIABLE] = "1"


def busy_cores(seconds: float = 0.5) -> float:
    """Return how many cores' worth of time was used on this machine during the next `seconds`, whoever used it."""
    return psutil.cpu_percent(interval=seconds) / 100 * (os.cpu_count() or 1)


@contextlib.contextmanager
def waiting_as_others_allow(busy: float) -> Iterator[str]:
    """Let the kernels started in the block wait asleep if other programs keep half a core or more busy; yield a note.

    PyTorch's threads spin while they wait for each other. On idle cores that is fastest (by a sixth, training LeNet5
    with two threads), but a thread that spins beside a busy program keeps the one it waits for off its core: a step
    took eight times as long, asleep twice as long. Who has set the variable keeps the setting.
    """
    if WAITING_VARIABLE in os.environ or busy < 0.5:
        yield ""
        return
    os.environ[WAITING_VARIABLE] = "passive"
    try:
        yield f"(other programs keep {busy:.1f} cores busy) "
    finally:
        del os.environ[WAITING_VARIABLE]


def reference_seconds() -> dict[str, float]:
    """Return how long each notebook took in the reference run of this class of machine, or of the nearest one."""
    try:
        about, _ = nearest_reference()
    except ReferenceRunError:  # it only serves to tell the time left
        return {}
    return {name: each["seconds"] for name, each in about["notebooks"].items() if each.get("seconds")}


def time_left(names: Sequence[str], expected: Mapping[str, float]) -> str:
    """Say how long the notebooks will take, the first of them and all, as far as a reference run knows.

    >>> time_left(["01_a", "02_b"], {"01_a": 30, "02_b": 150})
    ' (about 30 s; all that is left: about 3 min)'
    """
    known = [expected[name] for name in names if name in expected]
    if not names or names[0] not in expected:
        return ""
    return f" (about {_rough(expected[names[0]])}; all that is left: about {_rough(sum(known))})"


def _rough(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextlib.contextmanager
def writing_to(output: Path) -> Iterator[None]:
    """Turn any OSError inside the block into one that names the folder and says what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"cannot write to {output} ({error.strerror or error}); free some space, make it writable, or give another "
            "folder with --output. What is done is kept: the same command goes on from here"
        ) from error


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


def fingerprint_of(path: Path, parameters: Mapping[str, object], *, results: Path | None = None) -> str:
    """Return a digest of all that the result of a notebook depends on.

    Of a notebook that calls `read_results` this includes what those before it left in the folder `results`.
    """
    code = code_cells(path)
    digest = hashlib.sha256(json.dumps([code, dict(parameters)], sort_keys=True).encode())
    for module in sorted(_modules_behind(code)):
        digest.update(module.encode() + _module_path(module).read_bytes())
    digest.update(_inputs_digest())
    if results and _read_results(code):
        for earlier in sorted(found for found in results.glob("*.jsonl") if found.stem < path.stem):
            digest.update(earlier.read_bytes())
    return digest.hexdigest()


def _read_results(code: Sequence[str]) -> bool:
    """Tell whether these cells read what other notebooks measured."""
    return any("read_results(" in cell for cell in code)


def finished(output: Path, name: str, fingerprint: str) -> Outcome | None:
    """Return the earlier outcome of a notebook that succeeded with this fingerprint and left its results."""
    try:
        stamp = json.loads(_stamp(output, name).read_text(encoding="utf-8"))
        whole = (output / "notebooks" / f"{name}.ipynb").is_file() and (output / "results" / f"{name}.jsonl").is_file()
        if whole and stamp["fingerprint"] == fingerprint:
            return Outcome(name, *(stamp[measured] for measured in MEASURED))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never run, or the stamp is damaged: run it
    return None


def code_cells(path: Path) -> list[str]:
    """Return the sources of the code cells of a notebook.

    Raises:
        NotebookError: the file is no notebook: empty, damaged, or with the marks of a merge in it.
    """
    return ["".join(cell["source"]) for cell in _cells(path) if cell["cell_type"] == "code"]


def require_parameters(notebooks: Sequence[Path], names: Iterable[str]) -> None:
    """See that each notebook sets each of the names in its cell tagged "parameters".

    A misspelt name would be set beside the right one, and the notebook would run with its old value.

    Raises a ValueError that names the notebooks and what they do set.
    """
    for name in names:
        without = {}
        for path in notebooks:
            with contextlib.suppress(NotebookError):  # which the run itself reports
                if name not in (known := parameters_of(path)):
                    without[path.stem] = known
        if without:
            first, known = next(iter(without.items()))
            others = f" and {len(without) - 1} more" if len(without) > 1 else ""
            raise ValueError(f"{first}{others} has no parameter {name!r}; it has {', '.join(known) or 'none'}")


def parameters_of(path: Path) -> list[str]:
    """Return the names that the cell tagged "parameters" sets, in their order."""
    names = []
    for cell in _cells(path):
        if "parameters" in cell.get("metadata", {}).get("tags", ()):
            for node in ast.walk(ast.parse(_as_python("".join(cell["source"])))):
                if isinstance(node, ast.Assign | ast.AnnAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _cells(path: Path) -> list[dict]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if not {"cell_type", "source"} <= cell.keys():
                raise KeyError("a cell without type or source")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotebookError(
            f"{path.name} cannot be read as a notebook ({error}); marks of a merge in it, or half a file? "
            f"The last version that was committed: git checkout -- {path.parent.name}/{path.name}"
        ) from None
    return cells


@functools.cache
def _inputs_digest() -> bytes:
    """Return a digest of the files in `data/` and of the pinned versions."""
    digest = hashlib.sha256()
    data = ROOT / "data"
    files = [p for p in data.rglob("*") if p.suffix != ".md" and p.relative_to(data).parts[0] != "reference"]
    for path in sorted([*files, ROOT / "requirements.txt", ROOT / "constraints.txt"]):
        if path.is_file():
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


@functools.cache
def imported_modules(source: str) -> frozenset[str]:
    """Return the modules of `utils` that a source imports by name.

    >>> sorted(imported_modules("from utils.datasets import load\\nimport torch"))
    ['utils.datasets']
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
    return frozenset(found)


def _modules_behind(cells: Sequence[str]) -> set[str]:
    """Return the modules of `utils` that code cells need, directly or through others."""
    found: set[str] = set()
    waiting: set[str] = set().union(*(imported_modules(_as_python(cell)) for cell in cells))
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= imported_modules(_module_path(module).read_text(encoding="utf-8")) - found
    return found


def _as_python(cell: str) -> str:
    """Return what IPython makes of a cell with magics; nothing of one that is no Python: it says so when it is run."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        source = TransformerManager().transform_cell(cell)
        ast.parse(source)
    except (SyntaxError, ValueError):  # ValueError: a null byte
        return ""
    return source


def _module_path(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _execute_into(output: Path, path: Path, parameters: Mapping[str, object], fingerprint: str) -> Outcome:
    import papermill  # four seconds, and only when there is something to execute
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    folder, results = output / "notebooks", output / "results"
    folder.mkdir(parents=True, exist_ok=True)
    _stamp(output, path.stem).unlink(missing_ok=True)
    os.environ.update({QUIET_VARIABLE: "1", RESULTS_VARIABLE: str(results.resolve())})
    wants_bar = sys.stderr.isatty() and not side_by_side()
    failure, started = "", time.perf_counter()
    with _PeakMemory() as memory:
        try:
            papermill.execute_notebook(
                _escaped(str(path)),
                _escaped(str(folder / path.name)),
                parameters=dict(parameters),
                progress_bar={"desc": f"  {path.stem}", "leave": False} if wants_bar else False,
                cwd=str(path.parent),
                kernel_name="python3",
                engine_name=_engine_that_saves_once(),
                execution_timeout=CELL_TIMEOUT,
                config=_encrypted(),
            )
        except PapermillExecutionError as error:
            failure = _describe(error, path, folder / path.name)
        except DeadKernelError:
            failure = _describe_death(path, folder / path.name, max(memory.kernel_mb, memory.together_mb))
        except Exception as error:  # a time-out: named like any other failure
            failure = f"  {path.name} failed: {type(error).__name__}: {error}"
    outcome = Outcome(path.stem, time.perf_counter() - started, memory.kernel_mb, memory.together_mb, failure)
    if not failure:
        content = {"fingerprint": fingerprint, **outcome.measured()}
        replace_file(_stamp(output, path.stem), json.dumps(content).encode())
    return outcome


@functools.cache
def _engine_that_saves_once() -> str:
    """Register, and name, papermill's own engine, but for writing the notebook only at its beginning and its end.

    As it comes it writes the whole file twice for each cell, of text too, while the kernel waits: a sixth of a run. At
    the end it is written after a failure and after a kernel's death as well.
    """
    from papermill.engines import NBClientEngine, papermill_engines

    class SavesOnce(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
            path, nb_man.output_path = nb_man.output_path, None
            try:
                super().execute_managed_notebook(nb_man, kernel_name, **options)
            finally:
                nb_man.output_path = path  # the caller saves once more

    papermill_engines.register(SavesOnce.__name__, SavesOnce)
    return SavesOnce.__name__


def _escaped(path: str) -> str:
    """Return a path whose braces papermill does not take for the name of a parameter."""
    return path.replace("{", "{{").replace("}", "}}")


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


def _describe_death(path: Path, executed: Path, peak_mb: float) -> str:
    """Say in which cell the kernel died, how much memory it had, and what it most often died of."""
    with contextlib.suppress(NotebookError):
        begun = [cell for cell in _cells(executed) if cell["cell_type"] == "code" and _was_begun(cell)]
        if begun:  # no cell after the one in which it died was begun
            first_line = next(iter("".join(begun[-1]["source"]).strip().splitlines()), "")
            return (
                f"  {path.name} failed: its kernel died in the cell which begins: {first_line}\n"
                f"  With the processes that it started it held {peak_mb:,.0f} MB. Most often memory was used up: "
                "close other programs, or take fewer images in the cell with the settings"
            )
    return f"  {path.name} failed: its kernel died at {peak_mb:,.0f} MB; most often the memory was used up"


def _was_begun(cell: dict) -> bool:
    """Tell whether papermill had sent a cell to the kernel: it notes so before it waits for an answer."""
    return cell.get("metadata", {}).get("papermill", {}).get("status", "pending") != "pending"


def _stamp(output: Path, name: str) -> Path:
    return output / "notebooks" / f"{name}.done.json"


def _write_summary(output: Path, outcomes: Iterable[Outcome]) -> None:
    """Write `results/run.json`: seconds and peak memory of each notebook that succeeded, and the sum of the seconds."""
    path = output / "results" / "run.json"
    notebooks = read_summary(output)["notebooks"]
    for outcome in outcomes:
        notebooks.pop(outcome.notebook, None)
        if not outcome.failure:
            notebooks[outcome.notebook] = outcome.measured()
    content = {
        "total_seconds": sum(n["seconds"] for n in notebooks.values()),
        "notebooks": dict(sorted(notebooks.items())),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def read_summary(output: Path) -> dict:
    """Return the content of `results/run.json`, or an empty summary if there is none yet."""
    try:
        summary = json.loads((output / "results" / "run.json").read_text(encoding="utf-8"))
        if {"total_seconds", "notebooks"} <= summary.keys():
            return summary
    except (OSError, ValueError, AttributeError):
        pass  # nothing was run yet, or the file is damaged
    return {"total_seconds": 0.0, "notebooks": {}}


class _PeakMemory:
    """Watches the kernel while a notebook runs: the most it held, and the most it and the processes it started held.

    Pages that these share, the code of the libraries above all, are counted once where the system tells them (Linux).
    """

    def __enter__(self) -> "_PeakMemory":
        self.kernel_mb = self.together_mb = 0.0
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
            kernels, own, shared = {child.pid for child in this.children()}, 0, 0
            for child in this.children(recursive=True):
                try:
                    memory = child.memory_info()
                except psutil.Error:
                    continue  # it ended between the two calls
                common = getattr(memory, "shared", 0)
                own, shared = own + memory.rss - common, max(shared, common)
                if child.pid in kernels:
                    self.kernel_mb = max(self.kernel_mb, memory.rss / 1e6)
            self.together_mb = max(self.together_mb, (own + shared) / 1e6)
