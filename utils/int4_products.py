"""Products with weights of 4 bits in groups, as GPTQ leaves them, in ONNX Runtime: one matrix, or a whole transformer.

`int4_export` writes networks with one scale a row; here each block of the kernel has a scale and a zero point.
"""

import copy
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from utils.bit_packing import pack
from utils.files import replace_file
from utils.int4_export import INT8_INPUTS, described_product, kernel_attributes, pack_in_blocks
from utils.models import replace_everywhere
from utils.onnx_export import export_onnx
from utils.transformer import Transformer
from utils.weight_only import GroupedWeight, WeightOnly, linear_layers

OPERATOR_SET, FILE_VERSION = 21, 10
"""Of ONNX, for the files that are written here without PyTorch's exporter."""


def kernel_inputs(stored: GroupedWeight) -> dict[str, torch.Tensor]:
    """Return what MatMulNBits reads: packed codes, scales and packed zero points, by its names for them.

    Codes and zero points from -8 to 7 are moved up by 8. A row is filled up to whole blocks, with codes that mean 0.

    Args:
        stored: of 4 bits, in groups of a power of two, at least 16.

    >>> four = GroupedWeight(torch.zeros(1, 16, dtype=torch.int8), torch.ones(1, 1), torch.zeros(1, 1).int(), 4, 16)
    >>> {name: tuple(tensor.shape) for name, tensor in kernel_inputs(four).items()}
    {'B': (1, 1, 8), 'scales': (1,), 'zero_points': (1,)}
    """
    block = stored.group_size
    if stored.bits != 4 or block < 16 or block & (block - 1):
        raise ValueError(f"MatMulNBits wants 4 bits in groups of 16, 32, 64, ..., got {stored.bits} bits in {block}")
    missing = -stored.codes.shape[1] % block
    filled = torch.cat([stored.codes.int(), stored.zero_point[:, -1:].expand(-1, missing)], dim=1)
    pairs = F.pad(stored.zero_point, (0, stored.zero_point.shape[1] % 2))  # a row of them begins with a byte
    return {"B": pack_in_blocks(filled, block), "scales": stored.scale.flatten(), "zero_points": pack(pairs + 8, 4)}


# --- one product ------------------------------------------------------------------------------------------------------


def write_product(weight: torch.Tensor, path: str | Path) -> Path:
    """Write x W^T in float32 to an ONNX file; `weight` has shape (m, n), the input (N, n)."""
    return _write_graph("MatMul", {"B": weight.detach().T.contiguous()}, tuple(weight.shape), Path(path))


def write_int4_product(stored: GroupedWeight, path: str | Path, *, accuracy_level: int = INT8_INPUTS) -> Path:
    """Write x W^T with a weight of 4 bits to an ONNX file.

    Args:
        stored: see `kernel_inputs`.
        path: where to write.
        accuracy_level: `int4_export.FLOAT_INPUTS`, or `INT8_INPUTS`, where each block of inputs is rounded to int8 on
            the way.
    """
    attributes = kernel_attributes(tuple(stored.codes.shape), accuracy_level, stored.group_size)
    return _write_graph("MatMulNBits", kernel_inputs(stored), tuple(stored.codes.shape), Path(path), attributes)


def _write_graph(
    operator: str,
    constants: dict[str, torch.Tensor],
    shape: tuple[int, int],
    path: Path,
    attributes: dict[str, int] | None = None,
) -> Path:
    """Write a graph of one operator, from "input" of shape (batch, n) and constants to "output" of shape (batch, m)."""
    from onnx import TensorProto, helper, numpy_helper  # here and not above: whoever does not write does not wait

    domain = "com.microsoft" if attributes else ""
    node = helper.make_node(operator, ["input", *constants], ["output"], domain=domain, **(attributes or {}))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("input", shape[1]), ("output", shape[0]))
    ]
    held = [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in constants.items()]
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], held)
    sets = [helper.make_opsetid("", OPERATOR_SET), helper.make_opsetid("com.microsoft", 1)]
    replace_file(path, helper.make_model(graph, opset_imports=sets, ir_version=FILE_VERSION).SerializeToString())
    return path


# --- a transformer ----------------------------------------------------------------------------------------------------


class _GroupedLayer(nn.Module):
    """A linear layer as a file describes it; PyTorch cannot run it."""

    runs_in_onnx_only = True

    def __init__(self, stored: GroupedWeight, accuracy_level: int):
        super().__init__()
        self.attributes = kernel_attributes(tuple(stored.codes.shape), accuracy_level, stored.group_size)
        for name, tensor in kernel_inputs(stored).items():
            self.register_buffer(name, tensor)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return described_product(input, self.attributes, self.B, self.scales, self.zero_points)


class _TakesFloats(nn.Module):
    """A transformer whose characters come as float numbers, as `OnnxModel` passes them."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.model(tokens.long())


def export_transformer(model: Transformer, length: int, path: str | Path) -> Path:
    """Write a transformer to an ONNX file for texts of one length; their characters' numbers come as float32.

    Args:
        model: its matrices in float.
        length: characters of a text; any number of texts.
        path: where to write.
    """
    return export_onnx(_TakesFloats(model), torch.zeros(1, length), path)


def with_int4_products(rounded: WeightOnly, accuracy_level: int = INT8_INPUTS) -> Transformer:
    """Return a rounded transformer as a file describes it: its layers multiply in 4 bits, and PyTorch cannot run it.

    Args:
        rounded: of a transformer, every layer of 4 bits in groups, see `kernel_inputs`.
        accuracy_level: see `write_int4_product`.
    """
    described = copy.deepcopy(rounded.model)
    for name, layer in linear_layers(described).items():
        if layer.bias is not None:
            raise ValueError(f"{name} has a bias, which a product alone does not add")
        replace_everywhere(described, layer, _GroupedLayer(rounded.stored[name], accuracy_level))
    return described


def export_int4_transformer(
    rounded: WeightOnly, length: int, path: str | Path, *, accuracy_level: int = INT8_INPUTS
) -> Path:
    """Write a transformer whose linear layers multiply with weights of 4 bits; see `export_transformer`.

    Args:
        rounded, accuracy_level: see `with_int4_products`.
        length, path: see `export_transformer`.
    """
    return export_transformer(with_int4_products(rounded, accuracy_level), length, path)
