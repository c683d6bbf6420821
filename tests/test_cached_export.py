"""The decoding step as a file: the logits of whole passes, in float and with 4 bits."""

from functools import partial

import pytest
import torch

from utils.cached_export import CachedWriter, export_int4_step, export_step
from utils.language_models import generate
from utils.onnx_export import ExportError
from utils.transformer import Transformer
from utils.weight_only import minmax_half_grid, round_linear_layers, round_to_nearest


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Transformer(9, width=32, heads=2, hidden=48, blocks=2, context=24).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def logits(writer, text):
    writer.forget()
    return torch.stack([writer.read(character) for character in text.tolist()])


def test_a_file_reads_step_for_step_what_a_pass_reads_and_writes_the_same(model, tmp_path):
    writer = CachedWriter(export_step(model, tmp_path / "step.onnx"))
    text = torch.arange(24) % 9
    with torch.no_grad():
        assert torch.allclose(logits(writer, text), model(text[None])[0], atol=1e-4)
    with pytest.raises(ValueError, match="holds 24 characters and is full"):
        writer.read(0)
    wanted = generate(model, text[None, :4], 15, temperature=0)[0]
    assert torch.equal(writer.write(text[:4], 15), wanted)
    assert torch.equal(writer.write(text[:4], 15), wanted), "what it held before is still looked at"


def test_with_4_bits_it_reads_what_the_codes_stand_for(model, tmp_path):
    grid = partial(minmax_half_grid, bits=4)
    rounded = round_linear_layers(model, lambda _, weight: round_to_nearest(weight, grid, group_size=16))
    writer = CachedWriter(export_int4_step(rounded, tmp_path / "step4.onnx", accuracy_level=1))
    text = torch.arange(20) % 9
    with torch.no_grad():
        assert torch.allclose(logits(writer, text), rounded.model(text[None])[0], atol=1e-3)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "step.onnx").write_bytes(b"no")
    with pytest.raises(ExportError, match="is no ONNX file"):
        CachedWriter(tmp_path / "step.onnx")
