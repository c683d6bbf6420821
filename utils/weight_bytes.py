"""What the weights in an ONNX file take, by the type in which they are stored: which of them a step has left in float.

A quantizer passes over what it has no integer kernel for, a GRU among it, and says nothing.
"""

from collections import Counter
from pathlib import Path

import numpy as np


def weight_bytes(path: str | Path) -> dict[str, int]:
    """Return the bytes of all constants that stand in an ONNX file, by their type, the largest sum first.

    "float32" are weights that were not quantized, and the scales of those that were; "int32" are quantized biases. The
    graph takes the rest of the file.

    Args:
        path: the file; int4 counts as two numbers a byte.
    """
    import onnx  # here and not above: whoever does not use it does not wait for it

    model = onnx.load(Path(path))
    kept = [*model.graph.initializer]
    kept += [
        each.t for node in model.graph.node if node.op_type == "Constant" for each in node.attribute if each.t.dims
    ]
    total: Counter[str] = Counter()
    for tensor in kept:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        bits = 4 if kind in ("int4", "uint4") else 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        total["float32" if kind == "float" else kind] += -(-int(np.prod(tensor.dims)) * bits // 8)
    return dict(total.most_common())


def left_in_float(path: str | Path) -> dict[str, int]:
    """Return the bytes of the float32 weights that each operation of an ONNX file reads, by its kind and name.

    In a quantized file those are the layers that the quantizer passed over. Scales do not count, nor what rounds and
    unrounds, nor vectors and single numbers, such as biases and the factors of a norm.

    Args:
        path: the file; of the graph itself, not of graphs inside of a loop.
    """
    import onnx

    graph = onnx.load(Path(path)).graph
    matrices = {
        each.name: 4 * int(np.prod(each.dims))
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT and len([size for size in each.dims if size > 1]) > 1
    }
    found = {}
    for node in graph.node:
        size = sum(matrices.get(name, 0) for name in node.input)
        if size and node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            found[f"{node.op_type} {node.name}".strip()] = size
    return found
