"""ONNX files and sessions, int8 by calibration, compiled networks, and batch norms folded away."""

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from utils import onnx_export, qat
from utils.accounting import count_macs
from utils.files import ROOT
from utils.models import SmallDepthwiseNet, SmallResNet
from utils.onnx_export import (
    METHODS,
    CompilerUnavailableError,
    ExportError,
    OnnxModel,
    activation_ranges,
    compiled,
    compiler_available,
    correct_biases,
    export_onnx,
    fold_batch_norm,
    pt2e_int8,
    quantize_onnx_dynamic,
    quantize_onnx_static,
    seconds_by_operation,
)
from utils.timing import latencies
from utils.training import evaluate


class Tiny(nn.Module):
    """A convolution, a batch norm, a linear layer: small, and every kind of step is in it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 4 * 4, 3)

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.conv(x))).flatten(1))


class Undecided(nn.Module):
    """No graph can hold it: what it computes depends on the numbers."""

    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


def lived_in(network, seed=0):
    """Give each batch norm statistics and weights as training would, none of them 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for numbers in (module.weight, module.bias, module.running_mean, module.running_var):
                numbers.data.copy_(torch.rand(len(numbers), generator=generator) + 0.5)
    return network.eval()


def close(one, other, tolerance=1e-5):
    return (one - other).abs().max() <= tolerance * max(1.0, other.abs().max().item())


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return lived_in(Tiny())


@pytest.fixture(scope="module")
def images():
    return torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def float_file(tiny, images, tmp_path_factory):
    return export_onnx(tiny, images[:1], tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.fixture(scope="module")
def int8_file(float_file, images):
    return quantize_onnx_static(float_file, float_file.with_name("int8.onnx"), [images[:4], images[4:]])


# --- the file and its session -----------------------------------------------------------------------------------------


def test_a_file_holds_nothing_of_the_machine_that_wrote_it(float_file, int8_file):
    for file in (float_file, int8_file):
        content = file.read_bytes()
        assert Path(__file__).name.encode() not in content, "the exporter's notes name the source of every operation"
        assert str(ROOT).encode() not in content


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_a_file_answers_as_its_network_for_any_batch(tiny, images, float_file, batch):
    with torch.no_grad():
        assert close(OnnxModel(float_file)(images[:batch]), tiny(images[:batch]))


def test_exporting_leaves_the_network_alone_and_prints_nothing(images, tmp_path, capfd):
    network = lived_in(Tiny()).train()
    before = copy.deepcopy(network.state_dict())
    assert export_onnx(network, images, tmp_path / "net.onnx") == tmp_path / "net.onnx"
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"], "the weights belong into the one file"


def test_a_session_is_a_network_to_the_rest_of_the_course(float_file, images):
    from utils.datasets import Examples

    session = OnnxModel(float_file)
    assert evaluate(session, Examples(images, torch.zeros(8, dtype=torch.long)), batch_size=3).total == 8
    assert latencies({"onnx": session}, images, repeats=1)["onnx"].median > 0
    assert list(session.parameters()) == []
    assert "tiny.onnx" in repr(session)
    assert not session(images).requires_grad


def test_what_a_session_multiplies_is_refused_and_not_zero(float_file, images):
    with pytest.raises(ValueError, match="OnnxModel computes outside of PyTorch"):
        count_macs(OnnxModel(float_file), images[:1])


def test_an_input_need_not_be_contiguous_or_detached(float_file, images):
    session = OnnxModel(float_file)
    turned = images.transpose(2, 3)
    assert torch.equal(session(turned), session(turned.contiguous()))
    assert torch.equal(session(images.clone().requires_grad_()), session(images))


def test_operations_are_counted_and_the_batch_norm_is_folded_by_the_exporter(float_file):
    counted = onnx_export.count_operations(float_file)
    assert counted == {"Conv": 1, "Relu": 1, "Reshape": 1, "Gemm": 1}


def test_operations_are_counted_as_they_run(float_file, images, tmp_path):
    path = quantize_onnx_static(float_file, tmp_path / "q.onnx", [images])
    assert onnx_export.count_operations(path)["Conv"] == 1
    as_it_runs = onnx_export.count_operations(path, optimized=True)
    assert as_it_runs["QLinearConv"] == 1
    assert "Conv" not in as_it_runs
    assert sorted(each.name for each in tmp_path.iterdir()) == ["q.onnx"]


def test_the_seconds_of_each_operation_make_up_most_of_a_call(float_file, images):
    many = images.repeat(200, 1, 1, 1)
    seconds = seconds_by_operation(float_file, many, calls=5)
    assert any(kind.endswith("Conv") for kind in seconds)
    assert any(kind.endswith("Gemm") for kind in seconds)
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
    whole = latencies({"whole": OnnxModel(float_file)}, many, repeats=5)["whole"].median
    assert 0.1 * whole < sum(seconds.values()) < 10 * whole, "seconds, of one call"


@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 1, 6, 5), (0, 1, 6, 6), ()])
def test_a_wrong_shape_is_named_with_the_right_one(float_file, shape):
    with pytest.raises(ValueError, match=r"tiny.onnx takes inputs of shape \(N, 1, 6, 6\)"):
        OnnxModel(float_file)(torch.zeros(shape))


