"""Removal of channels against masked networks and torch_pruning: what is removed computes as if it were silenced."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from tests.random_inputs import images, quick, randn, seeded, seeded_model, tied_scores
from utils.accounting import count_macs, count_nonzero, count_parameters
from utils.models import LeNet5, LeNet300100, SmallDepthwiseNet, SmallResNet
from utils.pruning import apply_masks, group_scores, spread_mask
from utils.structured_pruning import (
    channel_groups,
    channels_by_score,
    fewer_inputs,
    flatten_indices,
    keep_best,
    left_out,
    narrow_batch_norm,
    narrow_conv,
    narrow_linear,
    narrow_network,
    shrink_lenet5,
    shrink_lenet300100,
    silence_network,
    silence_outputs,
    taylor_scores,
)
from utils.transformer import Transformer


def indices(*values):
    return torch.tensor(values)


def randomize_statistics(model):
    """Give every batch norm statistics, scales and shifts of its own, so that mixing up its channels shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for seed, tensor in enumerate((module.weight, module.bias, module.running_mean, module.running_var)):
                tensor.data.copy_(torch.rand(tensor.shape, generator=seeded(seed)) + 0.5)
    return model


@given(scores=tied_scores, data=st.data())
@quick
def test_keep_best_keeps_the_highest_and_of_equal_ones_the_later(scores, data):
    count = data.draw(st.integers(1, len(scores)))
    kept = keep_best(scores, count)
    assert kept.dtype == torch.int64
    assert torch.equal(kept, scores.argsort(stable=True)[-count:].sort().values)


@pytest.mark.parametrize("channels", [1, 3, 20, 49, 50, 100, 300, 500])
def test_keep_best_keeps_as_many_as_it_is_asked_for(channels):
    scores = torch.rand(channels, generator=seeded())
    for count in range(1, channels + 1):
        assert len(keep_best(scores, count)) == count


@given(kept=st.lists(st.integers(0, 9), min_size=1, unique=True), height=st.integers(1, 4), width=st.integers(1, 4))
@quick
def test_flatten_indices_are_where_flatten_puts_the_channels(kept, height, width):
    x = randn(2, 10, height, width)
    chosen = torch.tensor(kept)
    assert torch.equal(x.flatten(1)[:, flatten_indices(chosen, height * width)], x[:, chosen].flatten(1))


@pytest.mark.parametrize("bias", [True, False])
def test_narrow_linear_equals_rows_and_columns(bias):
    layer, x = nn.Linear(7, 5, bias=bias), randn(3, 7)
    outputs, inputs = indices(4, 0, 2), indices(1, 6)
    small = narrow_linear(layer, outputs=outputs, inputs=inputs)
    assert (small.in_features, small.out_features) == (2, 3)
    x_masked = torch.zeros_like(x)
    x_masked[:, inputs] = x[:, inputs]
    assert torch.allclose(small(x[:, inputs]), layer(x_masked)[:, outputs], atol=1e-6)
    assert (small.bias is None) == (not bias)


def test_fewer_inputs_restore_the_outputs_from_as_many_as_say_all():
    layer, few = nn.Linear(9, 4), randn(50, 3)
    inputs = few[:, [0, 0, 1, 2, 1, 0, 2, 2, 1]] * torch.arange(1.0, 10.0) + 2.0  # three inputs say all
    kept, smaller = fewer_inputs(layer, inputs, 3)
    assert torch.equal(kept, kept.sort().values)
    assert torch.allclose(smaller(inputs[:, kept]), layer(inputs), atol=1e-3)


