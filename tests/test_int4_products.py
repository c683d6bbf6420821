"""Products with 4-bit weights in ONNX Runtime against PyTorch's product with the weights that they stand for."""

from functools import partial

import pytest
import torch
from torch import nn

from utils.int4_export import FLOAT_INPUTS, INT8_INPUTS
from utils.int4_products import export_int4_transformer, export_transformer, write_int4_product, write_product
from utils.onnx_export import OnnxModel
from utils.quantization import clipped_half_grid
from utils.rescaling import round_inputs
from utils.transformer import Transformer
from utils.weight_only import round_linear_layers, round_to_nearest


def _stored(rows, columns, group_size, bits=4):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) + 0.3  # zero points are not 0
    return round_to_nearest(weight, partial(clipped_half_grid, bits=bits), group_size=group_size)


@pytest.mark.parametrize(("columns", "group_size"), [(160, 32), (160, 64), (416, 64), (96, 32), (20, 16)])
def test_with_float_inputs_the_file_multiplies_by_the_weight(tmp_path, columns, group_size):
    stored = _stored(7, columns, group_size)
    x = torch.randn(3, columns)
    file = OnnxModel(write_int4_product(stored, tmp_path / "product.onnx", accuracy_level=FLOAT_INPUTS))
    assert torch.allclose(file(x), x @ stored.dequantize().T, atol=1e-4)


def test_with_int8_inputs_each_block_of_inputs_is_rounded_by_itself(tmp_path):
    stored = _stored(16, 128, 32)
    x = torch.randn(5, 128) * torch.tensor([1.0, 10.0, 0.1, 3.0]).repeat_interleave(32)
    file = OnnxModel(write_int4_product(stored, tmp_path / "product.onnx", accuracy_level=INT8_INPUTS))
    by_block = round_inputs(x.view(5, 4, 32)).view(5, 128) @ stored.dequantize().T
    by_token = round_inputs(x) @ stored.dequantize().T
    exact = x @ stored.dequantize().T
    assert (file(x) - by_block).abs().max() < 0.05 * (by_block - exact).abs().max()
    assert (file(x) - by_token).abs().max() > (by_block - exact).abs().max()


def test_the_float_file_multiplies_by_the_weight(tmp_path):
    weight, x = torch.randn(5, 12), torch.randn(4, 12)
    assert torch.allclose(OnnxModel(write_product(weight, tmp_path / "product.onnx"))(x), x @ weight.T, atol=1e-5)


def test_a_weight_takes_half_a_byte_and_its_share_of_scale_and_zero_point(tmp_path):
    stored = _stored(512, 1024, 32)
    size = write_int4_product(stored, tmp_path / "product.onnx").stat().st_size
    parts = 512 * 1024 // 2 + 512 * 32 * 4 + 512 * 32 // 2  # the kernel's scales are float32
    assert parts <= size < parts + 1000


@pytest.mark.parametrize(("bits", "group_size"), [(3, 32), (4, 40), (4, 8)])
def test_what_the_kernel_cannot_read_is_refused(tmp_path, bits, group_size):
    with pytest.raises(ValueError, match="4 bits in groups"):
        write_int4_product(_stored(4, 80, group_size, bits), tmp_path / "none.onnx")


def test_a_transformer_in_a_file_answers_as_in_pytorch(tmp_path):
    torch.manual_seed(0)
    model = Transformer(20, width=32, heads=2, hidden=48, blocks=1, context=8).eval()
    nn.init.normal_(model.head.weight, std=0.2)
    rounded = round_linear_layers(
        model, lambda _, w: round_to_nearest(w, partial(clipped_half_grid, bits=4), group_size=16)
    )
    tokens = torch.randint(20, (3, 8))
    int4 = OnnxModel(export_int4_transformer(rounded, 8, tmp_path / "int4.onnx", accuracy_level=FLOAT_INPUTS))
    plain = OnnxModel(export_transformer(model, 8, tmp_path / "float.onnx"))
    with torch.no_grad():
        assert torch.allclose(int4(tokens.float()), rounded.model(tokens), atol=1e-4)
        assert torch.allclose(plain(tokens.float()), model(tokens), atol=1e-4)
        assert not torch.allclose(rounded.model(tokens), model(tokens), atol=1e-2)
