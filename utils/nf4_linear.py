"""A linear layer held in NF4, four bits a weight, through which gradients flow: the base of QLoRA.

The weight is made afresh from its codes in each pass, forward and backward, and is never kept. The scales are packed
once more ("double quantization"). Source: Dettmers et al., "QLoRA", 2023, section 3.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from utils.bit_packing import pack
from utils.input_validation import require_int
from utils.weight_only import linear_layers, nf4

SCALES = 256
"""Scales that share a constant in double quantization, as in QLoRA."""


class PackedScales(NamedTuple):
    """Positive numbers in 8 bits each: mean + code * step, a step for each group of neighbours.

    Args:
        codes: int8, shape (count,).
        step: float32, shape (groups,).
        mean: float32, a number for all.
        group_size: numbers that share a step.
    """

    codes: torch.Tensor
    step: torch.Tensor
    mean: torch.Tensor
    group_size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, the steps and the mean."""
        return self.codes.nbytes + self.step.nbytes + self.mean.nbytes

    def unpacked(self) -> torch.Tensor:
        """Return the numbers, float32 of shape (count,)."""
        step = self.step.repeat_interleave(self.group_size)[: len(self.codes)]
        return self.mean + self.codes * step


def pack_scales(scales: torch.Tensor, *, group_size: int = SCALES) -> PackedScales:
    """Round scales to 8 bits: less their mean, each group on an even grid from -127 to 127 times its step.

    The mean goes first because all scales are positive: one bit would be spent on a sign that never changes. QLoRA
    rounds to an 8-bit float; we take even steps.

    Args:
        scales: shape (count,).
        group_size: numbers that share a step.

    >>> pack_scales(torch.tensor([1.0, 2.0, 3.0])).unpacked()
    tensor([1., 2., 3.])
    """
    require_int("group_size", group_size, minimum=1)
    mean = scales.mean()
    groups = F.pad(scales - mean, (0, -len(scales) % group_size)).view(-1, group_size)
    step = groups.abs().amax(dim=1) / 127
    codes = (groups / step.clamp(min=torch.finfo(step.dtype).tiny)[:, None]).round()
    return PackedScales(codes.flatten()[: len(scales)].to(torch.int8), step, mean, group_size)


class _ThroughCodes(torch.autograd.Function):
    """x W^T, and backward the gradient times W, with W made from its codes each time instead of being kept."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor, layer: "NF4Linear") -> torch.Tensor:
        ctx.layer = layer
        return x @ layer.dequantized().to(x.dtype).T

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.dequantized().to(gradient.dtype), None


class NF4Linear(nn.Module):
    """A linear layer without bias whose weight is stored as codes of four bits and packed scales; it is not trained.

    Args:
        layer: without bias.
        group_size: neighbours of a row that share a scale.

    >>> layer = NF4Linear(nn.Linear(64, 32, bias=False))
    >>> round(8 * layer.nbytes / (64 * 32), 3)  # 4 bits, 8 for each 64, and a step and the mean
    4.156
    """

    def __init__(self, layer: nn.Linear, *, group_size: int = 64):
        super().__init__()
        if layer.bias is not None:
            raise ValueError("layer must have no bias; the networks of notebooks 17 to 21 have none")
        self.in_features, self.out_features, self.group_size = layer.in_features, layer.out_features, group_size
        rounded = nf4(layer.weight.detach(), group_size=group_size)
        scales = pack_scales(rounded.scale.flatten())
        self.register_buffer("codes", pack(rounded.codes, 4))  # two in a byte
        self.register_buffer("scale_codes", scales.codes)
        self.register_buffer("steps", scales.step)
        self.register_buffer("mean", scales.mean)
        self.register_buffer("entries", rounded.entries, persistent=False)  # they belong to the format

    @property
    def nbytes(self) -> int:
        """Bytes of the weight: codes, packed scales, their steps and their mean."""
        return self.codes.nbytes + self.scale_codes.nbytes + self.steps.nbytes + self.mean.nbytes

    def dequantized(self) -> torch.Tensor:
        """Return the weight that the layer stands for, float32 of shape (m, n)."""
        rows, columns = self.out_features, self.in_features
        codes = torch.stack([self.codes & 15, self.codes >> 4], dim=1).flatten()[: rows * columns]  # as `unpack`
        scales = PackedScales(self.scale_codes, self.steps, self.mean, SCALES).unpacked().view(rows, -1)
        scales = scales.repeat_interleave(self.group_size, dim=1)[:, :columns]
        return self.entries[codes.int()].view(rows, columns) * scales

    def in_float(self) -> nn.Linear:
        """Return an ordinary layer with the same weight, in float32."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device=self.codes.device)
        layer.weight.data.copy_(self.dequantized())
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _ThroughCodes.apply(x, self)


def in_nf4(model: nn.Module, *, choose: Callable[[str], bool] = lambda _: True) -> nn.Module:
    """Return a copy of a network with its linear layers held in NF4.

    >>> type(in_nf4(nn.Sequential(nn.Linear(64, 4, bias=False)))[0]).__name__
    'NF4Linear'
    """
    held = copy.deepcopy(model)
    for name, layer in linear_layers(held).items():
        if choose(name):
            parent, _, last = name.rpartition(".")
            setattr(held.get_submodule(parent), last, NF4Linear(layer))
    return held