def test_fewer_inputs_are_the_best_by_trial_for_one_and_fit_better_than_cutting():
    layer, inputs = nn.Linear(6, 3), randn(200, 6) @ randn(6, 6)
    expected = layer(inputs)

    def missed(index):
        x = torch.stack([inputs[:, index], torch.ones(len(inputs))], dim=1)
        return (x @ torch.linalg.lstsq(x, expected.detach()).solution - expected).square().sum().item()

    (best,) = fewer_inputs(layer, inputs, 1)[0].tolist()
    assert best == min(range(6), key=missed)
    kept, smaller = fewer_inputs(layer, inputs, 4)
    cut = narrow_linear(layer, inputs=kept)
    assert (smaller(inputs[:, kept]) - expected).norm() < (cut(inputs[:, kept]) - expected).norm()
    with pytest.raises(ValueError, match="count must be at most 6"):
        fewer_inputs(layer, inputs, 7)


@pytest.mark.parametrize(
    ("conv", "x"),
    [
        (nn.Conv1d(6, 8, 3, stride=2), randn(2, 6, 9)),
        (nn.Conv2d(6, 8, 3, padding=1, dilation=2, bias=False), randn(2, 6, 9, 9)),
        (nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"), randn(2, 6, 5, 5)),
        (nn.Conv3d(6, 8, 2), randn(2, 6, 4, 4, 4)),
    ],
    ids=["1d-stride", "2d-dilation", "2d-reflect", "3d"],
)
def test_narrow_conv_equals_filters_and_channels(conv, x):
    outputs, inputs = indices(7, 3), indices(0, 4, 5)
    small = narrow_conv(conv, outputs=outputs, inputs=inputs)
    assert (small.in_channels, small.out_channels) == (3, 2)
    x_masked = torch.zeros_like(x)
    x_masked[:, inputs] = x[:, inputs]
    assert torch.allclose(small(x[:, inputs]), conv(x_masked)[:, outputs], atol=1e-5)


def test_narrow_conv_of_a_depthwise_convolution():
    conv, x, kept = nn.Conv2d(6, 6, 3, groups=6), randn(2, 6, 5, 5), indices(5, 1)
    for options in ({"inputs": kept}, {"outputs": kept}, {"inputs": kept, "outputs": kept}):
        small = narrow_conv(conv, **options)
        assert (small.in_channels, small.out_channels, small.groups) == (2, 2, 2)
        assert torch.allclose(small(x[:, kept]), conv(x)[:, kept], atol=1e-6)
    with pytest.raises(ValueError, match="must be the same indices"):
        narrow_conv(conv, inputs=kept, outputs=indices(0, 1))


@pytest.mark.parametrize("conv", [nn.Conv2d(6, 6, 3, groups=2), nn.Conv2d(6, 12, 3, groups=6)])
def test_narrow_conv_refuses_other_groups(conv):
    with pytest.raises(ValueError, match=f"got groups={conv.groups}"):
        narrow_conv(conv, outputs=indices(0))


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(6), nn.BatchNorm2d(6, affine=False), nn.BatchNorm2d(6, track_running_stats=False)]
)
def test_narrow_batch_norm_keeps_scale_shift_and_statistics(norm):
    norm(randn(8, 6, 3, 3) * 3 + 1)  # one batch in training mode for the statistics
    if norm.affine:
        norm.weight.data.copy_(torch.arange(6.0))
        norm.bias.data.copy_(-torch.arange(6.0))
    norm.eval()
    kept, x = indices(4, 1, 5), randn(2, 6, 3, 3)
    small = narrow_batch_norm(norm, kept)
    assert small.num_features == 3
    assert torch.allclose(small(x[:, kept]), norm(x)[:, kept], atol=1e-6)
    if norm.track_running_stats:
        assert small.num_batches_tracked == norm.num_batches_tracked


