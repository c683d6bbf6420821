"""The long experiment of notebook 16 on weight sharing: measured as it says."""

import pytest
import torch

from utils.recipes import experiment_16_supernet as sharing
from utils.supernet import SHARES, narrowed
from utils.tiny_networks import Design, TinyNet


def test_versions_are_different_and_of_the_supernet_s_widths():
    versions = sharing.versions()
    assert len(set(versions)) == len(versions) == sharing.VERSIONS
    assert {share for version in versions for share in version} == set(SHARES)


@pytest.mark.parametrize("way", sharing.WAYS)
def test_every_way_has_the_design_of_its_version(way, monkeypatch):
    shares = (0.5, 0.25, 1.0)
    monkeypatch.setattr(sharing, "trained", lambda design, seed, shared=False: TinyNet(design).eval())
    sharing._widest.cache_clear()
    network = sharing.version(way, shares, 0)
    sharing._widest.cache_clear()
    wanted = TinyNet(narrowed(Design.parse(sharing.WIDEST), shares))
    shapes = {name: tensor.shape for name, tensor in wanted.state_dict().items()}
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes
    assert not network.training
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
