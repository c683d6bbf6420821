"""Linear layers with weights of 4 bits as ONNX Runtime multiplies them: its operator MatMulNBits.

The weights stay packed, two in a byte, in the file and in memory; the kernel unpacks a block of them when it needs it.
There is no such kernel for convolutions.
"""

import copy
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from utils.bit_packing import pack
from utils.input_validation import require_module
from utils.models import replace_everywhere
from utils.onnx_export import export_onnx
from utils.qat import ConvertedLayer

BLOCK = 32
"""Neighbours of a row that the kernel multiplies with one scale."""

FLOAT_INPUTS, INT8_INPUTS = 1, 4
"""The operator's `accuracy_level`: inputs as they are, or each block of them rounded to int8 on the way."""


def pack_in_blocks(integers: torch.Tensor, block: int = BLOCK) -> torch.Tensor:
    """Pack a matrix of 4-bit integers as MatMulNBits wants it: uint8, shape (outputs, blocks, block / 2).

    Each row is filled with zeros to whole blocks; a weight q is stored as q + 8, the first of two in the lower half.

    Args:
        integers: shape (outputs, inputs), from -8 to 7.

    >>> pack_in_blocks(torch.tensor([[-8, 7, 1]]), block=4)
    tensor([[[240, 137]]], dtype=torch.uint8)
    """
    padded = F.pad(integers, (0, -integers.shape[1] % block))
    return pack(padded + 8, 4).view(len(integers), -1, block // 2)


def kernel_attributes(shape: tuple[int, int], accuracy_level: int, block: int = BLOCK) -> dict[str, int]:
    """Return the attributes of MatMulNBits for a weight of 4 bits and shape (outputs, inputs)."""
    outputs, inputs = shape
    return {"K": inputs, "N": outputs, "bits": 4, "block_size": block, "accuracy_level": accuracy_level}


def described_product(x: torch.Tensor, attributes: dict[str, int], *constants: torch.Tensor) -> torch.Tensor:
    """Return x W^T, shape (..., outputs), for a trace that is written to a file; PyTorch cannot compute it.

    Args:
        x: shape (..., inputs).
        attributes: of `kernel_attributes`.
        constants: the packed weight, the scales and, if there are any, the packed zero points.
    """
    shape = (*x.shape[:-1], attributes["N"])
    operator = "com.microsoft::MatMulNBits"
    return torch.onnx.ops.symbolic(operator, (x, *constants), attrs=attributes, dtype=x.dtype, shape=shape, version=1)


class _FourBitLayer(nn.Module):
    """A converted linear layer as a file describes it; PyTorch cannot run it."""

    runs_in_onnx_only = True

    def __init__(self, layer: ConvertedLayer, accuracy_level: int):
        super().__init__()
        self.attributes = kernel_attributes(layer.shape, accuracy_level)
        packed = pack_in_blocks(layer.weight_integers())
        self.register_buffer("packed", packed)
        self.register_buffer("scales", layer.weight_scale.repeat_interleave(packed.shape[1]))  # one a row, said again
        self.register_buffer("bias", layer.bias.clone())

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.bias + described_product(input, self.attributes, self.packed, self.scales)


def export_int4(model: nn.Module, example: torch.Tensor, path: str | Path, *, inputs_in_int8: bool = True) -> Path:
    """Write a converted network of linear layers to an ONNX file whose weights take 4 bits each, also when it runs.

    Args:
        model: what `qat.convert` returned, each layer linear, with weights of at most 4 bits and float inputs
            (`prepare(..., activation=None)`).
        example, path: see `export_onnx`.
        inputs_in_int8: let the kernel round each block of 32 inputs to int8, which is what makes it fast; else it
            multiplies float numbers, and answers as the converted network does.

    Raises `ValueError` if there are no converted layers, or one of them is a convolution, has more bits or rounds its
    inputs.
    """
    described = copy.deepcopy(require_module("model", model))
    layers = {name: layer for name, layer in described.named_modules() if isinstance(layer, ConvertedLayer)}
    if not layers:
        raise ValueError(f"this {type(model).__name__} has no converted layers; call convert(model) first")
    for name, layer in layers.items():
        if layer.placement is not None:
            raise ValueError(f"{name} is a convolution; MatMulNBits multiplies matrices only")
        if layer.bits > 4 or layer.input_scale is not None:
            raise ValueError(
                f"{name} must have weights of at most 4 bits and float inputs; prepare it with such a quantizer and "
                "activation=None"
            )
        replace_everywhere(described, layer, _FourBitLayer(layer, INT8_INPUTS if inputs_in_int8 else FLOAT_INPUTS))
    return export_onnx(described, example, path)
