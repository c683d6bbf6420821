"""GPTQ of prepared networks: patches against the convolution, a layer alone against `gptq`, and what it is for."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils import qat
from utils.gptq import gptq
from utils.gptq_layers import columns_of, gptq_prepared
from utils.quantization import QuantizationParameters
from utils.surgeon import second_moment

THREE_BITS = partial(qat.LearnedScale, 3, signed=True)


def _images(count=64, channels=2, side=8):
    mixing = torch.randn(side * side * channels, side * side * channels) / side
    return (torch.randn(count, side * side * channels) @ mixing).view(count, channels, side, side)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": (0, 2)}])
def test_a_convolution_is_its_weight_times_its_patches(how):
    layer = nn.Conv2d(2, 5, (3, 2), bias=False, **how)
    x = _images(4)
    expected = F.conv2d(x, layer.weight, **how)  # (N, 5, height, width)
    found = columns_of(layer, x) @ layer.weight.flatten(1).T
    assert torch.allclose(found.view(4, -1, 5).transpose(1, 2), expected.flatten(2), atol=1e-5)


def test_groups_are_refused():
    with pytest.raises(ValueError, match="groups must be 1, got 2"):
        columns_of(nn.Conv2d(2, 4, 3, groups=2), _images(1))


def test_a_single_layer_is_what_gptq_makes_of_it():
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 6))
    images = _images()
    prepared = qat.prepare(network, weight=THREE_BITS, activation=None)
    quantizer = prepared[1].weight_quantizer
    scale = quantizer.log_scale.detach().exp()
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    grid = QuantizationParameters(scale, zeros, quantizer.qmin, quantizer.qmax, 0)
    moment = second_moment(images.flatten(1).double())
    expected = gptq(network[1].weight, moment, lambda _: grid).dequantize()
    repaired = gptq_prepared(prepared, images)
    assert torch.equal(repaired[1].weight, expected)
    assert torch.allclose(quantizer(expected), expected, atol=1e-6), "it is on the grid already"


def _network():
    layers = [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(*layers).eval()


def test_it_leaves_less_error_in_the_outputs_on_images_that_it_has_not_seen():
    network, images = _network(), _images(256)
    prepared = qat.prepare(network, weight=THREE_BITS, activation=lambda: qat.LearnedScale(8, signed=True))
    qat.calibrate(prepared, images[:128])
    repaired = gptq_prepared(prepared, images[:128])
    with torch.no_grad():
        wanted, nearest, found = (model(images[128:]) for model in (network, prepared, repaired))
    assert (found - wanted).norm() < 0.8 * (nearest - wanted).norm()


def test_the_prepared_network_stays_and_scales_and_biases_are_its_own():
    prepared = qat.prepare(_network(), weight=THREE_BITS, activation=None)
    before = {name: each.clone() for name, each in prepared.state_dict().items()}
    repaired = gptq_prepared(prepared, _images())
    assert all(torch.equal(each, before[name]) for name, each in prepared.state_dict().items())
    moved = {name for name, each in repaired.state_dict().items() if not torch.equal(each, before[name])}
    assert moved == {"0.weight", "2.weight", "5.weight"}


def test_each_layer_sees_what_the_rounded_layers_before_it_give():
    prepared = qat.prepare(_network(), weight=THREE_BITS, activation=None)
    images = _images()
    repaired = gptq_prepared(prepared, images)
    last, quantizer = prepared[5], prepared[5].weight_quantizer
    with torch.no_grad():
        received = repaired[:5](images)
    scale = quantizer.log_scale.detach().exp()
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    grid = QuantizationParameters(scale, zeros, quantizer.qmin, quantizer.qmax, 0)
    expected = gptq(last.weight, second_moment(received.double()), lambda _: grid).dequantize()
    assert torch.equal(repaired[5].weight, expected)


def test_a_weight_without_a_learned_scale_is_refused():
    prepared = qat.prepare(_network(), weight=partial(qat.WeightRange, 4), activation=None)
    with pytest.raises(ValueError, match="the weight of 0 needs a LearnedScale, got WeightRange"):
        gptq_prepared(prepared, _images(2))
