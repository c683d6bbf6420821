"""What a network costs by counting: parameters, non-zeros, multiply-accumulates, bytes in memory and in a file.

Nothing here looks at a clock; that is `utils.timing`.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from utils.input_validation import require_int, require_module
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
    return sum(int(torch.count_nonzero(p)) for p in require_module("model", model).parameters())


def sparsity(model: nn.Module) -> float:
    """Return the fraction of the parameters that are exactly zero, from 0 to 1; 0 for a network without parameters."""
    total = count_parameters(model)
    return 1.0 - count_nonzero(model) / total if total else 0.0


def count_macs(model: nn.Module, example: torch.Tensor) -> int:
    """Count the multiply-accumulates of one forward pass over `example`; give a batch of one for the cost of one input.

    Only matrix products and convolutions count, biases and activations do not; PyTorch's own counter does the work and
    two of its floating-point operations are one multiply-accumulate.

    >>> count_macs(nn.Linear(784, 256), torch.zeros(1, 784))
    200704
    """
    return _flops(model, example)["Global"] // 2


def layer_costs(model: nn.Module, example: torch.Tensor) -> list[LayerCost]:
    """List every layer that has parameters of its own or computes, in the order of `named_modules`.

    Args:
        model: the network.
        example: a batch of one input.

    >>> layer_costs(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3))
    [LayerCost(name='0', kind='Linear', weight_shape=(2, 3), parameters=8, macs=6)]
    """
    flops = _flops(model, example)
    rows = []
    for name, module in model.named_modules():
        if list(module.children()):
            continue
        parameters = count_parameters(module)
        macs = flops.get(f"{type(model).__name__}.{name}" if name else "Global", 0) // 2
        if parameters or macs:
            weight = getattr(module, "weight", None)
            shape = tuple(weight.shape) if isinstance(weight, torch.Tensor) else ()
            rows.append(LayerCost(name, type(module).__name__, shape, parameters, macs))
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


def _flops(model: nn.Module, example: torch.Tensor) -> dict[str, int]:
    """Return floating-point operations by module name, as `FlopCounterMode` counts them; "Global" is the total."""
    require_module("model", model)
    # In evaluation mode: a batch of one through batch norm must not change its statistics.
    with evaluating(model), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    return {"Global": 0} | {name: sum(by_operator.values()) for name, by_operator in counter.get_flop_counts().items()}
