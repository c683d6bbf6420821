"""What is shared decodes to what was computed with; zeros stay zeros; gradients are those derived by hand."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize, prune

from utils.entropy_coding import byte_account, decode_network, decode_tensors, encode_network
from utils.models import LeNet5, LeNet300100, SmallResNet
from utils.weight_sharing import (
    MAXIMUM_BITS,
    LearnedLevels,
    TrainedCentroids,
    read_shared,
    share,
    share_centroids,
    share_levels,
)

pytest.importorskip("constriction")  # no wheel for Linux on aarch64

VALUES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60)
SMALL = {"hidden": (8, 6)}


def pruned(seed=0, density=0.3):
    """Return a narrow LeNet300100 most of whose weights are zero."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = LeNet300100(**SMALL)
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            parameter.data *= torch.rand(parameter.shape, generator=generator) < density
    return model


def encoded(model):
    return encode_network(read_shared(model), model="LeNet300100", arguments=SMALL)


# --- k-means over what is not zero


@given(VALUES, st.integers(1, MAXIMUM_BITS))
def test_share_keeps_zeros_and_uses_no_more_centroids_than_asked_for(values, bits):
    values = torch.tensor(values)
    shared = share(values, bits=bits)
    assert len(shared.centroids) <= 2**bits
    assert (shared.values[values.numpy() == 0] == 0).all()
    used = np.unique(shared.codes[shared.codes > 0])
    assert used.tolist() == list(range(1, len(used) + 1))  # nothing is stored that no weight uses


@given(st.lists(st.integers(-10, 10), min_size=1, max_size=40))
def test_few_different_values_are_shared_without_loss(values):
    values = torch.tensor(values, dtype=torch.float32) / 4
    # 64 starting points over at most five units: no two of these values fall to one
    assert np.array_equal(share(values, bits=MAXIMUM_BITS).values, values.numpy())


def test_share_finds_the_means_of_two_groups():
    shared = share(torch.tensor([0.0, 1.0, 2.0, 0.0, -4.0, -6.0]), bits=1)
    assert shared.centroids.tolist() == [-5.0, 1.5]
    assert shared.codes.tolist() == [0, 2, 2, 0, 1, 1]


def test_share_at_its_edges():
    assert share(torch.zeros(3), bits=2).codes.tolist() == [0, 0, 0]
    assert share(torch.tensor([3.0]), bits=5).centroids.tolist() == [3.0]
    assert share(torch.tensor([1e-12, 0.0]), bits=1).codes.tolist() == [0, 0]  # float16 makes zero of it


@pytest.mark.parametrize(
    ("value", "bits", "message"), [(1.0, 7, "between 1 and 6"), (torch.nan, 2, "NaN"), (1e6, 2, "float16 cannot hold")]
)
def test_share_names_what_is_wrong(value, bits, message):
    with pytest.raises(ValueError, match=message):
        share(torch.tensor([value]), bits=bits)


# --- trained centroids


@given(st.integers(0, 10_000))
def test_the_gradient_of_a_centroid_is_the_sum_over_its_cluster(seed):
    torch.manual_seed(seed)
    layer = nn.Linear(6, 4, bias=False)
    layer.weight.data *= torch.rand(4, 6) < 0.7
    if not layer.weight.any():
        return
    shared = share(layer.weight, bits=2)
    plain = nn.Linear(6, 4, bias=False)
    plain.weight.data = torch.from_numpy(shared.values)
    parametrize.register_parametrization(layer, "weight", TrainedCentroids(shared))
    x, wanted = torch.randn(5, 6), torch.randn(5, 4)
    for network in (layer, plain):
        (network(x) * wanted).sum().backward()
    by_hand = [plain.weight.grad[torch.from_numpy(shared.codes) == k + 1].sum() for k in range(len(shared.centroids))]
    assert torch.allclose(layer.parametrizations.weight.original.grad, torch.stack(by_hand), atol=1e-4)


def test_training_moves_centroids_and_leaves_codes_and_zeros():
    shared = share_centroids(pruned(), bits=3)
    before = read_shared(shared)
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.1)
    shared(torch.rand(4, 1, 28, 28)).square().sum().backward()
    optimizer.step()
    after = read_shared(shared)
    moved = [not np.array_equal(before[name].centroids, after[name].centroids) for name in before]
    assert any(moved)
    for name in before:
        assert np.array_equal(before[name].values == 0, after[name].values == 0)
        assert len(after[name].centroids) <= (32 if name.endswith("bias") else 8)


def test_what_is_trained_are_the_centroids_alone():
    shared = share_centroids(pruned(), bits=2, bias_bits=1)
    assert [p.numel() for p in shared.parameters()] == [4, 2, 4, 2, 4, 2]


