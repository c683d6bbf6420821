"""A network sent as a graph computes and counts as the one that it came from; a graph that does more is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.accounting import count_macs, count_parameters
from utils.course.classroom_networks import decode_network, encode_network
from utils.course.classroom_wire import Decoder, Encoder, ProtocolError
from utils.models import load_checkpoint


class OwnNetwork(nn.Module):
    """A learner's: layers of its own kind, a residual, a loop, numbers kept outside of parameters."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(n, 4, 3, padding=1) for n in (1, 4)])
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Linear(4 * 14 * 14, 10)
        self.hidden = torch.rand(10)
        self.register_buffer("unsaved", torch.rand(10), persistent=False)

    def forward(self, x):
        for convolution in self.convolutions:
            x = F.relu(convolution(x)) + 0.5
        x = F.max_pool2d(self.norm(x), 2)
        return self.out(x.flatten(1)) * self.hidden + self.unsaved


def _sent(network):
    encoder = Encoder()
    tree = encode_network(network, encoder)
    return decode_network(tree["network"], Decoder([memoryview(raw) for raw in encoder.arrays]))


@pytest.mark.parametrize("name", ["LeNet300100", "own"])
def test_the_received_network_computes_and_counts_alike(name):
    torch.manual_seed(0)
    network = OwnNetwork().eval() if name == "own" else load_checkpoint(name)
    received = _sent(network)
    assert type(received).__name__ == type(network).__name__
    for count in (1, 2, 7):
        images = torch.rand(count, 1, 28, 28)
        with torch.no_grad():
            assert torch.allclose(received(images), network(images), atol=1e-5)
    assert count_parameters(received) == count_parameters(network)
    assert count_macs(received, torch.zeros(1, 1, 28, 28)) == count_macs(network, torch.zeros(1, 1, 28, 28))
    copy.deepcopy(received)


def test_numbers_kept_outside_of_parameters_are_in_the_state():
    numbers = sum(value.numel() for value in _sent(OwnNetwork().eval()).state_dict().values())
    learnt = sum(value.numel() for value in OwnNetwork().parameters())
    assert numbers >= learnt + 20, "hidden and unsaved"


def test_a_network_that_opens_files_is_not_read():
    content = {"class": "X", "input": "x", "state": {}, "nodes": []}
    for target in ("aten.from_file.default", "python.system", "aten.linear.nonsense", "os.system"):
        with pytest.raises(ProtocolError):
            decode_network(content | {"nodes": [["a", target, [], {}]]}, Decoder([]))


def test_a_network_that_cannot_be_exported_says_why():
    class Undecided(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"data-dependent|guard"):
        encode_network(Undecided(), Encoder())
