"""The table of latencies of notebook 03: LeNet5's layers at each width, and whole networks, on one machine.

`python -m utils experiments 03_latency` measures it in two minutes and writes `data/experiments/03_latency.jsonl`, if
there is none of this code. To measure again, delete the table first: another machine has other times, and the
notebook's widths follow from this one's. Run it on an idle machine.
"""

from utils import latency_table, models
from utils.environment import library_versions
from utils.experiment_files import EXPERIMENTS, digest_of, read_experiment, write_experiment
from utils.reference_runs import machine_class

NAME = "03_latency"

MINUTES = 2

REPEATS = 12


def digest() -> str:
    """Return a digest of what is timed: the layers, the networks, their widths."""
    calls = (latency_table.layer_calls, latency_table.network_calls, latency_table.uniform_widths)
    return digest_of([*calls, latency_table.fastest, models.LeNet5])


def run() -> str:
    """Measure the table if there is none of this code, write it, and return a line that says what it holds."""
    if (EXPERIMENTS / f"{NAME}.jsonl").exists():
        about, rows = read_experiment(NAME)
        if about["digest"] == digest():
            return f"{NAME}: {len(rows)} layers and networks, measured on {about['machine']}"
    about = {"digest": digest(), "versions": library_versions(), "machine": machine_class(), "minutes": MINUTES}
    layers, networks = latency_table.layer_calls(), latency_table.network_calls()
    seconds = latency_table.fastest(layers | networks, repeats=REPEATS)  # in turn: they all meet the same machine
    rows = [
        {"layer": layer, "inputs": inputs, "outputs": outputs, "seconds": round(seconds[layer, inputs, outputs], 9)}
        for layer, inputs, outputs in layers
    ]
    rows += [{"widths": list(widths), "seconds": round(seconds[widths], 9)} for widths in networks]
    write_experiment(NAME, about, rows)
    return f"{NAME}: {len(rows)} layers and networks, measured on {about['machine']}"
