"""What a network costs by counting: parameters, non-zeros, multiply-accumulates, bytes in memory and in a file.

Nothing here looks at a clock; that is `utils.timing`.
"""

import contextlib
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from utils.input_validation import require_int, require_module, require_permanent
from utils.models import evaluating, to_safetensors


class LayerCost(NamedTuple):
    """One layer: its name, its kind, the shape of its weight, its parameters and multiply-accumulates for one input."""

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    parameters: int
    macs: int


def count_parameters(model: nn.Module) -> int:
    """Count the parameters, each shared tensor once.

    >>> count_parameters(nn.Linear(784, 256))
    200960
    """
    return sum(p.numel() for p in require_module("model", model).parameters())


def count_nonzero(model: nn.Module) -> int:
    """Count the parameters that are not exactly zero, each shared tensor once.

    >>> layer = nn.Linear(4, 2, bias=False)
    >>> _ = layer.weight.data.zero_()
    >>> count_nonzero(layer)
    0
    """
    return sum(int(torch.count_nonzero(p)) for p in require_permanent("model", model).parameters())


def sparsity(model: nn.Module) -> float:
    """Return the fraction of the parameters that are exactly zero, from 0 to 1; 0 for a network without parameters."""
    total = count_parameters(model)
    return 1.0 - count_nonzero(model) / total if total else 0.0


def count_macs(model: nn.Module, example: torch.Tensor, *others: object) -> int:
    """Count the multiply-accumulates of one forward pass over `example`; give a batch of one for the cost of one input.

    Only matrix products and convolutions count, also those inside attention and recurrent layers; biases, activations
    and products element by element do not. PyTorch's own counter does the work, and two of its floating-point
    operations are one multiply-accumulate. Attention counts as two products of full matrices, those of pairs included
    that a mask hides.

    Args:
        model: the network.
        example: its first input.
        others: further inputs of its forward pass, such as a key-value cache, which the pass extends.

    Raises a ValueError if the network calls a product that cannot be counted, or computes outside of PyTorch.

    >>> count_macs(nn.Linear(784, 256), torch.zeros(1, 784))
    200704
    """
    return sum(_own_macs(model, example, *others).values())


def layer_costs(model: nn.Module, example: torch.Tensor, *others: object) -> list[LayerCost]:
    """List every module that has parameters of its own or computes itself, in the order of `named_modules`.

    The rows add up to `count_parameters` and `count_macs`: a parameter that several modules share stands in the row of
    the first, and what a module computes beside its children, such as the products of attention, in its own row.

    Args:
        model: the network.
        example: a batch of one input.
        others: further inputs, as in `count_macs`.

    Raises a ValueError where `count_macs` does.

    >>> layer_costs(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3))
    [LayerCost(name='0', kind='Linear', weight_shape=(2, 3), parameters=8, macs=6)]
    """
    macs = _own_macs(model, example, *others)
    rows, seen = [], set()
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        parameters = sum(p.numel() for p in own)
        if parameters or macs.get(module, 0):
            weight = getattr(module, "weight", None)
            shape = tuple(weight.shape) if isinstance(weight, torch.Tensor) else ()
            rows.append(LayerCost(name, type(module).__name__, shape, parameters, macs.get(module, 0)))
    return rows


def bytes_in_memory(model: nn.Module) -> int:
    """Return the bytes of all parameters and buffers, each shared tensor once.

    >>> bytes_in_memory(nn.Linear(784, 256))
    803840
    """
    require_module("model", model)
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def saved_bytes(model: nn.Module) -> int:
    """Return the size of the safetensors file that holds the model's state: the tensors and a small header."""
    return len(to_safetensors(model))


def bytes_on_disk(path: str | Path) -> int:
    """Return the bytes of a file, or of all files below a directory (whose own entry would say 4,096 or so)."""
    path = Path(path)
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes that `count` numbers of `bits` bits each fill when packed without gaps: ceil(count bits / 8).

    >>> packed_bytes(203_530, 32), packed_bytes(3, 3)
    (814120, 2)
    """
    return -(-require_int("count", count) * require_int("bits", bits, minimum=1) // 8)  # in integers, so exact


def _own_macs(model: nn.Module, example: torch.Tensor, *others: object) -> dict[nn.Module, int]:
    """Return what each module multiplies and accumulates itself, without its children, in one pass over `example`."""
    macs: dict[nn.Module, int] = {}
    running: list[list[int]] = []  # for each module that is being called: the count at its start, and its children's

    def enter(_module: nn.Module, _inputs: object) -> None:
        running.append([counter.get_total_flops(), 0])

    def leave(module: nn.Module, _inputs: object, _outputs: object) -> None:
        start, by_children = running.pop()
        spent = counter.get_total_flops() - start
        macs[module] = macs.get(module, 0) + (spent - by_children) // 2
        if running:
            running[-1][1] += spent

    modules = list(require_module("model", model).modules())
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        if any(isinstance(module, nn.RNNBase) for module in modules):
            # one step after the other, in products that the counter knows, and not in oneDNN's single call
            with warnings.catch_warnings(action="ignore"):  # that an Intel GPU could use TF32
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)  # attention as products, not as one fused operator
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(evaluating(model))  # a batch of one must not change the statistics of a batch norm
        stack.enter_context(torch.no_grad())
        called = stack.enter_context(_CalledOperators())
        counter = stack.enter_context(FlopCounterMode(display=False, custom_mapping=_VECTOR_PRODUCTS))
        model(example, *others)
    if not called.names or any(getattr(module, "computes_outside_pytorch", False) for module in modules):
        raise ValueError(f"{type(model).__name__} computes outside of PyTorch, where nothing can be counted")
    foreign = {name for name in called.names if name.partition("::")[0] not in _KNOWN_LIBRARIES}
    if unknown := sorted(called.names & _UNCOUNTED | foreign):
        raise ValueError(
            f"{type(model).__name__} calls {', '.join(unknown)}, whose multiply-accumulates cannot be counted; write "
            "the product with matmul, or count a network without it"
        )
    return macs


class _CalledOperators(TorchDispatchMode):
    """Keeps the names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function._schema.name)
        return function(*args, **(kwargs or {}))


_UNCOUNTED = {f"aten::{name}" for name in ("_trilinear", "lstm", "gru", "rnn_tanh", "rnn_relu", "mkldnn_rnn_layer")} | {
    f"aten::{name}" for name in ("_cudnn_rnn", "conv_tbc", "_cdist_forward", "_euclidean_dist", "_sparse_mm")
}
"""Operators with products in them for which there is no counter."""

_KNOWN_LIBRARIES = ("aten", "prim", "prims", "profiler", "torchvision")
"""Whose operators are counted or have no products; another's, such as `quantized`, may hide some."""

_VECTOR_PRODUCTS = {
    torch.ops.aten.mv: lambda matrix, vector, *_, **__: 2 * matrix[0] * matrix[1],
    torch.ops.aten.addmv: lambda _, matrix, vector, *__, **___: 2 * matrix[0] * matrix[1],
    torch.ops.aten.dot: lambda one, other, *_, **__: 2 * one[0],
    torch.ops.aten.vdot: lambda one, other, *_, **__: 2 * one[0],
    torch.ops.aten.addr: lambda _, one, other, *__, **___: 2 * one[0] * other[0],
}
"""Floating-point operations, from the shapes of the arguments, of products that PyTorch's counter leaves out."""
