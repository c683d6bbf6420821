"""The long experiment of notebook 10: its ways differ in nothing but the rounding."""

import pytest
import torch

from utils.datasets import load
from utils.experiment_files import condition, read_experiment
from utils.qat import fake_quantized_layers
from utils.recipes import experiment_10_widths as widths
from utils.recipes.quantization_starts import load_start
from utils.training import logits


def test_through_the_rounding_and_in_float_the_training_is_the_same(monkeypatch):
    fitted = []
    monkeypatch.setattr(widths, "fit", lambda network, train, recipe, **options: fitted.append((train, recipe)))
    monkeypatch.setattr(widths, "distillation", lambda teacher: fitted.append(teacher))
    widths.trained_on.cache_clear()
    for way in (widths.THROUGH, widths.TWIN):
        widths.error_of("mnist", 1, "2 bits", way)
    widths.trained_on.cache_clear()
    (teacher, through), (again, twin) = fitted[:2], fitted[2:]
    assert through[1] == twin[1] == widths.recipe("mnist", 1)
    assert through[0].images is twin[0].images or torch.equal(through[0].images, twin[0].images)
    images = load("mnist").validation.images[:50]
    for each in (teacher, again):
        assert torch.equal(logits(each, images), logits(load_start("mnist", 1), images))


@pytest.mark.parametrize("scheme", widths.SCHEMES)
def test_every_layer_has_the_bits_of_the_scheme(scheme):
    layers = fake_quantized_layers(widths.rounded(load_start("mnist", 0), "mnist", scheme))
    bits = {
        quantizer.bits for layer in layers.values() for quantizer in (layer.weight_quantizer, layer.input_quantizer)
    }
    assert f"{bits.pop()} bits" == scheme
    assert not bits
    assert len(layers) == 4


@pytest.mark.parametrize("data_set", widths.MEASURED)
def test_a_row_without_training_is_what_the_shipped_network_gives(data_set):
    _, rows = read_experiment(widths.NAME)
    row = next(r for r in rows if (r["data_set"], r["scheme"], r["way"]) == (data_set, "3 bits", widths.ROUNDED))
    assert widths.error_of(**condition(row)) == pytest.approx(row["error"], abs=0.2)


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_a_row_trained_again_is_the_stored_one():
    _, rows = read_experiment(widths.NAME)
    row = next(row for row in rows if (row["scheme"], row["way"]) == ("2 bits", widths.THROUGH))
    assert widths.error_of(**condition(row)) == pytest.approx(row["error"], abs=1.0), (
        "another processor rounds otherwise"
    )