def test_a_wrong_dtype_is_named_with_the_remedy(float_file, images):
    with pytest.raises(TypeError, match=r"float32, got Tensor of torch\.float64; convert it: \.to\(torch\.float32\)"):
        OnnxModel(float_file)(images.double())


def test_a_missing_file(tmp_path):
    with pytest.raises(ExportError, match=r"no file none\.onnx; write one with export_onnx"):
        OnnxModel(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"not a network", None], ids=["empty", "text", "cut"])
def test_a_damaged_file(float_file, tmp_path, images, content):
    damaged = tmp_path / "damaged.onnx"
    whole = float_file.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ExportError, match=r"damaged\.onnx is no ONNX file"):
        OnnxModel(damaged)
    with pytest.raises(ExportError):
        quantize_onnx_static(damaged, tmp_path / "out.onnx", [images])
    with pytest.raises(ExportError):
        quantize_onnx_dynamic(damaged, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_what_cannot_be_exported_says_so(images, tmp_path):
    with pytest.raises(ExportError, match=r"Undecided cannot be written to net\.onnx"):
        export_onnx(Undecided(), images, tmp_path / "net.onnx")
    with pytest.raises(ExportError, match="cannot be written"):
        export_onnx(Tiny(), images, tmp_path / "no folder" / "net.onnx")
    with pytest.raises(TypeError, match="the class Tiny"):
        export_onnx(Tiny, images, tmp_path / "net.onnx")


# --- int8 in ONNX -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_static_int8_is_near_the_network(tiny, images, float_file, tmp_path, per_channel, method, capfd):
    path = quantize_onnx_static(float_file, tmp_path / "q.onnx", [images], per_channel=per_channel, method=method)
    with torch.no_grad():
        wanted = tiny(images)
    for optimized in (True, False):
        assert close(OnnxModel(path, optimized=optimized)(images), wanted, 0.05)
    assert capfd.readouterr() == ("", "")


def test_dynamic_int8_is_near_the_network(tiny, images, float_file, tmp_path, capfd):
    path = quantize_onnx_dynamic(float_file, tmp_path / "q.onnx")
    with torch.no_grad():
        assert close(OnnxModel(path)(images), tiny(images), 0.05)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("reduce_range", "most"), [(True, 64), (False, 128)])
def test_reduced_range_takes_a_bit_from_the_weights(float_file, tmp_path, images, reduce_range, most):
    import onnx

    path = quantize_onnx_static(float_file, tmp_path / "q.onnx", [images], reduce_range=reduce_range)
    weights = [t for t in onnx.load(path).graph.initializer if t.name.endswith("weight_quantized")]
    largest = max(abs(onnx.numpy_helper.to_array(t).astype(int)).max() for t in weights)
    assert most / 2 < largest <= most


