"""What runs in a sandbox sees the course and nothing of the class, and stops where its limits are."""

import json
import os
import subprocess
import sys
import time

import pytest

from utils.course import classroom_sandbox
from utils.course.classroom_sandbox import Limits, Sandbox, Stopped, best_kind
from utils.files import ROOT

WORKING = [kind for kind in classroom_sandbox.KINDS[:2] if classroom_sandbox._works(kind)]
KINDS = [
    pytest.param(
        kind, marks=[] if kind in WORKING else pytest.mark.skip(reason=f"{kind} does not work on this machine")
    )
    for kind in classroom_sandbox.KINDS[:2]
]
INSIDE = """
import json, os, resource, socket, sys
from utils.course.classroom_answers import confine
options = json.loads(sys.argv[1])
confine(options["limits"], options["user"])
found = {"course": sorted(os.listdir(options["course"])), "user": os.getuid()}
found["checks"] = os.listdir(options["course"] + "/utils/checks")
found["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
found["rights"] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")]
written = []
own = [options["course"] + "/utils", options["course"] + "/utils/checks"]
for folder in ("/", "/dev", "/etc", "/usr", *own, "/proc/sys", "/tmp"):
    try:
        open(folder + "/mine", "w").write("x")
        written.append(folder)
    except OSError:
        pass
found["written"] = written
try:
    open("/tmp/large", "wb").write(bytes(2**27))
    found["disk"] = "large"
except OSError as error:
    found["disk"] = error.strerror
try:
    socket.create_connection((options["host"], options["port"]), timeout=2)
    found["network"] = "reached"
except OSError:
    found["network"] = "none"
try:
    bytearray(2**32)
    found["memory"] = "large"
except MemoryError:
    found["memory"] = "refused"
children = 0
try:
    while children < 500:
        if os.fork() == 0:
            import time
            time.sleep(60)
            os._exit(0)
        children += 1
except OSError:
    pass
found["children"] = children
print(json.dumps(found), flush=True)
"""


@pytest.fixture
def listening():
    """Return the address of a server on this machine."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_written_and_reached(kind, listening):
    limits = Limits()
    user = 1_000_000 + os.getpid() if os.geteuid() == 0 else None
    about = {
        "limits": limits.resources(),
        "user": user,
        "course": str(ROOT),
        "host": listening[0],
        "port": listening[1],
    }
    command = [sys.executable, "-c", INSIDE, json.dumps(about)]
    done = subprocess.run(
        classroom_sandbox._command(kind, limits, command),
        env=classroom_sandbox._environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    environment = {name for name in (".venv",) if (ROOT / name).exists()}
    assert set(found["course"]) - environment == {"data", "utils"}, "no notebooks, no solutions, nothing that was built"
    assert found["checks"] == ["__init__.py"], "no specification, no right letters"
    assert found["user"] != 0 or os.geteuid() != 0
    assert set(found["rights"]) == {"0" * 16}
    assert found["written"] == ["/tmp"]
    assert (found["disk"], found["network"], found["memory"]) != ("large", "reached", "large")
    assert found["disk"] in ("No space left on device", "File too large")
    assert found["network"] == "none"
    assert found["memory"] == "refused"
    assert found["children"] < limits.processes
    assert found["processes"] < 20, "those of the machine are not seen"
    assert not _left_behind(INSIDE[:80])


def _left_behind(text):
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(text in part for part in process.info["cmdline"] or ()) and process.pid != os.getpid():
            found.append(process)
    return found


def _opened(sandbox, body):
    source = f'def f(*_):\n{body}\n\n\ncheck("00.1", f)'
    content = json.dumps({"cells": [{"cell_type": "code", "source": source}]}).encode()
    sandbox.allow(60)
    opening = {"do": "open", "files": ["x.ipynb"], "course": [], "exercises": {"00.1": "f"}}
    assert sandbox.ask(opening, [content])[0]["found"]["00.1"]["state"] == "there"
    sandbox.ask({"do": "find", "exercise": "00.1"})


CALL = {"do": "call", "function": 0, "states": {}, "arguments": {"tuple": []}}


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_takes_too_long_is_stopped_with_all_that_it_started(kind):
    marker = f"marker{os.getpid()}{kind}"
    code = f"import time  # {marker}\nwhile True:\n    time.sleep(0.1)"
    started = f"subprocess.Popen([sys.executable, '-c', {code!r}], start_new_session=True)"
    body = f"    import subprocess, sys, time\n    {started}"
    with Sandbox(kind, Limits()) as sandbox:
        _opened(sandbox, body + "\n    time.sleep(1000)")
        sandbox.allow(3)
        with pytest.raises(Stopped, match="longer than 3 seconds"):
            sandbox.ask(CALL)
    time.sleep(0.3)
    assert not _left_behind(marker)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_all_processes_together_is_limited(kind):
    """Each child stays below the limit of one process."""
    body = (
        "    import os, time\n    for _ in range(8):\n        if os.fork() == 0:\n"
        "            held = b'x' * (100 * 2**20)\n            time.sleep(1000)\n    time.sleep(1000)"
    )
    with Sandbox(kind, Limits(memory=400 * 2**20)) as sandbox:
        _opened(sandbox, body)
        with pytest.raises(Stopped, match=r"more than 0\.4 GiB"):
            sandbox.ask(CALL)


def test_without_a_sandbox_grading_is_refused(monkeypatch):
    monkeypatch.setattr(classroom_sandbox, "_works", lambda kind: False)
    with pytest.raises(RuntimeError, match="install bubblewrap"):
        best_kind()


def test_a_course_inside_of_what_is_seen_is_refused(monkeypatch):
    monkeypatch.setattr(classroom_sandbox, "ROOT", classroom_sandbox.Path("/usr/share/course"))
    with pytest.raises(RuntimeError, match="lies inside /usr"):
        classroom_sandbox.seen_folders()


def test_an_unknown_kind_is_a_clear_error():
    with pytest.raises(ValueError, match="must be one of bubblewrap, namespaces, none"):
        Sandbox("docker", Limits())
