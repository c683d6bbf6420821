"""Warped digits against torchvision's affine transform, image by image."""

import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

from utils.augmentation import Warp, warped


class Amounts:
    """In place of `torch.rand`: the same share of the way from minus to plus for every image."""

    def __init__(self, *shares):
        self.shares = list(shares)

    def __call__(self, count, generator):
        return torch.full((count,), (self.shares.pop(0) + 1) / 2)


@pytest.fixture
def digit(mnist):
    return mnist.train.images[:2]


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -1), (1, -1)])
def test_a_move_by_whole_pixels_is_exact(digit, monkeypatch, down, right):
    # the order of the drawing: angle, height, width, slant, across, down
    monkeypatch.setattr("torch.rand", Amounts(0, 0, 0, 0, -right, -down))
    moved = warped(digit, Warp(pixels=2.0), torch.Generator())
    torch.testing.assert_close(moved, digit.roll((2 * down, 2 * right), dims=(2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("share", [-1.0, -0.5, 0.7])
def test_a_turn_is_torchvision_s(digit, monkeypatch, share):
    monkeypatch.setattr("torch.rand", Amounts(share, 0, 0, 0, 0, 0))
    turned = warped(digit, Warp(degrees=20.0), torch.Generator())
    theirs = affine(digit, -20.0 * share, [0, 0], 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(turned, theirs, atol=2e-4, rtol=0)


def test_a_size_is_torchvision_s(digit, monkeypatch):
    monkeypatch.setattr("torch.rand", Amounts(0, -1, -1, 0, 0, 0))
    scaled = warped(digit, Warp(scale=0.2), torch.Generator())
    theirs = affine(digit, 0.0, [0, 0], 1 / 0.8, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(scaled, theirs, atol=2e-4, rtol=0)


def test_a_slant_is_torchvision_s(digit, monkeypatch):
    monkeypatch.setattr("torch.rand", Amounts(0, 0, 0, 1, 0, 0))
    slanted = warped(digit, Warp(slant=0.3), torch.Generator())
    angle = math.degrees(math.atan(0.3))
    theirs = affine(digit, 0.0, [0, 0], 1.0, [angle, 0.0], interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(slanted, theirs, atol=2e-4, rtol=0)


def test_each_image_draws_its_own_amounts_and_a_seed_repeats_them(digit):
    same = digit[:1].repeat(4, 1, 1, 1)
    warp = Warp(10.0, 0.1, 0.1, 2.0)
    once, again = (warped(same, warp, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.allclose(once[0], once[1], atol=0.05)


def test_what_is_no_square_image_is_refused():
    with pytest.raises(ValueError, match="side, side"):
        warped(torch.zeros(2, 1, 28, 20), Warp(), torch.Generator())
