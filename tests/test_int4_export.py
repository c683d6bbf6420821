"""Weights of 4 bits as ONNX Runtime reads them: packed as its own quantizer packs, and answering as PyTorch does."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from utils.int4_export import BLOCK, export_int4, pack_in_blocks
from utils.models import LiteNetCNN, LiteNetMLP
from utils.onnx_export import OnnxModel
from utils.qat import LearnedScale, TernaryWeight, WeightRange, calibrate, convert, prepare
from utils.training import logits


def four_bits(model, **options):
    return convert(prepare(model, **{"weight": partial(LearnedScale, 4), "activation": None} | options))


@pytest.mark.parametrize("inputs", [BLOCK, BLOCK + 1, 3])
def test_what_is_packed_is_unpacked_by_hand(inputs):
    drawn = np.random.default_rng(inputs).integers(-8, 8, (5, inputs))
    packed = pack_in_blocks(torch.from_numpy(drawn)).numpy()
    blocks = -(-inputs // BLOCK)
    assert packed.shape == (5, blocks, BLOCK // 2)
    pairs = np.stack([packed & 15, packed >> 4], axis=-1).reshape(5, blocks * BLOCK).astype(int) - 8
    assert (pairs[:, :inputs] == drawn).all()
    assert (pairs[:, inputs:] == 0).all()


@pytest.mark.parametrize("weight", [partial(LearnedScale, 4), partial(WeightRange, 3), TernaryWeight])
def test_with_float_inputs_the_file_answers_as_the_network(tmp_path, weight):
    torch.manual_seed(0)
    model = four_bits(LiteNetMLP(20), weight=weight)
    images = torch.rand(9, 1, 28, 28)
    file = OnnxModel(export_int4(model, images[:1], tmp_path / "small.onnx", inputs_in_int8=False))
    assert torch.allclose(logits(file, images), logits(model, images), atol=1e-5)


def test_with_int8_inputs_it_is_off_by_their_rounding(tmp_path):
    torch.manual_seed(0)
    model = four_bits(nn.Sequential(nn.Linear(64, 8)))
    x = torch.rand(5, 64)
    off = logits(OnnxModel(export_int4(model, x[:1], tmp_path / "small.onnx")), x) - logits(model, x)
    weight = model[0].weight_integers() * model[0].weight_scale[:, None]
    steps = torch.stack([block.abs().amax(1) / 127 for block in x.split(BLOCK, dim=1)], dim=1)  # (5, 2)
    largest = torch.stack([block.abs().sum(1) for block in weight.split(BLOCK, dim=1)], dim=1)  # (8, 2)
    assert (off.abs() <= 0.51 * steps @ largest.T + 1e-5).all()


def test_a_weight_takes_half_a_byte(tmp_path):
    model = four_bits(nn.Sequential(nn.Linear(1024, 512)))
    path = export_int4(model, torch.rand(1, 1024), tmp_path / "large.onnx")
    packed, scales = 1024 * 512 // 2, 4 * 1024 * 512 // BLOCK
    assert packed + scales <= path.stat().st_size < 1.02 * (packed + scales)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2)), "no converted layers"),
        (lambda: four_bits(LiteNetCNN()), "conv1 is a convolution"),
        (lambda: four_bits(LiteNetMLP(4), weight=partial(LearnedScale, 5)), "fc1 must have weights of at most 4 bits"),
        (lambda: _rounded_inputs(), "fc1 must have .* float inputs"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        export_int4(make(), torch.rand(1, 1, 28, 28), tmp_path / "none.onnx")


def _rounded_inputs():
    model = prepare(LiteNetMLP(4), weight=partial(LearnedScale, 4), activation=partial(LearnedScale, 4))
    calibrate(model, torch.rand(3, 1, 28, 28))
    return convert(model)
