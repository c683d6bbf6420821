"""Digits turned, scaled, slanted and moved a little: more images with the same labels."""

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F

from utils.input_validation import require_tensor


class Warp(NamedTuple):
    """How far an image is changed at most; every image draws its own amounts evenly from minus to plus that.

    Args:
        degrees: of rotation.
        scale: 0.1 draws sizes from 0.9 to 1.1, in each direction for itself.
        slant: sideways, in pixels per pixel of height.
        pixels: moved, down and right.
    """

    degrees: float = 0.0
    scale: float = 0.0
    slant: float = 0.0
    pixels: float = 0.0


def warped(images: torch.Tensor, warp: Warp, generator: torch.Generator) -> torch.Tensor:
    """Return the images, each turned, scaled, slanted and moved by amounts of its own; what comes in is 0.

    Args:
        images: shape (N, channels, side, side), floating-point.
        warp: how far at most.
        generator: draws the amounts.

    >>> image = torch.zeros(1, 1, 28, 28)
    >>> image[..., 10:18, 10:18] = 1.0
    >>> torch.equal(warped(image, Warp(), torch.Generator()).round(decimals=4), image)
    True
    """
    require_tensor("images", images)
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must have shape (N, channels, side, side), got {tuple(images.shape)}")
    count = len(images)

    def drawn(most: float) -> torch.Tensor:
        return most * (2 * torch.rand(count, generator=generator) - 1)

    angle = drawn(math.radians(warp.degrees))
    down, across = 1 + drawn(warp.scale), 1 + drawn(warp.scale)
    slant = drawn(warp.slant)
    moved = torch.stack([drawn(warp.pixels), drawn(warp.pixels)], dim=1) * 2 / images.shape[2]
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)  # (N, 2, 2)
    zero = torch.zeros(count)
    form = torch.stack([torch.stack([across, slant], 1), torch.stack([zero, down], 1)], 1)
    places = torch.cat([turn @ form, moved.unsqueeze(2)], dim=2)  # (N, 2, 3): from output to input
    grid = F.affine_grid(places.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
