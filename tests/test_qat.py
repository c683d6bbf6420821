"""Quantization-aware training: gradients against PyTorch's operators, ranges, conversion to integers, the file."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from utils import qat
from utils.datasets import Examples
from utils.integer_layers import IntegerLinear
from utils.models import LeNet300100, LiteNetCNN, LiteNetMLP
from utils.onnx_export import OnnxModel, export_onnx, exported_graph
from utils.qat import (
    BinaryWeight,
    ConvertedLayer,
    LearnedScale,
    MovingAverageRange,
    TernaryWeight,
    WeightRange,
    calibrate,
    convert,
    export_quantized,
    freeze,
    prepare,
)
from utils.quantization import parameters_from_range, quantize
from utils.training import Recipe, fit, logits

EVERY_WEIGHT = {
    **{f"range {bits}": lambda channels, bits=bits: WeightRange(bits, channels) for bits in (2, 7, 8)},
    **{f"learned {bits}": lambda channels, bits=bits: LearnedScale(bits, channels) for bits in (2, 3, 8)},
    "ternary": TernaryWeight,
    "binary": BinaryWeight,
    "sign": lambda channels: BinaryWeight(channels, scaled=False),
}
finite = st.floats(-1e3, 1e3, width=32)


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)


# --- the straight-through estimator ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=20), st.floats(0.0625, 8, width=32), st.integers(1, 8), st.booleans())
def test_values_and_gradients_are_those_of_pytorch(values, scale, bits, signed):
    qmin = -(2 ** (bits - 1)) if signed else 0
    qmax = qmin + 2**bits - 1
    ours = torch.tensor(values, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    steps = ours.detach().double() / scale
    if bool(((steps - steps.floor() - 0.5).abs() < 1e-3).any()):  # PyTorch multiplies by 1 / scale: ties may differ
        return
    a = qat.fake_quantize(ours, torch.tensor(scale), 0, qmin=qmin, qmax=qmax)
    b = torch.fake_quantize_per_tensor_affine(theirs, scale, 0, qmin, qmax)
    assert torch.allclose(a, b, rtol=1e-6, atol=0)
    a.sum().backward()
    b.sum().backward()
    inside = (steps > qmin + 0.6) & (steps < qmax - 0.6) | (steps < qmin - 0.6) | (steps > qmax + 0.6)
    assert torch.equal(ours.grad[inside], theirs.grad[inside])  # theirs asks the rounded value, ours the real one


def test_the_gradient_by_the_scale_is_that_of_learned_step_size():
    torch.manual_seed(0)
    x = torch.randn(200) * 3
    x = x[(x / 0.37 < -4.5) | ((x / 0.37 > -4) & (x / 0.37 < 3)) | (x / 0.37 > 3.5)]  # see the test above
    ours, theirs = (torch.tensor([0.37], requires_grad=True) for _ in range(2))
    upstream = torch.randn(len(x))
    (qat.fake_quantize(x, ours, 0, qmin=-4, qmax=3) * upstream).sum().backward()
    library = torch._fake_quantize_learnable_per_tensor_affine(x, theirs, torch.zeros(1), -4, 3, 1.0)
    (library * upstream).sum().backward()
    steps = x / 0.37
    by_hand = torch.where(steps < -4, -4.0, torch.where(steps > 3, 3.0, steps.round() - steps))
    assert torch.allclose(ours.grad, (by_hand * upstream).sum()[None], atol=1e-4)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)


def test_replacing_straight_through_is_exact():
    x = torch.tensor([0.1, 1e6], requires_grad=True)
    assert qat.straight_through(x, torch.tensor([7.3, -0.1])).tolist() == torch.tensor([7.3, -0.1]).tolist()


# --- quantizers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY_WEIGHT.values(), ids=EVERY_WEIGHT)
@pytest.mark.parametrize(
    "weight",
    [
        rows([0.3, -0.2, 0.9], [1.0, 2.0, 3.0]),
        rows([0.0, 0.0], [0.0, 0.0]),
        rows([-1.0, -2.0], [5.0, 5.0]),
        rows([7.0]),
        rows([1e-40, -1e-41]),
        torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["plain", "zero", "one sign", "one element", "denormal", "kernel"],
)
def test_a_weight_is_its_integers_times_its_scale(make, weight):
    quantizer = make(len(weight))
    quantizer.observe(weight)
    with torch.no_grad():
        rounded, integers, scale = quantizer(weight), quantizer.integers(weight), quantizer.steps(weight)[0]
    assert torch.equal(rounded, integers * scale)
    assert quantizer.qmin <= int(integers.min()) <= int(integers.max()) <= quantizer.qmax
    assert bool((scale > 0).all())
    assert torch.isfinite(rounded).all()
    assert len(integers.unique()) <= 2**quantizer.bits


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 8), st.lists(finite, min_size=2, max_size=30))
def test_a_range_by_the_largest_weight_is_off_by_half_a_step_at_most(bits, values):
    weight = torch.tensor([values])
    quantizer = WeightRange(bits, 1)
    scale = quantizer.steps(weight)[0].item()
    assert (quantizer(weight) - weight).abs().max().item() <= scale / 2 * (1 + 1e-4) + 1e-30
    once = quantizer(weight)
    assert torch.equal(quantizer.integers(once), quantizer.integers(weight))  # idempotent


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 8), st.lists(finite, min_size=1, max_size=30))
def test_the_smallest_error_is_not_above_that_of_the_whole_range(bits, values):
    quantizer, x = LearnedScale(bits), torch.tensor(values).abs()
    whole = x.max() / quantizer.qmax
    quantizer.observe(x)
    found = (quantizer(x) - x).square().mean().item()
    scale = whole if whole > 1e-30 else torch.tensor(1.0)
    plain = qat.fake_quantize(x, scale, 0, qmin=0, qmax=quantizer.qmax)
    assert found <= (plain - x).square().mean().item() * (1 + 1e-3) + 1e-6 * x.max().item() ** 2


def test_ternary_and_binary_by_hand():
    weight = rows([1.0, -3.0, 0.5, 0.1], [0.0, -1.0, 1.0, 2.0])
    ternary, binary = TernaryWeight(2), BinaryWeight(2)
    assert ternary.integers(weight).tolist() == [[1, -1, 0, 0], [0, -1, 1, 1]]  # thresholds 0.805 and 0.7
    assert ternary.steps(weight)[0].flatten().tolist() == pytest.approx([2.0, 4 / 3])
    assert binary.integers(weight).tolist() == [[1, -1, 1, 1], [1, -1, 1, 1]]
    assert binary.steps(weight)[0].flatten().tolist() == pytest.approx([1.15, 1.0])


def test_moving_averages_move_in_training_only_and_not_when_frozen():
    quantizer = MovingAverageRange(8, momentum=0.1)
    quantizer.observe(torch.tensor([0.0, 2.0]))
    quantizer.train()(torch.tensor([-1.0, 4.0]))
    assert (quantizer.low.item(), quantizer.high.item()) == pytest.approx((-0.1, 2.2))
    quantizer.eval()(torch.tensor([100.0]))
    quantizer.frozen = True
    quantizer.train()(torch.tensor([100.0]))
    assert (quantizer.low.item(), quantizer.high.item()) == pytest.approx((-0.1, 2.2))
    assert 0.0 in quantizer(torch.tensor([0.0])).tolist()


def test_ranges_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="bits must be from 1 to 8, got 9"):
        LearnedScale(9)
    with pytest.raises(ValueError, match="binary"):
        WeightRange(1, 1)
    with pytest.raises(ValueError, match="NaN"):
        LearnedScale(4).observe(torch.tensor([float("nan")]))


# --- networks ---------------------------------------------------------------------------------------------------------


def small(weight=lambda channels: LearnedScale(4, channels), activation=lambda: LearnedScale(4)):
    torch.manual_seed(0)
    model = prepare(LiteNetCNN(channels=(3, 4), hidden=8), weight=weight, activation=activation)
    if activation is not None:
        calibrate(model, torch.rand(20, 1, 28, 28))
    return model


def test_prepare_copies_and_calibrate_sees_the_float_network():
    torch.manual_seed(0)
    model, images = LiteNetMLP(4), torch.rand(9, 1, 28, 28)
    before = copy.deepcopy(model.state_dict())
    prepared = prepare(model, weight=TernaryWeight, activation=lambda: MovingAverageRange(8))
    calibrate(prepared, images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    hidden = F.relu(model.fc1(images.flatten(1)))
    assert torch.equal(prepared.fc2.input_quantizer.high, hidden.max())
    prepared.fc1.weight.data.zero_()
    assert bool((model.fc1.weight != 0).any())


def test_eight_bits_are_close_to_float_and_one_is_not():
    torch.manual_seed(0)
    model, images = LiteNetMLP(16).eval(), torch.rand(50, 1, 28, 28)
    apart = {}
    for bits in (8, 2):
        prepared = prepare(
            model, weight=lambda c, b=bits: LearnedScale(b, c), activation=lambda b=bits: LearnedScale(b)
        )
        calibrate(prepared, images)
        apart[bits] = (logits(prepared, images) - logits(model, images)).abs().max().item()
    assert apart[8] < 0.02 < apart[2]


def test_calibrating_leaves_every_mode_as_it_was():
    model = prepare(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), weight=TernaryWeight, activation=None).train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    calibrate(model, torch.rand(4, 2))
    assert [module.training for module in model.modules()] == before
    assert not any(quantizer.bypassed for quantizer in qat.quantizers(model))


def test_what_cannot_be_prepared_is_refused():
    for layer, message in ((nn.ReLU(), r"no nn\.Linear"), (nn.Conv2d(1, 1, 3, padding_mode="reflect"), "reflect")):
        with pytest.raises(ValueError, match=message):
            prepare(nn.Sequential(layer), weight=TernaryWeight, activation=None)
    with pytest.raises(ValueError, match="call prepare"):
        convert(LiteNetMLP(2))


def test_frozen_ranges_do_not_learn():
    model = small()
    images, labels = torch.rand(40, 1, 28, 28), torch.randint(10, (40,))
    freeze(model)
    before = {n: p.clone() for n, p in model.named_parameters()}
    fit(model, Examples(images, labels), Recipe(epochs=1, batch_size=10))
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if not n.endswith("log_scale")}
    freeze(model, frozen=False)
    fit(model, Examples(images, labels), Recipe(epochs=1, batch_size=10))
    assert not torch.equal(model.conv1.input_quantizer.log_scale, before["conv1.input_quantizer.log_scale"])


@pytest.mark.parametrize("make", EVERY_WEIGHT.values(), ids=EVERY_WEIGHT)
@pytest.mark.parametrize(
    "activation", [lambda: LearnedScale(4), lambda: MovingAverageRange(8), None], ids=["learned", "moving", "float"]
)
def test_integers_answer_as_the_simulation(make, activation):
    model = small(weight=make, activation=activation)
    images = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    simulated, integers = logits(model, images), logits(convert(model), images)
    assert torch.allclose(simulated, integers, atol=1e-4 * float(simulated.abs().max()) + 1e-6)


def test_a_converted_linear_layer_sums_as_notebook_08s_does():
    torch.manual_seed(0)
    linear, x = nn.Linear(12, 5), torch.rand(7, 12) * 3 - 1
    prepared = prepare(
        nn.Sequential(linear), weight=lambda c: WeightRange(8, c), activation=lambda: MovingAverageRange(8)
    )
    calibrate(prepared, x)
    parameters = parameters_from_range(*x.aminmax(), bits=8, signed=False)
    oracle = IntegerLinear(linear, parameters, bits=8, per_channel=True)
    sums = oracle.accumulate(quantize(x, parameters))
    assert torch.allclose(convert(prepared)(x), sums * oracle.sum_scale, atol=1e-5)


def test_a_converted_network_is_stored_in_its_bits():
    for make, bits in ((BinaryWeight, 1), (TernaryWeight, 2), (lambda c: LearnedScale(3, c), 3)):
        layer = convert(prepare(nn.Sequential(nn.Linear(30, 7)), weight=make, activation=None))[0]
        assert isinstance(layer, ConvertedLayer)
        assert layer.packed.dtype == torch.uint8
        assert layer.packed.numel() == -(-210 * bits // 8)


def test_strides_padding_groups_and_missing_biases_are_kept():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False), nn.ReLU(), nn.Flatten())
    x = torch.rand(3, 4, 9, 9) - 0.5
    prepared = prepare(model, weight=lambda c: WeightRange(8, c), activation=lambda: MovingAverageRange(8))
    calibrate(prepared, x)
    converted = convert(prepared)
    assert torch.allclose(prepared(x), converted(x), atol=1e-5)
    assert (converted(x) - model(x)).abs().max() < 0.02


def test_training_lowers_the_loss_where_plain_rounding_cannot(mnist):
    train = Examples(mnist.train.images[:600], mnist.train.labels[:600])
    torch.manual_seed(0)
    model = prepare(LeNet300100(hidden=(20, 20)), weight=TernaryWeight, activation=lambda: LearnedScale(8))
    calibrate(model, train.images[:50])
    history = fit(model, train, Recipe(epochs=15, batch_size=20, learning_rate=1e-2))
    assert history.train_loss[-1] < 0.6 * history.train_loss[0]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_file_answers_as_the_integers(tmp_path, bits):
    model = convert(small(weight=lambda c: WeightRange(min(bits, 7), c), activation=lambda: LearnedScale(bits)))
    images = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    path = export_quantized(model, images[:1], tmp_path / "small.onnx")
    expected = logits(model, images)
    for optimized in (False, True):
        received = logits(OnnxModel(path, optimized=optimized), images)
        assert (expected.argmax(dim=1) == received.argmax(dim=1)).float().mean() >= 0.9
        assert (expected - received).abs().median() < 1e-4


def test_only_converted_networks_with_rounded_inputs_are_written(tmp_path):
    with pytest.raises(ValueError, match="convert"):
        export_quantized(LiteNetMLP(2), torch.rand(1, 1, 28, 28), tmp_path / "a.onnx")
    weights_only = convert(prepare(LiteNetMLP(2), weight=BinaryWeight, activation=None))
    with pytest.raises(ValueError, match="float inputs"):
        export_quantized(weights_only, torch.rand(1, 1, 28, 28), tmp_path / "a.onnx")


def test_torchao_rounds_a_weight_as_we_do(mnist):
    torch.manual_seed(0)
    images = mnist.train.images[:64]
    graph = qat.prepare_with_torchao(LiteNetMLP(8), images)
    fit(graph, Examples(images, mnist.train.labels[:64]), Recipe(epochs=1, batch_size=32))
    weight, quantizer = graph.fc1.weight, graph.activation_post_process_1
    with torch.no_grad():
        theirs = quantizer(weight)
        ours = qat.fake_quantize(weight, quantizer.scale[:, None], 0, qmin=-128, qmax=127)
    assert torch.allclose(theirs, ours, atol=1e-7)
    before = logits(graph, images)
    assert torch.allclose(logits(qat.convert_with_torchao(graph), images), before, atol=0.05)


# --- networks of the learner's own ------------------------------------------------------------------------------------

EIGHT = {"weight": lambda c: WeightRange(8, c), "activation": lambda: MovingAverageRange(8)}


def fast_moving():
    return MovingAverageRange(8, momentum=0.5)


def encoder(**options):
    torch.manual_seed(0)
    return nn.Sequential(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, **options)).eval()


def test_an_encoder_layer_computes_with_its_rounded_weights():
    """PyTorch's fused path would read the float weights, and find none at all in a converted layer."""
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1))
    model = encoder()
    coarse = {"weight": lambda c: WeightRange(3, c), "activation": lambda: MovingAverageRange(8)}
    with pytest.warns(UserWarning, match=r"stay float: 0\.self_attn\.in_proj_weight, 0\.self_attn\.out_proj\.weight"):
        prepared = prepare(model, **coarse)
    calibrate(prepared, x)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            oracle, in_float = prepared(x), model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    by_rounding = (oracle - in_float).abs().max()
    for network in (prepared, convert(prepared)):  # attention itself stays fused, and may differ in the last digits
        assert (logits(network, x) - oracle).abs().median() < 1e-5
        assert (logits(network, x) - oracle).abs().max() < 0.1 * by_rounding


