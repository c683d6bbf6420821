"""What the weights of an ONNX file take, by type."""

import pytest
import torch
from torch import nn

from utils.onnx_export import export_onnx, quantize_onnx_static
from utils.weight_bytes import left_in_float, weight_bytes


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


def both(model, example, folder):
    source = export_onnx(model, example, folder / "float.onnx")
    return source, quantize_onnx_static(source, folder / "int8.onnx", [example])


def test_int8_leaves_only_scales_in_float_and_biases_in_four_bytes(tmp_path):
    source, target = both(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), torch.rand(5, 16), tmp_path)
    numbers = 16 * 32 + 32 * 4
    assert weight_bytes(source) == {"float32": 4 * (numbers + 32 + 4)}
    inside = weight_bytes(target)
    assert inside["int32"] >= 4 * (32 + 4)
    assert numbers <= inside["int8"] < 1.2 * numbers  # zero points are int8, too
    assert inside["float32"] < numbers
    assert list(inside.values()) == sorted(inside.values(), reverse=True)
    assert list(left_in_float(source).values()) == [4 * 16 * 32, 4 * 32 * 4]
    assert left_in_float(target) == {}


@pytest.mark.filterwarnings("ignore")
def test_what_the_quantizer_passes_over_is_seen(tmp_path):
    model = Recurrent()
    recurrent = 4 * sum(p.numel() for p in model.gru.parameters())
    source, target = both(model, torch.rand(4, 5, 6), tmp_path)
    assert weight_bytes(target)["float32"] >= recurrent
    assert 0 < weight_bytes(target)["int8"] < 50
    [(name, size)] = left_in_float(target).items()
    assert name.startswith("GRU ")
    assert size == 4 * (model.gru.weight_ih_l0.numel() + model.gru.weight_hh_l0.numel())
    assert sum(weight_bytes(source).values()) < source.stat().st_size
