"""Factors and rotations leave the function as it is; AWQ and SmoothQuant choose what their equations say."""

from functools import partial

import pytest
import torch
from torch import nn

from utils import rescaling
from utils.transformer import Transformer
from utils.weight_only import input_statistics, linear_layers, minmax_half_grid, output_error, round_to_nearest

TOKENS = torch.randint(20, (4, 16), generator=torch.Generator().manual_seed(1))


def _model(width=64, hidden=96):
    torch.manual_seed(0)
    model = Transformer(20, width=width, heads=2, hidden=hidden, blocks=2, context=16).requires_grad_(False)
    nn.init.normal_(model.head.weight, std=0.2)
    for module in model.modules():
        if isinstance(module, nn.RMSNorm):
            module.weight.copy_(torch.rand(width) + 0.5)
    return model


def _round(weight):
    return round_to_nearest(weight, partial(minmax_half_grid, bits=3), group_size=16).dequantize()


def _drawn_factors(model):
    drawn = torch.Generator().manual_seed(2)
    return {
        place.writer: torch.rand(len(model.get_submodule(place.writer).weight), generator=drawn) * 4 + 0.1
        for place in rescaling.places(model)
    }


def test_every_linear_layer_but_none_twice_reads_at_a_place():
    model = _model()
    readers = [reader for place in rescaling.places(model) for reader in place.readers]
    assert sorted(readers) == sorted(linear_layers(model))


def test_factors_leave_the_function_and_change_the_matrices():
    model = _model()
    changed = rescaling.rescale(model, _drawn_factors(model))
    assert torch.allclose(changed(TOKENS), model(TOKENS), atol=1e-5)
    for name, layer in linear_layers(changed).items():
        assert not torch.allclose(layer.weight, model.get_submodule(name).weight, atol=1e-2)


@pytest.mark.parametrize(
    ("factors", "message"),
    [({"blocks.0.attention.key": torch.ones(64)}, "no place"), ({"norm": torch.zeros(64)}, "must be positive")],
)
def test_factors_that_would_change_the_function_are_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        rescaling.rescale(_model(), factors)


def test_the_factors_of_awq_leave_the_function_and_lower_the_error_they_are_chosen_by():
    model = _model()
    drawn = torch.Generator().manual_seed(3)
    model = rescaling.rescale(model, {"blocks.0.norm2": torch.rand(64, generator=drawn) ** 4 + 0.02})  # unlike channels
    statistics = input_statistics(model, [TOKENS])
    factors, exponents = rescaling.awq_factors(model, statistics, _round, exponents=(0.0, 0.25, 0.5, 0.75, 1.0))
    changed = rescaling.rescale(model, factors)
    assert torch.allclose(changed(TOKENS), model(TOKENS), atol=1e-5)
    assert exponents["blocks.0.norm2"] > 0
    for place in rescaling.places(model):
        magnitude = statistics[place.readers[0]].mean_magnitude
        tried = {}
        for exponent in (0.0, 0.25, 0.5, 0.75, 1.0):
            s = magnitude**exponent
            s = s / (s.max() * s.min()).sqrt()
            tried[exponent] = sum(
                output_error(
                    model.get_submodule(r).weight, _round(model.get_submodule(r).weight * s) / s, statistics[r].moment
                )
                for r in place.readers
            )
        assert exponents[place.writer] == min(tried, key=tried.get)


def test_smoothing_makes_inputs_and_columns_equally_large():
    model = _model()
    factors = rescaling.smoothing_factors(model, input_statistics(model, [TOKENS]))
    assert torch.allclose(rescaling.rescale(model, factors)(TOKENS), model(TOKENS), atol=1e-5)
    at_norms = {writer: factor for writer, factor in factors.items() if "norm" in writer}  # others change rows, too
    changed = rescaling.rescale(model, at_norms)
    after = input_statistics(changed, [TOKENS])
    for place in rescaling.places(model):
        if place.writer in at_norms:
            columns = [changed.get_submodule(reader).weight.abs().amax(dim=0) for reader in place.readers]
            largest = torch.stack(columns).amax(dim=0)
            assert torch.allclose(after[place.readers[0]].largest, largest, rtol=1e-4)


def test_one_outlier_ruins_a_static_grid_and_smoothing_mends_it():
    model = _model()
    factor = torch.ones(64)
    factor[5] = 1 / 100
    with_outlier = rescaling.rescale(model, {"blocks.0.norm1": factor, "blocks.1.norm1": factor})
    wanted = model(TOKENS)

    def off(network):
        with rescaling.rounding_inputs(network, input_statistics(network, [TOKENS])):
            return (network(TOKENS) - wanted).square().mean().item()

    statistics = input_statistics(with_outlier, [TOKENS])
    smoothed = rescaling.rescale(with_outlier, rescaling.smoothing_factors(with_outlier, statistics))
    assert off(with_outlier) > 20 * off(model)
    assert off(smoothed) < 4 * off(model)
    assert torch.equal(with_outlier(TOKENS), with_outlier(TOKENS))  # the hooks are gone
    assert torch.allclose(with_outlier(TOKENS), wanted, atol=1e-5)


def test_inputs_are_rounded_by_token_or_by_one_grid():
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(4))
    by_token = rescaling.round_inputs(x)
    for row, rounded in zip(x.flatten(0, 1), by_token.flatten(0, 1), strict=True):
        scale = row.abs().max() / 127
        assert torch.allclose(
            rounded, torch.fake_quantize_per_tensor_affine(row, scale.item(), 0, -127, 127), atol=1e-6
        )
    static = rescaling.round_inputs(x, 1.0)
    assert torch.allclose(static, torch.fake_quantize_per_tensor_affine(x, 1 / 127, 0, -127, 127), atol=1e-6)
    assert static.abs().max() == 1.0


@pytest.mark.parametrize("make", [rescaling.random_rotation, rescaling.block_hadamard])
def test_a_rotation_is_orthogonal_and_leaves_the_function(make):
    model, rotation = _model(), make(64, torch.Generator().manual_seed(6))
    assert torch.allclose(rotation @ rotation.T, torch.eye(64), atol=1e-5)
    rotated = rescaling.rotate_channels(model, rotation)
    assert torch.allclose(rotated(TOKENS), model(TOKENS), atol=1e-5)
    for name in ("blocks.0.attention.query", "blocks.1.attention.output", "blocks.1.feed_forward.down", "head"):
        assert not torch.allclose(rotated.get_submodule(name).weight, model.get_submodule(name).weight, atol=1e-2)


def test_a_hadamard_matrix_spreads_one_input_over_its_block():
    rotation = rescaling.block_hadamard(64, torch.Generator().manual_seed(6))
    one = torch.eye(64)[3] @ rotation
    assert torch.allclose(one.abs()[:32], torch.full((32,), 32**-0.5))
    assert not one[32:].any()
    with pytest.raises(ValueError, match="multiple of block"):
        rescaling.block_hadamard(40, torch.Generator())
