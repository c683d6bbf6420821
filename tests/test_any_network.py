"""What holds for every network, tried on networks that hypothesis draws: nothing here knows how they were made."""

import copy
import warnings
from functools import partial

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.random_networks import images_for, multiplied, networks
from utils import entropy_coding, qat
from utils.accounting import count_macs, count_nonzero, count_parameters, layer_costs
from utils.datasets import Examples
from utils.low_rank import merge_layers, split_conv_channels, split_layers, split_linear
from utils.models import matrices
from utils.onnx_export import OnnxModel, export_onnx, fold_batch_norm
from utils.pruning import apply_masks, global_magnitude_masks, input_norms, mask_sparsity
from utils.quantization import observe, replace_weights
from utils.structured_pruning import taylor_scores
from utils.timing import latencies
from utils.training import evaluate, logits

X = images_for()
LABELS = torch.tensor([0, 1, 2, 0])
a_few = settings(max_examples=25)
files = settings(max_examples=3)  # an export takes a second or two


def close(one, other, tolerance=1e-4):
    return (one - other).abs().max() <= tolerance * max(1.0, other.abs().max().item())


def frozen_in(network, seed):
    """Put about half of the modules into training mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        module.training = bool(torch.rand((), generator=generator) < 0.5)
    return network


def state_of(network):
    modes = [(name, module.training) for name, module in network.named_modules()]
    return modes, {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one, other):
    return one[0] == other[0] and all(torch.equal(tensor, other[1][name]) for name, tensor in one[1].items())


EIGHT_BIT_WEIGHT, EIGHT_BIT_INPUT = partial(qat.WeightRange, 8), partial(qat.MovingAverageRange, 8)


def prepared_network(network, weight=EIGHT_BIT_WEIGHT, activation=EIGHT_BIT_INPUT):
    with warnings.catch_warnings(action="ignore"):  # of what stays float
        prepared = qat.prepare(network, weight=weight, activation=activation)
    qat.calibrate(prepared, X)
    return prepared


# --- counting ---------------------------------------------------------------------------------------------------------


@given(networks())
@a_few
def test_rows_add_up_to_the_totals_and_to_what_the_shapes_say(network):
    rows = layer_costs(network, X[:1])
    assert sum(row.parameters for row in rows) == count_parameters(network)
    assert sum(row.macs for row in rows) == count_macs(network, X[:1]) == multiplied(network, X[:1])


@given(networks(), st.floats(0, 1))
@a_few
def test_every_matrix_is_pruned_and_the_zeros_are_those_of_the_masks(network, sparsity):
    masks = global_magnitude_masks(network, sparsity)
    weights = {id(getattr(module, own)) for module in network.modules() for own in matrices(module)}
    assert len(masks) == len(weights)
    before = count_parameters(network) - count_nonzero(network)  # an encoder's biases begin at zero
    apply_masks(network, masks)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    assert count_parameters(network) - count_nonzero(network) == before + zeros
    assert abs(mask_sparsity(masks) - sparsity) <= 0.5 / sum(mask.numel() for mask in masks.values()) + 1e-9


# --- what must change nothing -----------------------------------------------------------------------------------------


@given(networks())
@a_few
def test_full_rank_changes_nothing_and_merging_takes_it_back(network):
    linear, convolutions = {}, {}
    for name, module in network.named_modules():
        if type(module) is nn.Linear:
            linear[name] = min(module.weight.shape)
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            convolutions[name] = min(len(module.weight), module.weight[0].numel())
    wanted = logits(network, X)
    split = split_layers(split_layers(network, linear, split=split_linear), convolutions, split=split_conv_channels)
    assert close(logits(split, X), wanted)
    assert close(logits(merge_layers(split), X), wanted)


@given(networks())
@a_few
def test_folding_changes_nothing(network):
    if any(isinstance(module, nn.TransformerEncoderLayer) for module in network.modules()):
        return  # torch.fx cannot trace its checks
    assert close(logits(fold_batch_norm(network), X), logits(network, X))


@given(networks(), st.integers(0, 99))
@settings(max_examples=12)
def test_whatever_looks_at_a_network_leaves_its_modes_and_numbers(network, seed):
    before = state_of(frozen_in(network, seed))
    split = Examples(X, LABELS)
    evaluate(network, split)
    layer_costs(network, X[:1])
    observe(network, ["0"], [X])
    latencies({"it": network}, X[:1], repeats=1)
    input_norms(network, X)
    taylor_scores(network, ["0"], X, LABELS)
    global_magnitude_masks(network, 0.5)
    replace_weights(copy.deepcopy(network), torch.zeros_like)
    prepared = prepared_network(network)
    assert same(state_of(network), before)

    ready = state_of(frozen_in(prepared, seed))[0]
    qat.calibrate(prepared, X)
    qat.convert(prepared)
    assert state_of(prepared)[0] == ready


# --- rounded networks -------------------------------------------------------------------------------------------------

WEIGHTS = {
    "range": EIGHT_BIT_WEIGHT,
    "learned": partial(qat.LearnedScale, 3),
    "ternary": qat.TernaryWeight,
    "binary": qat.BinaryWeight,
}
ACTIVATIONS = {
    "moving": EIGHT_BIT_INPUT,
    "signed": partial(qat.LearnedScale, 8, signed=True),
    "coarse": partial(qat.LearnedScale, 3, signed=True),
}


@given(
    networks(),
    st.sampled_from(sorted(WEIGHTS)),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.lists(st.sampled_from([0.0, 1e-12, 1e-7, 1.0]), min_size=4, max_size=4),
)
@a_few
def test_each_converted_layer_answers_as_the_one_it_was(network, weight, activation, sizes):
    with torch.no_grad():
        network[0].weight.mul_(torch.tensor(sizes)[:, None, None, None])
        network[0].bias.copy_(torch.tensor([0.5, -0.5, 0.03, 0.0]))
    prepared = prepared_network(network, weight=WEIGHTS[weight], activation=ACTIVATIONS[activation])
    converted = qat.convert(prepared)
    for name, (x, wanted) in observe(prepared, list(qat.fake_quantized_layers(prepared)), [X]).items():
        received = converted.get_submodule(name)(x)
        assert close(received, wanted, 1e-5)
    tiny = torch.tensor(sizes) < 1e-6
    if tiny.any():  # of such weights nothing but the bias is left
        received = logits(prepared[:1], X)[:, tiny]
        assert close(received, network[0].bias.detach()[tiny, None, None].expand_as(received), 1e-5)


@given(networks(), st.sampled_from(sorted(ACTIVATIONS)))
@files
def test_a_file_answers_as_the_integers(tmp_path_factory, network, activation):
    converted = qat.convert(prepared_network(network, activation=ACTIVATIONS[activation]))
    path = qat.export_quantized(converted, X[:1], tmp_path_factory.mktemp("onnx") / "it.onnx")
    wanted = logits(converted, X)
    for optimized in (False, True):
        off = (logits(OnnxModel(path, optimized=optimized), X) - wanted).abs()
        # a value half-way between two integers may go up in one and down in the other, but nothing is clipped
        assert off.max() <= (0.4 if activation == "coarse" else 0.03) * wanted.abs().max()


@given(networks())
@files
def test_a_float_file_answers_as_the_network(tmp_path_factory, network):
    file = OnnxModel(export_onnx(network, X[:1], tmp_path_factory.mktemp("onnx") / "it.onnx"))
    for count in (1, 3):
        assert close(logits(file, X[:count]), logits(network, X[:count]))


# --- the small file ---------------------------------------------------------------------------------------------------

FORMS = {"LiteNetMLP": {"hidden": 3}, "SmallResNet": {"width": 1}, "SmallDepthwiseNet": {"width": 1}}


@given(st.sampled_from(sorted(FORMS)), st.integers(0, 999), st.integers(1, entropy_coding.MAXIMUM_CENTROIDS))
@settings(max_examples=5)
def test_what_is_encoded_is_decoded_with_batch_norms_too(name, seed, count):
    generator = np.random.default_rng(seed)
    tensors = {}
    for key, tensor in entropy_coding.MODELS[name](**FORMS[name]).state_dict().items():
        centroids = np.unique(generator.integers(1, 60_000, count).astype(np.float16))
        kept = generator.random(tuple(tensor.shape)) < generator.choice([0.0, 0.2, 1.0])
        codes = np.asarray(generator.integers(0, len(centroids) + 1, tuple(tensor.shape)) * kept)
        tensors[key] = entropy_coding.SharedTensor(codes, centroids)
    content = entropy_coding.encode_network(tensors, model=name, arguments=FORMS[name])
    for key, tensor in entropy_coding.decode_network(content).state_dict().items():
        assert np.array_equal(tensor.numpy(), tensors[key].values)
        assert np.array_equal(entropy_coding.decode_tensors(content)[key].codes, tensors[key].codes)
