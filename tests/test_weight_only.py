"""Weights in few bits against torchao, ml_dtypes, PyTorch's casts, the published list of NF4, and counting by hand."""

from functools import partial

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn
from torch.nn.utils import parametrize

from utils import weight_only
from utils.quantization import clipped_half_grid, parameters_for, round_to_grid
from utils.surgeon import second_moment
from utils.transformer import Transformer
from utils.weight_only import E2M1, E4M3, GroupedWeight, round_to_nearest

PUBLISHED_NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635]
PUBLISHED_NF4 += [-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725]
PUBLISHED_NF4 += [0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941]
PUBLISHED_NF4 += [0.7229568362236023, 1.0]
"""Appendix E of the paper of QLoRA (Dettmers et al., 2023)."""


def _weight(rows=6, columns=40, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [None, 16, 40, 64])
def test_rounding_in_groups_is_rounding_each_group_by_itself(bits, group_size):
    weight = _weight()
    rounded = round_to_nearest(weight, partial(clipped_half_grid, bits=bits), group_size=group_size)
    size = group_size or 40
    for row in range(6):
        for start in range(0, 40, size):
            part = weight[row : row + 1, start : start + size]
            filled = torch.cat([part, torch.zeros(1, size - part.shape[1])], dim=1)
            alone = round_to_grid(part, clipped_half_grid(filled, bits=bits))
            assert torch.equal(rounded.dequantize()[row : row + 1, start : start + size], alone)


def test_a_grid_that_just_holds_a_group_moves_each_weight_by_half_a_step_at_most():
    weight = _weight()
    rounded = round_to_nearest(weight, partial(weight_only.minmax_half_grid, bits=3), group_size=8)
    steps = rounded.scale.repeat_interleave(8, dim=1)
    assert ((rounded.dequantize() - weight).abs() <= 0.502 * steps).all()  # the scale was rounded to float16
    assert ((rounded.dequantize() - weight).abs() > 0.4 * steps).any()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packed_bytes_stand_for_the_same_weight(bits):
    rounded = round_to_nearest(_weight(5, 37), partial(clipped_half_grid, bits=bits), group_size=16)
    tensors = rounded.tensors()
    again = GroupedWeight.from_tensors(tensors, shape=(5, 37), bits=bits, group_size=16)
    for part in ("codes", "scale", "zero_point"):
        assert torch.equal(getattr(again, part), getattr(rounded, part))
    assert torch.equal(again.dequantize(), rounded.dequantize())
    assert sum(tensor.nbytes for tensor in tensors.values()) == rounded.nbytes


def test_the_bytes_of_the_lesson():
    rounded = round_to_nearest(_weight(160, 416), partial(clipped_half_grid, bits=3), group_size=64)
    groups = 160 * 7  # six of 64 and one of 32
    assert rounded.nbytes == 160 * 416 * 3 // 8 + 2 * groups + 3 * groups // 8


def test_a_scale_that_float16_cannot_hold_is_refused():
    rounded = round_to_nearest(_weight(), partial(parameters_for, bits=4, axis=0))
    with pytest.raises(ValueError, match="float16"):
        rounded.tensors()


# --- lists of values --------------------------------------------------------------------------------------------------


def test_the_list_of_nf4_is_the_published_one():
    assert torch.allclose(weight_only.normal_float_entries(), torch.tensor(PUBLISHED_NF4), atol=1e-6)


def test_nf4_takes_the_nearest_entry_and_four_and_a_quarter_bits():
    weight = _weight(4, 128)
    rounded = weight_only.nf4(weight)
    for row in range(4):
        for start in (0, 64):
            part = weight[row, start : start + 64]
            values = torch.tensor(PUBLISHED_NF4) * part.abs().max().half().float()
            best = values[(part[:, None] - values).abs().argmin(dim=1)]
            assert torch.allclose(rounded.dequantize()[row, start : start + 64], best, atol=1e-6)
    assert 8 * rounded.nbytes / weight.numel() == 4.25


@pytest.mark.parametrize(
    ("form", "theirs"), [(E2M1, ml_dtypes.float4_e2m1fn), (E4M3, ml_dtypes.float8_e4m3fn)], ids=["E2M1", "E4M3"]
)
def test_small_floats_round_as_ml_dtypes_does(form, theirs):
    values = torch.cat([torch.randn(2000) * form.largest / 3, torch.linspace(-1, 1, 1001) * form.largest])
    values = torch.cat([values.clamp(-form.largest, form.largest), torch.arange(-600, 600) / 512])  # halves, subnormal
    expected = values.numpy().astype(theirs).astype(np.float32)
    assert (weight_only.round_to_small_float(values, form).numpy() == expected).all()


def test_e4m3_rounds_as_pytorch_casts():
    values = torch.randn(5000) * 100
    assert torch.equal(weight_only.round_to_small_float(values, E4M3), values.to(torch.float8_e4m3fn).float())


@pytest.mark.parametrize(("form", "count"), [(E2M1, 15), (E4M3, 253)])
def test_the_entries_of_a_small_float_are_all_its_values(form, count):
    entries = form.entries()
    assert len(entries) == count  # both zeros are one; E4M3 gives two codes to NaN
    assert torch.equal(weight_only.round_to_small_float(entries, form), entries)
    assert entries.max() == form.largest


