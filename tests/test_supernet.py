"""The supernet: what its narrower versions share, and what its loss trains."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.supernet import SHARES, cut_out, first_channels, measure_statistics, narrowed, sandwich
from utils.tiny_networks import Design, TinyNet

WIDEST = Design.parse("full3-8/2 separable3-12/2 separable5-16 weighted")


@pytest.fixture
def wide():
    torch.manual_seed(0)
    network = TinyNet(WIDEST)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.running_mean)
    return network


def test_all_of_the_channels_are_the_network_itself(wide):
    images = torch.rand(4, 1, 28, 28)
    assert torch.equal(cut_out(wide, WIDEST)(images), wide.eval()(images))


def test_a_narrower_version_computes_with_the_first_channels(wide):
    narrow = cut_out(wide, narrowed(WIDEST, (0.5, 0.25, 0.75)))
    images = torch.rand(2, 1, 28, 28)
    by_hand = F.conv2d(images, wide.body[0].weight[:4], padding=1)
    assert torch.allclose(narrow.body[0](images), by_hand)
    assert torch.equal(narrow.fc.weight, wide.fc.weight[:, :12])
    assert torch.equal(narrow.body[1].running_mean, wide.body[1].running_mean[:4])


def test_gradients_of_a_version_reach_the_first_channels_of_the_supernet_alone(wide):
    narrow = TinyNet(narrowed(WIDEST, (0.25, 0.5, 0.5)))
    torch.func.functional_call(narrow, first_channels(wide, narrow), torch.rand(3, 1, 28, 28)).sum().backward()
    gradient = wide.body[0].weight.grad
    assert gradient[:2].any()
    assert not gradient[2:].any()


def test_statistics_are_those_of_the_batch_and_outputs_are_as_in_training(wide):
    images = torch.rand(64, 1, 28, 28)
    network = measure_statistics(cut_out(wide, narrowed(WIDEST, (0.5, 0.5, 0.5))), images)
    first = network.body[0](images)
    assert torch.allclose(network.body[1].running_mean, first.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(network.body[1].running_var, first.var(dim=(0, 2, 3)), rtol=1e-4)
    assert not network.training
    before = network(images)
    assert torch.allclose(before, network.train()(images), atol=1e-3)


def test_the_sandwich_is_the_mean_of_its_versions_losses(wide):
    images, labels = torch.rand(16, 1, 28, 28), torch.arange(16) % 10
    wide.train()
    narrowest = TinyNet(narrowed(WIDEST, (SHARES[0],) * 3))
    outputs = [wide(images), torch.func.functional_call(narrowest, first_channels(wide, narrowest), images)]
    expected = torch.stack([F.cross_entropy(output, labels) for output in outputs]).mean()
    assert torch.allclose(sandwich(WIDEST, seed=0, middle=0)(wide, images, labels), expected)


def test_as_many_shares_as_blocks():
    with pytest.raises(ValueError, match="zip"):
        narrowed(WIDEST, (0.5, 0.5))
