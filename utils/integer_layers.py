"""A linear layer in integers: what a fast int8 kernel computes. As plain PyTorch it is slower than float."""

import torch
from torch import nn

from utils.quantization import QuantizationParameters, parameters_for, quantize


def fixed_point(multiplier: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Write each multiplier as m 2^-n with an integer m of 31 bits, 2^30 <= m < 2^31; relative error at most 2^-31.

    Args:
        multiplier: positive, from 2^-32 to 2^29.

    Returns:
        m as int32 and n as int32, of the shape of `multiplier`; n lies between 1 and 62.

    Source: Jacob et al., 2018, section 2.2, where m is written as a fraction of 2^31.

    >>> fixed_point(torch.tensor([0.75]))
    (tensor([1610612736], dtype=torch.int32), tensor([31], dtype=torch.int32))
    """
    if not bool(((multiplier >= 2.0**-32) & (multiplier <= 2.0**29)).all()):
        raise ValueError(
            f"multipliers must be from 2^-32 to 2^29, got {multiplier.min().item():g} to {multiplier.max().item():g}; "
            "the scales of input, weight and output do not fit together"
        )
    fraction, exponent = torch.frexp(multiplier.double())  # fraction in [0.5, 1)
    mantissa = torch.round(fraction * 2.0**31).long()
    full = mantissa == 2**31  # rounded up to 1.0, which is 0.5 with the next exponent
    mantissa = torch.where(full, 2**30, mantissa)
    exponent = torch.where(full, exponent + 1, exponent)
    return mantissa.int(), (31 - exponent).int()


def requantize(accumulators: torch.Tensor, mantissa: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return round(a m 2^-n) in integers alone: a product of 64 bits, a shift, halves to even.

    Args:
        accumulators: int32.
        mantissa, shift: as `fixed_point` returns them; their shape must broadcast.

    Returns:
        int64 of the shape of `accumulators`.

    >>> requantize(torch.tensor([3, 5, -5], dtype=torch.int32), *fixed_point(torch.tensor([0.5])))
    tensor([ 2,  2, -2])
    """
    product = accumulators.long() * mantissa.long()  # below 2^62
    shift = shift.long()
    floor = product >> shift
    rest = product - (floor << shift)
    half = torch.ones_like(shift) << (shift - 1)
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
        for grid in (input_parameters, output_parameters):
            if grid is not None and grid.axis is not None:
                raise ValueError("inputs and outputs need one grid for the whole tensor: axis must be None")
        self.input_parameters = input_parameters
        self.output_parameters = output_parameters
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
        """Return the int32 sums a, of shape (N, outputs), for input codes of shape (N, inputs)."""
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