# --- learned levels


@given(VALUES, st.integers(1, 7))
def test_levels_are_whole_multiples_of_the_step(values, levels):
    weight = torch.tensor(values)
    rounding = LearnedLevels(weight, levels=levels)
    ratios = (rounding(weight) / rounding.step).detach()
    assert torch.allclose(ratios, ratios.round(), atol=1e-4)
    assert ratios.abs().max() <= levels + 1e-4
    assert (rounding(weight)[weight == 0] == 0).all()


def test_a_zero_of_a_bias_may_move_and_one_of_a_weight_not():
    values = torch.tensor([0.0, 1.0])
    grown = torch.tensor([1.0, 1.0])
    assert LearnedLevels(values, levels=1)(grown).tolist() == [0.0, 1.0]
    assert LearnedLevels(values, levels=1, masked=False)(grown).tolist() == [1.0, 1.0]


def test_gradients_pass_straight_through_inside_the_range_and_to_the_step():
    rounding = LearnedLevels(torch.tensor([1.0, -1.0]), levels=1)  # the step is 1
    weight = torch.tensor([0.8, -3.0], requires_grad=True)
    rounding(weight).backward(torch.tensor([1.0, 1.0]))
    assert weight.grad.tolist() == [1.0, 0.0]
    # dS: (round(w/S) - w/S) inside, -q outside; by log S: times S = 1
    assert rounding.log_step.grad.item() == pytest.approx((1 - 0.8) + -1.0)


def test_training_keeps_the_mask_and_few_values():
    shared = share_levels(pruned(), levels=2, bias_levels=3)
    optimizer = torch.optim.Adam(shared.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        shared(torch.rand(4, 1, 28, 28)).square().sum().backward()
        optimizer.step()
    model = pruned()
    for name, tensor in read_shared(shared).items():
        assert len(tensor.centroids) <= (6 if name.endswith("bias") else 4)
        if name.endswith("weight"):
            gone = model.get_parameter(name).detach().numpy() == 0
            assert (tensor.values[gone] == 0).all()


def test_levels_out_of_range_are_an_error():
    with pytest.raises(ValueError, match="levels must be between 1 and 63, got 64"):
        LearnedLevels(torch.ones(2), levels=64)


# --- whole networks


@pytest.mark.parametrize("attach", [lambda m: share_levels(m, levels=3), lambda m: share_centroids(m, bits=4)])
def test_the_decoded_network_is_what_was_computed_with_up_to_float16(attach):
    shared = attach(pruned()).eval()
    content = encoded(shared)
    for tensor, decoded in zip(read_shared(shared).values(), decode_tensors(content).values(), strict=True):
        assert tensor.values.tobytes() == decoded.values.tobytes()
    images = torch.rand(8, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(decode_network(content)(images), shared(images), rtol=1e-2, atol=1e-2)


def test_sharing_leaves_the_given_network_alone():
    model = pruned()
    before = copy.deepcopy(model.state_dict())
    share_levels(model)
    share_centroids(model, bits=3)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("model", [LeNet5((2, 3), 4), nn.Sequential(nn.Linear(3, 2, bias=False)), nn.Linear(3, 2)])
def test_names_are_those_of_the_plain_network_in_its_order(model):
    assert list(read_shared(share_levels(model))) == list(model.state_dict())


def test_networks_that_cannot_be_shared_or_read_are_errors():
    with pytest.raises(ValueError, match="already"):
        share_centroids(share_levels(pruned()), bits=2)
    with pytest.raises(ValueError, match=r"fc1\.weight is not shared"):
        read_shared(pruned())
    with pytest.raises(ValueError, match="bn"):  # batch norm has values of its own, which nothing shares
        read_shared(share_levels(SmallResNet(2)))


def test_levels_are_written_as_their_step_alone():
    account = byte_account(encoded(share_levels(pruned(), levels=3)))
    assert all(row["centroids"] == 3 for name, row in account.items() if name != "file")  # one byte and the step


def test_the_codes_of_levels_mean_the_rounded_weights():
    rounding = LearnedLevels(torch.tensor([1.0, -1.0, 0.0, 2.0]), levels=2)
    rounding.log_step.data.zero_()  # a step of 1
    shared = rounding.shared(torch.tensor([1.2, -1.9, 5.0, 0.3]))
    assert shared.values.tolist() == [1.0, -2.0, 0.0, 0.0]
    assert shared.centroids.tolist() == [-2.0, -1.0, 1.0, 2.0]


def test_a_pruned_network_is_made_permanent_before_its_weights_are_shared():
    model = LeNet300100()
    prune.l1_unstructured(model.fc2, "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"fc2\.weight is computed .* make it permanent first"):
        share_levels(model)