def test_ranges_can_be_given_and_min_max_ranges_change_nothing(float_file, int8_file, images, tmp_path):
    ranges = activation_ranges(float_file, [images[:4], images[4:]], lambda values: (values.min(), values.max()))
    assert ranges["x"] == (images.min().item(), images.max().item())
    given_ones = OnnxModel(quantize_onnx_static(float_file, tmp_path / "q.onnx", [images], ranges=ranges))
    assert torch.equal(given_ones(images), OnnxModel(int8_file)(images))
    narrow = {name: (low / 9, high / 9) for name, (low, high) in ranges.items()}
    clipped = OnnxModel(quantize_onnx_static(float_file, tmp_path / "n.onnx", [images], ranges=narrow))
    assert not close(clipped(images), given_ones(images), 0.05)


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {}, "calibration_batches is empty"),
        ([torch.zeros(2, 1, 7, 7)], {}, r"shape \(N, 1, 6, 6\)"),
        ([torch.full((2, 1, 6, 6), math.nan)], {}, "NaN"),
        ([torch.zeros(2, 1, 6, 6)], {"method": "min-max"}, "method must be one of minmax, percentile, entropy, got"),
        ([torch.zeros(2, 1, 6, 6)], {"ranges": {"x": (1.0, 0.0)}}, "range of 'x'"),
        ([torch.zeros(2, 1, 6, 6)], {"ranges": {"y": (0.0, 1.0)}}, "no activation 'y'"),
    ],
)
def test_a_calibration_that_cannot_be_right(float_file, tmp_path, batches, options, message):
    with pytest.raises(ValueError, match=message):
        quantize_onnx_static(float_file, tmp_path / "q.onnx", batches, **options)
    assert not (tmp_path / "q.onnx").exists()


@pytest.mark.parametrize(("bits", "fewest", "most"), [(4, 2, 16), (8, 17, 256)])
def test_activations_take_as_many_values_as_their_bits_allow(tmp_path, bits, fewest, most):
    source = export_onnx(nn.Linear(2, 1), torch.zeros(1, 2), tmp_path / "linear.onnx")
    inputs = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    path = quantize_onnx_static(source, tmp_path / "coarse.onnx", [inputs], activation_bits=bits)
    assert fewest <= len(OnnxModel(path, optimized=False)(inputs).unique()) <= most


@pytest.mark.parametrize(
    ("data_format", "activations", "weights"),
    [("U8S8", "uint8", "int8"), ("U8U8", "uint8", "uint8"), ("S8S8", "int8", "int8")],
)
def test_a_format_decides_the_types_of_the_codes(float_file, tiny, images, tmp_path, data_format, activations, weights):
    import onnx

    path = onnx_export.quantize_onnx_in_format(float_file, tmp_path / "q.onnx", [images], data_format)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert tensors["x_zero_point"].dtype == activations
    codes = [array for name, array in tensors.items() if name.endswith("weight_quantized")]
    assert len(codes) == 2
    assert {str(each.dtype) for each in codes} == {weights}
    assert all(int(each.max()) - int(each.min()) > 128 for each in codes), "all 8 bits"
    assert close(OnnxModel(path, optimized=False)(images), tiny(images), 0.05)


def test_a_format_is_that_of_the_static_file_where_both_make_one(float_file, images, tmp_path):
    formatted = onnx_export.quantize_onnx_in_format(float_file, tmp_path / "f.onnx", [images], "U8S8")
    static = quantize_onnx_static(float_file, tmp_path / "s.onnx", [images], reduce_range=False)
    assert formatted.read_bytes() == static.read_bytes()
    with pytest.raises(ValueError, match="data_format must be one of U8S8, U8U8, S8S8, got 'S8U8'"):
        onnx_export.quantize_onnx_in_format(float_file, tmp_path / "odd.onnx", [images], "S8U8")


def test_activations_of_other_bits_are_refused(float_file, images, tmp_path):
    with pytest.raises(ValueError, match="activation_bits must be 4 or 8, got 5"):
        quantize_onnx_static(float_file, tmp_path / "odd.onnx", [images], activation_bits=5)


