"""The experiment of notebook 08: whole, not stale, its bytes counted by hand, and one row measured again."""

import pytest
import torch

from utils import quantization
from utils.datasets import load
from utils.experiment_files import read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_08_codebooks as grids


def test_the_table_holds_every_form_at_its_bits_once():
    _, rows = read_experiment(grids.NAME)
    wanted = [
        (seed, form, bits)
        for seed in grids.SEEDS
        for form, bits in [("float32", 32), *((f, bits) for bits in grids.BITS for f in grids.FORMS if _has(f, bits))]
    ]
    assert [(row["seed"], row["form"], row["bits"]) for row in rows] == wanted


def _has(form, bits):
    return bits in grids.FORMS[form].bits


def test_the_test_split_was_read_for_what_is_best_on_validation_alone():
    _, rows = read_experiment(grids.NAME)
    best = grids.best_forms(rows)
    read = {(row["form"], row["bits"]) for row in rows if "test" in row}
    assert read == {("float32", 32), *((form, bits) for bits, form in best.items())}
    assert sum("test" in row for row in rows) == len(grids.SEEDS) * 4


@pytest.mark.parametrize(
    ("form", "bits", "beside"),
    [
        ("one grid that clips", 4, 2 * 3),  # two layers, 20 bits each, in whole bytes
        ("one codebook", 2, 2 * 4 * 2),
        ("a grid per row", 4, (256 + 10) * 20 // 8),
        ("a grid per 64", 4, (256 * 13 + 10 * 4) * 20 // 8),
        ("a grid per 32", 2, (256 * 25 + 10 * 8) * 18 // 8),
        *(("codebooks, 16 entries a row", bits, (256 + 10) * 16 * 2) for bits in (4, 3, 2)),
        *(("one codebook, scales per 56", bits, 2 * (256 * 14 + 10 * 5 + 2 * 2**bits)) for bits in (4, 3, 2)),
        ("ternary", 2, 2 * 2),
        ("ternary, per row in fc2", 2, 2 * (1 + 10)),
        ("ternary, per row", 2, 2 * (256 + 10)),
    ],
)
def test_bytes_are_those_of_arithmetic(form, bits, beside):
    assert grids.count_bytes(load_checkpoint("LiteNetMLP"), form, bits) == 203_264 * bits // 8 + beside


def test_a_row_is_what_the_shipped_network_gives():
    _, rows = read_experiment(grids.NAME)
    form, bits = "a grid per 64", 2
    row = next(row for row in rows if (row["seed"], row["form"], row["bits"]) == (0, form, bits))
    found = grids.measure(load_checkpoint("LiteNetMLP"), form, bits, load("mnist"))
    assert found["bytes"] == row["bytes"]
    assert found["error"] == pytest.approx(row["error"], abs=0.1)
    assert found["outputs_fc1"] == pytest.approx(row["outputs_fc1"], abs=0.05)


def test_the_error_of_the_outputs_is_a_trace():
    model, splits = load_checkpoint("LiteNetMLP"), load("mnist")
    x = splits.train.images[: grids.CALIBRATION_IMAGES].flatten(1).double()
    moment = x.T @ x / len(x)
    before = model.fc1.weight.detach().double()
    moved = grids.rounded_network(model, "a grid per 64", 2).fc1.weight.detach().double() - before
    ratio = (before @ moment @ before.T).trace() / (moved @ moment @ moved.T).trace()
    found = grids.measure(model, "a grid per 64", 2, splits)
    assert found["outputs_fc1"] == pytest.approx(10 * ratio.log10().item(), abs=1e-3)


def test_scales_that_share_a_codebook_do_what_they_can():
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([-1.0, -0.25, 0.5, 1.0])
    scales = 2.0 ** torch.arange(8)
    groups = scales[:, None] * levels[torch.randint(0, 4, (8, 56), generator=generator)]
    weight = groups.reshape(4, 112)
    assert torch.allclose(grids.best_scaled_codebook(weight, 2, 56), groups, rtol=2e-3)
    weight = torch.randn(10, 100, generator=generator)  # the last group of a row has 44
    rounded = quantization.out_of_groups(grids.best_scaled_codebook(weight, 2, 56), weight.shape)
    one = grids.best_codebook(weight, 2)
    assert (weight - rounded).square().sum() < (weight - one).square().sum()
    assert all(len(part.unique()) <= 4 for row in rounded for part in (row[:56], row[56:]))


def test_the_better_start_is_taken():
    values = torch.cat([torch.linspace(-1, 1, 500), torch.tensor([30.0])])
    better = (values - grids.best_codebook(values, 2)).square().sum()
    even = (values - grids.codebook(values, bits=2, iterations=200).dequantize()).square().sum()
    assert better <= even * 1.001