def test_a_layer_in_two_places_is_rounded_in_both():
    torch.manual_seed(0)
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    x = torch.randn(20, 4)
    prepared = prepare(model, **EIGHT)
    assert prepared[0] is prepared[2]
    calibrate(prepared, x)
    low, high = torch.cat([x, F.relu(shared(x)).detach()]).aminmax()
    assert (prepared[0].input_quantizer.low, prepared[0].input_quantizer.high) == (low, high)  # of both calls
    converted = convert(prepared)
    assert isinstance(converted[2], ConvertedLayer)
    assert torch.allclose(converted(x), prepared(x), atol=1e-5)


def test_what_is_no_plain_layer_is_named_and_stays_float():
    class Own(nn.Linear):
        pass

    with pytest.warns(UserWarning, match=r"stay float: 1\.weight, 2\.weight_ih_l0, 2\.weight_hh_l0$"):
        prepare(nn.Sequential(nn.Linear(2, 2), Own(2, 2), nn.GRU(2, 2)), **EIGHT)


@pytest.mark.parametrize("bits", [8, 4])
def test_negative_inputs_are_in_the_file_what_they_are_in_the_integers(tmp_path, bits):
    torch.manual_seed(0)
    model, images = LiteNetMLP(16), torch.randn(40, 1, 28, 28)
    unsigned = prepare(model, weight=lambda c: WeightRange(7, c), activation=lambda: LearnedScale(bits))
    with pytest.raises(ValueError, match=rf"inputs of fc1: values down to -.*LearnedScale\({bits}, signed=True"):
        calibrate(unsigned, images)
    signed = prepare(model, weight=lambda c: WeightRange(7, c), activation=lambda: LearnedScale(bits, signed=True))
    calibrate(signed, images)
    converted = convert(signed)
    first = converted.fc1.input_integers(images.flatten(1))
    assert (first.min(), first.max()) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    wanted = logits(converted, images)
    assert (wanted - logits(model, images)).abs().max() < (0.05 if bits == 8 else 0.5)
    file = export_quantized(converted, images[:1], tmp_path / "signed.onnx")
    for optimized in (False, True):
        off = (logits(OnnxModel(file, optimized=optimized), images) - wanted).abs()
        assert off.median() < 1e-5
        assert off.max() < 0.1 * wanted.abs().max()


