"""Counting parameters, multiply-accumulates and bytes, against arithmetic done by hand."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from utils.accounting import (
    LayerCost,
    bytes_in_memory,
    bytes_on_disk,
    count_macs,
    count_nonzero,
    count_parameters,
    layer_costs,
    packed_bytes,
    saved_bytes,
    sparsity,
)
from utils.models import build, save_checkpoint

IMAGE = torch.zeros(1, 1, 28, 28)

# Parameters, then multiply-accumulates by hand: inputs x outputs of a linear layer; of a convolution height x width of
# what comes out x channels out x channels in x 25 or 9 for the kernel.
BY_HAND = {
    "LiteNetMLP": (203_530, 784 * 256 + 256 * 10),
    "LiteNetCNN": (21_840, 24 * 24 * 10 * 1 * 25 + 8 * 8 * 20 * 10 * 25 + 320 * 50 + 50 * 10),
    "LeNet300100": (266_610, 784 * 300 + 300 * 100 + 100 * 10),
    "LeNet5": (431_080, 24 * 24 * 20 * 1 * 25 + 8 * 8 * 50 * 20 * 25 + 800 * 500 + 500 * 10),
    "SmallResNet": (
        (9 * 16 + 32)  # stem and its batch norm
        + 2 * (9 * 16 * 16 + 32)
        + (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32 + 3 * 64)
        + (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64 + 3 * 128)
        + 650,
        14 * 14 * (9 * 16 + 2 * 9 * 16 * 16)
        + 7 * 7 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
        + 4 * 4 * (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64)
        + 640,
    ),
    "SmallDepthwiseNet": (
        (9 * 16 + 32)
        + (9 * 16 + 32 + 16 * 32 + 64)  # depthwise, its batch norm, pointwise, its batch norm
        + (9 * 32 + 64 + 32 * 64 + 128)
        + (9 * 64 + 128 + 64 * 64 + 128)
        + (9 * 64 + 128 + 64 * 128 + 256)
        + 1290,
        14 * 14 * (9 * 16 + 9 * 16 + 16 * 32)
        + 7 * 7 * (9 * 32 + 32 * 64 + 9 * 64 + 64 * 64)
        + 4 * 4 * (9 * 64 + 64 * 128)
        + 1280,
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_parameters_and_macs_of_the_networks(name):
    model = build(name)
    assert (count_parameters(model), count_macs(model, IMAGE)) == BY_HAND[name]


def test_macs_grow_with_the_batch():
    model = build("LiteNetCNN")
    assert count_macs(model, IMAGE.expand(5, -1, -1, -1)) == 5 * count_macs(model, IMAGE)


@given(
    groups=st.integers(1, 4),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
@settings(max_examples=60)
def test_macs_of_a_convolution(groups, inputs, outputs, kernel, stride, padding, dilation, size):
    out = [(s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(size, kernel, strict=True)]
    assume(min(out) >= 1)
    conv = nn.Conv2d(groups * inputs, groups * outputs, kernel, stride, padding, dilation, groups)
    by_hand = out[0] * out[1] * groups * outputs * inputs * kernel[0] * kernel[1]
    assert count_macs(conv, torch.zeros(1, groups * inputs, *size)) == by_hand


def test_a_layer_used_twice_has_its_parameters_once_and_its_macs_twice():
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert (count_parameters(model), count_macs(model, torch.zeros(1, 6))) == (42, 72)
    assert layer_costs(model, torch.zeros(1, 6)) == [LayerCost("0", "Linear", (6, 6), 42, 72)]


def test_layer_costs_lists_each_layer():
    assert layer_costs(build("LiteNetCNN"), IMAGE) == [
        LayerCost("conv1", "Conv2d", (10, 1, 5, 5), 260, 144_000),
        LayerCost("conv2", "Conv2d", (20, 10, 5, 5), 5_020, 320_000),
        LayerCost("fc1", "Linear", (50, 320), 16_050, 16_000),
        LayerCost("fc2", "Linear", (10, 50), 510, 500),
    ]


@pytest.mark.parametrize("name", BY_HAND)
def test_layer_costs_add_up(name):
    rows = layer_costs(build(name), IMAGE)
    assert (sum(row.parameters for row in rows), sum(row.macs for row in rows)) == BY_HAND[name]


def test_layer_costs_names_nested_layers_and_counts_no_macs_for_batch_norm():
    rows = {row.name: row for row in layer_costs(build("SmallDepthwiseNet"), IMAGE)}
    assert rows["block1.depthwise"] == LayerCost("block1.depthwise", "Conv2d", (16, 1, 3, 3), 144, 14 * 14 * 144)
    assert rows["block1.bn1"] == LayerCost("block1.bn1", "BatchNorm2d", (16,), 32, 0)


def test_counting_leaves_the_network_as_it_was():
    model = build("SmallResNet").train()
    model.bn.eval()  # frozen on purpose
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_macs(model, torch.rand(1, 1, 28, 28))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_counting_restores_the_mode_after_an_exception():
    model = build("LiteNetMLP").train()
    with pytest.raises(RuntimeError, match="shapes"):
        count_macs(model, torch.zeros(1, 3))
    assert model.training


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e-38, float("nan")]), min_size=1, max_size=30))
def test_nonzero_and_sparsity_against_a_loop(values):
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values])
    zeros = sum(1 for value in values if value == 0)
    assert count_nonzero(layer) == len(values) - zeros
    assert sparsity(layer) == pytest.approx(zeros / len(values))


def test_sparsity_of_a_network_without_parameters_is_0():
    assert sparsity(nn.ReLU()) == 0.0


def test_a_shared_tensor_counts_once():
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False))
    model[1].weight = model[0].weight
    assert (count_parameters(model), count_nonzero(model), bytes_in_memory(model)) == (25, 25, 100)


def test_bytes_in_memory_counts_buffers_and_types():
    assert bytes_in_memory(nn.Linear(3, 2).half()) == 2 * (6 + 2)
    # weight, bias, running mean and running variance in float32, and one int64 that counts the batches
    assert bytes_in_memory(nn.BatchNorm2d(7)) == 4 * 4 * 7 + 8


@pytest.mark.parametrize("name", ["LiteNetCNN", "SmallResNet"])
def test_saved_bytes_is_the_size_of_a_real_file(tmp_path, name):
    model = build(name)
    save_file(model.state_dict(), tmp_path / "by_the_library.safetensors")
    ours = save_checkpoint(model, "ours", folder=tmp_path)
    assert saved_bytes(model) == (tmp_path / "by_the_library.safetensors").stat().st_size == ours.stat().st_size


def test_bytes_on_disk_of_a_file_and_of_a_nested_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for path, size in {"one": 1, "a/ten": 10, "a/b/hundred": 100, "a/b/.hidden": 1000}.items():
        (tmp_path / path).write_bytes(bytes(size))
    assert bytes_on_disk(tmp_path) == 1111
    assert bytes_on_disk(str(tmp_path / "a" / "ten")) == 10
    assert bytes_on_disk(tmp_path / "empty") == 0


@given(count=st.integers(0, 500), bits=st.integers(1, 40))
def test_packed_bytes_against_numpy_packing(count, bits):
    assert packed_bytes(count, bits) == len(np.packbits(np.zeros(count * bits, dtype=np.uint8)))


def test_packed_bytes_is_exact_where_floats_are_not():
    assert packed_bytes(2**60 + 1, 8) == 2**60 + 1


# --- networks of the learner's own ------------------------------------------------------------------------------------


class Calls(nn.Module):
    """A network whose forward pass is the given function of its one module and the input."""

    def __init__(self, function, module=None):
        super().__init__()
        self.function, self.module = function, module

    def forward(self, x):
        return self.function(self.module, x)


class Shared(nn.Module):
    """An embedding tied to the output, a position of its own, and a layer that stands in two places."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        self.out.weight = self.embedding.weight
        self.position = nn.Parameter(torch.zeros(3, 4))
        self.first = nn.Sequential(nn.Linear(4, 4))
        self.second = nn.Sequential(self.first[0])

    def forward(self, x):
        return self.out(self.second(self.first(self.embedding(x) + self.position)))


