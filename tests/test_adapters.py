"""Adapters: against dense layers and their gradients, against PEFT's convention, and the bytes against the tensors."""

import copy

import pytest
import torch
from torch import nn

from utils import adapters
from utils.adapters import DecomposedAdapter, LowRankAdapter, RandomSubspace, adapted, merged
from utils.nf4_linear import in_nf4
from utils.transformer import Transformer


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = Transformer(width=16, heads=2, hidden=24, blocks=2, context=16).eval()
    nn.init.normal_(model.head.weight, std=0.2)
    return model


def moved(model):
    """Fill every trained number with noise, as a training would."""
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_(std=0.1)
    return model


TOKENS = torch.arange(12).view(2, 6)
MAKERS = {
    "low rank": lambda layer: LowRankAdapter(layer, rank=2, scale=1.5),
    "subspace": lambda layer: RandomSubspace(layer, size=3),
    "decomposed": lambda layer: DecomposedAdapter(layer, rank=2, scale=1.5),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_new_adapter_changes_nothing_and_a_trained_one_merges(network, make):
    model = adapted(network, make)
    assert torch.equal(model(TOKENS), network(TOKENS))
    before = model(TOKENS)
    assert not torch.allclose(moved(model)(TOKENS), before, atol=1e-3)
    whole = merged(model)
    assert torch.allclose(whole(TOKENS), model(TOKENS), atol=1e-5)
    assert whole.state_dict().keys() == network.state_dict().keys()


def test_the_network_that_was_given_is_left_alone(network):
    before = copy.deepcopy(network.state_dict())
    model = moved(adapted(network, MAKERS["low rank"]))
    merged(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(p.requires_grad for p in network.parameters())


def test_its_gradients_are_the_dense_gradient_seen_through_the_other_factor():
    layer = moved(LowRankAdapter(nn.Linear(5, 4, bias=False), rank=2, scale=3.0))
    x = torch.randn(7, 5)
    dense = layer.base.weight.detach().clone().add_(layer.change().detach()).requires_grad_()
    (x @ dense.T).pow(2).sum().backward()
    layer(x).pow(2).sum().backward()
    assert torch.allclose(layer.up.grad, 3 * dense.grad @ layer.down.T, atol=1e-4)
    assert torch.allclose(layer.down.grad, 3 * layer.up.T @ dense.grad, atol=1e-4)
    assert layer.base.weight.grad is None


def test_training_changes_the_adapters_only_and_a_state_carries_the_task(network):
    model = adapted(network, MAKERS["low rank"], choose=lambda name: "attention" in name)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(TOKENS).square().mean().backward()
        optimizer.step()
    bases = {name: each.base.weight for name, each in adapters.adapters(model).items()}
    assert len(bases) == 8
    assert all(torch.equal(weight, network.get_submodule(name).weight) for name, weight in bases.items())
    other = adapted(network, MAKERS["low rank"], choose=lambda name: "attention" in name)
    adapters.load_adapter(other, adapters.adapter_state(model))
    assert torch.equal(other(TOKENS), model(TOKENS))


def test_a_state_of_another_network_is_refused(network):
    state = adapters.adapter_state(adapted(network, MAKERS["low rank"]))
    with pytest.raises(ValueError, match="in one of the two only"):
        adapters.load_adapter(adapted(network, MAKERS["subspace"]), state)


def test_what_is_trained_is_counted(network):
    shapes = [tuple(each.weight.shape) for each in network.modules() if isinstance(each, nn.Linear)]
    model = adapted(network, MAKERS["low rank"])
    assert adapters.trained_parameters(model) == adapters.adapter_parameters(shapes, 2)
    head = adapters.training_only(network, lambda name: name.startswith("head"))
    assert adapters.trained_parameters(head) == 65 * 16


def test_an_adapter_on_nf4_merges_into_float(network):
    model = moved(adapted(in_nf4(network), MAKERS["low rank"]))
    assert adapters.trained_parameters(model) == adapters.trained_parameters(adapted(network, MAKERS["low rank"]))
    assert torch.allclose(merged(model)(TOKENS), model(TOKENS), atol=1e-5)


def test_bytes_of_training_follow_what_is_trained(network):
    def measured(model):
        return adapters.training_bytes(model, lambda: model(TOKENS).square().mean())

    whole, part = measured(copy.deepcopy(network)), measured(adapted(network, MAKERS["low rank"]))
    assert whole.gradients == 4 * sum(p.numel() for p in network.parameters())
    assert whole.optimizer == 2 * whole.gradients
    assert part.optimizer == 8 * adapters.trained_parameters(adapted(network, MAKERS["low rank"]))
    assert part.weights > whole.weights
    assert whole.total == sum(whole)


def test_measuring_bytes_puts_the_parameters_back(network):
    before = copy.deepcopy(network.state_dict())
    adapters.training_bytes(network, lambda: network(TOKENS).square().mean())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_energy_and_truncation_agree_with_each_other():
    change = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    shares = adapters.energy(change)
    for rank in range(7):
        left = (change - adapters.truncated(change, rank)).norm() ** 2 / change.norm() ** 2
        assert left.item() == pytest.approx(1 - shares[rank].item(), abs=1e-5)
        assert torch.linalg.matrix_rank(adapters.truncated(change, rank)) == rank


def test_a_principal_adapter_starts_as_the_layer_and_takes_its_best_part_of_the_rank(network):
    layer = nn.Linear(9, 6)
    weight, x = layer.weight.detach().clone(), torch.randn(5, 9)
    before = layer(x)
    started = adapters.principal_adapter(layer, rank=2)
    assert torch.allclose(started(x), before, atol=1e-5)
    assert torch.allclose(started.change(), adapters.truncated(weight, 2), atol=1e-5)
    assert torch.allclose(started.up.norm(dim=0), started.down.norm(dim=1), atol=1e-5)  # the root goes to both
    started(x).square().sum().backward()
    assert min(started.up.grad.abs().max(), started.down.grad.abs().max()) > 0
    model = adapted(network, lambda each: adapters.principal_adapter(each, rank=2))
    assert torch.allclose(model(TOKENS), network(TOKENS), atol=1e-5)
    assert torch.allclose(merged(moved(model))(TOKENS), model(TOKENS), atol=1e-5)


def test_a_decomposed_adapter_is_the_formula_and_its_lengths_count_as_constants_backward():
    layer = nn.Linear(5, 4)
    original = layer.weight.detach().clone()
    model = DecomposedAdapter(layer, rank=2, scale=1.5)
    assert torch.equal(model.lengths, original.norm(dim=1))
    moved(model)
    x = torch.randn(7, 5)
    turned = original + 1.5 * model.up.detach() @ model.down.detach()
    unit = turned / turned.norm(dim=1, keepdim=True)
    weight = (model.lengths.detach()[:, None] * unit).requires_grad_()
    wanted = x @ weight.T + layer.bias
    assert torch.allclose(model(x), wanted, atol=1e-5)
    wanted.square().sum().backward()
    model(x).square().sum().backward()
    over = (model.lengths / turned.norm(dim=1)).detach()[:, None] * weight.grad
    assert torch.allclose(model.up.grad, 1.5 * over @ model.down.detach().T, atol=1e-4)
    assert torch.allclose(model.lengths.grad, (weight.grad * unit).sum(dim=1), atol=1e-4)


def test_another_scale_leaves_the_change_and_shares_the_root_between_the_factors():
    one = moved(LowRankAdapter(nn.Linear(5, 4), rank=2))
    up, down, change = one.up.detach().clone(), one.down.detach().clone(), one.change().detach()
    four = adapters.rescaled(one, 4.0)
    assert four.scale == 4.0
    assert torch.allclose(four.change(), change, atol=1e-6)
    assert torch.allclose(2 * four.up, up)
    assert torch.allclose(2 * four.down, down)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LowRankAdapter(nn.Linear(5, 4), rank=5), "rank must be from 1 to 4"),
        (lambda: LowRankAdapter(nn.Linear(5, 4), rank=0), "rank must be from 1 to 4"),
        (lambda: LowRankAdapter(nn.Linear(5, 4), rank=2, scale=0.0), "scale must be above 0"),
        (lambda: adapters.rescaled(LowRankAdapter(nn.Linear(5, 4), rank=2), 0.0), "scale must be above 0"),
        (lambda: adapted(nn.Linear(2, 2), MAKERS["low rank"], choose=lambda _: False), "none of the network's"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
