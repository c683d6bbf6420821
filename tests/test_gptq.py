"""GPTQ against least squares solved anew at each step, its loop against its fast form, and torchao's."""

import inspect
from functools import partial

import pytest
import torch
from torch import nn

from utils.gptq import answering_for_others, gptq, gptq_by_elimination, gptq_in_turn
from utils.quantization import QuantizationParameters, clipped_half_grid, parameters_for
from utils.surgeon import second_moment
from utils.transformer import Transformer
from utils.weight_only import input_statistics, linear_layers, output_error, round_linear_layers, round_to_nearest


def _layer(rows=5, columns=24, seed=0):
    """Return a weight and the moment of inputs that go together, in float64."""
    drawn = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=drawn, dtype=torch.float64)
    mixing = torch.randn(columns, columns, generator=drawn, dtype=torch.float64)
    x = torch.randn(400, columns, generator=drawn, dtype=torch.float64) @ (mixing + torch.eye(columns))
    return weight, second_moment(x)


def _minmax(bits):
    return partial(parameters_for, bits=bits, axis=0)


def _least_squares_at_each_step(weight, moment, bits):
    """Round each row from left to right; what is left is solved anew, from the weights as they were."""
    rounded = torch.empty_like(weight)
    for r, row in enumerate(weight):
        grid = parameters_for(row[None], bits=bits, axis=0)
        scale, zero_point = grid.scale[0].double(), grid.zero_point[0]
        for j in range(len(row)):
            wanted = row[j:]
            if j:  # (w - v) C (w - v) is least over the v that are left
                gap = moment[j:, :j] @ (row[:j] - rounded[r, :j])
                wanted = row[j:] + torch.linalg.solve(moment[j:, j:], gap)
            code = ((wanted[0] / scale).round() + zero_point).clamp(grid.qmin, grid.qmax)
            rounded[r, j] = (code - zero_point) * scale
    return rounded


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("method", [gptq_by_elimination, gptq], ids=["loop", "fast"])
def test_gptq_is_least_squares_solved_anew_at_each_step(bits, method):
    weight, moment = _layer()
    expected = _least_squares_at_each_step(weight, moment, bits)
    assert torch.allclose(method(weight, moment, _minmax(bits)).dequantize().double(), expected, atol=1e-6)
    assert not torch.allclose(round_to_nearest(weight, _minmax(bits)).dequantize().double(), expected, atol=1e-2)


@pytest.mark.parametrize("block", [1, 8, 16, 100])
@pytest.mark.parametrize("group_size", [None, 1, 7, 8, 24])
def test_the_fast_form_is_the_loop(block, group_size):
    weight, moment = _layer()
    grid = partial(clipped_half_grid, bits=3)
    loop = gptq_by_elimination(weight, moment, grid, group_size=group_size)
    fast = gptq(weight, moment, grid, group_size=group_size, block=block)
    assert torch.equal(fast.codes, loop.codes)
    assert torch.equal(fast.scale, loop.scale)
    assert torch.equal(fast.zero_point, loop.zero_point)


@pytest.mark.parametrize("activation_order", [False, True])
@pytest.mark.parametrize("group_size", [None, 7])
def test_with_the_identity_it_is_rounding_to_nearest(activation_order, group_size):
    weight, _ = _layer()
    grid = partial(clipped_half_grid, bits=3)
    nearest = round_to_nearest(weight, grid, group_size=group_size)
    ours = gptq(
        weight, torch.eye(24, dtype=torch.float64), grid, group_size=group_size, activation_order=activation_order
    )
    assert torch.equal(ours.codes, nearest.codes)
    assert torch.equal(ours.dequantize(), nearest.dequantize())


def test_activation_order_is_gptq_of_columns_in_another_order_on_the_grids_of_the_first():
    weight, moment = _layer()
    order = moment.diagonal().argsort(descending=True)
    whole_row = _minmax(3)(weight)
    ours = gptq(weight, moment, lambda _: whole_row, activation_order=True)
    moved = gptq_by_elimination(weight[:, order], moment[order][:, order], lambda _: whole_row)
    assert torch.equal(ours.codes[:, order], moved.codes)


def test_static_groups_keep_the_grids_of_rounding_to_nearest():
    weight, moment = _layer()
    grid = partial(clipped_half_grid, bits=2)
    ours = gptq(weight, moment, grid, group_size=6, activation_order=True)
    nearest = round_to_nearest(weight, grid, group_size=6)
    assert torch.equal(ours.scale, nearest.scale)
    assert torch.equal(ours.zero_point, nearest.zero_point)
    assert not torch.equal(ours.codes, nearest.codes)


