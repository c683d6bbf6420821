"""Checks on arguments that several modules share: each error says what was received and what is legal.

PyTorch is imported only where it is needed, here and in `environment` and `timing`: a notebook that computes with
TensorFlow loads these modules without it.
"""

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def require_int(name: str, value: object, *, minimum: int = 0) -> int:
    """Return `value` as an int of at least `minimum`.

    >>> require_int("epochs", 3)
    3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return int(value)


def require_int_pair(name: str, value: object) -> tuple[int, int]:
    """Return `value` as two positive ints.

    >>> require_int_pair("channels", (10, 20))
    (10, 20)
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be two integers, such as (10, 20), got {value!r}")
    return require_int(name, value[0], minimum=1), require_int(name, value[1], minimum=1)


def require_seed(value: object) -> int:
    """Return `value` as an int from 0 to 2**32 - 1, the range NumPy accepts.

    >>> require_seed(0)
    0
    """
    seed = require_int("seed", value)
    if seed >= 2**32:
        raise ValueError(f"seed must be below 2**32, got {seed}")
    return seed


def require_number(name: str, value: object, *, low: float, high: float = float("inf")) -> float:
    """Return `value` as a finite float in [low, high].

    >>> require_number("sparsity", 0.5, low=0, high=1)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    if not (low <= value <= high and math.isfinite(value)):
        legal = f"between {low:g} and {high:g}" if math.isfinite(high) else f"finite and at least {low:g}"
        raise ValueError(f"{name} must be {legal}, got {value}")
    return float(value)


def require_positive(name: str, value: object) -> float:
    """Return `value` as a finite float above 0.

    >>> require_positive("bandwidth", 1e9)
    1000000000.0
    """
    number = require_number(name, value, low=0.0)
    if number == 0.0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return number


def require_fraction(name: str, value: object) -> float:
    """Return `value` as a float in [0, 1]; the remedy for the commonest slip, a percentage, is in the message.

    >>> require_fraction("sparsity", 0.9)
    0.9
    """
    try:
        return require_number(name, value, low=0.0, high=1.0)
    except ValueError as error:
        raise ValueError(f"{error}; write 80 % as 0.8") from None


def require_tensor(name: str, value: object) -> "torch.Tensor":
    """Return `value` if it is a floating-point tensor with at least one element and no NaN or infinity.

    >>> import torch
    >>> require_tensor("weight", torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    import torch

    if not isinstance(value, torch.Tensor):
        remedy = "; convert it with torch.from_numpy" if type(value).__name__ == "ndarray" else ""
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}{remedy}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must have a floating-point dtype, got {value.dtype}; convert it with .float()")
    if value.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(value.shape)}")
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(f"{name} holds {bad} NaN or infinite values of {value.numel()}; did training diverge?")
    return value


def require_inputs(name: str, value: object) -> "torch.Tensor":
    """Return `value` if a network may take it: numbers as `require_tensor` wants them, or integers, such as tokens.

    >>> import torch
    >>> require_inputs("images", torch.zeros(2, 5, dtype=torch.int64)).dtype
    torch.int64
    """
    import torch

    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if isinstance(value, torch.Tensor) and value.dtype in integers and value.numel():
        return value
    return require_tensor(name, value)


def require_module(name: str, value: object) -> "torch.nn.Module":
    """Return `value` if it is a `torch.nn.Module`.

    >>> import torch
    >>> require_module("model", torch.nn.Linear(2, 2))
    Linear(in_features=2, out_features=2, bias=True)
    """
    import torch

    if isinstance(value, torch.nn.Module):
        return value
    if isinstance(value, type) and issubclass(value, torch.nn.Module):
        raise TypeError(f"{name} is the class {value.__name__}, not a network: call it, {value.__name__}()")
    raise TypeError(f"{name} must be a torch.nn.Module, got {type(value).__name__}")


def require_parameter(name: str, value: object) -> "torch.nn.Parameter":
    """Return `value`, a layer's weight, unless a reparametrisation computes it in each pass and would undo a change.

    >>> import torch
    >>> require_parameter("layer.weight", torch.nn.Linear(3, 2).weight).shape
    torch.Size([2, 3])
    """
    import torch

    if isinstance(value, torch.nn.Parameter):
        return value
    raise _computed(name)


def require_permanent(name: str, value: object) -> "torch.nn.Module":
    """Return `value` if it is a `torch.nn.Module` that can be copied: no hook computes a weight before each pass.

    `torch.nn.utils.prune` leaves such a hook. What it computes is an attribute and no parameter: a copy cannot be made
    of it, and a count would miss its zeros.

    >>> import torch
    >>> require_permanent("model", torch.nn.Linear(2, 2))
    Linear(in_features=2, out_features=2, bias=True)
    """
    import torch

    for prefix, module in require_module(name, value).named_modules():
        computed = [key for key, held in vars(module).items() if isinstance(held, torch.Tensor)]
        names = [own for own, _ in module.named_parameters(recurse=False)]
        for key in computed:
            if any(own.startswith(f"{key}_") for own in names):  # weight_orig of pruning, weight_g of weight norm
                raise _computed(f"{prefix}.{key}" if prefix else key)
    return value


def _computed(name: str) -> ValueError:
    return ValueError(
        f"{name} is computed from other parameters; if torch.nn.utils.prune did that, make it permanent first: "
        'prune.remove(layer, "weight")'
    )