def test_narrow_layers_are_new_trainable_and_draw_no_random_numbers():
    layer = nn.Linear(4, 4).double().eval()
    layer.bias.requires_grad_(False)
    state = torch.get_rng_state()
    small = narrow_linear(layer, outputs=indices(0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert (small.weight.dtype, small.training) == (torch.float64, False)
    assert small.weight.requires_grad
    assert not small.bias.requires_grad
    small.weight.data.zero_()
    same = narrow_linear(layer)
    same.weight.data.zero_()
    assert layer.weight.count_nonzero() == 16
    assert layer.out_features == 4


def silenced_lenet5(model, keep1, keep2, keep_hidden):
    masked = copy.deepcopy(model)
    for layer, kept in ((masked.conv1, keep1), (masked.conv2, keep2), (masked.fc1, keep_hidden)):
        silence_outputs(layer, kept)
    return masked


@pytest.mark.parametrize("n", [1, 2, math.inf])
def test_shrunk_lenet5_equals_the_masked_one(n):
    model = seeded_model(LeNet5)
    before = copy.deepcopy(model.state_dict())
    counts = {"conv1": 6, "conv2": 12, "fc1": 80}
    kept = [keep_best(group_scores(model.get_submodule(k).weight, n=n), c) for k, c in counts.items()]
    small = shrink_lenet5(model, *kept)
    x = images(8)
    with torch.no_grad():
        assert torch.allclose(small(x), silenced_lenet5(model, *kept)(x), atol=1e-5)
        assert not torch.allclose(small(x), model(x), atol=1e-3)
    fresh = LeNet5(channels=(6, 12), hidden=80)
    assert type(small) is LeNet5
    assert {k: v.shape for k, v in small.state_dict().items()} == {k: v.shape for k, v in fresh.state_dict().items()}
    assert count_macs(small, images(1)) == 6 * 25 * 576 + 12 * 6 * 25 * 64 + 12 * 16 * 80 + 80 * 10
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    fresh.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(x), small(x))


def test_shrunk_lenet300100_equals_the_masked_one():
    model = seeded_model(LeNet300100)
    keep1 = keep_best(group_scores(model.fc1.weight), 40)
    keep2 = keep_best(group_scores(model.fc2.weight), 20)
    small = shrink_lenet300100(model, keep1, keep2)
    masked = copy.deepcopy(model)
    silence_outputs(masked.fc1, keep1)
    silence_outputs(masked.fc2, keep2)
    with torch.no_grad():
        assert torch.allclose(small(images()), masked(images()), atol=1e-5)
    assert count_parameters(small) == count_parameters(LeNet300100(hidden=(40, 20)))


def test_zeroed_filters_alone_do_not_equal_removed_ones():
    """The bias of a zeroed filter still reaches the next layer: why `silence_outputs` clears it too."""
    model = seeded_model(LeNet5)
    model.conv1.bias.data.fill_(0.5)
    keep1, keep2, keep_hidden = torch.arange(10), torch.arange(50), torch.arange(500)
    small = shrink_lenet5(model, keep1, keep2, keep_hidden)
    rows = torch.zeros(20, dtype=torch.bool)
    rows[keep1] = True
    apply_masks(model, {"conv1.weight": spread_mask(rows, model.conv1.weight.shape)})
    with torch.no_grad():
        assert not torch.allclose(small(images()), model(images()), atol=1e-3)
        model.conv1.bias[~rows] = 0.0
        assert torch.allclose(small(images()), model(images()), atol=1e-5)


@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_reordering_channels_leaves_the_output_unchanged(seed):
    generator = seeded(seed)
    orders = [torch.randperm(size, generator=generator) for size in (6, 12, 80)]
    model = seeded_model(LeNet5, channels=(6, 12), hidden=80)
    with torch.no_grad():
        assert torch.allclose(shrink_lenet5(model, *orders)(images()), model(images()), atol=1e-5)


def test_a_residual_block_narrowed_inside_equals_the_silenced_one():
    model = randomize_statistics(seeded_model(SmallResNet, width=8))
    kept = indices(6, 0, 3)
    block = model.block1
    masked = copy.deepcopy(model)
    silence_outputs(masked.block1.bn1, kept)  # behind it the convolution's channels are as good as gone
    block.conv1 = narrow_conv(block.conv1, outputs=kept)
    block.bn1 = narrow_batch_norm(block.bn1, kept)
    block.conv2 = narrow_conv(block.conv2, inputs=kept)
    with torch.no_grad():
        assert torch.allclose(model(images()), masked(images()), atol=1e-5)


def test_a_depthwise_block_narrowed_inside_equals_the_silenced_one():
    model = randomize_statistics(seeded_model(SmallDepthwiseNet, width=4))
    kept = indices(1, 6, 4)
    masked = copy.deepcopy(model)
    silence_outputs(masked.block1.bn2, kept)
    silence_outputs(masked.block2.bn1, kept)  # it would make a constant of the silent channel again
    model.block1.pointwise = narrow_conv(model.block1.pointwise, outputs=kept)
    model.block1.bn2 = narrow_batch_norm(model.block1.bn2, kept)
    model.block2.depthwise = narrow_conv(model.block2.depthwise, inputs=kept)
    model.block2.bn1 = narrow_batch_norm(model.block2.bn1, kept)
    model.block2.pointwise = narrow_conv(model.block2.pointwise, inputs=kept)
    with torch.no_grad():
        assert torch.allclose(model(images()), masked(images()), atol=1e-5)


def test_torch_pruning_removes_the_same_channels_with_the_same_result():
    torch_pruning = pytest.importorskip("torch_pruning")
    model = seeded_model(LeNet5)
    kept = [
        keep_best(group_scores(model.get_submodule(k).weight), c) for k, c in (("conv1", 5), ("conv2", 10), ("fc1", 32))
    ]
    small = shrink_lenet5(model, *kept)
    theirs = copy.deepcopy(model)
    graph = torch_pruning.DependencyGraph().build_dependency(theirs, example_inputs=images(1))
    steps = (
        (theirs.conv1, torch_pruning.prune_conv_out_channels),
        (theirs.conv2, torch_pruning.prune_conv_out_channels),
        (theirs.fc1, torch_pruning.prune_linear_out_channels),
    )
    for (layer, how), keep in zip(steps, kept, strict=True):
        gone = sorted(set(range(len(layer.weight))) - set(keep.tolist()))
        graph.get_pruning_group(layer, how, idxs=gone).prune()
    expected = theirs.state_dict()
    assert list(small.state_dict()) == list(expected)
    for name, value in small.state_dict().items():
        assert torch.equal(value, expected[name]), name
    with torch.no_grad():
        assert torch.equal(small(images()), theirs(images()))


# --- whole networks of any form ---------------------------------------------------------------------------------------


def trained(network):
    """Give a network weights, biases and statistics none of which is 0, as after training."""
    for seed, parameter in enumerate(network.parameters()):
        parameter.data.add_(0.01 * torch.rand(parameter.shape, generator=seeded(seed)))
    return randomize_statistics(network).eval()


def halved(network, x, score=group_scores):
    kept = channels_by_score(network, channel_groups(network, x), 0.5, score)
    return narrow_network(network, x, kept), silence_network(network, x, kept)


@pytest.mark.parametrize(("name", "groups", "share"), [("resnet18", 12, 0.3), ("mobilenet_v2", 25, 0.3)])
@pytest.mark.parametrize("score", [group_scores, lambda weight: torch.rand(len(weight))])
def test_a_whole_network_of_torchvision_narrowed_equals_the_silenced_one(name, groups, share, score):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network, x = trained(getattr(models, name)(num_classes=10)), randn(3, 3, 32, 32)
    assert len(channel_groups(network, x)) == groups
    small, masked = halved(network, x, score)
    with torch.no_grad():
        received, wanted, before = small(x), masked(x), network(x)
    assert torch.allclose(received, wanted, atol=1e-5)
    assert (wanted - before).abs().max() > 1e-2  # something was removed
    assert count_parameters(small) == count_nonzero(masked) < share * count_parameters(network)


def test_both_sides_of_a_sum_lose_the_same_channels():
    network, x = trained(seeded_model(SmallResNet, width=4)), images()
    groups = channel_groups(network, x)
    assert groups["stem"].layers == ("stem", "block1.conv2")
    assert set(groups["stem"].readers) == {"block1.conv1", "block2.conv1", "block2.shortcut.0"}
    small = narrow_network(network, x, {"stem": indices(1, 3)})
    assert torch.equal(small.block1.conv2.weight, network.block1.conv2.weight[indices(1, 3)])
    assert torch.equal(small.stem.weight, network.stem.weight[indices(1, 3)])
    assert "fc" not in groups


class Joined(nn.Module):
    """Two convolutions side by side, then a batch norm, a sigmoid and a flatten over both."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 6, 3)
        self.norm, self.fc = nn.BatchNorm2d(10), nn.Linear(40, 3)

    def forward(self, x):
        return self.fc(torch.sigmoid(self.norm(torch.cat([self.left(x), self.right(x)], dim=1))).flatten(1))


def test_channels_are_found_behind_a_concatenation_and_where_zero_does_not_stay_zero():
    torch.manual_seed(0)
    network, x = trained(Joined()), randn(2, 1, 4, 4)
    small, masked = halved(network, x)
    with torch.no_grad():
        assert torch.allclose(small(x), masked(x), atol=1e-5)
    assert small.norm.num_features == 5
    kept = {"right": indices(0, 5)}
    small = narrow_network(network, x, kept)
    assert torch.equal(small.norm.running_mean, network.norm.running_mean[indices(0, 1, 2, 3, 4, 9)])


def test_the_network_stays_and_the_copy_has_its_modes_and_its_frozen_weights():
    network, x = trained(seeded_model(LeNet5)).train(), images()
    network.conv2.eval()
    network.fc1.weight.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    small, _ = halved(network, x)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in small.modules()] == [module.training for module in network.modules()]
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in network.parameters()]
    same = narrow_network(network, x, {"conv1": torch.arange(20)})
    assert all(torch.equal(value, before[name]) for name, value in same.state_dict().items())


def test_a_whole_lenet5_is_narrowed_as_by_hand():
    network = seeded_model(LeNet5)
    kept = channels_by_score(network, channel_groups(network, images()), 0.75)
    by_hand = shrink_lenet5(network, kept["conv1"], kept["conv2"], kept["fc1"])
    small = narrow_network(network, images(), kept)
    assert all(torch.equal(value, by_hand.state_dict()[name]) for name, value in small.state_dict().items())


class Normed(nn.Module):
    """Layers whose channels pass a layer norm, a softmax, and a width in the code, in turn."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8)
        self.third, self.last = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.second(self.norm(self.first(x))).softmax(dim=1)
        return self.last(self.third(x).view(-1, 8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("first", r"'first' cannot be removed: LayerNorm\(\(8,\).* is on their way"),
        ("second", "Normed cannot be narrowed so: without these channels it answers otherwise"),
        ("third", "Normed cannot be narrowed so: does its forward pass have a width in its code"),
        ("last", "'last' cannot be removed: they are the network's answers"),
        ("fourth", "'fourth' names no group of channels, see channel_groups"),
    ],
)
def test_what_cannot_be_narrowed_is_refused_by_name(name, message):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=message):
        narrow_network(Normed().eval(), randn(2, 6), {name: indices(0, 1)})


