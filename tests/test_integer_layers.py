"""`utils.integer_layers` against exact fractions and against the simulation in float."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.random_inputs import randn, seeded
from utils.integer_layers import IntegerLinear, fixed_point, requantize
from utils.quantization import QuantizationParameters, dequantize, parameters_for, parameters_from_range, quantize

quick = settings(max_examples=60)


@quick
@given(st.floats(2.0**-32, 2.0**29))
def test_fixed_point_is_within_two_to_the_minus_31(multiplier):
    mantissa, shift = fixed_point(torch.tensor([multiplier], dtype=torch.float64))
    assert 2**30 <= mantissa.item() < 2**31
    assert 1 <= shift.item() <= 63
    assert abs(mantissa.item() * 2.0 ** -shift.item() / multiplier - 1) <= 2.0**-31


@quick
@given(st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-32, 1.0))
def test_requantize_equals_exact_arithmetic(accumulator, multiplier):
    mantissa, shift = fixed_point(torch.tensor([multiplier], dtype=torch.float64))
    received = requantize(torch.tensor([accumulator], dtype=torch.int32), mantissa, shift)
    assert received.item() == round(Fraction(accumulator * mantissa.item(), 2 ** shift.item()))  # halves to even


def test_fixed_point_refuses_scales_that_do_not_fit_together():
    for multiplier in (1e-12, 1e12):
        with pytest.raises(ValueError, match="do not fit together"):
            fixed_point(torch.tensor([multiplier]))


def power_of_two_grid(exponent, zero_point=0):
    return QuantizationParameters(torch.tensor(2.0**exponent), torch.tensor(zero_point, dtype=torch.int32), -128, 127)


@quick
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 60))
def test_integer_linear_is_the_simulation_bit_for_bit_on_power_of_two_scales(seed, bias, inputs):
    """Scales that are powers of two make every float32 operation exact, so that ties are met, and met alike."""
    generator = seeded(seed)
    linear = nn.Linear(inputs, 5, bias=bias)
    linear.weight.data = torch.randint(-127, 128, (5, inputs), generator=generator) * 2.0**-7
    linear.weight.data[:, 0] = 127 * 2.0**-7  # so that the largest gives exactly S = 2^-7
    if bias:
        linear.bias.data = torch.randint(-999, 999, (5,), generator=generator) * 2.0**-11
    into, out = power_of_two_grid(-4, zero_point=-7), power_of_two_grid(-2, zero_point=5)
    codes = torch.randint(-128, 128, (20, inputs), generator=generator).to(torch.int8)
    simulated = F.linear(dequantize(codes, into), linear.weight, linear.bias)
    assert torch.equal(IntegerLinear(linear, into, out)(codes), quantize(simulated, out))


@quick
@given(st.integers(0, 10_000), st.booleans(), st.integers(2, 8))
def test_integer_linear_is_the_simulation_but_for_near_ties_on_any_scales(seed, per_channel, bits):
    linear = nn.Linear(40, 6)
    torch.nn.init.normal_(linear.weight, generator=seeded(seed))
    x = randn(30, 40, seed=seed)
    into, out = parameters_for(x), parameters_for(linear(x).detach())
    layer = IntegerLinear(linear, into, out, bits=bits, per_channel=per_channel)
    codes = quantize(x, into)
    grid = parameters_for(linear.weight, bits=bits, symmetric=True, axis=0 if per_channel else None)
    product = into.scale.double() * grid.scale.double()  # S_x S_w
    offset = torch.round(linear.bias.double() / product) * product
    real = (codes.double() - into.zero_point) @ layer.weight.double().T * product + offset
    steps = real / out.scale.double() + out.zero_point
    expected = torch.round(steps).clamp(out.qmin, out.qmax)
    received = layer(codes)
    near = (steps - steps.floor() - 0.5).abs() < 2.0**-21
    assert bool(((received == expected) | near).all())
    assert (received - expected).abs().max() <= 1


def test_the_clip_is_a_relu_when_the_range_starts_at_zero():
    linear, x = nn.Linear(10, 8), randn(50, 10)
    into, out = parameters_for(x), parameters_from_range(0.0, 3.0)
    real = dequantize(IntegerLinear(linear, into, out)(quantize(x, into)), out)
    assert real.min() == 0.0
    assert (real - linear(x).relu().clamp(max=3.0)).abs().max() < 0.1


def test_integer_linear_without_output_grid_returns_sums():
    linear, x = nn.Linear(10, 4), randn(50, 10)
    into = parameters_for(x)
    layer = IntegerLinear(linear, into)
    sums = layer(quantize(x, into))
    assert sums.dtype == torch.int32
    assert (sums * layer.sum_scale - linear(x)).abs().max() < 0.05
    assert {"weight", "bias", "sum_scale"} == set(layer.state_dict())


def test_integer_linear_refuses_what_could_go_wrong():
    linear, grid = nn.Linear(2, 2), parameters_from_range(-1.0, 1.0)
    with pytest.raises(ValueError, match="axis must be None"):
        IntegerLinear(linear, parameters_from_range(torch.zeros(2), torch.ones(2), axis=0))
    with pytest.raises(TypeError, match=r"torch\.int8"):
        IntegerLinear(linear, grid)(torch.zeros(1, 2))
    linear.weight.data.mul_(1e-12)
    with pytest.raises(ValueError, match="overflow 32 bits"):
        IntegerLinear(linear, grid)
    wide = nn.Linear(140_000, 1, bias=False)
    wide.weight.data.fill_(1.0)
    with pytest.raises(ValueError, match="overflow 32 bits"):
        IntegerLinear(wide, grid)


def test_no_overflow_at_the_worst_codes():
    linear = nn.Linear(1000, 2)
    linear.weight.data = torch.tensor([[1.0], [-1.0]]).expand(2, 1000).clone()
    grid = parameters_from_range(-1.0, 1.0)
    layer = IntegerLinear(linear, grid)
    for code in (-128, 127):
        codes = torch.full((1, 1000), code, dtype=torch.int8)
        exact = codes.long() @ layer.weight.long().T + layer.bias.long()
        assert torch.equal(layer(codes).long(), exact)
