"""The script of a worker of `experiment_11_two_hosts`: each bandwidth in turn, and at each of them every way, timed."""

import subprocess
import sys
import time

import torch
from torch import distributed as dist

from utils import data_parallel, two_hosts
from utils.datasets import load

DEVICE = "veth0"
"""The end of the cable in this host."""


def slow_down(megabits: int) -> None:
    """Let this host send no more than so many Mbit/s."""
    # a burst is what may pass at once: at least the rate over the kernel's clock of 250 Hz, in bytes
    burst = max(32_000, megabits * 1_000_000 // 8 // 250)
    shaped = ["tbf", "rate", f"{megabits}mbit", "burst", str(burst), "latency", "100ms"]
    subprocess.run(["tc", "qdisc", "replace", "dev", DEVICE, "root", *shaped], check=True)


def measure(megabits: int, steps: int) -> list[dict[str, float | str]]:
    """Return a row for each way: what `two_hosts.train` returns, with its seconds without a link.

    A row has "computing", the seconds of a step that exchanges nothing, and "start", those of a message of four bytes.
    """
    split = load("mnist").train.take(two_hosts.WORKERS * two_hosts.BATCH * steps)
    slow_down(megabits)
    rows = []
    for way in two_hosts.WAYS:
        dist.barrier()
        alone = two_hosts.train(split.images, split.labels, way, steps=steps, silent=True)["seconds"]
        dist.barrier()
        row = two_hosts.train(split.images, split.labels, way, steps=steps)
        rows.append({"megabits": megabits, "way": way, **row, "computing": alone})
    start = empty_message()
    return [row | {"start": start} for row in rows]


def empty_message(repeats: int = 20) -> float:
    """Return the median seconds of an all-reduce of one number."""
    seconds = []
    for _ in range(repeats):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(torch.zeros(1))
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[repeats // 2]


if __name__ == "__main__":
    steps, *bandwidths = map(int, sys.argv[1:])
    with data_parallel.join(gpus=False, timeout_s=600) as worker:
        data_parallel.report([row for megabits in bandwidths for row in measure(megabits, steps)])