def test_mxfp4_is_what_torchao_makes_of_it():
    from torchao.prototype.mx_formats.mx_tensor import MXTensor

    weight = torch.cat([_weight(8, 96), torch.zeros(1, 96)])
    theirs = MXTensor.to_mx(weight, torch.float4_e2m1fn_x2, 32).dequantize(torch.float32)
    ours = weight_only.mxfp4(weight)
    assert torch.equal(ours.dequantize(), theirs)
    assert 8 * ours.nbytes / weight.numel() == 4.25


def test_fp8_is_pytorchs_cast_of_each_row():
    weight = _weight(5, 64)
    scale = (weight.abs().amax(dim=1, keepdim=True) / 448).half().float()
    expected = (weight / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
    rounded = weight_only.fp8(weight)
    assert torch.equal(rounded.dequantize(), expected)
    assert rounded.nbytes == 5 * 64 + 2 * 5


def test_ternary_weights_are_rounded_over_their_mean_and_learn_straight_through():
    layer = nn.Linear(8, 4, bias=False)
    weight = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", weight_only.MeanTernary())
    scale = weight.abs().mean()
    expected = torch.where(weight.abs() > scale / 2, weight.sign() * scale, 0.0)
    assert torch.allclose(layer.weight, expected)
    x = torch.randn(3, 8)
    layer(x).sum().backward()
    assert torch.allclose(layer.parametrizations.weight.original.grad, x.sum(dim=0).expand(4, 8), atol=1e-6)


# --- statistics and errors --------------------------------------------------------------------------------------------


def _model():
    torch.manual_seed(0)
    model = Transformer(20, width=8, heads=2, hidden=12, blocks=2, context=16)
    return model.requires_grad_(False)


def test_statistics_in_batches_are_those_of_all_inputs_at_once():
    model, tokens = _model(), torch.randint(20, (6, 16), generator=torch.Generator().manual_seed(1))
    seen = weight_only.input_statistics(model.train(), tokens.split([1, 3, 2]))
    assert model.training
    assert list(seen) == list(weight_only.linear_layers(model))
    x = model.blocks[0].norm1(model.embedding(tokens)).flatten(0, 1)
    for reader in ("query", "key", "value"):
        mine = seen[f"blocks.0.attention.{reader}"]
        assert torch.allclose(mine.moment, second_moment(x.double()), atol=1e-6)
        assert torch.allclose(mine.mean_magnitude, x.abs().mean(dim=0), atol=1e-6)
        assert torch.equal(mine.largest, x.abs().amax(dim=0))
    assert seen["blocks.1.feed_forward.down"].moment.shape == (12, 12)


def test_statistics_without_batches_are_refused():
    with pytest.raises(ValueError, match="was not called"):
        weight_only.input_statistics(_model(), [])


def test_the_error_of_the_outputs_is_their_mean_squared_change():
    x, weight, other = _weight(100, 7), _weight(3, 7, seed=1), _weight(3, 7, seed=2)
    direct = (x @ (weight - other).T).square().sum(dim=1).mean().item()
    assert weight_only.output_error(weight, other, x.T @ x / 100) == pytest.approx(direct, rel=1e-4)


# --- networks and files -----------------------------------------------------------------------------------------------


def _rounded(bits=4):
    return weight_only.round_linear_layers(
        _model(), lambda _, w: round_to_nearest(w, partial(clipped_half_grid, bits=bits), group_size=8)
    )


def test_only_the_linear_layers_of_a_copy_are_rounded():
    model, rounded = _model(), _rounded()
    before, after = model.state_dict(), rounded.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.weight" for name in rounded.stored} - {"head.weight"}  # the untrained head is zero
    for name, each in rounded.stored.items():
        assert torch.equal(after[f"{name}.weight"], each.dequantize())
    numbers = sum(each.codes.numel() for each in rounded.stored.values())
    assert rounded.bits_per_weight == pytest.approx(8 * rounded.nbytes / numbers)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_file_holds_the_network(bits):
    rounded = _rounded(bits)
    content = weight_only.to_file(rounded)
    again = weight_only.from_file(content, _model())
    tokens = torch.arange(16)[None]
    assert torch.allclose(again(tokens), rounded.model(tokens), atol=2e-3)  # embedding and norms in float16
    assert torch.equal(again.blocks[1].attention.key.weight, rounded.model.blocks[1].attention.key.weight)
    tensors = load(content)
    packed = sum(t.nbytes for name, t in tensors.items() if name.endswith(("codes", "scale", "zero_point")))
    assert packed == rounded.nbytes


def test_a_file_of_mixed_forms_is_refused():
    mixed = weight_only.round_linear_layers(_model(), lambda _, w: weight_only.nf4(w))
    with pytest.raises(ValueError, match="GroupedWeights"):
        weight_only.to_file(mixed)


def test_statistics_of_a_layer_that_is_called_by_name_are_those_of_one_called_by_place():
    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(input=x)

    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    named = weight_only.input_statistics(ByName(), [x])["fc"]
    placed = weight_only.input_statistics(nn.Sequential(nn.Linear(3, 2)), [x])["0"]
    assert all(torch.equal(one, other) for one, other in zip(named, placed, strict=True))
