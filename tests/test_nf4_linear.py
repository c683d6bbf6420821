"""NF4 layers: against `weight_only.nf4` and a dense layer of the same weight, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.bit_packing import unpack
from utils.nf4_linear import NF4Linear, in_nf4, pack_scales
from utils.transformer import Transformer
from utils.weight_only import nf4


def layer(rows=7, columns=100, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(columns, rows, bias=False)


def test_codes_are_those_of_nf4_and_the_weight_differs_by_the_scales_only():
    dense = layer()
    held, rounded = NF4Linear(dense), nf4(dense.weight.detach())
    codes = unpack(held.codes, 4, (7, 100), signed=False)
    assert torch.equal(codes, rounded.codes)
    off = (held.dequantized() - rounded.dequantize()).abs().max() / rounded.dequantize().abs().max()
    assert 0 < off < 0.01


def test_forward_and_backward_are_those_of_a_dense_layer_with_this_weight():
    held = NF4Linear(layer())
    x = torch.randn(3, 2, 100, requires_grad=True)
    held(x).pow(2).sum().backward()
    ours = x.grad.clone()
    x.grad = None
    (x @ held.dequantized().T).pow(2).sum().backward()
    assert torch.allclose(ours, x.grad, atol=1e-4)
    assert torch.equal(held.in_float().weight, held.dequantized())


def test_nothing_of_the_size_of_the_weight_is_kept_for_the_backward_pass():
    held, kept = NF4Linear(layer(64, 128)), []
    x = torch.randn(2, 128, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        held(x)
    assert sum(kept) < 64 * 128


def test_gradients_flow_under_autocast():
    held = NF4Linear(layer())
    x = torch.randn(4, 100, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = held(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32


def test_a_state_can_be_loaded_again():
    first, second = NF4Linear(layer(seed=0)), NF4Linear(layer(seed=1))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.dequantized(), second.dequantized())


def test_bytes_are_those_of_its_buffers():
    held = NF4Linear(layer(64, 128))
    assert held.nbytes == 64 * 128 // 2 + 64 * 2 + 4 + 4


def test_a_whole_network_is_held_in_nf4_and_still_answers():
    torch.manual_seed(0)
    model = Transformer(width=16, heads=2, hidden=24, blocks=1)
    nn.init.normal_(model.head.weight)
    held = in_nf4(model, choose=lambda name: name != "head")
    assert isinstance(held.head, nn.Linear)
    assert isinstance(held.blocks[0].attention.query, NF4Linear)
    tokens = torch.arange(8).view(1, 8)
    off = (held(tokens) - model(tokens)).abs().max()
    assert 0 < off < model(tokens).abs().max()


def test_a_bias_is_refused():
    with pytest.raises(ValueError, match="must have no bias"):
        NF4Linear(nn.Linear(4, 4))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60), st.integers(1, 20))
def test_packed_scales_are_off_by_half_a_step_at_most(values, group_size):
    scales = torch.tensor(values)
    packed = pack_scales(scales, group_size=group_size)
    step = packed.step.repeat_interleave(group_size)[: len(scales)]
    assert ((packed.unpacked() - scales).abs() <= 0.5 * step + 1e-5 * scales.abs().max()).all()


def test_equal_scales_come_back():
    assert torch.equal(pack_scales(torch.full((5,), 0.25)).unpacked(), torch.full((5,), 0.25))