def test_a_group_is_named_by_its_first_layer_and_its_indices_are_checked():
    network = seeded_model(SmallResNet, width=4)
    with pytest.raises(ValueError, match=r"its channels are those of 'stem'"):
        narrow_network(network, images(), {"block1.conv2": indices(0)})
    with pytest.raises(ValueError, match=r"kept\['stem'\] must be from 0 to 3"):
        narrow_network(network, images(), {"stem": indices(4)})
    with pytest.raises(ValueError, match="pruning_ratio"):
        channels_by_score(network, {}, 50)


def test_a_network_of_tokens_is_narrowed_and_a_graph_that_cannot_be_read_is_refused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(65, 8), nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 65)).eval()
    tokens = torch.randint(65, (2, 6))
    small = narrow_network(model, tokens, {"1": indices(0, 5, 7)})
    assert small[3].in_features == 3
    with pytest.raises(TypeError, match=r"example must be a torch\.Tensor, got list"):
        channel_groups(model, [1, 2])
    turning = Transformer(width=8, blocks=1, heads=2, hidden=12, context=8).eval()  # it joins the halves of a head
    with pytest.raises(ValueError, match="torch_pruning cannot read the graph of this Transformer"):
        channel_groups(turning, tokens)


def test_attention_recurrence_and_grouped_convolutions_are_left_alone():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.entry, self.attention = nn.Linear(4, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.hidden, self.back = nn.Linear(8, 16), nn.Linear(16, 8)
            self.lstm, self.exit = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            x = self.entry(x)
            x = self.attention(x, x, x, need_weights=False)[0]
            x = self.back(torch.relu(self.hidden(x)))
            return self.exit(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    network, x = Own().eval(), randn(2, 5, 4)
    assert set(channel_groups(network, x)) == {"hidden"}
    narrow_network(network, x, {"hidden": indices(0, 7)})
    assert left_out(network, x)["lstm"].startswith("LSTM reads its own outputs at each step")
    grouped = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(4, 2))
    assert not channel_groups(grouped, randn(1, 1, 1, 1))
    assert "computes in groups" in left_out(grouped, randn(1, 1, 1, 1))["0"]


class Dense(nn.Module):
    """A stem, concatenated with what reads it, and a convolution of both that is added to them."""

    def __init__(self, *, wide_first):
        super().__init__()
        if wide_first:
            self.wide = nn.Conv2d(14, 14, 1)
        self.stem, self.side = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 1)
        if not wide_first:
            self.wide = nn.Conv2d(14, 14, 1)
        self.fc = nn.Linear(14, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.cat([x, torch.relu(self.side(x))], dim=1)
        return self.fc((x + self.wide(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize("wide_first", [False, True])
def test_a_layer_with_other_channels_is_not_scored_where_a_sum_follows_a_concatenation(wide_first):
    torch.manual_seed(0)
    network, x = trained(Dense(wide_first=wide_first)), randn(2, 1, 5, 5)
    groups = channel_groups(network, x)
    assert set(groups) == ({"wide"} if wide_first else {"stem", "side"})
    small, masked = halved(network, x)
    with torch.no_grad():
        assert torch.allclose(small(x), masked(x), atol=1e-5)
    group = groups["wide" if wide_first else "side"]
    assert (group.layers, set(group.partly)) == ((("wide",), {"stem", "side"}) if wide_first else (("side",), {"wide"}))


class Attention(nn.Module):
    """Attention written by hand; `parts` is how query, key and value are taken apart."""

    def __init__(self, parts):
        super().__init__()
        self.entry, self.qkv, self.back = nn.Linear(4, 8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down, self.exit, self.parts = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 3), parts

    def forward(self, x):
        x = self.entry(x)
        query, key, value = self.parts(self.qkv(x))
        x = x + self.back(((query @ key.mT).softmax(dim=-1) @ value).transpose(1, 2).flatten(2))
        return self.exit((x + self.down(torch.relu(self.up(x)))).mean(dim=1))


@pytest.mark.parametrize(
    "parts",
    [
        lambda x: x.reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4),
        lambda x: [part.unflatten(2, (2, 4)).transpose(1, 2) for part in x.chunk(3, dim=2)],
    ],
)
def test_attention_by_hand_is_left_out_and_refused_by_name(parts):
    torch.manual_seed(0)
    network, x = Attention(parts).eval(), randn(2, 5, 4)
    assert set(channel_groups(network, x)) >= {"up"}
    assert "qkv" not in channel_groups(network, x)
    with pytest.raises(ValueError, match=r"'qkv' makes 24, and 'back' reads 8; does a reshape"):
        narrow_network(network, x, {"qkv": indices(0, 1)})


class TiedAnswers(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.inner, self.hidden = nn.Linear(8, 6), nn.Linear(6, 8)
        self.answer = nn.Linear(8, 12, bias=False)
        self.answer.weight = self.embedding.weight

    def forward(self, tokens):
        return self.answer(self.hidden(self.inner(self.embedding(tokens).mean(1)).relu()).relu())


def test_layers_that_are_tied_keep_their_channels_and_say_so():
    model, tokens = seeded_model(TiedAnswers), torch.randint(12, (3, 5))
    assert list(channel_groups(model, tokens)) == ["inner"]
    assert left_out(model, tokens)["hidden"] == "'answer' and 'embedding' are tied: they share one weight"
    small = narrow_network(model, tokens, {"inner": torch.tensor([0, 3])})
    assert small.answer.weight is small.embedding.weight


# --- errors -----------------------------------------------------------------------------------------------------------

LINEAR = nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: keep_best(torch.ones(4), 5), ValueError, "count must be at most 4"),
        (lambda: keep_best(torch.ones(4), 0), ValueError, "count must be at least 1"),
        (lambda: keep_best(torch.ones(2, 4), 1), ValueError, r"shape \(channels,\)"),
        (lambda: narrow_linear(LINEAR, outputs=[0]), TypeError, "int64 tensor of indices, got list"),
        (lambda: narrow_linear(LINEAR, outputs=torch.ones(3).bool()), TypeError, r"from a mask: mask\.nonzero"),
        (lambda: narrow_linear(LINEAR, inputs=indices().long()), ValueError, "at least one index"),
        (lambda: narrow_linear(LINEAR, inputs=indices(4)), ValueError, "inputs must be from 0 to 3"),
        (lambda: narrow_conv(nn.ConvTranspose2d(4, 3, 3)), TypeError, "is a ConvTranspose2d"),
        (lambda: narrow_batch_norm(nn.BatchNorm2d(4), indices(-1)), ValueError, "kept must be from 0 to 3"),
        (lambda: silence_outputs(nn.BatchNorm2d(4, affine=False), indices(0)), ValueError, "affine=False"),
    ],
)
def test_errors_name_the_argument_and_the_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_reparametrised_weight_is_refused():
    layer = nn.Linear(4, 3)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"prune\.remove"):
        narrow_linear(layer, outputs=indices(0))
    with pytest.raises(ValueError, match=r"prune\.remove"):
        silence_outputs(layer, indices(0))


