"""GPTQ for the layers of a prepared network (`utils.qat`), convolutions too: the rival of training through a rounding.

Data decide which weights are rounded up and which down, and nothing is trained: the grids, the bits and the bytes are
those of the prepared network.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from utils.gptq import gptq
from utils.input_validation import require_inputs
from utils.models import evaluating
from utils.qat import FakeQuantizedLayer, LearnedScale, fake_quantized_layers
from utils.quantization import QuantizationParameters
from utils.surgeon import second_moment


def columns_of(layer: nn.Conv2d | nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Return what the rows of a layer's weight are multiplied by: the inputs, or every patch that a kernel looks at.

    Args:
        layer: a linear layer, or a convolution without groups.
        x: what reaches it, shape (N, ..., n) or (N, channels, height, width).

    Returns:
        shape (number, n), with n = channels * height * width of the kernel for a convolution.

    >>> columns_of(nn.Conv2d(1, 1, 2), torch.arange(6.0).view(1, 1, 2, 3)).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]
    """
    if not isinstance(layer, nn.Conv2d):
        return x.flatten(0, -2)
    if layer.groups != 1:
        raise ValueError(f"groups must be 1, got {layer.groups}: each group would need a moment of its own")
    patches = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # (N, n, places)
    return patches.transpose(1, 2).flatten(0, 1)


@torch.no_grad()
def gptq_prepared(prepared: nn.Module, images: torch.Tensor) -> nn.Module:
    """Return a copy whose weights GPTQ has moved onto their grids, layer after layer, each as its first scale says.

    Each layer's moment is that of its rounded inputs in the network whose earlier layers are rounded already.

    Args:
        prepared: of `qat.prepare`, calibrated, with a `LearnedScale` for each weight; it is not changed.
        images: of the training split; what reaches a layer from all of them is held in memory.

    Source: Frantar et al., "GPTQ", 2023, section 3; a convolution is the matrix that multiplies its patches (Frantar
    and Alistarh, "Optimal brain compression", 2022, section 3).
    """
    require_inputs("images", images)
    repaired = copy.deepcopy(prepared)
    with evaluating(repaired):
        for name, layer in fake_quantized_layers(repaired).items():
            if not isinstance(layer.weight_quantizer, LearnedScale):
                raise ValueError(f"the weight of {name} needs a LearnedScale, got {layer.weight_quantizer}")
            inputs = columns_of(layer, layer.input_quantizer(_what_reaches(repaired, layer, images))).double()
            rows = layer.weight.flatten(1)
            on_grid = gptq(rows, second_moment(inputs), lambda _, layer=layer: _grid(layer)).dequantize()
            layer.weight.copy_(on_grid.view_as(layer.weight))
    return repaired


def _what_reaches(model: nn.Module, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    given: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return torch.cat(given)


def _grid(layer: FakeQuantizedLayer) -> QuantizationParameters:
    quantizer = layer.weight_quantizer
    scale = quantizer.log_scale.exp()
    return QuantizationParameters(scale, torch.zeros_like(scale, dtype=torch.int32), quantizer.qmin, quantizer.qmax, 0)