def saturating():
    """A layer of largest weights, whose pairs of products reach 2 x 127 x 255 = 64,770."""
    layer = nn.Linear(64, 6)
    layer.weight.data = torch.linspace(0.5, 1.0, 6)[:, None] * torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(16)
    return nn.Sequential(layer)


@pytest.mark.parametrize("conv", [False, True])
def test_sums_of_16_bits_saturate_in_no_file(tmp_path, conv):
    """Without VNNI the convolution's answers were off by half of the largest one."""
    model, x = saturating(), torch.ones(8, 64)
    x[:, 2:4] = 0
    x[4:, ::3] = 0
    if conv:  # the second one makes ONNX Runtime compute the first in integers
        first = nn.Conv2d(64, 6, 1)
        first.weight.data = model[0].weight.detach()[:, :, None, None]
        model = nn.Sequential(nn.Unflatten(1, (64, 1, 1)), first, nn.Conv2d(6, 5, 1), nn.Flatten())
    prepared = prepare(model, **EIGHT)
    calibrate(prepared, x)
    converted = convert(prepared)
    session = OnnxModel(export_quantized(converted, x[:1], tmp_path / "largest.onnx"))
    assert torch.allclose(logits(session, x), logits(converted, x), atol=1e-4)


def test_weights_are_unsigned_in_a_file_only_where_a_pair_may_not_fit(tmp_path):
    import onnx

    def types(bits, activation_bits=8):
        prepared = prepare(
            saturating(), weight=lambda c: WeightRange(bits, c), activation=lambda: MovingAverageRange(activation_bits)
        )
        calibrate(prepared, torch.rand(4, 64))
        path = export_quantized(convert(prepared), torch.rand(1, 64), tmp_path / "types.onnx")
        return {t.data_type for t in onnx.load(path).graph.initializer if list(t.dims) == [6, 64]}

    assert types(8) == {onnx.TensorProto.UINT8}  # 2 x 127 x 255 is 64,770
    assert types(7) == {onnx.TensorProto.INT8}  # 2 x 63 x 255 is 32,130
    assert types(8, activation_bits=7) == {onnx.TensorProto.INT8}  # 2 x 127 x 127 is 32,258


