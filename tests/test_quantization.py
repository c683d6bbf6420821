"""`utils.quantization` against PyTorch's fake-quantize operators, scikit-learn, and what must hold for any input."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F

from tests.drawn import randn
from utils import quantization as q

quick = settings(max_examples=60, deadline=None)
# every float32 up to 2^100, zeros of both signs and denormals among them; wider ranges have no float32 scale
reals = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True)
tensors = st.lists(reals, min_size=1, max_size=40).map(lambda v: torch.tensor(v, dtype=torch.float32))
grids = st.tuples(st.integers(1, 8), st.booleans(), st.booleans()).filter(lambda g: g != (1, True, True))
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def grid_for(values, grid, axis=None):
    bits, signed, symmetric = grid
    if symmetric and not signed:
        values = values.abs()
    return values, q.parameters_for(values, bits=bits, signed=signed, symmetric=symmetric, axis=axis)


# --- invariants of the grid -------------------------------------------------------------------------------------------


@quick
@given(tensors, grids)
def test_the_round_trip_is_within_half_a_step(values, grid):
    values, parameters = grid_for(values, grid)
    error = (q.fake_quantize(values, parameters).double() - values.double()).abs()
    half = parameters.scale.double() / 2
    assert bool((error <= half * (1 + 1e-6) + 1e-6 * values.double().abs()).all())  # r (1 / S) is a float32


@quick
@given(tensors, grids)
def test_zero_is_exact(values, grid):
    _, parameters = grid_for(values, grid)
    assert q.fake_quantize(torch.zeros(3), parameters).tolist() == [0.0, 0.0, 0.0]
    assert q.quantize(torch.zeros(1), parameters).item() == parameters.zero_point.item()


@quick
@given(tensors, grids)
def test_larger_values_have_no_smaller_codes(values, grid):
    values, parameters = grid_for(values, grid)
    codes = q.quantize(values.sort().values, parameters).int()
    assert bool((codes.diff() >= 0).all())
    assert parameters.qmin <= codes.min() <= codes.max() <= parameters.qmax


@quick
@given(tensors, grids)
def test_quantizing_twice_changes_nothing(values, grid):
    values, parameters = grid_for(values, grid)
    once = q.fake_quantize(values, parameters)
    assume(bool(torch.isfinite(once).all()))
    assert torch.equal(q.fake_quantize(once, parameters), once)


@quick
@given(tensors, grids)
def test_the_codes_fit_into_their_bits(values, grid):
    values, parameters = grid_for(values, grid)
    codes = q.quantize(values, parameters)
    assert codes.dtype == parameters.dtype
    assert parameters.levels <= 2 ** grid[0]
    assert torch.equal(q.unpack(q.pack(codes, grid[0]), grid[0], codes.shape, signed=grid[1]), codes)


@quick
@given(shapes, st.data(), grids)
def test_per_channel_is_per_tensor_for_each_channel_of_any_axis(shape, data, grid):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    values, parameters = grid_for(randn(*shape) * 10, grid, axis=axis)
    together = q.fake_quantize(values, parameters)
    for channel in range(shape[axis]):
        one = values.select(axis, channel)
        _, alone = grid_for(one, grid)
        assert torch.equal(together.select(axis, channel), q.fake_quantize(one, alone))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-40, -1e-45, 1e30])
def test_constant_tensors_and_single_elements(bits, signed, value):
    for values in (torch.tensor([value]), torch.full((2, 3), value), torch.tensor(value)):
        parameters = q.parameters_for(values, bits=bits, signed=signed)
        error = (q.fake_quantize(values, parameters) - values).abs().max()
        assert error <= parameters.scale / 2
        assert bool(torch.isfinite(parameters.scale))


def test_one_sided_values_use_the_whole_grid():
    positive, negative = torch.linspace(1, 3, 50), torch.linspace(-3, -1, 50)
    for values, zero in ((positive, -128), (negative, 127)):
        parameters = q.parameters_for(values)
        assert parameters.zero_point == zero
        assert parameters.scale == pytest.approx(3 / 255)


def test_a_range_of_zeros_and_denormals_have_a_usable_scale():
    assert q.parameters_for(torch.zeros(3)).scale == 1.0
    tiny = q.parameters_for(torch.tensor([1e-42, -1e-42]))
    assert tiny.scale == q.SMALLEST_SCALE
    assert bool(torch.isfinite(1.0 / tiny.scale))
    assert q.fake_quantize(torch.tensor([1e-42]), tiny).item() == 0.0


def test_dtypes_are_kept():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        values = torch.tensor([-1.0, 0.5], dtype=dtype)
        assert q.fake_quantize(values, q.parameters_for(values)).dtype == dtype


# --- PyTorch as the oracle --------------------------------------------------------------------------------------------


@quick
@given(grids, st.integers(0, 1000), st.floats(0.01, 100.0))
def test_equal_to_pytorch_per_tensor(grid, seed, size):
    values, parameters = grid_for(randn(50, seed=seed) * size, grid)
    values = values * 1.3  # so that some are clipped
    theirs = torch.fake_quantize_per_tensor_affine(
        values, parameters.scale, parameters.zero_point, parameters.qmin, parameters.qmax
    )
    assert torch.equal(q.fake_quantize(values, parameters), theirs)


@quick
@given(grids, st.integers(0, 1000), st.integers(0, 2))
def test_equal_to_pytorch_per_channel(grid, seed, axis):
    values, parameters = grid_for(randn(3, 4, 5, seed=seed), grid, axis=axis)
    theirs = torch.fake_quantize_per_channel_affine(
        values, parameters.scale, parameters.zero_point, axis, parameters.qmin, parameters.qmax
    )
    assert torch.equal(q.fake_quantize(values, parameters), theirs)


def test_halves_go_to_even_as_in_pytorch():
    parameters = q.QuantizationParameters(torch.tensor(0.5), torch.tensor(1, dtype=torch.int32), -128, 127)
    halves = torch.arange(-9, 10) / 4.0
    theirs = torch.fake_quantize_per_tensor_affine(halves, 0.5, 1, -128, 127)
    assert torch.equal(q.fake_quantize(halves, parameters), theirs)
    assert q.quantize(torch.tensor([0.25, 0.75]), parameters).tolist() == [1, 3]  # 0.5 -> 0 and 1.5 -> 2, plus Z


# --- clear errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_are_refused(bad):
    values = torch.tensor([1.0, bad])
    grid = q.parameters_from_range(-1.0, 1.0)
    calls = [
        lambda: q.parameters_for(values),
        lambda: q.quantize(values, grid),
        lambda: q.fake_quantize(values, grid),
        lambda: q.mse_range(values),
        lambda: q.percentile_range(values),
        lambda: q.entropy_range(values),
        lambda: q.codebook(values, bits=2),
        lambda: q.binary(values),
        lambda: q.ternary(values),
        lambda: q.Observer().observe(values),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="NaN or infinite"):
            call()
    with pytest.raises(ValueError):
        q.parameters_from_range(0.0, bad)


def test_misuse_is_a_clear_error():
    values = randn(3, 4)
    with pytest.raises(ValueError, match="bits must be from 1 to 8, got 9"):
        q.parameters_for(values, bits=9)
    with pytest.raises(ValueError, match="bits must be at least 1"):
        q.parameters_for(values, bits=0)
    with pytest.raises(ValueError, match=r"use binary\(weight\)"):
        q.parameters_for(values, bits=1, symmetric=True)
    with pytest.raises(ValueError, match="need signed=True or symmetric=False"):
        q.parameters_for(values, signed=False, symmetric=True)
    with pytest.raises(ValueError, match="not exceed it"):
        q.parameters_from_range(1.0, -1.0)
    with pytest.raises(ValueError, match="no axis 2"):
        q.parameters_for(values, axis=2)
    with pytest.raises(TypeError, match="axis must be"):
        q.parameters_for(values, axis="0")
    with pytest.raises(ValueError, match="a scalar without axis"):
        q.parameters_from_range(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="too wide for a float32 scale"):
        q.parameters_from_range(-3e38, 3e38, bits=1)
    rows = q.parameters_for(values, axis=0)
    with pytest.raises(ValueError, match="3 scales for the 4 channels"):
        q.quantize(values, dataclasses.replace(rows, axis=1))
    with pytest.raises(TypeError, match="tensor of integers"):
        q.dequantize(values, q.parameters_for(values))
    with pytest.raises(TypeError, match="must be QuantizationParameters"):
        q.quantize(values, (1.0, 0))
    with pytest.raises(ValueError, match="empty"):
        q.parameters_for(torch.empty(0))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scale": torch.tensor(-1.0)}, ValueError, "positive"),
        ({"scale": torch.tensor(1.0, dtype=torch.float64)}, ValueError, "float32"),
        ({"scale": 1.0}, TypeError, "torch.Tensor"),
        ({"zero_point": torch.tensor(0)}, TypeError, "int32"),
        ({"zero_point": torch.tensor(128, dtype=torch.int32)}, ValueError, "so that 0 is exact"),
        ({"qmin": -128, "qmax": 255}, ValueError, "int8 or uint8"),
        ({"qmin": 3, "qmax": 3}, ValueError, "int8 or uint8"),
        ({"axis": 0}, ValueError, "1 dimensions"),
        ({"axis": True}, TypeError, "axis"),
    ],
)
def test_a_grid_that_is_none_is_refused(change, error, message):
    right = {"scale": torch.tensor(1.0), "zero_point": torch.tensor(0, dtype=torch.int32), "qmin": -128, "qmax": 127}
    with pytest.raises(error, match=message):
        q.QuantizationParameters(**(right | change))


def test_properties_of_a_grid():
    grid = q.parameters_from_range(-1.0, 3.0, bits=2, signed=False)
    low, high = grid.range
    assert (grid.bits, grid.levels, grid.dtype) == (2, 4, torch.uint8)
    assert (low.item(), high.item()) == pytest.approx((-4 / 3, 8 / 3))
    assert q.parameters_from_range(-1.0, 1.0, bits=4, symmetric=True).bits == 4  # 15 levels


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_signal_to_noise():
    values = randn(1000)
    assert q.signal_to_noise_db(values, values) == math.inf
    assert q.signal_to_noise_db(torch.zeros(2), torch.ones(2)) == -math.inf
    with pytest.raises(ValueError, match="shapes differ"):
        q.signal_to_noise_db(values, values[:5])
    uniform = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    at = [q.signal_to_noise_db(uniform, q.fake_quantize(uniform, q.parameters_for(uniform, bits=b))) for b in (5, 6, 7)]
    assert np.diff(at) == pytest.approx([6.0, 6.0], abs=0.3)


@quick
@given(tensors, st.floats(0.0, 1.0))
def test_percentile_range_lies_within_minmax(values, share):
    low, high = q.minmax_range(values)
    inner_low, inner_high = q.percentile_range(values, share=share)
    assert low <= inner_low <= inner_high <= high
    whole = q.percentile_range(values, share=1.0)
    assert (whole[0], whole[1]) == (low, high)


def test_percentile_range_of_one_sided_values_keeps_the_low_end():
    low, high = q.percentile_range(torch.arange(1001.0), share=0.9)
    assert (low.item(), high.item()) == (0.0, 900.0)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_mse_range_is_no_worse_than_minmax(axis):
    values = randn(6, 500)
    values[2, 3] = 30.0
    whole = q.parameters_for(values, bits=3, symmetric=True, axis=axis)
    chosen = q.parameters_from_range(
        *q.mse_range(values, bits=3, symmetric=True, axis=axis), bits=3, symmetric=True, axis=axis
    )
    errors = [(values - q.fake_quantize(values, grid)).square().sum() for grid in (whole, chosen)]
    assert errors[1] < errors[0]


def test_entropy_range_cuts_a_lone_outlier_and_keeps_a_filled_range():
    values = randn(20_000)
    outlier = torch.cat([values, torch.tensor([100.0])])
    assert q.entropy_range(outlier)[1] < 50
    assert q.entropy_range(torch.linspace(-1, 1, 5001))[1] > 0.8
    low, _ = q.entropy_range(outlier.abs())
    assert low >= 0
    assert q.entropy_range(torch.zeros(3)) == (torch.tensor(0.0), torch.tensor(0.0))
    with pytest.raises(ValueError, match="bins must be at least 128"):
        q.entropy_range(values, bins=100)


def test_observers_see_what_passes():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    model.train()
    batches = [torch.ones(2, 2), torch.zeros(1, 2)]
    seen = q.observe(model, ["0", "1"], batches)
    assert torch.equal(seen["0"][0].observed, torch.cat(batches))
    assert torch.equal(seen["1"][0].observed, seen["0"][1].observed)
    assert seen["1"][1].range()[0] >= 0
    assert seen["0"][1].range(q.percentile_range)
    assert model.training
    assert not model[0]._forward_hooks
    with pytest.raises(ValueError, match="no module 'x'"):
        q.observe(model, ["x"], batches)
    with pytest.raises(ValueError, match="at least one"):
        q.observe(model, ["0"], [])
    with pytest.raises(ValueError, match="nothing was observed"):
        _ = q.Observer().observed


# --- integers ---------------------------------------------------------------------------------------------------------


@quick
@given(st.floats(2.0**-32, 2.0**29))
def test_fixed_point_is_within_two_to_the_minus_31(multiplier):
    mantissa, shift = q.fixed_point(torch.tensor([multiplier], dtype=torch.float64))
    assert 2**30 <= mantissa.item() < 2**31
    assert 1 <= shift.item() <= 63
    assert abs(mantissa.item() * 2.0 ** -shift.item() / multiplier - 1) <= 2.0**-31


@quick
@given(st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-32, 1.0))
def test_requantize_equals_exact_arithmetic(accumulator, multiplier):
    mantissa, shift = q.fixed_point(torch.tensor([multiplier], dtype=torch.float64))
    received = q.requantize(torch.tensor([accumulator], dtype=torch.int32), mantissa, shift)
    assert received.item() == round(Fraction(accumulator * mantissa.item(), 2 ** shift.item()))  # halves to even


def test_fixed_point_and_requantize_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="do not fit together"):
        q.fixed_point(torch.tensor([1e-12]))
    with pytest.raises(ValueError, match="do not fit together"):
        q.fixed_point(torch.tensor([1e12]))
    with pytest.raises(TypeError, match="int32"):
        q.requantize(torch.tensor([1]), *q.fixed_point(torch.tensor([0.5])))


def power_of_two_grid(exponent, zero_point=0):
    return q.QuantizationParameters(torch.tensor(2.0**exponent), torch.tensor(zero_point, dtype=torch.int32), -128, 127)


@quick
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 60))
def test_integer_linear_is_the_simulation_bit_for_bit_on_power_of_two_scales(seed, bias, inputs):
    """Scales that are powers of two make every float32 operation exact, so that ties are met, and met alike."""
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(inputs, 5, bias=bias)
    linear.weight.data = torch.randint(-127, 128, (5, inputs), generator=generator) * 2.0**-7
    linear.weight.data[:, 0] = 127 * 2.0**-7  # so that the largest gives exactly S = 2^-7
    if bias:
        linear.bias.data = torch.randint(-999, 999, (5,), generator=generator) * 2.0**-11
    into, out = power_of_two_grid(-4, zero_point=-7), power_of_two_grid(-2, zero_point=5)
    codes = torch.randint(-128, 128, (20, inputs), generator=generator).to(torch.int8)
    simulated = F.linear(q.dequantize(codes, into), linear.weight, linear.bias)
    assert torch.equal(q.IntegerLinear(linear, into, out)(codes), q.quantize(simulated, out))


@quick
@given(st.integers(0, 10_000), st.booleans(), st.integers(2, 8))
def test_integer_linear_is_the_simulation_but_for_near_ties_on_any_scales(seed, per_channel, bits):
    linear = nn.Linear(40, 6)
    torch.nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(seed))
    x = randn(30, 40, seed=seed)
    into, out = q.parameters_for(x), q.parameters_for(linear(x).detach())
    layer = q.IntegerLinear(linear, into, out, bits=bits, per_channel=per_channel)
    codes = q.quantize(x, into)
    grid = q.parameters_for(linear.weight, bits=bits, symmetric=True, axis=0 if per_channel else None)
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
    into, out = q.parameters_for(x), q.parameters_from_range(0.0, 3.0)
    real = q.dequantize(q.IntegerLinear(linear, into, out)(q.quantize(x, into)), out)
    assert real.min() == 0.0
    assert (real - linear(x).relu().clamp(max=3.0)).abs().max() < 0.1


def test_integer_linear_without_output_grid_returns_sums():
    linear, x = nn.Linear(10, 4), randn(50, 10)
    into = q.parameters_for(x)
    layer = q.IntegerLinear(linear, into)
    sums = layer(q.quantize(x, into))
    assert sums.dtype == torch.int32
    assert (sums * layer.sum_scale - linear(x)).abs().max() < 0.05
    assert {"weight", "bias", "sum_scale"} == set(layer.state_dict())


def test_integer_linear_refuses_what_could_go_wrong():
    linear, grid = nn.Linear(2, 2), q.parameters_from_range(-1.0, 1.0)
    with pytest.raises(TypeError, match=r"torch\.nn\.Linear"):
        q.IntegerLinear(nn.Conv2d(1, 1, 1), grid)
    with pytest.raises(ValueError, match="axis must be None"):
        q.IntegerLinear(linear, q.parameters_from_range(torch.zeros(2), torch.ones(2), axis=0))
    with pytest.raises(TypeError, match=r"torch\.int8"):
        q.IntegerLinear(linear, grid)(torch.zeros(1, 2))
    linear.weight.data.mul_(1e-12)
    with pytest.raises(ValueError, match="overflow 32 bits"):
        q.IntegerLinear(linear, grid)
    wide = nn.Linear(140_000, 1, bias=False)
    wide.weight.data.fill_(1.0)
    with pytest.raises(ValueError, match="overflow 32 bits"):
        q.IntegerLinear(wide, grid)


def test_no_overflow_at_the_worst_codes():
    linear = nn.Linear(1000, 2)
    linear.weight.data = torch.tensor([[1.0], [-1.0]]).expand(2, 1000).clone()
    grid = q.parameters_from_range(-1.0, 1.0)
    layer = q.IntegerLinear(linear, grid)
    for code in (-128, 127):
        codes = torch.full((1, 1000), code, dtype=torch.int8)
        exact = codes.long() @ layer.weight.long().T + layer.bias.long()
        assert torch.equal(layer(codes).long(), exact)


# --- codebooks, two and three values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(1, 6))
def test_codebook_equals_scikit_learn(bits):
    values = randn(2000)
    ours = q.codebook(values, bits=bits, iterations=300)
    start = np.linspace(values.min().item(), values.max().item(), 2**bits).reshape(-1, 1)
    theirs = KMeans(2**bits, init=start, n_init=1, max_iter=300, tol=0.0, algorithm="lloyd").fit(
        values.double().numpy().reshape(-1, 1)
    )
    error = (values - ours.dequantize()).double().square().sum().item()
    assert error == pytest.approx(theirs.inertia_, rel=1e-3)


@quick
@given(tensors, st.integers(1, 8))
def test_codebooks_never_get_worse(values, bits):
    def error(book):
        return (values.double() - book.dequantize().double()).square().sum()

    start, end = (q.codebook(values, bits=bits, iterations=n) for n in (0, 20))
    assert end.codes.shape == values.shape
    assert error(end) <= error(start) * (1 + 1e-5) + 1e-6 * values.double().square().sum()


def test_codebook_counts_its_own_values():
    book = q.codebook(randn(10, 10), bits=3)
    assert book.bytes == 38 + 32  # 300 bits in 38 bytes, 8 float32
    assert book.bits == 3
    assert len(q.pack(book.codes, 3)) == 38
    with pytest.raises(ValueError, match=r"shape \(8,\)"):
        q.codebook(randn(10), bits=3, start=torch.zeros(4))
    with pytest.raises(ValueError, match="ascending"):
        q.nearest(randn(3), torch.tensor([1.0, 0.0]))


@quick
@given(tensors.filter(lambda v: v.abs().max() < 1e15))
def test_binary_and_ternary_are_the_least_squares_choice(values):
    values = values.view(1, -1)
    magnitudes = values.double().abs()

    def error(approximation):
        return (values.double() - approximation.double()).square().sum().item()

    slack = 1e-5 * magnitudes.square().sum().item() + 1e-30
    mean = magnitudes.mean().item()
    signs = torch.where(values < 0, -1.0, 1.0)
    assert error(q.binary(values).dequantize()) <= min(error(signs * mean * f) for f in (0.9, 1.0, 1.1)) + slack
    best = error(q.ternary(values).dequantize())
    for threshold in magnitudes.flatten().tolist():  # every way of keeping the largest
        keep = magnitudes >= threshold
        assert best <= error(values.sign() * keep * magnitudes[keep].mean()) + slack


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("function", [q.binary, q.ternary])
def test_scales_follow_the_axis(function, axis):
    weight = randn(3, 4, 2)
    codes, scale = function(weight, axis)
    assert scale.numel() == (1 if axis is None else weight.shape[axis])
    assert set(codes.unique().tolist()) <= {-1, 0, 1}
    for channel in range(1 if axis is None else weight.shape[axis]):
        one, whole = (t if axis is None else t.select(axis, channel) for t in (weight, scale * codes))
        torch.testing.assert_close(function(one, None).dequantize(), whole)


def test_zero_weights():
    zeros = torch.zeros(2, 3)
    assert torch.equal(q.ternary(zeros).dequantize(), zeros)
    assert torch.equal(q.binary(zeros).dequantize(), zeros)
    assert set(q.binary(zeros).codes.flatten().tolist()) == {1}


# --- packing ----------------------------------------------------------------------------------------------------------


@quick
@given(st.integers(1, 8), st.booleans(), st.integers(0, 50), st.integers(0, 1000))
def test_pack_and_unpack_are_inverse(bits, signed, count, seed):
    low = -(2 ** (bits - 1)) if signed else 0
    codes = torch.randint(low, low + 2**bits, (count,), generator=torch.Generator().manual_seed(seed))
    packed = q.pack(codes, bits)
    assert len(packed) == -(-count * bits // 8)
    assert torch.equal(q.unpack(packed, bits, (count,), signed=signed).long(), codes)


def test_packing_refuses_what_does_not_fit():
    for codes in (torch.tensor([4]), torch.tensor([-3]), torch.tensor([-1, 3])):
        with pytest.raises(ValueError, match="do not fit into 2 bits"):
            q.pack(codes, 2)
    with pytest.raises(TypeError, match="integers"):
        q.pack(torch.ones(2), 2)
    with pytest.raises(ValueError, match="take 2 bytes, but there are 1"):
        q.unpack(torch.zeros(1, dtype=torch.uint8), 3, (5,))
    with pytest.raises(TypeError, match="uint8"):
        q.unpack(torch.zeros(1), 3, (1,))


def test_replace_weights_leaves_biases_and_returns_the_old():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    old = q.replace_weights(model, torch.zeros_like)
    assert list(old) == ["0.weight"]
    assert not model[0].weight.any()
    model.load_state_dict(old, strict=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="changed its shape"):
        q.replace_weights(model, lambda weight: weight[:1])
