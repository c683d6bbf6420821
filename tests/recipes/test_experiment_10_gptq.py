"""The rival without training of notebook 10: same grids and images as the rounded rows, and nothing trained."""

import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.qat import fake_quantized_layers
from utils.recipes import experiment_10_gptq as rival
from utils.recipes import experiment_10_widths as widths
from utils.recipes.quantization_starts import load_start


def test_it_repairs_the_rounded_network_of_the_other_table_with_its_images(monkeypatch):
    given = {}

    def keep(prepared, images):
        given.update(prepared=prepared, images=images)
        return prepared

    monkeypatch.setattr(rival, "gptq_prepared", keep)
    error = rival.error_of("mnist", 1, "2 bits")
    _, rows = read_experiment(widths.NAME)
    row = {"data_set": "mnist", "seed": 1, "scheme": "2 bits", "way": widths.ROUNDED}
    (stored,) = (each["error"] for each in rows if condition(each) == row)
    assert error == pytest.approx(stored, abs=0.2)
    assert len(given["images"]) == widths.CALIBRATION_IMAGES
    expected = fake_quantized_layers(widths.rounded(load_start("mnist", 1), "mnist", "2 bits"))
    for name, layer in fake_quantized_layers(given["prepared"]).items():
        assert torch.equal(layer.weight, expected[name].weight)


def test_a_row_made_again_is_the_stored_one():
    _, rows = read_experiment(rival.NAME)
    row = next(row for row in rows if row["scheme"] == "2 bits")
    assert rival.error_of(**condition(row)) == pytest.approx(row["error"], abs=0.5)