def test_the_taylor_score_is_the_change_of_loss_to_first_order():
    model, pictures, labels = seeded_model(LeNet5).double(), randn(8, 1, 28, 28).double(), torch.arange(8)
    score = taylor_scores(model, ["conv2"], pictures, labels)["conv2"]
    before = nn.functional.cross_entropy(model(pictures), labels)
    for channel in (0, 7):
        faded = copy.deepcopy(model)
        faded.conv2.weight.data[channel] *= 1 - 1e-5
        faded.conv2.bias.data[channel] *= 1 - 1e-5
        change = (nn.functional.cross_entropy(faded(pictures), labels) - before).item() / 1e-5
        assert math.isclose(change**2, score[channel].item(), rel_tol=1e-2)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_scoring_does_not_move_the_statistics_of_a_batch_norm():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 26 * 26, 10)).train()
    model[3].eval()
    wanted = taylor_scores(copy.deepcopy(model).eval(), ["0"], images(), torch.arange(4))
    assert torch.equal(taylor_scores(model, ["0"], images(), torch.arange(4))["0"], wanted["0"])
    assert not model[1].running_mean.any()
    assert [module.training for module in model] == [True, True, True, False]


def test_a_pruned_network_is_made_permanent_before_it_is_narrowed():
    model = LeNet300100()
    prune.l1_unstructured(model.fc2, "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"fc2\.weight is computed .* make it permanent first"):
        shrink_lenet300100(model, torch.arange(3), torch.arange(3))