LAYERS = {
    "linear": (nn.Linear(4, 6), (4,)),
    "convolution": (nn.Conv2d(4, 6, 3), (4, 5, 5)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (4, 5, 5)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_corrected_biases_give_each_output_its_mean_back(kind, tmp_path):
    layer, shape = copy.deepcopy(LAYERS[kind][0]), LAYERS[kind][1]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        layer.weight.fill_(0.022)
        layer.weight[0, 0] = 1.0  # so that one scale for all has the step 1/64, and the others round to one step
    channels = torch.arange(1.0, 5.0).view(-1, *[1] * (len(shape) - 1))
    noise = torch.rand(64, 4, *[1] * (len(shape) - 1), generator=generator)
    inputs = (channels + noise).expand(64, *shape).contiguous()  # alike in all places, so that a patch has their mean
    source = export_onnx(layer, inputs[:1], tmp_path / "float.onnx")
    rounded = quantize_onnx_static(source, tmp_path / "int8.onnx", [inputs], per_channel=False)
    corrected = correct_biases(source, rounded, tmp_path / "corrected.onnx", [inputs[:32], inputs[32:]])
    wanted = layer(inputs).detach()
    off = []
    for path in (rounded, corrected):
        difference = OnnxModel(path, optimized=False)(inputs) - wanted
        off.append(difference.transpose(0, 1).flatten(1).mean(dim=1).abs().max().item())
    assert off[1] < wanted.max().item() / 255 < off[0] / 2, "a step of the output's grid"
    assert corrected.stat().st_size == rounded.stat().st_size


class Upsampled(nn.Module):
    """Down, up again, and beside what was skipped, as in a U-Net."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(2, 4, 3, padding=1), nn.Upsample(scale_factor=2)
        self.answer = nn.Linear(6, 3)

    def forward(self, x):
        return self.answer(torch.cat([self.up(self.down(x)[..., ::2]), x], dim=1).mean(dim=-1))


class TiedAnswers(nn.Module):
    """Reads one weight as an embedding and as a linear layer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.hidden, self.answer = nn.Linear(8, 8), nn.Linear(8, 12, bias=False)
        self.answer.weight = self.embedding.weight

    def forward(self, tokens):
        return self.answer(self.hidden(self.embedding(tokens).mean(dim=1)).relu())


@pytest.mark.parametrize(
    ("network", "draw"),
    [(Upsampled, lambda: torch.randn(32, 2, 16)), (TiedAnswers, lambda: torch.randint(12, (32, 5)))],
)
def test_an_upsampling_and_a_tied_network_run_in_int8_and_leave_nothing_behind(network, draw, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model, x = network().eval(), draw()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    source = export_onnx(model, x, tmp_path / "float32.onnx")
    quantized = OnnxModel(quantize_onnx_static(source, tmp_path / "int8.onnx", [x]))
    with torch.no_grad():
        wanted = model(x)
    assert (quantized(x) - wanted).norm() < 0.05 * wanted.norm()
    assert quantized(x[:1]).shape == wanted[:1].shape  # any batch size
    assert not list(Path.cwd().iterdir())


# --- batch norms folded away ------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), biased=st.booleans(), affine=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_folded_layer_answers_as_the_layer_and_its_norm(seed, biased, affine):
    torch.manual_seed(seed)
    for layer, norm, x in (
        (nn.Conv2d(3, 5, 3, bias=biased), nn.BatchNorm2d(5, affine=affine), torch.randn(2, 3, 4, 4)),
        (nn.Conv1d(3, 5, 3, bias=biased), nn.BatchNorm1d(5, affine=affine), torch.randn(2, 3, 4)),
        (nn.Linear(4, 6, bias=biased), nn.BatchNorm1d(6, affine=affine), torch.randn(3, 4)),
    ):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 4.0)
        network = nn.Sequential(layer, norm).eval()
        folded = fold_batch_norm(network)
        assert isinstance(folded[1], nn.Identity)
        with torch.no_grad():
            assert close(folded(x), network(x))


@pytest.mark.parametrize("network", [SmallResNet(4), SmallDepthwiseNet(4)], ids=["residual", "depthwise"])
def test_folding_a_whole_network(network):
    network = lived_in(network)
    folded = fold_batch_norm(network)
    x = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        assert close(folded(x), network(x))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules()), "the original stays"


def test_a_norm_stays_where_folding_would_be_wrong():
    class ReadTwice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x):
            y = self.conv(x)
            return self.bn(y) + y

    class UsedTwice(ReadTwice):
        def forward(self, x):
            return self.bn(self.conv(x)) + self.conv(x)

    first = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 2, 1))
    without = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    for network in (ReadTwice(), UsedTwice(), first, without):
        lively = network.eval() if network is without else lived_in(network)
        folded = fold_batch_norm(lively)
        x = torch.rand(2, 1, 3, 3)
        with torch.no_grad():
            assert torch.equal(folded(x), lively(x))
        assert any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_folding_leaves_every_mode_and_what_is_trained_as_it_was():
    network = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.BatchNorm1d(6).eval())
    folded = fold_batch_norm(network)
    assert [module.training for module in folded.modules()] == [module.training for module in network.modules()]
    assert all(parameter.requires_grad for parameter in folded.parameters())


