"""Processes that train together with TensorFlow: each is told the cluster by TF_CONFIG, as on several machines.

TensorFlow has no launcher such as torchrun: whoever runs it on several machines starts one process on each and sets
`TF_CONFIG`. `launch_tensorflow` does that on this machine. This module imports neither TensorFlow nor PyTorch.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.files import ROOT
from utils.input_validation import require_int

LAST_LINES = 8
"""Of what a worker wrote, shown when it fails."""

REPORT_VARIABLE = "WORKBOOK_WORKER_REPORT"
"""Names, to a worker, the file that its report goes to."""


class TensorFlowWorkerError(RuntimeError):
    """A worker failed or took too long; the message has the last lines it wrote. None of them is left running."""


def hide_single_gpu(tensorflow: ModuleType) -> bool:
    """Hide the GPU of a machine that has just one, before anything is computed; tell whether there was one to hide.

    Two replicas need two devices of a kind, so that with one GPU they share the CPU. Whatever is made outside their
    scope would still land on the GPU, and a comparison would be one of two kinds of device.

    Args:
        tensorflow: the module, which the caller has imported.
    """
    alone = len(tensorflow.config.list_physical_devices("GPU")) == 1
    if alone:
        tensorflow.config.set_visible_devices([], "GPU")
    return alone


def cluster_config(ports: list[int], index: int) -> str:
    """Return the value of TF_CONFIG for one of several workers on this machine.

    Args:
        ports: one for each worker; all workers must be given the same list.
        index: which worker this is, from 0.

    >>> cluster_config([2222, 2223], 1)
    '{"cluster": {"worker": ["127.0.0.1:2222", "127.0.0.1:2223"]}, "task": {"type": "worker", "index": 1}}'
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def launch_tensorflow(script: str, *arguments: object, workers: int, timeout_s: float = 60.0) -> list[Any]:
    """Run the text of a script in several processes that form one TensorFlow cluster, and return what each reported.

    Each computes on the CPU with one thread. Whatever happens, success, failure, time-out or an interrupt, no process
    is left behind.

    Args:
        script: Python; it hands its result back with `report`.
        arguments: what it finds in `sys.argv`, as text.
        workers: how many processes.
        timeout_s: seconds until all must have finished, their start included.

    Returns:
        The report of each worker, in their order.

    Raises:
        TensorFlowWorkerError: a worker failed, reported nothing, or time is up; it has the last lines they wrote.
    """
    compile(script, "the worker's script", "exec")  # a SyntaxError here, not in every worker
    ports = free_ports(require_int("workers", workers, minimum=1))
    started: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as logs:
        folder = Path(name)
        try:
            for index in range(workers):
                log = logs.enter_context((folder / f"worker{index}.log").open("wb"))
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-c", script, *map(str, arguments)],
                        env=_environment(ports, index, folder / f"worker{index}.json"),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
            _wait(started, folder, timeout_s)
        finally:
            for process in started:
                process.kill()  # nothing happens to one that has ended
                process.wait()
        return [_report_of(folder, index) for index in range(workers)]


def report(value: Any) -> None:
    """Hand `value`, which JSON must be able to hold, to whoever launched this worker."""
    if REPORT_VARIABLE not in os.environ:
        raise RuntimeError("nobody waits for this report: start the worker with launch_tensorflow")
    Path(os.environ[REPORT_VARIABLE]).write_text(json.dumps(value), encoding="utf-8")


def free_ports(count: int) -> list[int]:
    """Return `count` different ports of this machine that are free at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _environment(ports: list[int], index: int, report_file: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TF_CONFIG": cluster_config(ports, index),
        "CUDA_VISIBLE_DEVICES": "-1",  # two processes would fight for one GPU's memory
        "TF_NUM_INTRAOP_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        REPORT_VARIABLE: str(report_file),
    }


def _wait(started: list[subprocess.Popen], folder: Path, timeout_s: float) -> None:
    """Wait for all; one that fails ends the wait at once, since the others would wait for it in vain."""
    deadline = time.monotonic() + timeout_s
    while True:
        statuses = [process.poll() for process in started]  # None while a worker runs, 0 where it succeeded
        for index, status in enumerate(statuses):
            if status:
                raise TensorFlowWorkerError(f"worker {index} failed:{_last_lines(folder, index)}")
        if None not in statuses:
            return
        if time.monotonic() > deadline:
            lines = "".join(_last_lines(folder, index) for index in range(len(started)))
            raise TensorFlowWorkerError(f"{len(started)} workers did not finish within {timeout_s:g} s{lines}")
        time.sleep(0.05)


def _report_of(folder: Path, index: int) -> Any:
    path = folder / f"worker{index}.json"
    if not path.exists():
        raise TensorFlowWorkerError(f"worker {index} reported nothing:{_last_lines(folder, index)}")
    return json.loads(path.read_text(encoding="utf-8"))


def _last_lines(folder: Path, index: int) -> str:
    text = (folder / f"worker{index}.log").read_text(encoding="utf-8", errors="replace")
    return "".join(f"\n  {line}" for line in text.strip().splitlines()[-LAST_LINES:])