@pytest.mark.parametrize("size", [0.0, 1e-40, 1e-12, 1e-7, 1e-3])
@pytest.mark.parametrize("make", EVERY_WEIGHT.values(), ids=EVERY_WEIGHT)
def test_a_bias_beside_tiny_weights_stays_what_it_is(tmp_path, make, size):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 3)), torch.rand(5, 8)
    model[0].weight.data[1] *= size
    model[0].bias.data = torch.tensor([0.1, 0.503, -0.2])
    exact = model(x)[:, 1].detach()
    prepared = prepare(model, weight=make, activation=lambda: MovingAverageRange(8))
    calibrate(prepared, x)
    received = logits(prepared, x)[:, 1]
    unscaled = isinstance(prepared[0].weight_quantizer, BinaryWeight) and not prepared[0].weight_quantizer.scaled
    if not unscaled and size < 1e-3:  # plain signs are 1 whatever the weights
        assert torch.allclose(received, exact, atol=2e-6)
    assert torch.allclose(logits(convert(prepared), x), logits(prepared, x), atol=1e-6)
    if make is EVERY_WEIGHT["range 8"] and size == 1e-12:  # one export is a second or two
        file = OnnxModel(export_quantized(convert(prepared), x[:1], tmp_path / "tiny.onnx"))
        assert torch.allclose(file(x), logits(prepared, x), atol=1e-5)


