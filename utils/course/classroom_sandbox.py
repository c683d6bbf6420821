"""Where a submission runs: a process without network that sees the course read-only and dies with its grader.

`bubblewrap` makes it where it is installed, else the namespaces of Linux by `unshare`; a plain process, which holds
nothing back, only for who asks for it. Limits on processor time, memory, processes and files come on top, and a watch
on the memory of all processes together.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from utils.course.classroom_wire import Connection
from utils.files import ROOT

KINDS = ("bubblewrap", "namespaces", "none")

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
_SEEN = ("utils", "data")  # of the course; no notebook, no solution, nothing that was built
_HIDDEN, _SHOWN = ROOT / "utils" / "checks", ROOT / "utils" / "checks" / "__init__.py"
"""The checks have specifications and right letters: of their folder a submission sees what it imports, and no more."""

_LARGEST_REPLY = 64 * 2**20
_EVERY = 0.1  # seconds between two looks at the memory


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Args:
        seconds: of an exercise that computes or implements.
        challenge_seconds: of a challenge, which may train.
        memory: bytes of all its processes together.
        processes: threads and processes.
        scratch: bytes of its folder, which is kept in memory.
    """

    seconds: float = 30.0
    challenge_seconds: float = 240.0
    memory: int = 3 * 2**30
    processes: int = 48
    scratch: int = 64 * 2**20

    def resources(self) -> dict[str, int]:
        """Return the limits that the kernel keeps for each process, by their names in `resource`."""
        return {
            "RLIMIT_DATA": self.memory,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.scratch,
            "RLIMIT_NOFILE": 256,
            "RLIMIT_CORE": 0,
        }


class Stopped(BaseException):
    """The sandbox is gone; the text says why. No `Exception`: a check that catches those must not go on."""


def best_kind() -> str:
    """Return the strongest kind of sandbox that works on this machine.

    Raises:
        RuntimeError: neither does; says what to install.
    """
    for kind in KINDS[:2]:
        if _works(kind):
            return kind
    raise RuntimeError(
        "submissions are graded in a sandbox, and none works here: install bubblewrap (Debian, Ubuntu: "
        "apt-get install bubblewrap; Fedora: dnf install bubblewrap) and allow user namespaces. With --sandbox none "
        "they run as you, without any protection of your files: only for submissions that you have read"
    )


def _works(kind: str) -> bool:
    if sys.platform != "linux" or not shutil.which({"bubblewrap": "bwrap", "namespaces": "unshare"}[kind]):
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            _command(kind, Limits(), [sys.executable, "-c", "print('inside')"]),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=_environment(),
        )
        return done.returncode == 0 and done.stdout.strip() == "inside"
    return False


class Sandbox:
    """A running sandbox with the process that answers for one submission; use it as a context.

    Args:
        kind: one of `KINDS`.
        limits: what it may use.
    """

    def __init__(self, kind: str, limits: Limits):
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
        self.limits, self._reason, self._deadline, self._settled = limits, "", None, 0
        user = 1_000_000 + os.getpid() if kind != "none" and os.geteuid() == 0 else None
        resources = limits.resources() if kind != "none" else {}
        command = [sys.executable, "-m", "utils.course.classroom_answers", "--limits", json.dumps(resources)]
        command += ["--user", str(user)] if user is not None else []
        self._process = subprocess.Popen(
            _command(kind, limits, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd=ROOT,
            start_new_session=True,
        )
        self.connection = Connection(self._process.stdout, self._process.stdin, largest=_LARGEST_REPLY)
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def allow(self, seconds: float) -> None:
        """Start the clock anew: after so many seconds the sandbox is stopped."""
        self._deadline = time.monotonic() + seconds, seconds

    def ask(self, message: dict[str, Any], arrays: Sequence[bytes] = ()) -> tuple[dict[str, Any], list[memoryview]]:
        """Send a message and return the reply.

        Raises:
            Stopped: the process is gone; says why.
            ProtocolError: the reply is too large or malformed.
        """
        try:
            self.connection.send(message, arrays)
            return self.connection.receive()
        except (EOFError, OSError, ValueError):
            self.close()
            raise Stopped(self._reason or "its process ended: it left, or was ended by the system") from None

    def settle(self) -> None:
        """Take the processes that there are for those that there should be."""
        self._settled = len(self._processes())

    def has_grown(self) -> bool:
        """Tell whether processes were left behind; the next answer should not share the sandbox with them."""
        return len(self._processes()) > self._settled

    def close(self) -> None:
        """End every process of the sandbox."""
        self._over.set()
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()

    def _kill(self) -> None:
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):  # Windows has no groups
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._process.kill()

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            if self._deadline is not None and time.monotonic() > self._deadline[0]:
                self._reason = f"it took longer than {self._deadline[1]:g} seconds"
            else:
                used = 0
                for process in self._processes():
                    with contextlib.suppress(psutil.Error):
                        used += process.memory_info().rss
                if used <= self.limits.memory:
                    continue
                self._reason = f"it used more than {self.limits.memory / 2**30:.1f} GiB of memory"
            self._kill()
            return