def attend(module, x):
    return module(x, x, x, need_weights=False)[0]


TOKENS, WIDTH, HIDDEN, HEADS = 6, 16, 32, 4
ATTENTION = 4 * TOKENS * WIDTH * WIDTH + 2 * TOKENS * TOKENS * WIDTH  # query, key, value, output; scores, mixture

OWN = {
    "an LSTM: four gates a step": (nn.LSTM(8, 12, batch_first=True), (1, 2, 8), 2 * 4 * 12 * (8 + 12)),
    "a GRU: three gates": (nn.GRU(8, 12, batch_first=True), (1, 2, 8), 2 * 3 * 12 * (8 + 12)),
    "a plain recurrent network": (nn.RNN(8, 12, batch_first=True), (1, 2, 8), 2 * 12 * (8 + 12)),
    "multi-head attention": (
        Calls(attend, nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)),
        (1, TOKENS, WIDTH),
        ATTENTION,
    ),
    "an encoder layer": (
        nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True),
        (1, TOKENS, WIDTH),
        ATTENTION + 2 * TOKENS * WIDTH * HIDDEN,
    ),
    "the function alone": (
        Calls(lambda _, x: nn.functional.scaled_dot_product_attention(x, x, x)),
        (1, 2, TOKENS, 8),
        2 * 2 * TOKENS * TOKENS * 8,
    ),
    "a matrix times a vector": (nn.Linear(5, 4), (5,), 20),
    "without bias": (nn.Linear(5, 4, bias=False), (5,), 20),
    "one vector times another": (Calls(lambda _, x: torch.dot(x, x)), (7,), 7),
    "an outer product by einsum": (Calls(lambda _, x: torch.einsum("bi,bj->ij", x, x)), (2, 3), 2 * 3 * 3),
    "shared modules and parameters": (Shared(), None, 2 * 3 * 4 * 4 + 3 * 4 * 10),
}


