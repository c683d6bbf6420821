"""Parts taken out of a transformer against parts that are silenced, gradients against differences, zeros that stay."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.accounting import count_parameters
from utils.language_models import TextRecipe, fit_text
from utils.transformer import KeyValueCache, Transformer
from utils.transformer_pruning import (
    block_layers,
    head_gradients,
    hold_zeros,
    keep_heads,
    keep_hidden,
    let_go,
    mean_squared_gradients,
    prune_block_by_block,
    prune_blocks,
    sparsity_of_blocks,
    without_branches,
    written_norms,
)
from utils.weight_only import input_statistics

TOKENS = torch.tensor([[0, 3, 1, 4, 2, 2], [4, 4, 0, 1, 3, 0]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Transformer(5, width=12, blocks=3, heads=3, hidden=10, context=8)
    nn.init.normal_(model.head.weight)
    return model.eval()


def test_pruning_changes_a_copy_of_the_blocks_alone(model):
    before = copy.deepcopy(model.state_dict())
    changed = prune_blocks(model, lambda name, weight: weight * (weight > 0))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert 0.4 < sparsity_of_blocks(changed) < 0.6
    assert torch.equal(changed.head.weight, model.head.weight)
    assert len(block_layers(model)) == 21


def test_block_by_block_each_block_sees_what_the_pruned_ones_before_it_give(model):
    before = copy.deepcopy(model.state_dict())
    asked = {}

    def pruned(name, weight, moment):
        asked[name] = moment
        return weight * (weight > 0)

    changed = prune_block_by_block(model, [TOKENS], pruned)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert list(asked) == list(block_layers(model))
    assert torch.equal(
        changed.blocks[2].feed_forward.up.weight,
        prune_blocks(model, lambda _, w: w * (w > 0)).blocks[2].feed_forward.up.weight,
    )
    dense = input_statistics(model, [TOKENS])
    half = copy.deepcopy(model)  # the first two blocks pruned, the third one not
    for name, layer in block_layers(half).items():
        if not name.startswith("blocks.2"):
            layer.weight.data = changed.get_submodule(name).weight.data
    now = input_statistics(half, [TOKENS])
    for name, moment in asked.items():
        if name.startswith("blocks.0"):
            assert torch.allclose(moment, dense[name].moment)
        if name.startswith("blocks.2"):
            assert torch.allclose(moment, now[name].moment)
            assert not torch.allclose(moment, dense[name].moment)


@torch.no_grad()
def test_heads_taken_out_are_heads_silenced(model):
    silenced = copy.deepcopy(model)
    silenced.blocks[1].attention.output.weight[:, 4:8] = 0  # head 1
    small = keep_heads(model, {1: [0, 2]})
    assert torch.allclose(small(TOKENS), silenced(TOKENS), atol=1e-5)
    assert count_parameters(model) - count_parameters(small) == 4 * 4 * 12
    with pytest.raises(ValueError, match="block 1 must keep a head"):
        keep_heads(model, {1: []})


@torch.no_grad()
def test_hidden_channels_taken_out_are_channels_silenced(model):
    kept = torch.tensor([0, 3, 9])
    silenced = copy.deepcopy(model)
    gone = [k for k in range(10) if k not in kept]
    silenced.blocks[2].feed_forward.down.weight[:, gone] = 0
    small = keep_hidden(model, {2: kept})
    assert torch.allclose(small(TOKENS), silenced(TOKENS), atol=1e-5)
    assert small.blocks[2].feed_forward.down.weight.shape == (12, 3)


@torch.no_grad()
@pytest.mark.parametrize(
    "gone", [[(1, "attention")], [(0, "feed_forward"), (2, "attention")], [(1, "attention"), (1, "feed_forward")]]
)
def test_branches_taken_out_are_branches_silenced(model, gone):
    silenced = copy.deepcopy(model)
    for number, branch in gone:
        block = silenced.blocks[number]
        (block.attention.output if branch == "attention" else block.feed_forward.down).weight.zero_()
    small = without_branches(model, gone)
    assert torch.allclose(small(TOKENS), silenced(TOKENS), atol=1e-5)
    assert count_parameters(small) < count_parameters(model)
    cached, read = KeyValueCache(small, batch_size=2), []
    for place in range(TOKENS.shape[1]):
        read.append(small(TOKENS[:, place : place + 1], cached))
    assert torch.allclose(torch.cat(read, dim=1), small(TOKENS), atol=1e-5)


def test_branches_that_cannot_go_are_refused(model):
    with pytest.raises(ValueError, match="is no branch of this network"):
        without_branches(model, [(3, "attention")])
    with pytest.raises(ValueError, match="must keep its attention"):
        without_branches(model, [(0, "attention")])


def _loss(model, tokens, wanted):
    return F.cross_entropy(model(tokens[None])[0], wanted)


def test_squared_gradients_are_those_of_one_window_at_a_time(model):
    targets = TOKENS.roll(-1, dims=1)
    expected = 0
    for tokens, wanted in zip(TOKENS, targets, strict=True):
        model.zero_grad()
        _loss(model, tokens, wanted).backward()
        expected = expected + model.blocks[1].feed_forward.up.weight.grad.square() / 2
    received = mean_squared_gradients(model, TOKENS, targets)["blocks.1.feed_forward.up"]
    assert torch.allclose(received, expected, rtol=1e-4)


@torch.no_grad()
def test_squared_gradients_can_be_taken_while_a_network_is_pruned(model):
    targets = TOKENS.roll(-1, dims=1)
    taken = {}
    prune_blocks(
        model, lambda name, weight: taken.setdefault(name, mean_squared_gradients(model, TOKENS, targets)[name])
    )
    with torch.enable_grad():
        expected = mean_squared_gradients(model, TOKENS, targets)
    assert all(torch.equal(taken[name], each) for name, each in expected.items())
    assert all(each.any() for each in taken.values())


@torch.no_grad()
def test_head_gradients_are_what_a_small_change_of_a_head_does(model):
    targets = TOKENS.roll(-1, dims=1)
    received = head_gradients(model, TOKENS, targets)
    assert received.shape == (3, 3)
    expected = 0.0
    for tokens, wanted in zip(TOKENS, targets, strict=True):
        losses = []
        for factor in (1.01, 0.99):
            changed = copy.deepcopy(model)
            changed.blocks[2].attention.output.weight[:, 4:8] *= factor
            losses.append(_loss(changed, tokens, wanted).item())
        expected += abs(losses[0] - losses[1]) / 0.02 / 2
    assert received[2, 1].item() == pytest.approx(expected, rel=0.05, abs=1e-4)
    assert not model.blocks[0].attention.output._forward_pre_hooks


def test_written_norms_are_input_times_column(model):
    received = written_norms(model, [TOKENS])
    assert sorted(received) == sorted(n for n in block_layers(model) if n.endswith(("output", "down")))
    layer = model.blocks[0].attention.output
    heard = []
    hook = layer.register_forward_pre_hook(lambda _, given: heard.append(given[0].flatten(0, 1)))
    model(TOKENS)
    hook.remove()
    expected = heard[0].square().mean(dim=0).sqrt() * layer.weight.norm(dim=0)
    assert torch.allclose(received["blocks.0.attention.output"], expected, rtol=0.1)  # a hundredth is added


def test_zeros_that_are_held_stay_zeros_and_the_rest_is_trained(model):
    sparse = prune_blocks(model, lambda name, weight: weight * (weight > 0))
    zeros = {name: layer.weight == 0 for name, layer in block_layers(sparse).items()}
    before = {name: layer.weight.detach().clone() for name, layer in block_layers(sparse).items()}
    names = list(sparse.state_dict())
    hold_zeros(sparse)
    fit_text(sparse, torch.arange(60) % 5, TextRecipe(steps=3, batch_size=2, context=6))
    let_go(sparse)
    assert sorted(sparse.state_dict()) == sorted(names)
    for name, layer in block_layers(sparse).items():
        assert torch.equal(layer.weight == 0, zeros[name])
        assert not torch.equal(layer.weight, before[name])
