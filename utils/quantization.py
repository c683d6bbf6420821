"""Numbers in few bits: affine grids, the choice of their range, a linear layer in integers, codebooks, packed files.

A real value r is stood for by an integer q with r = S (q - Z) (Jacob et al., "Quantization and training", 2018, section
2.1). Everything here rounds half to even, as PyTorch and ONNX do. Nothing here is faster than float: these are the
definitions that fast kernels implement.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from utils.accounting import packed_bytes
from utils.input_validation import require_fraction, require_int, require_module, require_number, require_tensor

SMALLEST_SCALE = torch.finfo(torch.float32).tiny
"""The smallest normal float32, 2^-126, and the smallest scale: for much smaller ones 1 / S would overflow."""

UNSEEN = 1e-4
"""Share of probability that `entropy_range` spreads over all bins, so that no divergence is infinite."""

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

    Raises:
        TypeError, ValueError: one of these does not hold.

    >>> parameters = QuantizationParameters(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -127, 127)
    >>> parameters.dtype, parameters.levels
    (torch.int8, 255)
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    qmin: int
    qmax: int
    axis: int | None = None

    def __post_init__(self) -> None:
        require_tensor("scale", self.scale)
        if self.scale.dtype != torch.float32 or not bool((self.scale > 0).all()):
            raise ValueError(f"scale must be positive and of torch.float32, got {self.scale}")
        if not isinstance(self.zero_point, torch.Tensor) or self.zero_point.dtype != torch.int32:
            raise TypeError("zero_point must be a tensor of torch.int32: torch.tensor(0, dtype=torch.int32)")
        if not (-128 <= self.qmin < self.qmax <= 127 or 0 <= self.qmin < self.qmax <= 255):
            raise ValueError(f"qmin and qmax must fit into int8 or uint8, got {self.qmin} to {self.qmax}")
        if bool(((self.zero_point < self.qmin) | (self.zero_point > self.qmax)).any()):
            raise ValueError(f"zero_point must lie in [{self.qmin}, {self.qmax}] so that 0 is exact")
        if self.axis is not None and (isinstance(self.axis, bool) or not isinstance(self.axis, int)):
            raise TypeError(f"axis must be an integer or None, got {self.axis!r}")
        wanted = 0 if self.axis is None else 1
        if self.scale.dim() != wanted or self.scale.shape != self.zero_point.shape:
            raise ValueError(
                f"scale and zero_point must both have {wanted} dimensions for axis={self.axis}, "
                f"got {tuple(self.scale.shape)} and {tuple(self.zero_point.shape)}"
            )

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the codes: int8 if any of them may be negative, else uint8."""
        return torch.int8 if self.qmin < 0 else torch.uint8

    @property
    def levels(self) -> int:
        """How many integers there are."""
        return self.qmax - self.qmin + 1

    @property
    def bits(self) -> int:
        """Bits that a code takes."""
        return math.ceil(math.log2(self.levels))

    @property
    def range(self) -> Range:
        """The smallest and the largest real value on the grid."""
        return self.scale * (self.qmin - self.zero_point), self.scale * (self.qmax - self.zero_point)


