"""Loss scaling against PyTorch's GradScaler; what is held for the backward pass against a count by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from utils.mixed_precision import HeldForBackward, LossScaler, recomputed, underflow


def _training(start, good_steps, by_hand):
    torch.manual_seed(0)
    model = nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ours = LossScaler(start, good_steps=good_steps)
    theirs = torch.amp.GradScaler("cpu", init_scale=start, growth_interval=good_steps)
    scales = []
    for _ in range(12):
        x = torch.randn(16, 8)
        with torch.autocast("cpu", dtype=torch.float16):
            loss = model(x).float().square().mean()
        optimizer.zero_grad()
        if by_hand:
            ours.scaled(loss).backward()
            ours.step(optimizer)
            scales.append(ours.scale)
        else:
            theirs.scale(loss).backward()
            theirs.step(optimizer)
            theirs.update()
            scales.append(theirs.get_scale())
    return scales, model.weight.detach()


@pytest.mark.parametrize(("start", "good_steps"), [(2.0**24, 3), (2.0**10, 2), (2.0**19, 100)])
def test_the_scale_and_the_weights_are_those_of_grad_scaler(start, good_steps):
    scales, weight = _training(start, good_steps, by_hand=True)
    expected, weight_expected = _training(start, good_steps, by_hand=False)
    assert scales == expected
    assert len(set(scales)) > 1 or good_steps == 100
    torch.testing.assert_close(weight, weight_expected, rtol=1e-6, atol=1e-7)


def test_an_overflow_leaves_the_step_out_and_halves_the_scale():
    weight = nn.Parameter(torch.ones(2))
    optimizer, scaler = torch.optim.SGD([weight], lr=1.0), LossScaler(8.0, good_steps=2)
    weight.grad = torch.tensor([float("inf"), 8.0])
    assert not scaler.step(optimizer)
    assert scaler.scale == 4
    assert weight.tolist() == [1, 1]
    for expected in (4, 8):  # after the second good step in a row it doubles
        weight.grad = torch.tensor([4.0, 0.0])
        assert scaler.step(optimizer)
        assert scaler.scale == expected
    assert weight.tolist() == [-1, 1]


def test_underflow_begins_below_half_of_the_smallest_number():
    smallest = 2.0**-24
    assert underflow(torch.tensor([smallest, smallest * 0.51, smallest * 0.49]), torch.float16) == pytest.approx(1 / 3)
    assert underflow(torch.tensor([smallest * 1e-3]), torch.bfloat16) == 0
    assert underflow(torch.zeros(3), torch.float16) == 0


def chain(layers, width):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(layers)))


@given(layers=st.integers(1, 6), width=st.integers(2, 8), examples=st.integers(1, 8))
def test_held_are_the_inputs_and_the_outputs_of_all_layers(layers, width, examples):
    network = chain(layers, width)
    x = torch.randn(examples, width, requires_grad=True)
    held = HeldForBackward(network)
    with held.counting():
        y = network(x)
        assert held.now == (layers + 1) * 4 * examples * width
        y.sum().backward()
    del y
    assert held.now == 0
    assert held.most == (layers + 1) * 4 * examples * width


def _gradients(network, run, x):
    network.zero_grad()
    held = HeldForBackward(network)
    with held.counting():
        run(x).square().sum().backward()
    return [p.grad.clone() for p in network.parameters()], held.most


@pytest.mark.parametrize("segments", [1, 2, 4, 8])
def test_recomputed_parts_have_the_gradients_and_the_memory_of_the_librarys(segments):
    network = chain(8, 16)
    x = torch.randn(32, 16, requires_grad=True)
    parts = [network[i : i + 8 // segments] for i in range(0, 8, 8 // segments)]

    def by_hand(values):
        for part in parts:
            values = recomputed(part, values)
        return values

    def library(values):
        for part in parts:
            values = checkpoint(part, values, use_reentrant=True)
        return values

    plain, _ = _gradients(network, network, x)
    ours, our_bytes = _gradients(network, by_hand, x)
    theirs, their_bytes = _gradients(network, library, x)
    newer, _ = _gradients(network, lambda v: checkpoint_sequential(network, segments, v, use_reentrant=False), x)
    for gradients in (ours, theirs, newer):
        assert all(map(torch.equal, gradients, plain))
    assert our_bytes == their_bytes


def test_a_part_whose_input_needs_no_gradient_is_refused():
    with pytest.raises(ValueError, match="values must require a gradient"):
        recomputed(nn.Linear(2, 2), torch.ones(1, 2))
