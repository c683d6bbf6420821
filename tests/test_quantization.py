"""`utils.quantization` against PyTorch's fake-quantize operators, scikit-learn, and what must hold for any input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import nn
from torch.nn.utils import prune

from tests.random_inputs import randn
from utils import quantization as q
from utils.bit_packing import pack

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
    error = (q.round_to_grid(values, parameters).double() - values.double()).abs()
    half = parameters.scale.double() / 2
    assert bool((error <= half * (1 + 1e-6) + 1e-6 * values.double().abs()).all())  # r (1 / S) is a float32


@quick
@given(tensors, grids)
def test_zero_is_exact(values, grid):
    _, parameters = grid_for(values, grid)
    assert q.round_to_grid(torch.zeros(3), parameters).tolist() == [0.0, 0.0, 0.0]
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
    once = q.round_to_grid(values, parameters)
    assume(bool(torch.isfinite(once).all()))
    assert torch.equal(q.round_to_grid(once, parameters), once)


@quick
@given(shapes, st.data(), grids)
def test_per_channel_is_per_tensor_for_each_channel_of_any_axis(shape, data, grid):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    values, parameters = grid_for(randn(*shape) * 10, grid, axis=axis)
    together = q.round_to_grid(values, parameters)
    for channel in range(shape[axis]):
        one = values.select(axis, channel)
        _, alone = grid_for(one, grid)
        assert torch.equal(together.select(axis, channel), q.round_to_grid(one, alone))


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-40, -1e-45, 1e30])
def test_constant_tensors_and_single_elements(bits, value):
    for values in (torch.full((2, 3), value), torch.tensor([value]), torch.tensor(value)):
        parameters = q.parameters_for(values, bits=bits)
        assert bool(torch.isfinite(parameters.scale))
        assert (q.round_to_grid(values, parameters) - values).abs().max() <= parameters.scale / 2


@pytest.mark.parametrize(("sign", "zero_point"), [(1, -128), (-1, 127)])
def test_one_sided_values_use_the_whole_grid(sign, zero_point):
    parameters = q.parameters_for(sign * torch.linspace(1, 3, 50))
    assert parameters.zero_point == zero_point
    assert parameters.scale == pytest.approx(3 / 255)


def test_a_range_of_zeros_and_denormals_have_a_usable_scale():
    assert q.parameters_for(torch.zeros(3)).scale == 1.0
    tiny = q.parameters_for(torch.tensor([1e-42, -1e-42]))
    assert tiny.scale == q.SMALLEST_SCALE
    assert bool(torch.isfinite(1.0 / tiny.scale))
    assert q.round_to_grid(torch.tensor([1e-42]), tiny).item() == 0.0


def test_dtypes_are_kept():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        values = torch.tensor([-1.0, 0.5], dtype=dtype)
        assert q.round_to_grid(values, q.parameters_for(values)).dtype == dtype


# --- PyTorch as the oracle --------------------------------------------------------------------------------------------


@quick
@given(grids, st.integers(0, 1000), st.floats(0.01, 100.0))
def test_equal_to_pytorch_per_tensor(grid, seed, size):
    values, parameters = grid_for(randn(50, seed=seed) * size, grid)
    values = values * 1.3  # so that some are clipped
    theirs = torch.fake_quantize_per_tensor_affine(
        values, parameters.scale, parameters.zero_point, parameters.qmin, parameters.qmax
    )
    assert torch.equal(q.round_to_grid(values, parameters), theirs)


@quick
@given(grids, st.integers(0, 1000), st.integers(0, 2))
def test_equal_to_pytorch_per_channel(grid, seed, axis):
    values, parameters = grid_for(randn(3, 4, 5, seed=seed), grid, axis=axis)
    theirs = torch.fake_quantize_per_channel_affine(
        values, parameters.scale, parameters.zero_point, axis, parameters.qmin, parameters.qmax
    )
    assert torch.equal(q.round_to_grid(values, parameters), theirs)


def test_halves_go_to_even_as_in_pytorch():
    parameters = q.QuantizationParameters(torch.tensor(0.5), torch.tensor(1, dtype=torch.int32), -128, 127)
    halves = torch.arange(-9, 10) / 4.0
    theirs = torch.fake_quantize_per_tensor_affine(halves, 0.5, 1, -128, 127)
    assert torch.equal(q.round_to_grid(halves, parameters), theirs)
    assert q.quantize(torch.tensor([0.25, 0.75]), parameters).tolist() == [1, 3]  # 0.5 -> 0 and 1.5 -> 2, plus Z


# --- errors that a learner can meet -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: q.integer_range(9), "bits must be from 1 to 8, got 9"),
        (lambda: q.integer_range(1, symmetric=True), r"use binary\(weight\)"),
        (lambda: q.parameters_for(-torch.ones(2), signed=False, symmetric=True), "need signed=True"),
        (lambda: q.parameters_from_range(1.0, -1.0), "minimum must not exceed maximum"),
        (lambda: q.parameters_from_range(-3e38, 3e38, bits=1), "too wide for a float32 scale"),
        (lambda: q.parameters_from_range(torch.zeros(3), torch.ones(3)), "a scalar with axis=None"),
        (lambda: q.quantize(torch.tensor(math.nan), q.parameters_from_range(0.0, 1.0)), "NaN or infinite"),
    ],
)
def test_a_grid_that_cannot_hold_the_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": torch.tensor(-1.0)}, "positive"),
        ({"zero_point": torch.tensor(128, dtype=torch.int32)}, "so that 0 is exact"),
        ({"qmin": -128, "qmax": 255}, "int8 or uint8"),
    ],
)
def test_a_grid_with_impossible_numbers(change, message):
    right = {"scale": torch.tensor(1.0), "zero_point": torch.tensor(0, dtype=torch.int32), "qmin": -128, "qmax": 127}
    with pytest.raises(ValueError, match=message):
        q.QuantizationParameters(**(right | change))


def test_values_are_not_taken_for_codes():
    with pytest.raises(TypeError, match="tensor of integers"):
        q.dequantize(torch.ones(2), q.parameters_from_range(-1.0, 1.0))


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_signal_to_noise():
    values = randn(1000)
    assert q.signal_to_noise_db(values, values) == math.inf
    assert q.signal_to_noise_db(torch.zeros(2), torch.ones(2)) == -math.inf
    uniform = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    at = [q.signal_to_noise_db(uniform, q.round_to_grid(uniform, q.parameters_for(uniform, bits=b))) for b in (5, 6, 7)]
    assert np.diff(at) == pytest.approx([6.0, 6.0], abs=0.3)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_mse_range_is_no_worse_than_minmax(axis):
    values = randn(6, 500)
    values[2, 3] = 30.0
    whole = q.parameters_for(values, bits=3, symmetric=True, axis=axis)
    chosen = q.parameters_from_range(
        *q.mse_range(values, bits=3, symmetric=True, axis=axis), bits=3, symmetric=True, axis=axis
    )
    errors = [(values - q.round_to_grid(values, grid)).square().sum() for grid in (whole, chosen)]
    assert errors[1] < errors[0]


def test_observing_sees_what_passes_and_leaves_the_network_as_it_was():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3).eval())  # frozen on purpose
    batches = [torch.ones(2, 2), torch.zeros(1, 2)]
    seen = q.observe(model, ["0", "1"], batches)
    assert torch.equal(seen["0"][0], torch.cat(batches))
    assert torch.equal(seen["1"][0], seen["0"][1])
    assert [module.training for module in model.modules()] == [True, True, False]
    assert not model[0]._forward_hooks


# --- codebooks, two and three values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 3, 5])
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
    assert len(pack(book.codes, 3)) == 38


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


# --- networks ---------------------------------------------------------------------------------------------------------


def test_replace_weights_leaves_biases_and_returns_the_old():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    old = q.replace_weights(model, torch.zeros_like)
    assert list(old) == ["0.weight"]
    assert not model[0].weight.any()
    model.load_state_dict(old, strict=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match=r"0\.weight changed its shape to \(1, 3\)"):
        q.replace_weights(model, lambda weight: weight[:1])


def test_a_shared_weight_is_replaced_once_and_put_back():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    before = model[0].weight.detach().clone()
    old = q.replace_weights(model, lambda weight: weight / 2)
    assert torch.equal(model[2].weight, before / 2)
    model.load_state_dict(old, strict=False)
    assert torch.equal(model[2].weight, before)


def test_a_weight_that_is_computed_is_refused_before_any_is_replaced():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    prune.l1_unstructured(model[1], "weight", amount=0.5)
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match=r"1\.weight is computed from other parameters.*make it permanent first"):
        q.replace_weights(model, torch.zeros_like)
    assert torch.equal(model[0].weight, before)


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 8), (3, 7), (2, 3, 2, 2), (1, 1)])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_groups_go_there_and_back(shape, size):
    weight = randn(*shape)
    groups = q.in_groups(weight, size)
    assert groups.shape == (shape[0] * -(-math.prod(shape[1:]) // size), size)
    assert torch.equal(q.out_of_groups(groups, shape), weight)
    assert groups.square().sum() == pytest.approx(weight.square().sum().item(), rel=1e-5), "filled with zeros"


def test_a_group_as_long_as_a_row_is_the_row():
    weight = randn(4, 6)
    assert torch.equal(q.in_groups(weight, 6), weight)


def test_a_grid_with_a_float16_scale_clips_and_stays_near_the_float32_one():
    rows = randn(5, 64)
    rows[:, 0] = 20.0  # an outlier
    grid = q.clipped_half_grid(rows, bits=3)
    assert torch.equal(grid.scale, grid.scale.half().float())
    low, high = q.mse_range(rows, bits=3, axis=0)
    exact = q.parameters_from_range(low, high, bits=3, axis=0)
    assert torch.allclose(grid.scale, exact.scale, rtol=2**-11)
    assert q.clipped_half_grid(torch.full((1, 4), 1e-12), bits=8).scale > 0, "too small for float16"


def test_a_layer_that_is_not_called_cannot_be_observed():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert q.observe(model, ["linear1"], [torch.rand(1, 3, 8)])["linear1"][0].shape == (1, 3, 8)
    with pytest.raises(ValueError, match=r"self_attn\.out_proj was not called"):
        q.observe(model, ["self_attn.out_proj"], [torch.rand(1, 3, 8)])
    with pytest.raises(ValueError, match="linear1 was not called: there are no batches"):
        q.observe(model, ["linear1"], [])


def test_the_weights_of_attention_are_replaced_too():
    model = nn.MultiheadAttention(8, 2)
    old = q.replace_weights(model, torch.zeros_like)
    assert sorted(old) == ["in_proj_weight", "out_proj.weight"]
    assert not model.in_proj_weight.any()


def test_a_layer_called_by_name_is_observed_and_what_takes_no_tensor_is_named():
    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.pair = nn.Linear(3, 2), Pair()

        def forward(self, x):
            return self.pair(y=self.fc(input=x))[0]

    class Pair(nn.Module):
        def forward(self, y):
            return y, y

    model, x = ByName(), torch.rand(4, 3)
    inputs, outputs = q.observe(model, ["fc"], [x])["fc"]
    assert torch.equal(inputs, x)
    assert torch.equal(outputs, model.fc(x))
    with pytest.raises(TypeError, match="pair must go from a tensor to a tensor, and goes from Tensor to tuple"):
        q.observe(model, ["pair"], [x])
    assert not model.fc._forward_hooks  # also after an error