@pytest.mark.parametrize("case", OWN)
def test_products_of_every_kind_are_counted_as_on_paper_and_the_rows_add_up(case):
    model, shape, expected = OWN[case]
    example = torch.zeros(1, 3, dtype=torch.long) if shape is None else torch.zeros(shape)
    assert count_macs(model, example) == expected
    rows = layer_costs(model, example)
    assert sum(row.macs for row in rows) == expected
    assert sum(row.parameters for row in rows) == count_parameters(model)


def test_counting_switches_nothing_for_good():
    count_macs(nn.LSTM(2, 2), torch.zeros(1, 1, 2))
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.enabled
    assert torch.backends.cuda.flash_sdp_enabled()


UNCOUNTABLE = {
    "a product without a counter": (
        Calls(lambda layer, x: layer(x, x), nn.Bilinear(3, 3, 5)),
        "calls aten::_trilinear",
    ),
    "NumPy": (Calls(lambda _, x: np.zeros(3)), "computes outside of PyTorch"),
}


@pytest.mark.parametrize("case", UNCOUNTABLE)
def test_what_cannot_be_counted_is_refused_and_not_zero(case):
    model, wrong = UNCOUNTABLE[case]
    for count in (count_macs, layer_costs):
        with pytest.raises(ValueError, match=wrong):
            count(model, torch.zeros(1, 3))


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match="model is the class Linear, not a network"):
        count_parameters(nn.Linear)
    with pytest.raises(ValueError, match="bits must be at least 1"):
        packed_bytes(3, 0)


def test_zeros_that_a_hook_computes_are_not_counted_as_none():
    layer = prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=0.5)
    for count in (sparsity, count_nonzero):
        with pytest.raises(ValueError, match=r"weight is computed from other .* make it permanent first"):
            count(layer)
    prune.remove(layer, "weight")
    assert count_nonzero(layer) == 4 + 2