def integer_range(bits: int, *, signed: bool = True, symmetric: bool = False) -> tuple[int, int]:
    """Return qmin and qmax: -2^(b-1) to 2^(b-1) - 1 signed, 0 to 2^b - 1 unsigned; signed symmetric ones drop qmin.

    A signed symmetric grid of one bit would have the value 0 alone; `binary` has two values, none of them 0.

    Raises:
        TypeError, ValueError: bits outside 1 to 8, or 1 with signed and symmetric.

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

    Raises:
        TypeError, ValueError: not finite, minimum above maximum, shapes that do not fit, bits out of range, negative
            values for an unsigned symmetric grid, or a range so wide that S would overflow.

    >>> grid = parameters_from_range(-1.0, 3.0, bits=2, signed=False)
    >>> grid.scale.item(), grid.zero_point.item()
    (1.3333333730697632, 1)
    """
    qmin, qmax = integer_range(bits, signed=signed, symmetric=symmetric)
    low, high = (_as_bound(n, v, axis) for n, v in (("minimum", minimum), ("maximum", maximum)))
    if low.shape != high.shape or bool((low > high).any()):
        raise ValueError(f"minimum must have maximum's shape and not exceed it, got {minimum} and {maximum}")
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)  # in float64: a difference of float32 may overflow
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

    Raises:
        TypeError, ValueError: see `parameters_from_range`; an empty tensor, NaN or infinities, no such axis.

    >>> parameters_for(torch.tensor([[1.0, -1.0], [100.0, 50.0]]), symmetric=True, axis=0).scale * 127
    tensor([  1., 100.])
    """
    return parameters_from_range(
        *minmax_range(values, axis=axis), bits=bits, signed=signed, symmetric=symmetric, axis=axis
    )


def quantize(values: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the codes q = clip(round(r / S) + Z, qmin, qmax), int8 or uint8, halves rounded to even.

    As in PyTorch, r is multiplied by 1 / S in float32.

    Raises:
        TypeError, ValueError: `values` holds NaN or infinities, or does not have the channels of `parameters`.

    >>> quantize(torch.tensor([-1.0, 0.0, 0.4, 9.0]), parameters_from_range(-1.0, 1.0, symmetric=True))
    tensor([-127,    0,   51,  127], dtype=torch.int8)
    """
    require_tensor("values", values)
    scale, zero_point = _broadcast(parameters, values)
    steps = torch.round(_at_least_float32(values.detach()) * (1.0 / scale)) + zero_point
    return steps.clamp(parameters.qmin, parameters.qmax).to(parameters.dtype)


