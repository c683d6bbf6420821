"""Masks that change during training: rounds hit their sparsity, and moving masks keep their number of weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from utils.models import LeNet5, LeNet300100
from utils.pruning import mask_sparsity, prunable, random_scores
from utils.sparse_training import MovingMasks, RoundsPruner, drop_and_grow, erdos_renyi_sparsities, random_masks


def sparsity_of(network):
    return mask_sparsity({name: weight.detach() != 0 for name, weight in prunable(network).items()})


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_rounds_end_at_their_sparsity_and_what_is_gone_stays_gone(rounds):
    network = LeNet300100()
    pruner = RoundsPruner(network, final=0.98, rounds=rounds, end=50)
    before = pruner.masks
    for step in range(50):
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
        pruner(step)
        assert all(bool((before[name] | ~mask).all()) for name, mask in pruner.masks.items())
        before = pruner.masks
    assert sparsity_of(network) == pytest.approx(0.98, abs=1e-5)


@pytest.mark.parametrize("network", [LeNet300100(), LeNet5()])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.98])
def test_layers_of_erdos_and_renyi_are_together_as_sparse_as_wanted(network, sparsity):
    layers = erdos_renyi_sparsities(network, sparsity)
    numbers = {name: weight.numel() for name, weight in prunable(network).items()}
    assert sum(layers[n] * numbers[n] for n in layers) / sum(numbers.values()) == pytest.approx(sparsity)
    assert all(0 <= s <= 1 for s in layers.values())
    masks = random_masks(network, layers, torch.Generator().manual_seed(0))
    assert mask_sparsity(masks) == pytest.approx(sparsity, abs=1e-4)


def slow_drop_and_grow(mask, weight, gradient, count):
    kept = sorted((i for i, stays in enumerate(mask) if stays), key=lambda i: abs(weight[i]))
    removed = sorted((i for i, stays in enumerate(mask) if not stays), key=lambda i: -abs(gradient[i]))
    count = min(count, len(kept), len(removed))
    gone, come = kept[:count], removed[:count]
    return [(stays and i not in gone) or i in come for i, stays in enumerate(mask)]


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(-3, 3)), max_size=12), st.integers(0, 6))
def test_drop_and_grow_is_its_slow_specification_with_ties_and_zeros(entries, count):
    mask, weight, gradient = ([e[i] for e in entries] for i in range(3))
    tensors = torch.tensor(mask, dtype=torch.bool), torch.tensor(weight, dtype=torch.float), torch.tensor(gradient) / 2
    new = drop_and_grow(*tensors, count)
    assert new.tolist() == slow_drop_and_grow(mask, weight, gradient, count)
    assert tensors[0].tolist() == mask, "its argument is left alone"


def moved(network, masks, **how):
    moving = MovingMasks(network, masks, **how)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(10):
        optimizer.zero_grad()
        network(torch.randn(8, 20)).square().sum().backward()
        optimizer.step()
        moving(step)
    return moving


def test_moving_masks_keep_their_number_and_the_network_its_zeros():
    torch.manual_seed(0)
    network = nn.Linear(20, 10)
    first = random_masks(network, {"weight": 0.8}, torch.Generator().manual_seed(0))
    moving = moved(network, first, every=2, end=8)
    assert moving.moves == 4
    assert int(moving.masks["weight"].sum()) == int(first["weight"].sum()) == 40
    assert not torch.equal(moving.masks["weight"], first["weight"])
    assert bool((network.weight[~moving.masks["weight"]] == 0).all())


def test_masks_that_never_move_do_not():
    network = nn.Linear(20, 10)
    first = random_masks(network, {"weight": 0.8}, torch.Generator().manual_seed(0))
    moving = moved(network, first, every=2, end=0)
    assert moving.moves == 0
    assert torch.equal(moving.masks["weight"], first["weight"])


def test_growth_by_gradient_finds_what_matters_and_by_chance_does_not():
    def grown(**how):
        network = nn.Linear(20, 1)
        masks = {"weight": torch.arange(20)[None] == 0}
        moving = MovingMasks(network, masks, every=1, end=1, share=1.0, **how)
        network(torch.where(torch.arange(20) == 7, 5.0, 1.0)[None]).sum().backward()
        moving(0)
        return int(moving.masks["weight"].flatten().nonzero())

    assert grown() == 7
    generator = torch.Generator().manual_seed(0)
    assert {grown(grow_by=lambda g: random_scores(g, generator)) for _ in range(50)} > {5, 7, 11}


def test_the_optimizer_never_sees_the_gradients_of_removed_weights():
    network = nn.Linear(4, 2)
    moving = MovingMasks(network, {"weight": torch.tensor([[True, False] * 2] * 2)}, every=1, end=0)
    network(torch.ones(1, 4)).sum().backward()
    assert network.weight.grad.tolist() == [[1.0, 0.0, 1.0, 0.0]] * 2
    moving.remove()
    network.zero_grad()
    network(torch.ones(1, 4)).sum().backward()
    assert network.weight.grad.tolist() == [[1.0] * 4] * 2


def test_the_share_that_moves_falls_along_a_cosine():
    network = nn.Linear(1000, 1)
    masks = {"weight": torch.arange(1000)[None] < 400}
    moving, changed = MovingMasks(network, masks, every=1, end=10, share=0.5), []
    for step in range(12):
        before = moving.masks["weight"]
        network.zero_grad()
        network(torch.randn(1, 1000)).sum().backward()
        moving(step)
        changed.append(int((before & ~moving.masks["weight"]).sum()))
    assert changed == [round(400 * 0.25 * (1 + math.cos(math.pi * s / 10))) if s < 10 else 0 for s in range(12)]