def test_a_bias_beside_tiny_inputs_stays_what_it_is():
    model, x = nn.Sequential(nn.Linear(8, 3)), 1e-12 * torch.rand(5, 8)
    prepared = prepare(model, **EIGHT)
    calibrate(prepared, x)
    for network in (prepared, convert(prepared)):
        assert torch.allclose(logits(network, x), model[0].bias.detach(), atol=1e-6)


def test_scales_are_raised_while_a_network_learns_and_what_was_zero_can_grow():
    model = nn.Sequential(nn.Linear(4, 2))
    model[0].weight.data[0] = 0.0
    prepared = prepare(model, weight=lambda c: LearnedScale(4, c), activation=lambda: LearnedScale(4))
    calibrate(prepared, torch.rand(9, 4))
    prepared(torch.rand(9, 4)).sum().backward()
    assert (prepared[0].weight.grad[0] != 0).all()  # the channel of zeros
    assert torch.isfinite(prepared[0].weight_quantizer.log_scale.grad).all()


def test_a_pruned_network_is_made_permanent_first(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"0\.weight is computed from other .* make it permanent first"):
        prepare(model, **EIGHT)


def test_an_input_has_one_scale():
    model = nn.Sequential(nn.Linear(4, 4))
    prepared = prepare(model, weight=TernaryWeight, activation=lambda: LearnedScale(4, 4))
    with pytest.raises(ValueError, match="one scale, its quantizer has 4"):
        convert(prepared)


