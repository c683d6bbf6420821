"""The table of layer latencies of notebook 03: what LeNet5's layers take at each width, on one machine.

`python -m utils experiments 03_latency` measures it and writes `data/experiments/03_latency.jsonl`. Delete the table
before, or it stays: another machine has other times, and the notebook's widths were found with this one's.
"""

from utils import latency_table, models
from utils.environment import library_versions
from utils.experiment_files import EXPERIMENTS, digest_of, read_experiment, write_experiment
from utils.reference_runs import machine_class

NAME = "03_latency"

MINUTES = 1

REPEATS = 25


def digest() -> str:
    """Return a digest of what is timed: the layers, their widths, the network."""
    return digest_of([latency_table.layer_calls, latency_table.measure_table, models.LeNet5])


def run() -> str:
    """Measure the table if there is none of this code, write it, and return a line that says what it holds."""
    if (EXPERIMENTS / f"{NAME}.jsonl").exists():
        about, rows = read_experiment(NAME)
        if about["digest"] == digest():
            return f"{NAME}: {len(rows)} layers, measured on {about['machine']}"
    about = {"digest": digest(), "versions": library_versions(), "machine": machine_class(), "minutes": MINUTES}
    rows = [
        {"layer": layer, "inputs": inputs, "outputs": outputs, "seconds": round(seconds, 9)}
        for (layer, inputs, outputs), seconds in latency_table.measure_table(repeats=REPEATS).items()
    ]
    write_experiment(NAME, about, rows)
    return f"{NAME}: {len(rows)} layers, measured on {about['machine']}"
