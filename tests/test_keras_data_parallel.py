"""The launcher gives back reports, names what failed, and leaves no process behind; its scripts need no TensorFlow."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest

from utils.files import ROOT
from utils.keras_data_parallel import TensorFlowWorkerError, hide_single_gpu, launch_tensorflow, report

TELL = """
import json, os, sys
from utils.keras_data_parallel import report
report([json.loads(os.environ["TF_CONFIG"])["task"]["index"], sys.argv[1]])
"""
INTERRUPTIBLE = """
import signal
from utils.keras_data_parallel import launch_tensorflow
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
"""
SLEEP = "import time; print('asleep', flush=True); time.sleep(600)"


def children():
    """Return the processes that this one has started and that still run."""
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def test_each_worker_is_told_its_place_and_reports():
    before = len(children())
    assert launch_tensorflow(TELL, "hello", workers=2) == [[0, "hello"], [1, "hello"]]
    assert len(children()) == before


def test_a_failing_worker_ends_the_others_and_is_named():
    script = f"import json, os\nif '\"index\": 1' in os.environ['TF_CONFIG']: raise KeyError('mine')\n{SLEEP}"
    before, started = len(children()), time.monotonic()
    with pytest.raises(TensorFlowWorkerError, match=r"worker 1 failed:(.|\n)*KeyError: 'mine'"):
        launch_tensorflow(script, workers=2, timeout_s=60)
    assert time.monotonic() - started < 30
    assert len(children()) == before


def test_a_worker_that_hangs_ends_by_the_time_out():
    before = len(children())
    with pytest.raises(TensorFlowWorkerError, match=r"did not finish within 3 s(.|\n)*asleep"):
        launch_tensorflow(SLEEP, workers=2, timeout_s=3)
    assert len(children()) == before


def test_a_worker_that_reports_nothing_is_an_error():
    with pytest.raises(TensorFlowWorkerError, match=r"reported nothing:\s+done"):
        launch_tensorflow("print('done')", workers=1)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_an_interrupt_leaves_no_worker():
    script = INTERRUPTIBLE + f"launch_tensorflow({SLEEP!r}, workers=2)"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    deadline = time.monotonic() + 30
    while len(watched.children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = watched.children()
    os.kill(process.pid, signal.SIGINT)
    process.wait(20)
    assert len(workers) == 2
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_a_script_that_is_no_python_starts_no_worker_and_a_report_needs_a_launcher():
    with pytest.raises(SyntaxError):
        launch_tensorflow("this is no Python", workers=1)
    with pytest.raises(RuntimeError, match="nobody waits"):
        report(1)


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_a_gpu_is_hidden_where_it_is_the_only_one(gpus):
    config = Mock()
    config.list_physical_devices = {"GPU": [f"GPU:{number}" for number in range(gpus)]}.get
    assert hide_single_gpu(SimpleNamespace(config=config)) == (gpus == 1)
    assert [tuple(call.args) for call in config.set_visible_devices.mock_calls] == ([([], "GPU")] if gpus == 1 else [])
