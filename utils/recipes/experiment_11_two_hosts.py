"""Two hosts and a link between them, for notebook 11: from which bandwidth on does a compressed gradient pay?

The two hosts are two network namespaces of this machine: each has a network of its own, and a virtual cable joins them,
which the kernel's token bucket filter (`tc`) slows down. torchrun runs in each and the two meet through the cable; only
the processor is shared, a core for each worker. It wants Linux, root, and the commands `ip` and `tc` (Debian's
iproute2); where the machine allows no namespaces it says so and measures nothing.

`python -m utils experiments 11_two_hosts` measures it in less than a minute, if there is no table of this code. Run it
on an idle machine. To measure again, delete the table first.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from utils import data_parallel, gradient_compression, two_hosts
from utils.environment import library_versions
from utils.experiment_files import EXPERIMENTS, digest_of, read_experiment, write_experiment
from utils.recipes import two_hosts_worker
from utils.recipes.two_hosts_worker import DEVICE
from utils.reference_runs import machine_class

NAME = "11_two_hosts"

MINUTES = 1

MEGABITS = (10_000, 3_000, 1_000, 300, 100)
"""Bandwidths of the link, in Mbit/s."""

HOSTS = {"workbook-a": "10.77.0.1", "workbook-b": "10.77.0.2"}
"""The namespaces and their addresses."""

PORT = 29511

TIMEOUT_S = 900

ROOM = ("burst", "500000", "latency", "100ms")
"""What the filter lets pass at once, and how long it keeps what must wait."""


class NoNamespacesError(RuntimeError):
    """This machine cannot pretend to be two hosts; the message says what is missing."""


@contextlib.contextmanager
def two_namespaces() -> Iterator[None]:
    """Make two hosts that are joined by a cable, and take them away again.

    Raises `NoNamespacesError` where the system does not allow it.
    """
    if missing := [command for command in ("ip", "tc") if shutil.which(command) is None]:
        raise NoNamespacesError(f"there is no command {missing[0]!r}: install iproute2, on a Linux machine")
    _remove()
    try:
        for name in HOSTS:
            _do("ip", "netns", "add", name)
        a, b = HOSTS
        _do("ip", "link", "add", DEVICE, "netns", a, "type", "veth", "peer", "name", DEVICE, "netns", b)
        for name, address in HOSTS.items():
            inside = ("ip", "-n", name)
            _do(*inside, "addr", "add", f"{address}/24", "dev", DEVICE)
            _do(*inside, "link", "set", DEVICE, "up")
            _do(*inside, "link", "set", "lo", "up")
            # whether the link can be slowed down shows here, not minutes later in a worker
            _do("tc", "-n", name, "qdisc", "add", "dev", DEVICE, "root", "tbf", "rate", "1gbit", *ROOM)
        yield
    finally:
        _remove()


def _remove() -> None:
    for name in HOSTS:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _do(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip()
        raise NoNamespacesError(f"this machine does not allow `{' '.join(command)}`: {said}; it takes root on Linux")


def on_two_hosts(bandwidths: Sequence[int], *, steps: int = two_hosts.STEPS) -> list[dict[str, float | str]]:
    """Return the rows of `two_hosts_worker.measure` for links of those bandwidths, as the first host saw them."""
    with two_namespaces(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = data_parallel.worker_environment(folder) | {"GLOO_SOCKET_IFNAME": DEVICE}
        script = [str(Path(two_hosts_worker.__file__)), str(steps), *map(str, bandwidths)]
        agents = []
        try:
            for number, host in enumerate(HOSTS):
                options = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(number)]
                options += ["--master-addr", next(iter(HOSTS.values())), "--master-port", str(PORT)]
                torchrun = [sys.executable, "-m", "torch.distributed.run", *options]
                with (folder / f"{host}.log").open("wb") as log:
                    pipes = {"stdin": subprocess.PIPE, "stdout": log, "stderr": subprocess.STDOUT}
                    command = ["ip", "netns", "exec", host, *torchrun, *script]
                    agents.append(subprocess.Popen(command, env=environment, **pipes))
            failed = [agent.wait(TIMEOUT_S) for agent in agents]
        finally:
            for agent in agents:
                data_parallel.end(agent)
        if any(failed):
            said = "\n".join((folder / f"{host}.log").read_text(errors="replace")[-2000:] for host in HOSTS)
            raise RuntimeError(f"the two hosts ended with {failed}:\n{said}")
        return data_parallel.read_reports(folder, two_hosts.WORKERS)[0]


def digest() -> str:
    """Return a digest of what is timed."""
    measured = (two_hosts_worker.measure, two_hosts_worker.slow_down, two_hosts_worker.empty_message)
    return digest_of((two_hosts, gradient_compression, *measured, two_namespaces, on_two_hosts))


def run() -> str:
    """Measure the table if there is none of this code, write it, and return a line that says what it holds."""
    if (EXPERIMENTS / f"{NAME}.jsonl").exists():
        about, rows = read_experiment(NAME)
        if about["digest"] == digest():
            return f"{NAME}: {len(rows)} rows, measured on {about['machine']}"
    about = {"digest": digest(), "versions": library_versions(), "machine": machine_class(), "minutes": MINUTES}
    about["cores"] = len(os.sched_getaffinity(0))
    rows = [
        {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}
        for row in on_two_hosts(MEGABITS)
    ]
    write_experiment(NAME, about, rows)
    return f"{NAME}: {len(rows)} rows, measured on {about['machine']}"