def test_folding_needs_a_network_that_can_be_traced():
    with pytest.raises(ExportError, match="Undecided cannot be traced"):
        fold_batch_norm(Undecided())


# --- the compiler -----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_compiler():
    """Hide the compiler: PyTorch is told to look for one that is not there."""
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("no-such-compiler",)}):
        yield


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_it_says_so(tiny, images):
    assert not compiler_available()
    with pytest.raises(CompilerUnavailableError, match="needs a C\\+\\+ compiler"):
        compiled(tiny, images)


def test_without_pythons_headers_it_says_so(monkeypatch, tmp_path, tiny, images):
    monkeypatch.setattr(onnx_export.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert not compiler_available()
    with pytest.raises(CompilerUnavailableError):
        compiled(tiny, images)


def test_pt2e_quantizes_without_a_compiler(tiny, images, no_compiler, capfd):
    quantized = pt2e_int8(tiny, [images[:4], images[4:]])
    with torch.no_grad():
        wanted = tiny(images)
    assert close(quantized(images), wanted, 0.1)
    assert not torch.equal(quantized(images), wanted)
    assert close(quantized.eval()(images[:1]), wanted[:1], 0.1)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="takes inputs of shape"):
        quantized(torch.zeros(2, 1, 5, 5))


@pytest.mark.slow
@pytest.mark.skipif(not compiler_available(), reason="there is no C++ compiler")
def test_compiled_int8_equals_its_graph_for_any_batch(tiny, images, capfd):
    quantized = pt2e_int8(tiny, [images])
    fast = compiled(quantized, images[:3])
    for batch in (1, 3, 8):
        assert close(fast.eval()(images[:batch]), quantized(images[:batch]), 0.02)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="takes inputs of shape"):
        fast(torch.zeros(3, 1, 7, 6))


# --- networks of the learner's own ------------------------------------------------------------------------------------


class Calls(nn.Module):
    """A network whose forward pass is the given function of a linear layer and the input."""

    def __init__(self, function):
        super().__init__()
        self.function, self.layer = function, nn.Linear(12, 3)

    def forward(self, x):
        return self.function(self.layer, x)


def own_check(layer, x):
    if x.shape[1] != 5:
        raise ValueError("only five rows are taken")
    return layer(x.flatten(1))