def test_a_bias_is_rounded_to_the_range_that_has_just_moved():
    prepared = prepare(
        nn.Sequential(nn.Linear(2, 2)), weight=lambda c: WeightRange(8, c), activation=fast_moving
    ).train()
    calibrate(prepared, torch.ones(3, 2))
    x = torch.full((3, 2), 9.0)
    moved = prepared(x)
    prepared.eval()
    assert torch.equal(moved, prepared(x))


def test_a_prepared_network_can_still_be_traced():
    model, images = small(), torch.rand(5, 1, 28, 28)
    graph = exported_graph(model, images)
    with torch.no_grad():
        assert torch.allclose(graph(images), logits(model, images), atol=1e-4)


# --- networks of the learner's own ------------------------------------------------------------------------------------


class ByName(nn.Module):
    """A network that calls its layers with `input=`, as PyTorch's own names it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(3 * 16, 4)

    def forward(self, x):
        return self.fc(input=F.relu(self.conv(input=x)).flatten(1))


class ByPlace(ByName):
    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).flatten(1))


def test_a_layer_called_by_name_is_prepared_calibrated_converted_and_written(tmp_path):
    x = torch.randn(9, 1, 6, 6)
    by_name, by_place = (prepare(kind(), **EIGHT) for kind in (ByName, ByPlace))
    for model in (by_name, by_place):
        calibrate(model, x)
    assert torch.equal(by_name(x), by_place(x))
    assert torch.equal(by_name.fc.input_quantizer.high, by_place.fc.input_quantizer.high)
    assert torch.equal(convert(by_name)(x), convert(by_place)(x))
    copied = copy.deepcopy(by_name)
    assert torch.equal(copied(x), by_name(x))
    file = OnnxModel(export_quantized(convert(by_name), x[:1], tmp_path / "it.onnx"), optimized=False)
    assert torch.allclose(file(x), convert(by_name)(x), atol=1e-4)


def test_a_layer_called_wrongly_is_still_refused():
    prepared = prepare(nn.Sequential(nn.Linear(2, 3)), **EIGHT)
    for wrong in ({"inputs": torch.ones(1, 2)}, {}):
        with pytest.raises(TypeError):
            prepared[0](**wrong)
    with pytest.raises(TypeError):
        prepared[0](torch.ones(1, 2), input=torch.ones(1, 2))


def test_a_file_holds_no_observer_of_float_numbers(tmp_path):
    x = torch.rand(3, 1, 28, 28)
    prepared = small()
    with pytest.raises(ValueError, match=r"conv1\.weight_quantizer is a LearnedScale, .* qat\.convert"):
        export_onnx(prepared, x, tmp_path / "it.onnx")
    partly = convert(prepared)
    partly.fc2 = prepared.fc2
    with pytest.raises(ValueError, match=r"fc2\.weight_quantizer is a LearnedScale, .* qat\.convert"):
        export_quantized(partly, x, tmp_path / "it.onnx")
    alone = nn.Sequential(nn.Linear(2, 2), MovingAverageRange(8))
    with pytest.raises(ValueError, match=r"1 is a MovingAverageRange"):
        export_onnx(alone, torch.ones(1, 2), tmp_path / "it.onnx")
    assert not list(tmp_path.iterdir())