def dequantize(codes: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the real values S (q - Z) that the codes stand for, in float32.

    Raises:
        TypeError, ValueError: the codes are no integers, or do not have the channels of `parameters`.

    >>> dequantize(torch.tensor([-127, 0, 127]), parameters_from_range(-2.54, 2.54, symmetric=True))
    tensor([-2.5400,  0.0000,  2.5400])
    """
    if not isinstance(codes, torch.Tensor) or codes.is_floating_point():
        raise TypeError("codes must be a tensor of integers, as quantize returns it")
    scale, zero_point = _broadcast(parameters, codes)
    return (codes.to(torch.int32) - zero_point) * scale


def fake_quantize(values: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the grid's nearest values, dequantize(quantize(values)), in the dtype of `values`; it has no gradient.

    Raises:
        TypeError, ValueError: see `quantize`.

    >>> fake_quantize(torch.tensor([0.3, 5.0]), parameters_from_range(0.0, 1.0, bits=1, signed=False))
    tensor([0., 1.])
    """
    return dequantize(quantize(values, parameters), parameters).to(values.dtype)


def signal_to_noise_db(values: torch.Tensor, approximation: torch.Tensor) -> float:
    """Return 10 log10(sum r^2 / sum (r - r_hat)^2) in decibels; infinite without noise.

    Raises:
        TypeError, ValueError: not finite, or of different shapes.

    >>> round(signal_to_noise_db(torch.tensor([10.0]), torch.tensor([9.0])), 3)
    20.0
    """
    require_tensor("values", values)
    require_tensor("approximation", approximation)
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

    Raises:
        TypeError, ValueError: empty, not finite, or no such axis.

    >>> minmax_range(torch.tensor([1.0, -3.0]))
    (tensor(-3.), tensor(1.))
    """
    rows = _rows(values, axis)
    return _like_axis(rows.amin(dim=1), axis), _like_axis(rows.amax(dim=1), axis)


def percentile_range(values: torch.Tensor, *, share: float = 0.999, axis: int | None = None) -> Range:
    """Return the range of the middle `share` of the values: half of the rest is cut off at each end.

    Where no value is negative, the low end stays and all of the rest is cut off at the high end.

    Raises:
        TypeError, ValueError: `share` outside 0 to 1 (write 99.9 % as 0.999), or see `minmax_range`.

    >>> low, high = percentile_range(torch.arange(1001.0) - 500, share=0.9)
    >>> low.item(), high.item()
    (-450.0, 450.0)
    """
    require_fraction("share", share)
    ordered = _rows(values, axis).sort(dim=1).values
    last, cut = ordered.shape[1] - 1, (1.0 - share) / 2.0
    one_sided = ordered[:, 0] >= 0
    low = ordered[:, round(cut * last)]
    high = torch.where(one_sided, ordered[:, round((1.0 - 2.0 * cut) * last)], ordered[:, round((1.0 - cut) * last)])
    return _like_axis(torch.where(one_sided, ordered[:, 0], low), axis), _like_axis(high, axis)


def mse_range(
    values: torch.Tensor,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool = False,
    axis: int | None = None,
    candidates: int = 50,
) -> Range:
    """Return the range, from all down to a fiftieth of min-max, whose grid has the least mean squared error.

    A narrower range clips a few values and has finer steps for the others.

    Args:
        candidates: how many equally spaced fractions of the min-max range are tried, the whole among them.

    Raises:
        TypeError, ValueError: see `parameters_from_range`.

    >>> values = torch.cat([torch.linspace(-1, 1, 1000), torch.tensor([20.0])])
    >>> mse_range(values, bits=4, symmetric=True)[1] < 20
    tensor(True)
    """
    rows = _rows(values, axis)
    low, high = rows.amin(dim=1), rows.amax(dim=1)
    least = torch.full_like(low, math.inf, dtype=torch.float64)
    best = torch.ones_like(low)
    for step in range(require_int("candidates", candidates, minimum=1), 0, -1):
        fraction = step / candidates
        grid = parameters_from_range(
            low * fraction, high * fraction, bits=bits, signed=signed, symmetric=symmetric, axis=0
        )
        error = (rows - fake_quantize(rows, grid)).double().square().mean(dim=1)
        best = torch.where(error < least, fraction, best)
        least = torch.minimum(error, least)
    return _like_axis(low * best, axis), _like_axis(high * best, axis)


def entropy_range(values: torch.Tensor, *, bits: int = 8, bins: int = 2048) -> Range:
    """Return the range whose quantized histogram tells most about the values: least Kullback-Leibler divergence.

    Magnitudes go into `bins` bins. For each threshold P is the histogram below it, with all that is clipped counted in
    its last bin, and Q is the histogram without the clipped, spread evenly over the bins that share a level, where P
    has any. One range for the whole tensor; both ends are cut at the threshold.

    Raises:
        TypeError, ValueError: empty, not finite, bits outside 2 to 8, or fewer bins than levels.

    Source: Migacz, "8-bit inference with TensorRT", 2017, slides 19 to 39; ONNX Runtime's entropy calibration.

    >>> low, high = entropy_range(torch.linspace(-1, 1, 4097))
    >>> bool(high > 0.8), bool(low == -high)
    (True, True)
    """
    low, high = minmax_range(values)
    levels = 2 ** (require_int("bits", bits, minimum=2) - 1)
    integer_range(bits)  # raises above 8
    if require_int("bins", bins, minimum=1) < levels:
        raise ValueError(f"bins must be at least {levels}, the levels of {bits} bits, got {bins}")
    top = torch.maximum(-low, high).item()
    if top < SMALLEST_SCALE:
        return low, high
    counts = torch.histc(values.detach().double().abs(), bins=bins, min=0.0, max=top)
    thresholds = sorted({*range(levels, bins, max(1, bins // 128)), bins})
    threshold = top * min(thresholds, key=lambda kept: _divergence(counts, kept, levels)) / bins
    return low.clamp(min=-threshold), high.clamp(max=threshold)


class Observer:
    """Collects what passes a point of a network during calibration, so that a range can be chosen for it.

    >>> observer = Observer()
    >>> observer.observe(torch.tensor([0.0, 2.0]))
    >>> observer.observe(torch.tensor([-1.0]))
    >>> observer.range()
    (tensor(-1.), tensor(2.))
    """

    def __init__(self) -> None:
        self._batches: list[torch.Tensor] = []

    def observe(self, values: torch.Tensor) -> None:
        """Keep a copy of `values`.

        Raises:
            TypeError, ValueError: see `require_tensor`.
        """
        self._batches.append(require_tensor("values", values).detach().clone())

    @property
    def observed(self) -> torch.Tensor:
        """All values so far, joined along the first dimension.

        Raises:
            ValueError: nothing was observed.
        """
        if not self._batches:
            raise ValueError("nothing was observed yet: send calibration batches through the network first")
        return torch.cat(self._batches)

    def range(self, choose: Callable[[torch.Tensor], Range] = minmax_range) -> Range:
        """Return the range that `choose` finds for the values, such as `percentile_range`."""
        return choose(self.observed)


@torch.no_grad()
def observe(
    model: nn.Module, names: Sequence[str], batches: Iterable[torch.Tensor]
) -> dict[str, tuple[Observer, Observer]]:
    """Run the batches through `model` and return, for each named module, observers of its input and of its output.

    Raises:
        TypeError, ValueError: `model` is no network, has no module of a name, or there is no batch.

    >>> seen = observe(nn.Sequential(nn.Linear(2, 3)), ["0"], [torch.ones(1, 2)])
    >>> seen["0"][0].range()
    (tensor(1.), tensor(1.))
    """
    modules = dict(require_module("model", model).named_modules())
    if unknown := [name for name in names if name not in modules]:
        raise ValueError(f"there is no module {unknown[0]!r}; there are {', '.join(filter(None, modules))}")
    observers = {name: (Observer(), Observer()) for name in names}

    def hook(name: str) -> Callable:
        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            observers[name][0].observe(inputs[0])
            observers[name][1].observe(output)

        return keep

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    training, count = model.training, 0
    model.eval()
    try:
        for batch in batches:
            model(batch)
            count += 1
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    if count == 0:
        raise ValueError("batches is empty: calibration needs at least one")
    return observers


# --- a linear layer in integers ---------------------------------------------------------------------------------------


def fixed_point(multiplier: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Write each multiplier as m 2^-n with an integer m of 31 bits, 2^30 <= m < 2^31; relative error at most 2^-31.

    Args:
        multiplier: positive, from 2^-32 to 2^29.

    Returns:
        m as int32 and n as int32, of the shape of `multiplier`; n lies between 1 and 62.

    Raises:
        TypeError, ValueError: not a tensor of floats, or out of range.

    Source: Jacob et al., 2018, section 2.2, where m is written as a fraction of 2^31.

    >>> fixed_point(torch.tensor([0.75]))
    (tensor([1610612736], dtype=torch.int32), tensor([31], dtype=torch.int32))
    """
    require_tensor("multiplier", multiplier)
    if bool(((multiplier < 2.0**-32) | (multiplier > 2.0**29)).any()):
        raise ValueError(
            f"multipliers must be from 2^-32 to 2^29, got {multiplier.min().item():g} to {multiplier.max().item():g}; "
            "the scales of input, weight and output do not fit together"
        )
    fraction, exponent = torch.frexp(multiplier.double())  # fraction in [0.5, 1)
    mantissa = torch.round(fraction * 2.0**31).long()
    full = mantissa == 2**31  # rounded up to 1.0, which is 0.5 with the next exponent
    mantissa, exponent = torch.where(full, 2**30, mantissa), torch.where(full, exponent + 1, exponent)
    return mantissa.int(), (31 - exponent).int()


def requantize(accumulators: torch.Tensor, mantissa: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return round(a m 2^-n) in integers alone: a product of 64 bits, a shift, halves to even.

    Args:
        accumulators: int32.
        mantissa, shift: as `fixed_point` returns them; their shape must broadcast.

    Returns:
        int64 of the shape of `accumulators`.

    Raises:
        TypeError: `accumulators` are not int32.

    >>> requantize(torch.tensor([3, 5, -5], dtype=torch.int32), *fixed_point(torch.tensor([0.5])))
    tensor([ 2,  2, -2])
    """
    if not isinstance(accumulators, torch.Tensor) or accumulators.dtype != torch.int32:
        raise TypeError("accumulators must be a tensor of torch.int32")
    product = accumulators.long() * mantissa.long()  # below 2^62
    shift = shift.long()
    floor = product >> shift
    rest, half = product - (floor << shift), torch.ones_like(shift) << (shift - 1)
    up = (rest > half) | ((rest == half) & (floor % 2 == 1))
    return floor + up


class IntegerLinear(nn.Module):
    """A linear layer that computes in integers: int8 codes in, int32 sums, int8 codes out.

    With weights S_w q_w, inputs S_x (q_x - Z_x) and a bias rounded to multiples of S_x S_w,

        a = sum_j q_w q_x + (q_c - Z_x sum_j q_w)         int32; the bracket is known beforehand
        q_y = clip(Z_y + round(a m 2^-n), qmin, qmax)     m 2^-n stands for S_x S_w / S_y

    If the output's range starts at 0, then Z_y = qmin and the clip is a ReLU.

    Args:
        linear: the float layer.
        input_parameters: the grid of the input codes, one for the whole tensor.
        output_parameters: the grid of the output codes; None for a layer that returns its int32 sums.
        bits: of the weights, 2 to 8; they are signed and symmetric.
        per_channel: one scale for each output, or one for all of them.

    Raises:
        TypeError, ValueError: not a Linear, grids per channel, so many inputs that 32 bits could overflow, or a bias
            that does not fit.

    Source: Jacob et al., 2018, sections 2.2 to 2.4.
    """

    def __init__(
        self,
        linear: nn.Linear,
        input_parameters: QuantizationParameters,
        output_parameters: QuantizationParameters | None = None,
        *,
        bits: int = 8,
        per_channel: bool = True,
    ):
        super().__init__()
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"linear must be a torch.nn.Linear, got {type(linear).__name__}")
        for grid in (input_parameters, output_parameters):
            if grid is not None and grid.axis is not None:
                raise ValueError("inputs and outputs need one grid for the whole tensor: axis must be None")
        self.input_parameters, self.output_parameters = input_parameters, output_parameters
        real = linear.weight.detach()
        grid = parameters_for(real, bits=bits, symmetric=True, axis=0 if per_channel else None)
        weight = quantize(real, grid)
        sum_scale = input_parameters.scale.double() * grid.scale.double().expand(len(weight))  # S_x S_w
        offset = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach()
        bias = torch.round(offset.double() / sum_scale) - input_parameters.zero_point * weight.double().sum(dim=1)
        steps = max(abs(input_parameters.qmin), abs(input_parameters.qmax))  # the largest |q_x|
        largest = weight.double().abs().sum(dim=1) * steps + bias.abs()
        if bool((largest >= 2**31).any()):
            raise ValueError(
                f"the sum of output {int(largest.argmax())} may reach {largest.max().item():.3g} and overflow 32 bits: "
                "too many inputs, or a bias that is large beside its weights"
            )
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias.int())
        self.register_buffer("sum_scale", sum_scale.float())
        if output_parameters is not None:
            mantissa, shift = fixed_point(sum_scale / output_parameters.scale.double())
            self.register_buffer("mantissa", mantissa)
            self.register_buffer("shift", shift)

    def accumulate(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the int32 sums a for input codes of shape (N, inputs), of shape (N, outputs).

        Raises:
            TypeError: the codes have another dtype than the input's grid.
        """
        if codes.dtype != self.input_parameters.dtype:
            raise TypeError(f"the input codes must be {self.input_parameters.dtype}, got {codes.dtype}")
        return codes.int() @ self.weight.int().T + self.bias

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the output codes, or the int32 sums of a layer without an output grid."""
        sums = self.accumulate(codes)
        if self.output_parameters is None:
            return sums
        grid = self.output_parameters
        steps = requantize(sums, self.mantissa, self.shift) + grid.zero_point
        return steps.clamp(grid.qmin, grid.qmax).to(grid.dtype)


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

    Raises:
        TypeError, ValueError: not finite, or centres that do not ascend.

    >>> nearest(torch.tensor([0.2, 0.9]), torch.tensor([0.0, 1.0]))
    tensor([0, 1])
    """
    require_tensor("values", values)
    require_tensor("centres", centres)
    if centres.dim() != 1 or bool((centres.diff() < 0).any()):
        raise ValueError("centres must be a vector in ascending order: sort it")
    return torch.bucketize(values.detach(), (centres[1:] + centres[:-1]) / 2)


def codebook(values: torch.Tensor, *, bits: int, iterations: int = 50, start: torch.Tensor | None = None) -> Codebook:
    """Find 2^bits shared values by k-means on a line: assign to the nearest, move to the mean, repeat (Lloyd, 1982).

    It starts from equally spaced values between the smallest and the largest, which keeps the large weights (Han et
    al., 2016, section 3.2), and never increases the squared error from there. An entry that no value is near stays.

    Args:
        values: any shape.
        bits: 1 to 8.
        iterations: at most so many; it stops earlier when nothing moves. 0 gives the start itself.
        start: other starting values, shape (2^bits,).

    Raises:
        TypeError, ValueError: empty, not finite, or a start of another shape.

    >>> codebook(torch.tensor([0.0, 0.1, 0.9, 1.0]), bits=1).entries
    tensor([0.0500, 0.9500])
    """
    flat = require_tensor("values", values).detach().float().flatten()
    integer_range(bits, signed=False)
    require_int("iterations", iterations)
    if start is None:
        centres = torch.linspace(flat.min().item(), flat.max().item(), 2**bits, device=flat.device)
    else:
        centres = require_tensor("start", start).float().sort().values
        if centres.shape != (2**bits,):
            raise ValueError(f"start must have the shape ({2**bits},) for {bits} bits, got {tuple(start.shape)}")
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

    Raises:
        TypeError, ValueError: empty, not finite, or no such axis.

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

    Raises:
        TypeError, ValueError: empty, not finite, or no such axis.

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


# --- packed files -----------------------------------------------------------------------------------------------------


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack codes of `bits` bits one behind the other into bytes, the lowest bit first; uint8, ceil(d b / 8) long.

    Args:
        codes: integers, unsigned from 0 to 2^b - 1 or signed from -2^(b-1) to 2^(b-1) - 1 (in two's complement).

    Raises:
        TypeError, ValueError: no integers, or some that do not fit.

    >>> pack(torch.tensor([1, 0, 3, 2]), 2)
    tensor([177], dtype=torch.uint8)
    """
    integer_range(bits)
    if not isinstance(codes, torch.Tensor) or codes.is_floating_point() or codes.dtype == torch.bool:
        raise TypeError("codes must be a tensor of integers, as quantize returns it")
    flat = codes.flatten().to(torch.int16)
    low, high = (int(flat.min()), int(flat.max())) if flat.numel() else (0, 0)
    if low < -(2 ** (bits - 1)) or high >= 2**bits or (low < 0 and high >= 2 ** (bits - 1)):
        raise ValueError(f"codes from {low} to {high} do not fit into {bits} bits")
    places = torch.arange(bits, dtype=torch.int16)
    ones = ((flat[:, None] >> places) & 1).to(torch.uint8).flatten()  # (count x bits,)
    ones = torch.nn.functional.pad(ones, (0, -len(ones) % 8)).view(-1, 8)
    return (ones << torch.arange(8, dtype=torch.uint8)).sum(dim=1).to(torch.uint8)


def unpack(packed: torch.Tensor, bits: int, shape: Sequence[int], *, signed: bool = True) -> torch.Tensor:
    """Return the codes that `pack` packed, int8 if `signed` else uint8.

    Raises:
        TypeError, ValueError: not uint8, or not as long as the shape asks for.

    >>> unpack(torch.tensor([177], dtype=torch.uint8), 2, (2, 2), signed=False)
    tensor([[1, 0],
            [3, 2]], dtype=torch.uint8)
    """
    integer_range(bits)
    if not isinstance(packed, torch.Tensor) or packed.dtype != torch.uint8:
        raise TypeError("packed must be a tensor of torch.uint8, as pack returns it")
    count = math.prod(shape)
    if packed.numel() != packed_bytes(count, bits):
        raise ValueError(
            f"{count} codes of {bits} bits take {packed_bytes(count, bits)} bytes, but there are {packed.numel()}"
        )
    ones = (packed.flatten()[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    ones = ones.flatten()[: count * bits].view(count, bits).to(torch.int16)
    codes = (ones << torch.arange(bits, dtype=torch.int16)).sum(dim=1)
    if signed:
        codes = torch.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes)
    return codes.to(torch.int8 if signed else torch.uint8).view(*shape)


# --- networks ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def replace_weights(model: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Replace in place the weight of every linear layer and convolution by `change(weight)`; biases stay.

    Returns:
        The old weights by name, `load_state_dict(..., strict=False)` puts them back.

    Raises:
        TypeError, ValueError: `model` is no network, or a changed weight has another shape.

    >>> layer = nn.Linear(2, 1)
    >>> _ = replace_weights(layer, lambda weight: fake_quantize(weight, parameters_for(weight, symmetric=True)))
    """
    old = {}
    for name, module in require_module("model", model).named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            changed = change(module.weight.detach())
            if changed.shape != module.weight.shape:
                raise ValueError(f"the weight of {name or 'the layer'} changed its shape to {tuple(changed.shape)}")
            old[f"{name}.weight" if name else "weight"] = module.weight.detach().clone()
            module.weight.copy_(changed)
    return old


def _as_bound(name: str, value: torch.Tensor | float, axis: int | None) -> torch.Tensor:
    """Return one end of a range as float64, of shape () or with an axis (channels,)."""
    if not isinstance(value, torch.Tensor):
        value = torch.tensor(require_number(name, value, low=-math.inf))
    require_tensor(name, value)
    if value.dim() != (0 if axis is None else 1):
        wanted = "a scalar without axis" if axis is None else f"a vector, one entry a channel, with axis={axis}"
        raise ValueError(f"{name} must be {wanted}, got the shape {tuple(value.shape)}")
    return value.detach().double()


def _at_least_float32(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _rows(values: torch.Tensor, axis: int | None) -> torch.Tensor:
    """Return `values` as a matrix with one row a channel, or with one row for all."""
    values = require_tensor("values", values).detach()
    if axis is None:
        return values.reshape(1, -1)
    _require_axis(values, axis)
    return values.movedim(axis, 0).flatten(1) if values.dim() > 1 else values[:, None]


def _require_axis(values: torch.Tensor, axis: int) -> None:
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise TypeError(f"axis must be an integer or None, got {axis!r}")
    if not -values.dim() <= axis < values.dim():
        raise ValueError(f"there is no axis {axis} in a tensor of shape {tuple(values.shape)}")


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
    if not isinstance(parameters, QuantizationParameters):
        raise TypeError(f"parameters must be QuantizationParameters, got {type(parameters).__name__}")
    scale, zero_point = parameters.scale.to(values.device), parameters.zero_point.to(values.device)
    axis = parameters.axis
    if axis is None:
        return scale, zero_point
    _require_axis(values, axis)
    if values.shape[axis] != len(scale):
        raise ValueError(f"there are {len(scale)} scales for the {values.shape[axis]} channels along axis {axis}")
    return _along(scale, axis, values.dim()), _along(zero_point, axis, values.dim())


def _divergence(counts: torch.Tensor, kept: int, levels: int) -> float:
    """Return KL(P || Q) for the histogram cut after `kept` bins and merged into so many levels."""
    inside = counts[:kept]
    p = inside.clone()
    p[-1] += counts[kept:].sum()
    level = torch.arange(kept) * levels // kept
    occupied = (p > 0).double()
    total = torch.bincount(level, weights=inside, minlength=levels)
    share = total / torch.bincount(level, weights=occupied, minlength=levels).clamp(min=1.0)
    q = share[level] * occupied
    p, q = p / p.sum(), q / q.sum().clamp(min=1.0)
    q = (1.0 - UNSEEN) * q + UNSEEN / kept  # where P holds only what was clipped, Q has nothing
    return float(torch.special.xlogy(p, p / q).sum())
