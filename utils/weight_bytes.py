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
