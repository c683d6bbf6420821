"""Numbers in few bits: affine grids, the choice of their range, codebooks, and weights of two or three values.

A real value r is stood for by an integer q with r = S (q - Z) (Jacob et al., "Quantization and training", 2018, section
2.1). Everything here rounds half to even, as PyTorch and ONNX do.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from utils.accounting import packed_bytes
from utils.input_validation import require_int, require_module, require_parameter, require_tensor
from utils.models import evaluating, first_input, matrices

SMALLEST_SCALE = torch.finfo(torch.float32).tiny
"""The smallest normal float32, 2^-126, and the smallest scale: for much smaller ones 1 / S would overflow."""

SMALLEST_HALF = 2.0**-24
"""The smallest positive float16, which a scale that is stored in 16 bits cannot go below."""

Range = tuple[torch.Tensor, torch.Tensor]
"""The smallest and the largest real value to represent: two scalars, or two vectors with one entry a channel."""


# --- affine grids: r = S (q - Z) --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class QuantizationParameters:
    """The grid r = S (q - Z) for q from `qmin` to `qmax`; one grid, or one for each channel along `axis`.

    Args:
        scale: S, float32 and positive; shape () or (channels,).
        zero_point: Z, int32, from qmin to qmax, so that the real 0 is on the grid; of the same shape.
        qmin, qmax: the smallest and the largest integer.
        axis: the dimension of the channels, or None for one grid.

    >>> parameters = QuantizationParameters(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -127, 127)
    >>> parameters.dtype
    torch.int8
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    qmin: int
    qmax: int
    axis: int | None = None

    def __post_init__(self) -> None:
        if not bool((self.scale > 0).all()):
            raise ValueError(f"scale must be positive, got {self.scale}")
        if not (-128 <= self.qmin < self.qmax <= 127 or 0 <= self.qmin < self.qmax <= 255):
            raise ValueError(f"qmin and qmax must fit into int8 or uint8, got {self.qmin} to {self.qmax}")
        if bool(((self.zero_point < self.qmin) | (self.zero_point > self.qmax)).any()):
            raise ValueError(f"zero_point must lie in [{self.qmin}, {self.qmax}] so that 0 is exact")
        if self.scale.dim() != (0 if self.axis is None else 1):
            wanted = "a scalar" if self.axis is None else "a vector, one entry a channel,"
            raise ValueError(f"scale must be {wanted} with axis={self.axis}, got the shape {tuple(self.scale.shape)}")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the codes: int8 if any of them may be negative, else uint8."""
        return torch.int8 if self.qmin < 0 else torch.uint8


def integer_range(bits: int, *, signed: bool = True, symmetric: bool = False) -> tuple[int, int]:
    """Return qmin and qmax: -2^(b-1) to 2^(b-1) - 1 signed, 0 to 2^b - 1 unsigned; signed symmetric ones drop qmin.

    A signed symmetric grid of one bit would have the value 0 alone; `binary` has two values, none of them 0.

    >>> integer_range(8), integer_range(8, signed=False), integer_range(8, symmetric=True)
    ((-128, 127), (0, 255), (-127, 127))
    """
    if require_int("bits", bits, minimum=1) > 8:
        raise ValueError(f"bits must be from 1 to 8, got {bits}")
    if not signed:
        return 0, 2**bits - 1
    if symmetric and bits == 1:
        raise ValueError("a signed symmetric grid needs at least 2 bits; for one bit use binary(weight)")
    qmax = 2 ** (bits - 1) - 1
    return (-qmax if symmetric else -qmax - 1), qmax


def parameters_from_range(
    minimum: torch.Tensor | float,
    maximum: torch.Tensor | float,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool = False,
    axis: int | None = None,
) -> QuantizationParameters:
    """Choose the grid for real values from `minimum` to `maximum`, a range that is first widened to include 0.

    Affine: S = (max - min) / (qmax - qmin), Z = round(qmin - min / S). Symmetric: S = max |r| / qmax, Z = 0. Every r of
    the range is then within S / 2 of the grid (lesson 08 has the proof). A range of zeros gets S = 1.

    Args:
        minimum, maximum: scalars, or with `axis` vectors with one entry a channel.
        bits, signed, symmetric: see `integer_range`; unsigned and symmetric is for values that are never negative.
        axis: the dimension of the channels.

    >>> grid = parameters_from_range(-1.0, 3.0, bits=2, signed=False)
    >>> grid.scale.item(), grid.zero_point.item()
    (1.3333333730697632, 1)
    """
    qmin, qmax = integer_range(bits, signed=signed, symmetric=symmetric)
    low = _as_bound("minimum", minimum)
    high = _as_bound("maximum", maximum)
    if bool((low > high).any()):
        raise ValueError(f"minimum must not exceed maximum, got {minimum} and {maximum}")
    low = low.clamp(max=0.0)
    high = high.clamp(min=0.0)
    if symmetric and not signed and bool((low < 0).any()):
        raise ValueError(f"values from {low.min().item():g} need signed=True or symmetric=False")
    scale = torch.maximum(-low, high) / qmax if symmetric else (high - low) / (qmax - qmin)
    scale = torch.where((low == 0) & (high == 0), 1.0, scale.clamp(min=SMALLEST_SCALE)).float()
    if not bool(torch.isfinite(scale).all()):
        raise ValueError(f"a range from {low.min().item():g} to {high.max().item():g} is too wide for a float32 scale")
    zero_point = torch.zeros_like(low) if symmetric else (qmin - low / scale).round().clamp(qmin, qmax)
    return QuantizationParameters(scale, zero_point.int(), qmin, qmax, axis)


def parameters_for(
    values: torch.Tensor, *, bits: int = 8, signed: bool = True, symmetric: bool = False, axis: int | None = None
) -> QuantizationParameters:
    """Choose the grid that just holds all of `values`, or one for each channel along `axis` (any, also negative).

    >>> parameters_for(torch.tensor([[1.0, -1.0], [100.0, 50.0]]), symmetric=True, axis=0).scale * 127
    tensor([  1., 100.])
    """
    low, high = minmax_range(values, axis=axis)
    return parameters_from_range(low, high, bits=bits, signed=signed, symmetric=symmetric, axis=axis)


def quantize(values: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the codes q = clip(round(r / S) + Z, qmin, qmax), int8 or uint8, halves rounded to even.

    As in PyTorch, r is multiplied by 1 / S in float32.

    >>> quantize(torch.tensor([-1.0, 0.0, 0.4, 9.0]), parameters_from_range(-1.0, 1.0, symmetric=True))
    tensor([-127,    0,   51,  127], dtype=torch.int8)
    """
    real = require_tensor("values", values).detach()
    scale, zero_point = _broadcast(parameters, values)
    real = real if real.dtype == torch.float64 else real.float()
    steps = torch.round(real * (1.0 / scale)) + zero_point
    return steps.clamp(parameters.qmin, parameters.qmax).to(parameters.dtype)


