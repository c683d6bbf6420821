"""The tables of all long experiments: of today's code, whole, and not made again while they are."""

import inspect

import pytest
from torch import nn

from utils import experiment_files
from utils.experiment_files import read_experiment
from utils.recipes import registry

WITH_CONDITIONS = [name for name, module in registry.EXPERIMENTS.items() if hasattr(module, "conditions")]
"""Those that list their rows; the tables of times, of grids and of the search have tests of their own."""

MADE_ANEW = {"08_grids_and_codebooks", "18_frontier"}
"""Their `run` makes the whole table at each call, and stands in its digest."""


def of_rows(name, rows):
    """Return what an experiment's rows are about, as dictionaries."""
    conditions = registry.EXPERIMENTS[name].conditions
    wanted = list(conditions(rows) if inspect.signature(conditions).parameters else conditions())  # rates are chosen
    if name == "18_frontier":  # its first row is of float32
        wanted = [dict(zip(("method", "bits", "seed"), each, strict=True)) for each in [("float32", 32, 0), *wanted]]
    return [each if isinstance(each, dict) else each._asdict() for each in wanted]


@pytest.mark.parametrize("name", registry.EXPERIMENTS)
def test_no_table_is_stale(name):
    about, _ = read_experiment(name)
    assert about["digest"] == registry.EXPERIMENTS[name].digest(), (
        f"what {name} depends on has changed: delete its table and run `python -m utils experiments {name}`"
    )


@pytest.mark.parametrize("name", WITH_CONDITIONS)
def test_a_table_holds_every_row_once_in_order(name):
    _, rows = read_experiment(name)
    wanted = of_rows(name, rows)
    assert len(rows) == len(wanted)
    assert [{key: row[key] for key in each} for row, each in zip(rows, wanted, strict=True)] == wanted


@pytest.mark.parametrize("name", registry.EXPERIMENTS)
def test_errors_are_per_cents(name):
    _, rows = read_experiment(name)
    assert all(0 < row["error"] < 100 for row in rows if "error" in row)


@pytest.mark.parametrize("name", [name for name in registry.EXPERIMENTS if name not in MADE_ANEW])
def test_a_whole_table_is_not_made_again(name, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError(f"{name} computes or writes what its table holds")

    module = registry.EXPERIMENTS[name]
    for owner in (experiment_files, module):
        monkeypatch.setattr(owner, "write_experiment", forbidden, raising=False)
    monkeypatch.setattr(nn.Module, "__call__", forbidden)  # no row comes about without a network that answers
    assert module.run().startswith(f"{name}: ")