REFUSED = {
    "an if on the values": (lambda layer, x: layer(x.flatten(1)) if x.sum() > 0 else x.sum(), "depends on the values"),
    "its own error": (own_check, "only five rows are taken"),
    "a wrong example": (lambda layer, x: layer(x.flatten(2)), "shapes cannot be multiplied"),
    "len": (lambda layer, x: layer(x.reshape(len(x), -1)), "one batch size only"),
    "int": (lambda layer, x: layer(x.reshape(int(x.shape[0]), -1)), "one batch size only"),
    "a loop": (lambda layer, x: torch.stack([layer(each.flatten()) for each in x]), "one batch size only"),
    "one is another case": (lambda layer, x: layer(x.flatten(1)) * (1 if x.shape[0] > 1 else 2), "a batch of one"),
}
ANY_BATCH = {
    "the size of x": lambda layer, x: layer(x.reshape(x.size(0), -1)),
    "a number made of it": lambda layer, x: layer(x.flatten(1)) / x.shape[0],
    "a tensor made for it": lambda layer, x: layer(x.flatten(1)) + torch.arange(x.shape[0])[:, None],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_cannot_be_exported_is_told_why(tmp_path, case):
    function, cause = REFUSED[case]
    earlier = tmp_path / "net.onnx"
    earlier.write_bytes(b"earlier")
    for export in (lambda: export_onnx(Calls(function), torch.ones(1, 3, 4), earlier),):
        with pytest.raises(ExportError, match=rf"Calls cannot be written to net\.onnx: .*{cause}") as caught:
            export()
        assert "Next steps" not in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert earlier.read_bytes() == b"earlier"
    with pytest.raises(ExportError, match=cause):
        onnx_export.exported_graph(Calls(function), torch.ones(1, 3, 4))


@pytest.mark.parametrize("case", ANY_BATCH)
def test_a_size_taken_from_the_batch_is_that_of_each_batch(tmp_path, case):
    network = Calls(ANY_BATCH[case])
    file = OnnxModel(export_onnx(network, torch.ones(1, 3, 4), tmp_path / "net.onnx"))
    for count in (1, 2, 5):
        x = torch.rand(count, 3, 4)
        with torch.no_grad():
            assert close(file(x), network(x))


def test_a_pruned_network_is_made_permanent_first(tmp_path):
    network = lived_in(Tiny())
    prune.l1_unstructured(network.conv, "weight", amount=0.5)
    x = torch.rand(1, 1, 6, 6)
    for refused in (
        lambda: export_onnx(network, x, tmp_path / "net.onnx"),
        lambda: fold_batch_norm(network),
        lambda: onnx_export.exported_graph(network, x),
        lambda: compiled(network, x),
    ):
        with pytest.raises(ValueError, match=r"conv\.weight is computed from other .* make it permanent first"):
            refused()
    assert not list(tmp_path.iterdir())
    prune.remove(network.conv, "weight")
    assert (export_onnx(network, x, tmp_path / "net.onnx")).exists()


def test_a_norm_behind_a_weight_that_is_computed_stays():
    torch.manual_seed(0)
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4))
    folded, x = fold_batch_norm(lived_in(network)), torch.rand(3, 4)
    assert isinstance(folded[1], nn.BatchNorm1d)
    assert torch.equal(folded(x), network(x))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_tokens_go_through_every_file(tmp_path, dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 5)).eval()
    tokens = torch.randint(5, (20, 3), dtype=dtype)
    wanted = network(tokens).detach()
    source = export_onnx(network, tokens[:2], tmp_path / "float32.onnx")
    assert torch.allclose(OnnxModel(source)(tokens), wanted, atol=1e-6)
    for file in (
        quantize_onnx_dynamic(source, tmp_path / "dynamic.onnx"),
        quantize_onnx_static(source, tmp_path / "static.onnx", [tokens[:10], tokens[10:]]),
    ):
        assert (OnnxModel(file)(tokens) - wanted).abs().max() < 0.1 * wanted.abs().max()
    prepared = qat.prepare(network, weight=partial(qat.WeightRange, 8), activation=partial(qat.MovingAverageRange, 8))
    qat.calibrate(prepared, tokens)
    assert (qat.convert(prepared)(tokens) - wanted).abs().max() < 0.1 * wanted.abs().max()
    with pytest.raises(TypeError, match=rf"float32.onnx takes {dtype}, got Tensor of torch.float32"):
        OnnxModel(source)(tokens.float())


def test_a_file_of_another_type_names_what_it_reads(tmp_path):
    network = nn.Linear(3, 2).double()
    with pytest.raises(ExportError, match=r"must have one input, of float32 or integers.*tensor\(double\)"):
        OnnxModel(export_onnx(network, torch.zeros(2, 3, dtype=torch.float64), tmp_path / "double.onnx"))