def dequantize(codes: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the real values S (q - Z) that the codes stand for, in float32.

    >>> dequantize(torch.tensor([-127, 0, 127]), parameters_from_range(-2.54, 2.54, symmetric=True))
    tensor([-2.5400,  0.0000,  2.5400])
    """
    if codes.is_floating_point():
        raise TypeError("codes must be a tensor of integers, as quantize returns it")
    scale, zero_point = _broadcast(parameters, codes)
    return (codes.to(torch.int32) - zero_point) * scale


def round_to_grid(values: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the nearest values of the grid, dequantize(quantize(values)), in the dtype of `values`.

    The result has no gradient; `qat.fake_quantize` is the form that can be trained through.

    >>> round_to_grid(torch.tensor([0.3, 5.0]), parameters_from_range(0.0, 1.0, bits=1, signed=False))
    tensor([0., 1.])
    """
    return dequantize(quantize(values, parameters), parameters).to(values.dtype)


def signal_to_noise_db(values: torch.Tensor, approximation: torch.Tensor) -> float:
    """Return 10 log10(sum r^2 / sum (r - r_hat)^2) in decibels; infinite without noise.

    >>> round(signal_to_noise_db(torch.tensor([10.0]), torch.tensor([9.0])), 3)
    20.0
    """
    if values.shape != approximation.shape:
        raise ValueError(f"the shapes differ: {tuple(values.shape)} and {tuple(approximation.shape)}")
    real = values.detach().double()
    noise = (real - approximation.detach().double()).square().sum().item()
    signal = real.square().sum().item()
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


# --- the range to represent: all of it, or most of it more finely -----------------------------------------------------


def minmax_range(values: torch.Tensor, *, axis: int | None = None) -> Range:
    """Return the smallest and the largest value, of all or of each channel.

    >>> minmax_range(torch.tensor([1.0, -3.0]))
    (tensor(-3.), tensor(1.))
    """
    rows = _rows(values, axis)
    return _like_axis(rows.amin(dim=1), axis), _like_axis(rows.amax(dim=1), axis)


def mse_range(
    values: torch.Tensor, *, bits: int = 8, signed: bool = True, symmetric: bool = False, axis: int | None = None
) -> Range:
    """Return the range whose grid has the least mean squared error: min-max, or one of 49 fractions k / 50 of it.

    A narrower range clips a few values and has finer steps for the others.

    >>> values = torch.cat([torch.linspace(-1, 1, 1000), torch.tensor([20.0])])
    >>> mse_range(values, bits=4, symmetric=True)[1] < 20
    tensor(True)
    """
    rows = _rows(values, axis)
    low = rows.amin(dim=1)
    high = rows.amax(dim=1)
    least = torch.full_like(low, math.inf, dtype=torch.float64)
    best = torch.ones_like(low)
    for step in range(50, 0, -1):
        fraction = step / 50
        grid = parameters_from_range(
            low * fraction, high * fraction, bits=bits, signed=signed, symmetric=symmetric, axis=0
        )
        error = (rows - round_to_grid(rows, grid)).double().square().mean(dim=1)
        best = torch.where(error < least, fraction, best)
        least = torch.minimum(error, least)
    return _like_axis(low * best, axis), _like_axis(high * best, axis)


@torch.no_grad()
def observe(
    model: nn.Module, names: Sequence[str], batches: Iterable[torch.Tensor]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Run calibration batches through `model` and return, for each named module, all its inputs and all its outputs.

    >>> inputs, outputs = observe(nn.Sequential(nn.Linear(2, 3)), ["0"], [torch.ones(1, 2), torch.zeros(4, 2)])["0"]
    >>> inputs.shape, outputs.shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
    """
    require_module("model", model)
    inputs: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in names}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(module: nn.Module, arguments: tuple, named: dict[str, object], output: torch.Tensor) -> None:
            given = first_input(module, arguments, named)
            if not isinstance(given, torch.Tensor) or not isinstance(output, torch.Tensor):
                kinds = f"{type(given).__name__} to {type(output).__name__}"
                raise TypeError(
                    f"{name} must go from a tensor to a tensor, and goes from {kinds}; observe a part of it"
                )
            inputs[name].append(given.clone())  # the next module may change it in place
            outputs[name].append(output.clone())

        return model.get_submodule(name).register_forward_hook(keep, with_kwargs=True)

    handles = [watch(name) for name in names]
    try:
        with evaluating(model):
            for batch in batches:
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if uncalled := [name for name in names if not inputs[name]]:
        raise ValueError(
            f"{uncalled[0]} was not called: there are no batches, or the network does not call it, as "
            "nn.MultiheadAttention does not call its out_proj"
        )
    return {name: (torch.cat(inputs[name]), torch.cat(outputs[name])) for name in names}


# --- groups: a scale for each few neighbours --------------------------------------------------------------------------


def in_groups(weight: torch.Tensor, size: int) -> torch.Tensor:
    """Return a weight with one row for each group of `size` neighbours of a row; the last group is filled with zeros.

    What works on the rows of a matrix, such as `parameters_for(..., axis=0)`, then works on groups. A convolution's
    kernel is one row for each output channel.

    >>> in_groups(torch.tensor([[1, 2, 3], [4, 5, 6]]), 2)
    tensor([[1, 2],
            [3, 0],
            [4, 5],
            [6, 0]])
    """
    rows = weight.detach().flatten(1)
    return F.pad(rows, (0, -rows.shape[1] % require_int("size", size, minimum=1))).reshape(-1, size)


def out_of_groups(groups: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Put groups, as `in_groups` returns them, back into a weight of a shape; what they were filled with goes.

    >>> out_of_groups(in_groups(torch.tensor([[1, 2, 3], [4, 5, 6]]), 2), (2, 3))
    tensor([[1, 2, 3],
            [4, 5, 6]])
    """
    return groups.reshape(shape[0], -1)[:, : math.prod(shape[1:])].reshape(tuple(shape))


def clipped_half_grid(rows: torch.Tensor, *, bits: int) -> QuantizationParameters:
    """Choose for each row of a matrix the affine grid with the least squared error; its scale is a float16 number.

    >>> grid = clipped_half_grid(torch.randn(2, 64), bits=4)
    >>> torch.equal(grid.scale, grid.scale.half().float())
    True
    """
    low, high = mse_range(rows, bits=bits, axis=0)
    grid = parameters_from_range(low, high, bits=bits, axis=0)
    return replace(grid, scale=grid.scale.half().float().clamp(min=SMALLEST_HALF))


# --- codebooks, two values, three values ------------------------------------------------------------------------------


class Codebook(NamedTuple):
    """A tensor as numbers of entries in a short list of values (weight sharing; Han et al., 2016, section 3).

    `codes` is uint8 and of the tensor's shape; `entries` is float32 of shape (2^bits,), ascending.
    """

    codes: torch.Tensor
    entries: torch.Tensor

    @property
    def bits(self) -> int:
        """Bits that a code takes."""
        return max(1, math.ceil(math.log2(len(self.entries))))

    @property
    def bytes(self) -> int:
        """Bytes of the packed codes and of the list: ceil(d b / 8) + 4 2^b."""
        return packed_bytes(self.codes.numel(), self.bits) + 4 * len(self.entries)

    def dequantize(self) -> torch.Tensor:
        """Return the values that the codes stand for, in the tensor's shape."""
        return self.entries[self.codes.long()]


def nearest(values: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return for each value the number of the nearest of the ascending `centres`; of two equally near the lower.

    >>> nearest(torch.tensor([0.2, 0.9]), torch.tensor([0.0, 1.0]))
    tensor([0, 1])
    """
    return torch.bucketize(values, (centres[1:] + centres[:-1]) / 2)


def codebook(values: torch.Tensor, *, bits: int, iterations: int = 50, start: torch.Tensor | None = None) -> Codebook:
    """Find 2^bits shared values by k-means on a line: assign to the nearest, move to the mean, repeat (Lloyd, 1982).

    It starts from equally spaced values between the smallest and the largest, which keeps the large weights (Han et
    al., 2016, section 3.2), and never increases the squared error from there. An entry that no value is near stays.

    Args:
        values: any shape.
        bits: 1 to 8.
        iterations: at most so many; it stops earlier when nothing moves. 0 gives the start itself.
        start: other starting values, shape (2^bits,).

    >>> codebook(torch.tensor([0.0, 0.1, 0.9, 1.0]), bits=1).entries
    tensor([0.0500, 0.9500])
    """
    flat = require_tensor("values", values).detach().float().flatten()
    integer_range(bits, signed=False)
    if start is None:
        start = torch.linspace(flat.min().item(), flat.max().item(), 2**bits, device=flat.device)
    centres = start.float().sort().values
    exact = flat.double()  # a float32 sum of many weights would be off in its last digits
    for _ in range(iterations):
        codes = nearest(flat, centres)
        count = torch.bincount(codes, minlength=2**bits)
        total = torch.bincount(codes, weights=exact, minlength=2**bits)
        moved = torch.where(count > 0, (total / count.clamp(min=1)).float(), centres).sort().values
        if torch.equal(moved, centres):
            break
        centres = moved
    return Codebook(nearest(flat, centres).to(torch.uint8).view(values.shape), centres)


class ScaledCodes(NamedTuple):
    """Small signed codes and a scale, for each channel or for all: the weight is scale times codes.

    `codes` is int8 and of the weight's shape; `scale` is float32 and broadcasts against it.
    """

    codes: torch.Tensor
    scale: torch.Tensor

    def dequantize(self) -> torch.Tensor:
        """Return scale times codes."""
        return self.scale * self.codes


def binary(weight: torch.Tensor, axis: int | None = 0) -> ScaledCodes:
    """Round to two values, -S and S: the sign, with 0 counted as positive, and S = mean |w|, the least squares choice.

    Args:
        weight: any shape.
        axis: of the channels that have a scale each; None for one scale.

    Source: Rastegari et al., "XNOR-Net", 2016, section 3.1.

    >>> binary(torch.tensor([[1.0, -3.0]])).dequantize()
    tensor([[ 2., -2.]])
    """
    rows = _rows(weight, axis)
    codes = torch.where(weight.detach() < 0, -1, 1).to(torch.int8)
    return ScaledCodes(codes, _along(rows.abs().mean(dim=1), axis, weight.dim()))


def ternary(weight: torch.Tensor, axis: int | None = 0) -> ScaledCodes:
    """Round to three values, -S, 0 and S, with the least squared error there is.

    If the k largest magnitudes are kept, the best S is their mean, and the error falls by (sum of the k)^2 / k; k is
    the one for which this is largest, found by sorting. (Li, Zhang and Liu, "Ternary weight networks", 2016, section
    2.2, keep what is above 0.7 mean |w| instead, which comes close.)

    Args:
        weight: any shape.
        axis: of the channels that have a scale each; None for one scale.

    >>> ternary(torch.tensor([[1.0, -1.2, 0.1]])).dequantize()
    tensor([[ 1.1000, -1.1000,  0.0000]])
    """
    rows = _rows(weight, axis).abs()
    ordered = rows.sort(dim=1, descending=True).values
    sums = ordered.double().cumsum(dim=1)
    kept = torch.arange(1, rows.shape[1] + 1, device=rows.device)
    best = (sums.square() / kept).argmax(dim=1, keepdim=True)
    scale = (sums.gather(1, best) / (best + 1)).squeeze(1).float()
    threshold = _along(ordered.gather(1, best).squeeze(1), axis, weight.dim())
    real = weight.detach()
    codes = torch.where((real.abs() >= threshold) & (real != 0), real.sign(), 0.0).to(torch.int8)
    return ScaledCodes(codes, _along(scale, axis, weight.dim()))


# --- networks ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def replace_weights(model: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Replace in place the weight of every linear layer and convolution by `change(weight)`; biases stay.

    So are the weights of attention and of recurrent layers. A weight that several layers share is changed once.

    Returns:
        The old weights by name, `load_state_dict(..., strict=False)` puts them back.

    Raises a ValueError that names the layer if `change` changes the shape, or if a weight is computed in each pass from
    other parameters, as `torch.nn.utils.prune` leaves it. Then no weight has been replaced.

    >>> layer = nn.Linear(2, 1)
    >>> _ = replace_weights(layer, lambda weight: round_to_grid(weight, parameters_for(weight, symmetric=True)))
    """
    weights: dict[torch.Tensor, str] = {}  # a tensor is its own key: one that is shared stands here once
    for name, module in require_module("model", model).named_modules():
        for own in matrices(module):
            full = f"{name}.{own}" if name else own
            weights.setdefault(require_parameter(full, getattr(module, own)), full)
    new = {weight: change(weight.detach()) for weight in weights}
    for weight, changed in new.items():
        if changed.shape != weight.shape:  # copy_ would broadcast it
            raise ValueError(f"{weights[weight]} changed its shape to {tuple(changed.shape)}")
    old = {name: weight.detach().clone() for weight, name in weights.items()}
    for weight, changed in new.items():
        weight.copy_(changed)
    return old


def _as_bound(name: str, value: torch.Tensor | float) -> torch.Tensor:
    """Return one end of a range in float64, in which the difference of two float32 cannot overflow."""
    if not isinstance(value, torch.Tensor):
        value = torch.tensor(float(value))
    return require_tensor(name, value).detach().double()


def _rows(values: torch.Tensor, axis: int | None) -> torch.Tensor:
    """Return `values` as a matrix with one row a channel, or with one row for all."""
    values = require_tensor("values", values).detach()
    return values.reshape(1, -1) if axis is None else values.movedim(axis, 0).reshape(values.shape[axis], -1)


def _like_axis(by_row: torch.Tensor, axis: int | None) -> torch.Tensor:
    return by_row[0] if axis is None else by_row


def _along(by_row: torch.Tensor, axis: int | None, dimensions: int) -> torch.Tensor:
    """Give a value a row the shape that broadcasts along `axis` of a tensor of so many dimensions."""
    if axis is None:
        return by_row[0]
    shape = [1] * dimensions
    shape[axis] = -1
    return by_row.view(shape)


def _broadcast(parameters: QuantizationParameters, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and zero point, on the device of `values` and broadcasting against it."""
    scale = parameters.scale.to(values.device)
    zero_point = parameters.zero_point.to(values.device)
    if parameters.axis is None:
        return scale, zero_point
    return _along(scale, parameters.axis, values.dim()), _along(zero_point, parameters.axis, values.dim())
