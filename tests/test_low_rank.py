"""Approximations, ranks and split layers, against NumPy, brute force and the layers they replace."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from tests.random_inputs import quick
from utils.accounting import count_macs, count_parameters
from utils.low_rank import (
    LowRankLinear,
    break_even_rank,
    conv_channel_matrix,
    conv_spatial_matrix,
    data_aware_factors,
    factors,
    input_moment,
    low_rank_approximation,
    merge_layers,
    rank_for_energy,
    ranks_for_budget,
    singular_values,
    split_conv_channels,
    split_conv_spatial,
    split_layers,
    split_linear,
)

sides = st.integers(1, 9)
seeds = st.integers(0, 2**16)


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(dtype)


# --- the decomposition


@quick
@given(m=sides, n=sides, seed=seeds, data=st.data())
def test_the_largest_values_are_kept_and_the_error_is_the_root_of_the_discarded_squares(m, n, seed, data):
    rank = data.draw(st.integers(0, min(m, n)))
    weight = drawn(m, n, seed=seed, dtype=torch.float64)
    values = np.linalg.svd(weight.numpy(), compute_uv=False)
    assert singular_values(weight).numpy() == pytest.approx(values)
    first, second = factors(weight, rank)
    assert (first.shape, second.shape) == ((rank, n), (m, rank))
    for product in (low_rank_approximation(weight, rank), second @ first):
        assert np.linalg.svd(product.numpy(), compute_uv=False)[:rank] == pytest.approx(values[:rank])
        assert (weight - product).norm().item() == pytest.approx(math.sqrt((values[rank:] ** 2).sum()), abs=1e-10)


@quick
@given(m=sides, n=sides, seed=seeds, data=st.data())
def test_no_random_matrix_of_the_rank_is_nearer(m, n, seed, data):
    rank = data.draw(st.integers(1, min(m, n)))
    weight = drawn(m, n, seed=seed, dtype=torch.float64)
    second = drawn(m, rank, seed=seed + 1, dtype=torch.float64)
    best_first = torch.linalg.lstsq(second, weight).solution  # the best partner of a random second matrix
    best = (weight - low_rank_approximation(weight, rank)).norm()
    assert best <= (weight - second @ best_first).norm() + 1e-9


@pytest.mark.parametrize("function", [low_rank_approximation, factors])
@pytest.mark.parametrize(
    ("weight", "rank", "message"),
    [
        (torch.ones(3, 4), 4, r"rank must be at most 3, .* \(3, 4\), got 4"),
        (torch.ones(3), 1, "must be a matrix"),
        (torch.tensor([[1.0, torch.nan]]), 1, "NaN"),
    ],
)
def test_bad_arguments_are_clear_errors(function, weight, rank, message):
    with pytest.raises(ValueError, match=message):
        function(weight, rank)


def test_a_rank_deficient_matrix_is_exact_at_its_rank():
    weight = drawn(7, 2) @ drawn(2, 5, seed=1)
    assert torch.allclose(low_rank_approximation(weight, 2), weight, atol=1e-6)
    first, second = factors(weight, 4)  # two singular values are zero
    assert torch.allclose(second @ first, weight, atol=1e-6)
    assert rank_for_energy(singular_values(weight), 1 - 1e-9) == 2
    assert all(torch.isfinite(factor).all() for factor in factors(torch.zeros(3, 4), 2))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2), (torch.float64, 1e-12)]
)
def test_other_precisions_are_computed_and_kept(dtype, tolerance):
    weight = drawn(10, 8).to(dtype)[:, ::2]  # not contiguous either
    first, second = factors(weight, 3)
    near = low_rank_approximation(weight, 3)
    assert {part.dtype for part in (first, second, near)} == {dtype}
    reference = low_rank_approximation(weight.double(), 3)
    assert ((second @ first).double() - reference).abs().max() < tolerance * 8
    assert (near.double() - reference).abs().max() < tolerance * 4
    assert split_linear(nn.Linear(5, 8).to(dtype), 3).first.dtype == dtype


def test_the_two_factors_have_the_same_norm():
    first, second = factors(drawn(8, 5), 3)
    assert torch.allclose(first.norm(dim=1), second.norm(dim=0), atol=1e-6)


# --- data-aware


@quick
@given(m=sides, n=sides, seed=seeds, data=st.data())
def test_no_layer_of_the_rank_changes_the_outputs_less_than_the_data_aware_one(m, n, seed, data):
    rank = data.draw(st.integers(0, min(m, n)))
    weight, inputs = drawn(m, n, seed=seed, dtype=torch.float64), drawn(20, n, seed=seed + 1, dtype=torch.float64)
    first, second = data_aware_factors(weight, rank, input_moment(inputs))
    outputs = inputs @ weight.T  # (20, m): their own truncated decomposition is the best that any W' can do
    left_out = np.linalg.svd(outputs.numpy(), compute_uv=False)[rank:]
    error = (outputs - inputs @ (second @ first).T).norm().item()
    assert error == pytest.approx(math.sqrt((left_out**2).sum()), abs=1e-6)


def test_with_the_identity_as_moment_it_is_the_plain_one():
    weight = drawn(6, 9)
    first, second = data_aware_factors(weight, 3, torch.eye(9))
    assert torch.allclose(second @ first, low_rank_approximation(weight, 3), atol=1e-5)


def test_inputs_that_never_vary_do_no_harm():
    weight, inputs = drawn(5, 8), drawn(30, 8)
    inputs[:, 3:] = 0
    first, second = data_aware_factors(weight, 3, input_moment(inputs))
    assert torch.allclose(inputs @ (second @ first).T, inputs @ weight.T, atol=1e-4)  # only three inputs speak
    assert all(torch.isfinite(factor).all() for factor in data_aware_factors(weight, 2, torch.zeros(8, 8)))
    assert all(torch.isfinite(factor).all() for factor in data_aware_factors(torch.zeros(3, 8), 2, torch.eye(8)))


def test_a_moment_that_is_not_symmetric_is_refused():
    with pytest.raises(ValueError, match="symmetric"):
        data_aware_factors(torch.ones(2, 2), 1, torch.tensor([[1.0, 1.0], [0.0, 1.0]]))


# --- ranks


@given(values=st.lists(st.integers(0, 9), min_size=1, max_size=12), energy=st.floats(0, 1))
def test_rank_for_energy_is_the_first_that_suffices(values, energy):
    values.sort(reverse=True)
    total = sum(v * v for v in values)
    rank = rank_for_energy(torch.tensor(values, dtype=torch.float64), energy)
    assert sum(v * v for v in values[:rank]) >= energy * total * (1 - 1e-9)
    if rank:
        assert sum(v * v for v in values[: rank - 1]) < energy * total


def test_rank_for_energy_at_its_ends():
    assert rank_for_energy(torch.tensor([2.0, 1.0, 0.0]), 1.0) == 2
    assert rank_for_energy(torch.tensor([2.0, 1.0]), 0.0) == 0
    assert rank_for_energy(torch.zeros(3), 1.0) == 0


@pytest.mark.parametrize(
    ("values", "energy", "message"),
    [([1.0], 80, r"80 % as 0\.8"), ([1.0, 2.0], 0.5, "largest first"), ([1.0, -1.0], 0.5, "none negative")],
)
def test_rank_for_energy_names_what_is_wrong(values, energy, message):
    with pytest.raises(ValueError, match=message):
        rank_for_energy(torch.tensor(values), energy)


@given(m=st.integers(1, 40), n=st.integers(1, 40))
def test_below_the_break_even_rank_the_split_saves(m, n):
    for rank in range(min(m, n) + 1):
        assert (rank * (m + n) < m * n) == (rank < break_even_rank(m, n) - 1e-12)


@quick
@given(shapes=st.lists(st.tuples(st.integers(2, 8), st.integers(2, 8)), min_size=1, max_size=3), seed=seeds)
def test_ranks_keep_within_the_budget_and_nothing_more_fits(shapes, seed):
    weights = {str(i): drawn(*shape, seed=seed + i) for i, shape in enumerate(shapes)}
    price = {name: 4 * sum(weight.shape) for name, weight in weights.items()}
    least = sum(price.values())
    for budget in (least, least + 40, 3 * least):
        ranks = ranks_for_budget(weights, budget)
        left = budget - sum(ranks[name] * price[name] for name in weights)
        assert left >= 0
        for name, weight in weights.items():
            assert ranks[name] >= 1
            assert left < price[name] or ranks[name] + 1 >= break_even_rank(*weight.shape)
    with pytest.raises(ValueError, match=f"at least {least}"):
        ranks_for_budget(weights, least - 1)


def test_of_two_equal_shapes_the_one_with_more_to_gain_gains():
    steep, flat = torch.diag(torch.tensor([9.0] + [0.1] * 9)), torch.eye(10)
    assert ranks_for_budget({"steep": steep, "flat": flat}, 4 * 20 * 5) == {"steep": 1, "flat": 4}
    assert ranks_for_budget({"half": flat.half()}, 2 * 20 * 3) == {"half": 3}  # two bytes a number


# --- linear layers


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("m", "n"), [(4, 7), (7, 4), (1, 5), (5, 1)])
def test_at_full_rank_the_split_layer_computes_the_same(m, n, bias):
    layer, x = nn.Linear(n, m, bias=bias), drawn(3, n)
    split = split_linear(layer, min(m, n))
    assert torch.allclose(split(x), layer(x), atol=1e-5)
    assert count_parameters(split) == min(m, n) * (m + n) + (m if bias else 0)
    assert count_macs(split, x[:1]) == min(m, n) * (m + n)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_split_layer_equals_its_merged_one(rank, bias):
    layer, x = nn.Linear(6, 4, bias=bias), drawn(5, 6)
    split = split_linear(layer, rank)
    merged = split.merged()
    assert torch.allclose(split(x), merged(x), atol=1e-5)
    assert torch.allclose(merged.weight, low_rank_approximation(layer.weight, rank), atol=1e-6)
    assert (merged.bias is None) == (not bias)


def test_the_layer_that_is_split_stays_as_it_was():
    layer = nn.Linear(6, 4)
    before = copy.deepcopy(layer.state_dict())
    split = split_linear(layer, 2)
    for parameter in split.parameters():
        parameter.data.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


def test_a_split_layer_learns():
    split = split_linear(nn.Linear(6, 4), 2)
    split(drawn(5, 6)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in split.parameters())


# --- convolutions

CONVOLUTIONS = [
    {},
    {"bias": False},
    {"stride": (2, 1), "padding": (1, 2)},
    {"dilation": (1, 2), "padding": 1},
    {"padding": "same"},
    {"padding": 1, "padding_mode": "reflect"},
]
BOTH_SPLITS = [(split_conv_channels, conv_channel_matrix), (split_conv_spatial, conv_spatial_matrix)]


@pytest.mark.parametrize(("split", "matrix"), BOTH_SPLITS)
@pytest.mark.parametrize("kernel", [(5, 3), (1, 4)])
@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_at_full_rank_the_split_convolution_computes_the_same(split, matrix, kernel, options):
    conv, x = nn.Conv2d(3, 4, kernel, **options), drawn(2, 3, 11, 12)
    pair = split(conv, min(matrix(conv.weight).shape))
    assert torch.allclose(pair(x), conv(x), atol=1e-5)
    assert (pair[1].bias is None) == (conv.bias is None)


@pytest.mark.parametrize(("split", "matrix"), BOTH_SPLITS)
def test_the_kernel_of_a_split_convolution_is_as_near_as_its_rank_allows(split, matrix):
    conv = nn.Conv2d(3, 6, (3, 2))
    pair = split(conv, 2)
    identity = torch.eye(18).view(18, 3, 3, 2)  # every input of the kernel by itself
    kernel = (pair(identity) - conv.bias[:, None, None]).reshape(18, 6).T.reshape(conv.weight.shape)
    error = (kernel - conv.weight).norm().item()
    assert error == pytest.approx(singular_values(matrix(conv.weight))[2:].norm().item(), abs=1e-5)


def test_weights_of_split_convolutions_are_counted_by_the_formulas():
    conv = nn.Conv2d(20, 50, 5, bias=False)
    assert count_parameters(split_conv_channels(conv, 8)) == 8 * (20 * 25 + 50)
    assert count_parameters(split_conv_spatial(conv, 16)) == 16 * (20 * 5 + 50 * 5)


@pytest.mark.parametrize("split", [split_conv_channels, split_conv_spatial])
@pytest.mark.parametrize(("groups", "rank", "message"), [(2, 1, "groups=1, got groups=2"), (1, 0, "at least 1")])
def test_a_convolution_that_cannot_be_split_is_a_clear_error(split, groups, rank, message):
    with pytest.raises(ValueError, match=message):
        split(nn.Conv2d(2, 2, 3, groups=groups), rank)


# --- networks


def test_layers_of_a_network_are_split_and_merged_in_copies():
    network = nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 3))
    smaller = split_layers(network, {"0.0": 2, "1": 1})
    assert [type(m) for m in (smaller[0][0], smaller[1], network[1])] == [LowRankLinear, LowRankLinear, nn.Linear]
    merged = merge_layers(smaller)
    assert not any(isinstance(module, LowRankLinear) for module in merged.modules())
    assert torch.allclose(smaller(drawn(2, 6)), merged(drawn(2, 6)), atol=1e-5)


def test_every_module_keeps_its_own_mode():
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5).eval(), nn.Linear(5, 3).eval())  # frozen on purpose
    smaller = split_layers(network, {"0": 2, "2": 1})
    for copied in (smaller, merge_layers(smaller)):
        assert [module.training for module in copied] == [True, False, False]


# --- networks of the learner's own ------------------------------------------------------------------------------------


def test_an_encoder_layer_is_split_but_not_what_its_attention_reads():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
    x = torch.randn(2, 5, 8)
    split = split_layers(model, {"0.linear1": 8, "0.linear2": 8})
    with torch.no_grad():
        assert torch.allclose(split(x), model(x), atol=1e-5)
        assert not torch.allclose(split_layers(model, {"0.linear1": 1})(x), model(x), atol=1e-3)
        assert torch.allclose(merge_layers(split)(x), model(x), atol=1e-5)
    with pytest.raises(ValueError, match=r"0\.self_attn\.out_proj cannot be split: nn\.MultiheadAttention reads"):
        split_layers(model, {"0.self_attn.out_proj": 2})


def test_a_layer_in_two_places_is_split_in_both():
    layer = torch.nn.Linear(4, 4)
    split = split_layers(torch.nn.Sequential(layer, torch.nn.ReLU(), layer), {"0": 1})
    assert split[0] is split[2]
    assert split[0].rank == 1


def test_a_pruned_network_is_made_permanent_before_it_is_split():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    with pytest.raises(ValueError, match="make it permanent first"):
        split_layers(model, {"0": 2})
