"""The table of latencies of notebook 16: blocks of tiny networks, and whole networks, on one machine.

`python -m utils experiments 16_latencies` measures it in two minutes and writes `data/experiments/16_latencies.jsonl`,
if there is none of this code. To measure again, delete the table first. The searches of `16_search` were held to the
table of their day, and each of their rows says how long its network took by that table. Run it on an idle machine.
"""

import random

from utils import block_latencies, latency_table, onnx_export, tiny_networks
from utils.architecture_search import draw
from utils.environment import library_versions
from utils.experiment_files import EXPERIMENTS, digest_of, read_experiment, write_experiment
from utils.reference_runs import machine_class
from utils.tiny_networks import Design

NAME = "16_latencies"

MINUTES = 2

REPEATS = 20

NETWORKS = 40
"""Whole networks that are timed, drawn as in the search but under no limit on the time."""


def networks() -> list[Design]:
    """Return the whole networks that are timed."""
    generator = random.Random(16)
    return [draw(block_latencies.MOST_PARAMETERS, generator) for _ in range(NETWORKS)]


def digest() -> str:
    """Return a digest of what is timed: the parts, the networks, their widths."""
    code = (block_latencies.part_calls, block_latencies.network_call, networks)
    return digest_of([*code, latency_table.fastest, tiny_networks.TinyNet, onnx_export.fold_batch_norm])


def run() -> str:
    """Measure the table if there is none of this code, write it, and return a line that says what it holds."""
    if (EXPERIMENTS / f"{NAME}.jsonl").exists():
        about, rows = read_experiment(NAME)
        if about["digest"] == digest():
            return f"{NAME}: {len(rows)} parts and networks, measured on {about['machine']}"
    about = {"digest": digest(), "versions": library_versions(), "machine": machine_class(), "minutes": MINUTES}
    blocks = block_latencies.part_calls()
    whole = {design: block_latencies.network_call(design) for design in networks()}
    seconds = latency_table.fastest(blocks | whole, repeats=REPEATS)  # in turn: they all meet the same machine
    rows = [part._asdict() | {"seconds": round(seconds[part], 9)} for part in blocks]
    rows += [{"design": str(design), "seconds": round(seconds[design], 9)} for design in whole]
    write_experiment(NAME, about, rows)
    return f"{NAME}: {len(rows)} parts and networks, measured on {about['machine']}"
