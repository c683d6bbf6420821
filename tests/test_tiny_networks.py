"""Networks written as one line of text: what they compute, and what they are said to cost."""

import random

import pytest
import torch

from utils import accounting
from utils.architecture_search import draw
from utils.onnx_export import fold_batch_norm
from utils.tiny_networks import Design, TinyNet, deployed_parameters, fill, macs, side_after

TEXT = "full3-6/2 separable5-10/2 separable3-10 weighted"

DRAWN = [draw(most, random.Random(seed)) for seed in range(6) for most in (600, 5_000)]
DRAWN += map(
    Design.parse, ("full5-10s2 separable3-14/2 separable3-14s2 weighted", "full3-4/2 full3-6/2 full5-7s2 mean")
)


def test_a_design_and_its_text_say_the_same():
    for design in DRAWN:
        assert Design.parse(str(design)) == design


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends with its head"),
        ("full3-6/2", "ends with its head"),
        ("mean", "first block must be full"),
        ("separable3-6 mean", "first block must be full"),
        ("full4-6 mean", "a block is written"),
        ("full3-0 mean", "a block is written"),
        ("full3-4/2s2 mean", "a block is written"),
        ("full3-6/2 full3-6/2 full3-6/2 full3-6/2 mean", "at least 3x3"),
    ],
)
def test_what_is_no_design_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Design.parse(text)


@pytest.mark.parametrize("design", DRAWN, ids=str)
def test_the_count_is_that_of_the_folded_network_and_the_macs_are_the_library_s(design):
    network = TinyNet(design).eval()
    folded = fold_batch_norm(network)
    assert sum(p.numel() for p in folded.parameters()) == deployed_parameters(design)
    convolutions = accounting.count_macs(network, torch.zeros(1, 1, 28, 28))
    places = network.head.weight.numel() if design.head == "weighted" else 0
    assert convolutions + places == macs(design)


def test_the_network_of_a_design_has_its_shapes():
    design = Design.parse(TEXT)
    network = TinyNet(design).eval()
    images = torch.rand(3, 1, 28, 28)
    assert side_after(design.blocks) == 7
    assert network.body(images).shape == (3, 10, 7, 7)
    assert network(images).shape == (3, 10)


def test_the_weighted_head_starts_as_the_mean():
    body = torch.rand(2, 10, 7, 7)
    head = TinyNet(Design.parse(TEXT)).head
    torch.testing.assert_close(head(body), body.mean(dim=(2, 3)))


@pytest.mark.parametrize("most", [300, 600, 5_000, 20_000])
def test_a_filled_design_keeps_its_blocks_and_uses_the_budget(most):
    design = Design.parse("full3-8/2 separable5-12 full3-12/2 mean")
    filled = fill(design, most)
    assert 0.8 * most <= deployed_parameters(filled) <= most
    assert [block._replace(channels=0) for block in filled.blocks] == [
        block._replace(channels=0) for block in design.blocks
    ]
    assert fill(filled, most) == filled


def test_too_small_a_budget_is_refused():
    with pytest.raises(ValueError, match="one channel a block"):
        fill(Design.parse(TEXT), 50)