def _environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return threads | {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "MPLBACKEND": "agg",
        "WORKBOOK_QUIET": "1",
        "WORKBOOK_RESULTS": "/tmp/results",
    }


def seen_folders() -> list[Path]:
    """Return what a sandbox sees of this machine, read-only: the system, Python with its packages, parts of the course.

    Raises:
        RuntimeError: one of them holds the course itself, so that solutions would be seen.
    """
    python = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
    packages = {Path(each) for each in sys.path if each.endswith(("-packages", "lib-dynload"))}
    found = [Path(each) for each in _SYSTEM if Path(each).exists()]
    for path in sorted(python | packages, key=lambda each: len(each.parts)):
        if path.exists() and not any(path == other or path.is_relative_to(other) for other in found):
            found.append(path)
    if holding := [path for path in found if ROOT.is_relative_to(path)]:
        raise RuntimeError(f"the course lies inside {holding[0]}, which a sandbox sees: put it elsewhere")
    return [*found, *(ROOT / name for name in _SEEN)]


def _command(kind: str, limits: Limits, command: list[str]) -> list[str]:
    if kind == "bubblewrap":
        return [*_bubblewrap(limits), *command]
    if kind == "namespaces":
        rights = "-all,+setuid,+setgid" if os.geteuid() == 0 else "-all"  # a root is yet to become another user
        about = {"seen": list(map(str, seen_folders())), "scratch": limits.scratch, "rights": rights}
        about |= {"hidden": str(_HIDDEN), "shown": str(_SHOWN), "command": command}
        script = str(Path(__file__).with_name("classroom_namespaces.py"))
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        spaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        return ["unshare", *user, *spaces, sys.executable, "-I", script, json.dumps(about)]
    return command


def _bubblewrap(limits: Limits) -> list[str]:
    root = os.geteuid() == 0
    command = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    # The root needs no user namespace, and a user of its own for each sandbox keeps the counts of processes apart.
    command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else []
    command += [] if root else ["--unshare-user"]
    command += ["--die-with-parent", "--new-session"]
    command += ["--dev", "/dev"]
    for path in ("/tmp", "/dev/shm"):  # first: the course may lie below one of them
        command += ["--perms", "1777", "--size", str(limits.scratch), "--tmpfs", path]
    seen = seen_folders()
    for parent in sorted({parent for path in seen for parent in path.parents} - {Path("/"), Path("/tmp")}):
        if not any(parent.is_relative_to(path) for path in seen):
            command += ["--perms", "0755", "--dir", str(parent)]
    for path in seen:
        command += ["--symlink", os.readlink(path), str(path)] if path.is_symlink() else ["--ro-bind", *2 * [str(path)]]
    command += ["--perms", "0755", "--tmpfs", str(_HIDDEN), "--ro-bind", *2 * [str(_SHOWN)]]
    command += ["--proc", "/proc", "--remount-ro", str(_HIDDEN), "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*command, "--chdir", "/tmp", "--"]