def _of_torchao():
    """Return torchao's GPTQ without the two lines that ask for a GPU."""
    from torchao.prototype.gptq import api

    source = inspect.getsource(api.gptq_quantize)
    for line in ('assert device.type == "cuda", "GPTQ only supports CUDA currently"', "torch.cuda.synchronize()"):
        assert source.count(line) == 1
        source = source.replace(line, "pass")
    namespace = dict(vars(api))
    exec(source, namespace)
    return namespace["gptq_quantize"], api.GPTQConfig


def test_it_is_what_torchao_computes():
    from torchao.quantization import Int8WeightOnlyConfig

    theirs, config = _of_torchao()
    weight, _ = _layer(rows=16)
    x = torch.randn(400, 24, generator=torch.Generator().manual_seed(5))
    x = x * torch.linspace(0.5, 3, 24) + 8 * x[:, :1]
    plain = x.T @ x / len(x)  # they add the same hundredth
    settings = config(step="convert", base_config=Int8WeightOnlyConfig(), gptq_quantize_block_size=24)
    received = theirs(plain.clone(), weight.float().clone(), settings)

    def their_grid(_):
        zero = torch.zeros(16, dtype=torch.int32)
        return QuantizationParameters(received.scale.flatten().float(), zero, -128, 127, axis=0)

    ours = gptq(weight, second_moment(x), their_grid, block=8)
    nearest = round_to_nearest(weight, their_grid)
    assert (ours.codes == received.qdata).float().mean() > 0.99  # theirs is float32
    assert (ours.codes == nearest.codes).float().mean() < 0.95


@pytest.mark.parametrize("activation_order", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_its_outputs_err_less_than_those_of_rounding_to_nearest(bits, activation_order):
    weight, moment = _layer(rows=40)
    grid = partial(clipped_half_grid, bits=bits)
    nearest = output_error(weight, round_to_nearest(weight, grid, group_size=8).dequantize(), moment)
    ours = gptq(weight, moment, grid, group_size=8, activation_order=activation_order)
    assert output_error(weight, ours.dequantize(), moment) < 0.8 * nearest


def test_the_arguments_stay_as_they_are():
    weight, moment = _layer()
    before = weight.clone(), moment.clone()
    gptq(weight, moment, _minmax(2), group_size=8)
    gptq_by_elimination(weight, moment, _minmax(2), group_size=8)
    assert torch.equal(weight, before[0])
    assert torch.equal(moment, before[1])


def _transformer():
    torch.manual_seed(0)
    model = Transformer(20, width=32, heads=2, hidden=48, blocks=3, context=32).requires_grad_(False)
    nn.init.normal_(model.head.weight, std=0.2)
    return model, torch.randint(20, (24, 32), generator=torch.Generator().manual_seed(1))


def test_a_layer_answers_for_others_as_ridge_regression_does():
    weight, _ = _layer(rows=3)
    drawn = torch.Generator().manual_seed(4)
    given = torch.randn(300, 24, generator=drawn, dtype=torch.float64)
    received = given + 0.3 * torch.randn(300, 24, generator=drawn, dtype=torch.float64)
    small = 0.01 * received.square().mean()
    rows = torch.cat([received, (300 * small).sqrt() * torch.eye(24)])  # the penalty as further examples
    wanted = torch.cat([given @ weight.T, (300 * small).sqrt() * weight.T])
    solved = torch.linalg.lstsq(rows, wanted).solution.T
    assert torch.allclose(answering_for_others(weight, given, received), solved, atol=1e-8)
    assert torch.allclose(answering_for_others(weight, given, given), weight)


def test_in_turn_the_first_layer_is_plain_gptq_and_the_arguments_stay():
    model, tokens = _transformer()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grid = partial(clipped_half_grid, bits=3)
    in_turn = gptq_in_turn(model, tokens, grid, group_size=16)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert set(in_turn.stored) == set(linear_layers(model))
    assert all(torch.equal(linear_layers(in_turn.model)[n].weight, s.dequantize()) for n, s in in_turn.stored.items())
    seen = input_statistics(model, [tokens])["blocks.0.attention.query"]
    plain = gptq(model.blocks[0].attention.query.weight, seen.moment, grid, group_size=16)
    assert (plain.codes == in_turn.stored["blocks.0.attention.query"].codes).float().mean() > 0.99


def test_in_turn_the_network_is_nearer_to_what_it_was():
    model, tokens = _transformer()
    grid = partial(clipped_half_grid, bits=2)
    seen = input_statistics(model, [tokens])
    plain = round_linear_layers(model, lambda name, w: gptq(w, seen[name].moment, grid, group_size=16))
    in_turn = gptq_in_turn(model, tokens, grid, group_size=16)
    fresh = torch.randint(20, (24, 32), generator=torch.Generator().manual_seed(2))
    off = [(each.model(fresh) - model(fresh)).square().mean().item() for each in (plain, in_turn)]
    assert off[1] < 0.9 * off[0]
    assert in_turn.nbytes == plain.nbytes
