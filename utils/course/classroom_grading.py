"""Grade a class: every submission is a task of a Dask graph, and every verdict is kept as soon as it is there.

The files of a submission travel with its task and the verdict comes back, so workers need the course installed and
nothing of the class. Only the process that was started writes: into `grades/`, below the class's folder.
"""

import contextlib
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from utils.course.classroom_folder import ClassCard, read_card
from utils.course.classroom_judge import Graded, Job, Judge, Verdict, exercises
from utils.course.classroom_sandbox import Limits, best_kind
from utils.files import ROOT

VERDICTS = Path("grades", "verdicts.jsonl")
"""Where the verdicts of a class are, a submission a line; the last of a submission counts."""

LARGEST_SUBMISSION = 50 * 2**20
"""Bytes of all files of a submission that are read."""

_READ = (".ipynb", ".py")
_OF_NBGRADER = ("timestamp.txt", "submission_secret.txt")
_AHEAD = 2  # tasks that are sent to a worker before it has finished one: what bounds the memory


@dataclass(frozen=True)
class Submission:
    """What a student handed in for an assignment; `notes` name what was not read, and why."""

    student: str
    assignment: str
    names: tuple[str, ...] = ()
    contents: tuple[bytes, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What the submission is known by."""
        return self.student, self.assignment


def submissions(folder: Path, card: ClassCard) -> Iterator[Submission]:
    """Yield what was handed in, `submitted/STUDENT/ASSIGNMENT/...` as nbgrader collects it, one after the other."""
    for path in sorted((Path(folder) / "submitted").glob("*/*")):
        if path.is_dir() and not path.is_symlink() and path.name in card.assignments:
            yield _read(path)


def unknown_folders(folder: Path, card: ClassCard) -> list[str]:
    """Return what lies among the submissions and belongs to no assignment of the class."""
    inside = sorted((Path(folder) / "submitted").glob("*/*"))
    known = (path.is_dir() and not path.is_symlink() and path.name in card.assignments for path in inside)
    return [f"{path.parent.name}/{path.name}" for path, is_known in zip(inside, known, strict=True) if not is_known]


def _read(folder: Path) -> Submission:
    found: dict[str, bytes] = {}
    notes, left = [], LARGEST_SUBMISSION
    own = f"{folder.name}.ipynb"
    for path in sorted(folder.iterdir(), key=lambda each: (each.name == own, each.name)):  # its own name counts most
        if path.name in _OF_NBGRADER:
            continue
        if path.suffix.lower() not in _READ:
            notes.append(f"{path.name} was not read: no notebook")
            continue
        try:
            content = _content(path, left)
        except OSError as error:
            notes.append(f"{path.name} was not read: {error.strerror or error}")
            continue
        found[path.name], left = content, left - len(content)
    if own not in found:
        renamed = f"there is no {own}; read: {', '.join(found)}" if found else f"there is no {own}, and nothing to read"
        notes.append(renamed)
    return Submission(folder.parent.name, folder.name, tuple(found), tuple(found.values()), tuple(notes))


def _content(path: Path, most: int) -> bytes:
    """Read a file if it is one: a link would lead elsewhere, a pipe would keep us waiting."""
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(opened, "rb") as file:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode):
            raise OSError("no plain file")
        if about.st_size > most:
            raise OSError(f"{about.st_size:,} bytes are more than the {LARGEST_SUBMISSION:,} that are read")
        return file.read(most)


@cache
def digest_of_course() -> str:
    """Return digits that change when what grades does: notebooks, checks, the library and the classroom."""
    digest = hashlib.sha256()
    patterns = ("utils/*.py", "utils/checks/*.py", "utils/course/classroom_*.py", "notebooks/*.ipynb")
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        if path.suffix == ".ipynb":  # the code counts, stored outputs do not
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            content = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").encode()
        else:
            content = path.read_bytes()
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:16]


# --- in a worker ------------------------------------------------------------------------------------------------------

_OWN = threading.local()


def grade_one(job: dict[str, Any], contents: tuple[bytes, ...], course: str) -> dict[str, Any]:
    """Grade one submission in a worker; each of its threads keeps a process that grades.

    Raises:
        RuntimeError: this worker has another version of the course, or no sandbox.
    """
    if digest_of_course() != course:
        raise RuntimeError("a worker has another version of the course than the process that was started; update it")
    for last in (False, True):
        if getattr(_OWN, "judge", None) is None:
            _OWN.judge = Judge()
        try:
            return asdict(_OWN.judge.grade(Job(**job), list(contents)))
        except RuntimeError:
            _OWN.judge.close()
            _OWN.judge = None
            if last:
                raise
    raise AssertionError


# --- in the process that was started ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """How a class is graded.

    Args:
        scheduler: the address of a Dask scheduler; by default a cluster of this machine is started.
        workers: of that cluster; as many as there are cores by default.
        sandbox: a kind of sandbox; the strongest that works here by default.
        limits: what a submission may use.
        force: grade again what has a verdict.
    """

    scheduler: str | None = None
    workers: int | None = None
    sandbox: str | None = None
    limits: Limits = field(default_factory=Limits)
    force: bool = False


@dataclass
class Outcome:
    """What a run of grading did: how many submissions it graded now, and what could not be graded."""

    graded: int = 0
    known: int = 0
    failed: list[str] = field(default_factory=list)


def grade(folder: Path, options: Options) -> Outcome:
    """Grade what was handed in and has no verdict yet; interrupted, the same call goes on.

    Raises:
        FileNotFoundError: the folder is no class.
        RuntimeError: no sandbox works here, or Dask is not installed.
    """
    card = read_card(folder)
    sandbox = options.sandbox or best_kind()
    distributed = _distributed()
    known = {} if options.force else {row_key(row): row["digest"] for row in read_verdicts(folder).values()}
    outcome = Outcome()
    waiting = _waiting(folder, card, options, sandbox, known, outcome)
    first = next(waiting, None)
    if first is None:
        return outcome
    with _client(distributed, options) as client, _Log(folder) as log, _progress(folder, card, outcome) as bar:
        room = _AHEAD * max(1, sum(client.nthreads().values()))
        sent: dict[Any, tuple[Submission, str]] = {}
        done = distributed.as_completed()

        def send(each: tuple[Submission, dict, str]) -> None:
            submission, job, digest = each
            future = client.submit(
                grade_one, job, submission.contents, digest_of_course(), key=f"grade-{digest}", pure=False
            )
            sent[future] = submission, digest
            done.add(future)

        send(first)
        for _, each in zip(range(room - 1), waiting, strict=False):
            send(each)
        for future in done:
            submission, digest = sent.pop(future)
            try:
                log.write(_row(submission, digest, future.result()))
                outcome.graded += 1
            except Exception as error:
                outcome.failed.append(f"{submission.student}/{submission.assignment}: {error}")
            future.release()
            bar.update(1)
            if (each := next(waiting, None)) is not None:
                send(each)
    return outcome


def _waiting(
    folder: Path, card: ClassCard, options: Options, sandbox: str, known: dict, outcome: Outcome
) -> Iterator[tuple[Submission, dict, str]]:
    for submission in submissions(folder, card):
        job = Job(submission.assignment, list(submission.names), card.seed, sandbox, asdict(options.limits))
        about = json.dumps([asdict(job), submission.key, digest_of_course()]).encode()
        digest = hashlib.sha256(b"\0".join([about, *submission.contents])).hexdigest()[:32]
        if known.get(submission.key) == digest:
            outcome.known += 1
        else:
            yield submission, asdict(job), digest


def _row(submission: Submission, digest: str, graded: dict[str, Any]) -> dict[str, Any]:
    about = {"student": submission.student, "assignment": submission.assignment, "digest": digest}
    return about | {"notes": list(submission.notes)} | graded


def row_key(row: dict[str, Any]) -> tuple[str, str]:
    """Return the student and the assignment of a row of verdicts."""
    return row["student"], row["assignment"]


def read_verdicts(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the last row of each submission; a line that was cut short counts as not written."""
    path, rows = Path(folder) / VERDICTS, {}
    if path.exists():
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                rows[row_key(row)] = row
    return rows


def graded_of(row: dict[str, Any]) -> Graded:
    """Return the verdicts of a row."""
    return Graded([Verdict(**each) for each in row["verdicts"]], row["predictions"])


class _Log:
    """Appends rows, each on the disk before the next is awaited."""

    def __init__(self, folder: Path):
        path = Path(folder) / VERDICTS
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("ab+")
        self._file.seek(0, os.SEEK_END)
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":  # the last run was cut off inside a line
                self._file.write(b"\n")

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _progress(folder: Path, card: ClassCard, outcome: Outcome) -> Any:
    from tqdm import tqdm

    total = sum(1 for each in (Path(folder) / "submitted").glob("*/*") if each.name in card.assignments)
    quiet = bool(os.environ.get("WORKBOOK_QUIET"))
    return tqdm(total=total, initial=outcome.known, unit=" submissions", disable=quiet, smoothing=0.05)


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError:
        raise RuntimeError(
            "grading runs on Dask, which is not installed: pip install -r requirements-class.txt (`make class` does it)"
        ) from None
    return distributed


@contextlib.contextmanager
def _client(distributed: Any, options: Options) -> Iterator[Any]:
    if options.scheduler:
        with distributed.Client(options.scheduler, timeout="20s") as client:
            client.wait_for_workers(1, timeout=600)
            yield client
        return
    cluster = distributed.LocalCluster(
        n_workers=options.workers or os.cpu_count() or 1,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,  # submissions have their own limits, in processes of their own
        dashboard_address=None,
        silence_logs=50,
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


def tables(folder: Path) -> list[tuple[dict[str, Any], Graded]]:
    """Return the rows of a class with their verdicts, by student and assignment, those of its assignments only."""
    card, rows = read_card(folder), read_verdicts(folder)
    kept = sorted(key for key in rows if key[1] in card.assignments)
    return [(rows[key], graded_of(rows[key])) for key in kept]


def points_of(assignment: str) -> int:
    """Return what all exercises of an assignment are worth together."""
    return sum(exercise.points for exercise in exercises(assignment).values())
