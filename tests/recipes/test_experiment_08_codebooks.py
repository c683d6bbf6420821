"""The experiment of notebook 08: whole, not stale, its bytes counted by hand, and one row measured again."""

import pytest
import torch

from utils.datasets import load
from utils.experiment_files import read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_08_codebooks as grids


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(grids.NAME)
    assert about["digest"] == grids.digest(), f"run `python -m utils experiments {grids.NAME}` again"
    wanted = [
        (seed, form, bits)
        for seed in grids.SEEDS
        for form, bits in [("float32", 32), *((form, bits) for bits in grids.BITS for form in grids.FORMS)]
    ]
    assert [(row["seed"], row["form"], row["bits"]) for row in rows] == wanted


@pytest.mark.parametrize(
    ("form", "bits", "beside"),
    [
        ("one grid that clips", 4, 2 * 3),  # two layers, 20 bits each, in whole bytes
        ("one codebook", 2, 2 * 4 * 2),
        ("a grid per row", 4, (256 + 10) * 20 // 8),
        ("a grid per 64", 4, (256 * 13 + 10 * 4) * 20 // 8),
        ("a grid per 32", 2, (256 * 25 + 10 * 8) * 18 // 8),
        *(("codebooks, 16 entries a row", bits, (256 + 10) * 16 * 2) for bits in (4, 3, 2)),
    ],
)
def test_bytes_are_those_of_arithmetic(form, bits, beside):
    assert grids.count_bytes(load_checkpoint("LiteNetMLP"), form, bits) == 203_264 * bits // 8 + beside


def test_a_row_is_what_the_shipped_network_gives():
    _, rows = read_experiment(grids.NAME)
    form, bits = "a grid per 64", 2
    row = next(row for row in rows if (row["seed"], row["form"], row["bits"]) == (0, form, bits))
    found = grids.measure(load_checkpoint("LiteNetMLP"), form, bits, load("mnist").validation)
    assert found["bytes"] == row["bytes"]
    assert found["error"] == pytest.approx(row["error"], abs=0.1)


def test_the_better_start_is_taken():
    values = torch.cat([torch.linspace(-1, 1, 500), torch.tensor([30.0])])
    better = (values - grids.best_codebook(values, 2)).square().sum()
    even = (values - grids.codebook(values, bits=2, iterations=200).dequantize()).square().sum()
    assert better <= even * 1.001
