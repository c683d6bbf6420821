"""Weights in few bits while inputs and sums stay float: what is stored, its bytes, and what it costs a layer.

Each form knows the weight that it stands for (`dequantize`) and what it takes (`nbytes`): codes, scales, zero points.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from scipy import stats
from torch import nn

from utils.accounting import packed_bytes
from utils.bit_packing import pack, unpack
from utils.input_validation import require_int, require_module
from utils.models import evaluating, first_input
from utils.qat import straight_through
from utils.quantization import (
    SMALLEST_HALF,
    QuantizationParameters,
    in_groups,
    nearest,
    out_of_groups,
    parameters_for,
    quantize,
)
from utils.surgeon import second_moment

GridChoice = Callable[[torch.Tensor], QuantizationParameters]
"""A function from rows, shape (rows, size), to an affine grid for each: `partial(clipped_half_grid, bits=4)`."""


class Stored(Protocol):
    """A weight in another form."""

    @property
    def nbytes(self) -> int:
        """What it takes in a file, all side information counted."""

    def dequantize(self) -> torch.Tensor:
        """Return the weight that it stands for, float32 of shape (m, n)."""


# --- affine grids for groups ------------------------------------------------------------------------------------------


def minmax_half_grid(rows: torch.Tensor, *, bits: int) -> QuantizationParameters:
    """Choose for each row of a matrix the affine grid that just holds it, its scale rounded to float16.

    `quantization.clipped_half_grid` clips where that lowers the squared error.

    >>> minmax_half_grid(torch.tensor([[-2.0, 1.0]]), bits=2).scale
    tensor([1.])
    """
    grid = parameters_for(rows, bits=bits, axis=0)
    return replace(grid, scale=grid.scale.half().float().clamp(min=SMALLEST_HALF))


class GroupedWeight(NamedTuple):
    """A matrix as codes of few bits, with a scale and a zero point for each group of neighbours in a row.

    The last group of a row may be shorter. Groups of n columns are rows; a matrix of one row is one tensor.

    Args:
        codes: int8, shape (m, n), from -2^(b-1) to 2^(b-1) - 1.
        scale: float32, shape (m, groups); in a file float16.
        zero_point: int32, of the same shape, in the range of the codes; in a file b bits.
        bits, group_size: b, and columns that share a scale.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    zero_point: torch.Tensor
    bits: int
    group_size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the packed codes, the scales in float16 and the packed zero points."""
        side = 2 * self.scale.numel() + packed_bytes(self.zero_point.numel(), self.bits)
        return packed_bytes(self.codes.numel(), self.bits) + side

    def dequantize(self) -> torch.Tensor:
        """Return S (q - Z)."""
        scale, zero_point = (self._along_rows(each) for each in (self.scale, self.zero_point))
        return (self.codes - zero_point) * scale

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a file holds: "codes" and "zero_point" packed, "scale" in float16.

        Raises a ValueError if a scale is no float16 number: the file would stand for another weight.

        >>> rounded = round_to_nearest(torch.tensor([[-2.0, 1.0, 0.0]]), lambda rows: minmax_half_grid(rows, bits=2))
        >>> {name: tensor.tolist() for name, tensor in rounded.tensors().items()}
        {'codes': [6], 'scale': [[1.0]], 'zero_point': [0]}
        """
        half = self.scale.half()
        if not torch.equal(half.float(), self.scale):
            raise ValueError("scale must be float16 numbers; choose the grids by clipped_half_grid or minmax_half_grid")
        return {"codes": pack(self.codes, self.bits), "scale": half, "zero_point": pack(self.zero_point, self.bits)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], *, shape: tuple[int, int], bits: int, group_size: int
    ) -> "GroupedWeight":
        """Return the weight of a shape (m, n) whose `tensors` these are."""
        zero_point = unpack(tensors["zero_point"], bits, tuple(tensors["scale"].shape)).int()
        codes = unpack(tensors["codes"], bits, shape)
        return cls(codes, tensors["scale"].float(), zero_point, bits, group_size)

    def _along_rows(self, by_group: torch.Tensor) -> torch.Tensor:
        return by_group.repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]


def round_to_nearest(weight: torch.Tensor, grid: GridChoice, *, group_size: int | None = None) -> GroupedWeight:
    """Round each weight to the nearest value of its group's grid: the control of every other method here.

    Args:
        weight: shape (m, n).
        grid: chooses the grids, such as `partial(clipped_half_grid, bits=4)`.
        group_size: columns that share a scale; the whole row if None.

    >>> round_to_nearest(torch.tensor([[0.0, 0.4, 3.0]]), lambda rows: minmax_half_grid(rows, bits=2)).dequantize()
    tensor([[0., 0., 3.]])
    """
    size = weight.shape[1] if group_size is None else require_int("group_size", group_size, minimum=1)
    groups = in_groups(weight, size)  # (m * groups, size)
    grids = grid(groups)
    codes = out_of_groups(quantize(groups, grids), weight.shape)
    scale, zero_point = (each.view(len(weight), -1) for each in (grids.scale, grids.zero_point))
    return GroupedWeight(codes, scale, zero_point, bits_of(grids), size)


def bits_of(grid: QuantizationParameters) -> int:
    """Return the bits of a grid's codes.

    >>> bits_of(parameters_for(torch.ones(1, 2), bits=3, axis=0))
    3
    """
    return (grid.qmax - grid.qmin).bit_length()


# --- lists of values that are no even grid ----------------------------------------------------------------------------


class ScaledCodebook(NamedTuple):
    """A matrix as numbers of entries of a list that the format fixes, times a scale for each group of a row.

    Args:
        codes: uint8, shape (m, n).
        scale: float32, shape (m, groups).
        entries: ascending, shape (at most 2^bits,); it belongs to the format and takes no bytes of a file.
        bits, group_size, scale_bits: of a code; columns that share a scale; of a scale in a file.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    entries: torch.Tensor
    bits: int
    group_size: int
    scale_bits: int

    @property
    def nbytes(self) -> int:
        """Bytes of the packed codes and the scales."""
        return packed_bytes(self.codes.numel(), self.bits) + packed_bytes(self.scale.numel(), self.scale_bits)

    def dequantize(self) -> torch.Tensor:
        """Return scale times entry."""
        scale = self.scale.repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]
        return self.entries[self.codes.long()] * scale


def normal_float_entries() -> torch.Tensor:
    """Return the sixteen values of NF4: quantiles of a normal distribution, with 0 and both ends -1 and 1 among them.

    Eight probabilities from 1 - p to 1/2 give the negative values, nine from 1/2 to p the others, with
    p = (1 - 1/32 + 1 - 1/30) / 2: the mean of where 16 and 15 equal shares would have their last middle.

    Source: Dettmers et al., "QLoRA", 2023, section 3 and appendix E; p is that of its code.

    >>> normal_float_entries()[[0, 1, 7, 8, 15]]
    tensor([-1.0000, -0.6962,  0.0000,  0.0796,  1.0000])
    """
    p = 1 - (1 / 32 + 1 / 30) / 2
    negative = stats.norm.ppf(torch.linspace(1 - p, 0.5, 8, dtype=torch.float64).numpy())
    positive = stats.norm.ppf(torch.linspace(0.5, p, 9, dtype=torch.float64).numpy())
    entries = torch.tensor([*negative[:-1], 0.0, *positive[1:]])
    return (entries / entries.max()).float()


def nf4(weight: torch.Tensor, *, group_size: int = 64) -> ScaledCodebook:
    """Round to NF4: for each group its largest magnitude, in float16, times the nearest of the sixteen values.

    QLoRA packs the scales once more, 8 bits each; we do not.

    >>> nf4(torch.tensor([[2.0, -1.0, 0.0]])).dequantize()
    tensor([[ 2.0000, -1.0501,  0.0000]])
    """
    groups = in_groups(weight, require_int("group_size", group_size, minimum=1))
    scale = groups.abs().amax(dim=1).half().float().clamp(min=SMALLEST_HALF)
    return _scaled_codebook(weight, groups / scale[:, None], scale, normal_float_entries(), scale_bits=16)


class SmallFloat(NamedTuple):
    """A floating-point format of few bits: bits of its exponent and of its fraction, and its largest value."""

    exponent_bits: int
    fraction_bits: int
    largest: float

    @property
    def bits(self) -> int:
        """Bits of a number, its sign among them."""
        return 1 + self.exponent_bits + self.fraction_bits

    def entries(self) -> torch.Tensor:
        """Return all values, ascending; both zeros are one.

        >>> E2M1.entries()[7:].tolist()
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
        """
        smallest = 2.0 ** (2 - 2 ** (self.exponent_bits - 1) - self.fraction_bits)  # the step below the normal numbers
        count = self.largest / smallest
        whole = round_to_small_float(torch.arange(count + 1) * smallest, self).unique()
        return torch.cat([-whole[1:].flip(0), whole])


E2M1 = SmallFloat(2, 1, 6.0)
"""FP4: the values of MXFP4 and NVFP4."""

E4M3 = SmallFloat(4, 3, 448.0)
"""FP8 for weights and activations; PyTorch's `float8_e4m3fn`."""


def round_to_small_float(values: torch.Tensor, form: SmallFloat) -> torch.Tensor:
    """Round to the nearest number of a small float format, halves to the even fraction; what is too large is clipped.

    A number from 2^e to 2^(e+1) has steps of 2^(e - fraction bits), and e is at least 2 - 2^(exponent bits - 1).

    >>> round_to_small_float(torch.tensor([0.3, 2.4, -5.1, 99.0]), E2M1)
    tensor([ 0.5000,  2.0000, -6.0000,  6.0000])
    """
    _, exponent = torch.frexp(values)  # |values| is from 2^(exponent - 1) to 2^exponent
    exponent = (exponent - 1).clamp(min=2 - 2 ** (form.exponent_bits - 1))
    step = torch.ldexp(torch.ones_like(values), exponent - form.fraction_bits)
    return ((values / step).round() * step).clamp(-form.largest, form.largest)


def mxfp4(weight: torch.Tensor) -> ScaledCodebook:
    """Round to MXFP4: each 32 neighbours share a power of two, and each is one of the fifteen values of E2M1.

    The power is 2^(floor(log2 of the largest magnitude) - 2), so that the largest lies from 4 to 8; what is above 6 is
    clipped.

    Source: Rouhani et al., "Microscaling data formats", 2023, section 3 and algorithm 1.

    >>> mxfp4(torch.tensor([[8.0, 2.4, -0.1]])).dequantize()
    tensor([[8., 2., 0.]])
    """
    groups = in_groups(weight, 32)
    _, exponent = torch.frexp(groups.abs().amax(dim=1))
    exponent = torch.where(groups.abs().amax(dim=1) > 0, exponent - 3, 0).clamp(-127, 127)
    scale = torch.ldexp(torch.ones(len(groups)), exponent)
    values = round_to_small_float(groups / scale[:, None], E2M1)
    return _scaled_codebook(weight, values, scale, E2M1.entries(), scale_bits=8)


def fp8(weight: torch.Tensor) -> ScaledCodebook:
    """Round to FP8 (E4M3): for each row a scale in float16 that takes its largest magnitude to 448.

    >>> fp8(torch.tensor([[448.0, 17.0]])).dequantize()
    tensor([[448.,  16.]])
    """
    largest = weight.abs().amax(dim=1)
    scale = (largest / E4M3.largest).half().float().clamp(min=SMALLEST_HALF)
    values = round_to_small_float(weight.detach() / scale[:, None], E4M3)
    return _scaled_codebook(weight, values, scale, E4M3.entries(), scale_bits=16)


def _scaled_codebook(
    weight: torch.Tensor, groups: torch.Tensor, scale: torch.Tensor, entries: torch.Tensor, *, scale_bits: int
) -> ScaledCodebook:
    """Take groups that were divided by their scales, or rounded already, to the numbers of the nearest entries."""
    codes = out_of_groups(nearest(groups, entries).to(torch.uint8), weight.shape)
    bits = math.ceil(math.log2(len(entries)))
    return ScaledCodebook(codes, scale.view(len(weight), -1), entries, bits, groups.shape[1], scale_bits)


class MeanTernary(nn.Module):
    """A parametrization that rounds a weight to -S, 0 and S with S = mean |w|, the gradient passed straight through.

    Source: Ma et al., "The era of 1-bit LLMs" (BitNet b1.58), 2024, section 2. There the inputs are rounded to 8 bits
    as well; here they stay float.

    >>> MeanTernary()(torch.tensor([[1.0, -0.2, 0.3]]))
    tensor([[0.5000, -0.0000, 0.5000]])
    """

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = weight.detach().abs().mean().clamp(min=torch.finfo(weight.dtype).tiny)
        return straight_through(weight, (weight.detach() / scale).round().clamp(-1, 1) * scale)


# --- a layer's inputs, and a layer's error ----------------------------------------------------------------------------


class InputStatistics(NamedTuple):
    """What calibration saw of a layer's inputs, n numbers each: second moment, mean and largest magnitude.

    `moment` is float64 of shape (n, n), as `surgeon.second_moment` has it, with a hundredth of its mean diagonal added;
    the two others have shape (n,).
    """

    moment: torch.Tensor
    mean_magnitude: torch.Tensor
    largest: torch.Tensor


@torch.no_grad()
def input_statistics(model: nn.Module, batches: Iterable[torch.Tensor]) -> dict[str, InputStatistics]:
    """Run calibration batches through a network once; return what reached each linear layer, by the layer's name.

    Nothing is kept but the statistics: the inputs of all layers of a language model would not fit into memory.

    Args:
        model: its mode is restored.
        batches: inputs of the network, such as numbers of characters of shape (N, T). No targets.

    >>> seen = input_statistics(nn.Sequential(nn.Linear(2, 3)), [torch.tensor([[1.0, -3.0]]), torch.ones(1, 2)])
    >>> seen["0"].mean_magnitude, seen["0"].largest
    (tensor([1., 2.]), tensor([1., 3.]))
    """
    layers = linear_layers(model)
    counts = dict.fromkeys(layers, 0)
    sums: dict[str, list[torch.Tensor]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple, dict[str, object]], None]:
        def add(layer: nn.Module, arguments: tuple, named: dict[str, object]) -> None:
            x = first_input(layer, arguments, named).flatten(0, -2).float()  # (examples, n)
            new = [len(x) * second_moment(x).double(), x.abs().sum(dim=0), x.abs().amax(dim=0)]  # linear in x x^T
            old = sums.get(name)
            sums[name] = new if old is None else [old[0] + new[0], old[1] + new[1], torch.maximum(old[2], new[2])]
            counts[name] += len(x)

        return add

    hooks = [layer.register_forward_pre_hook(watch(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        with evaluating(model):
            for batch in batches:
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if uncalled := [name for name in layers if not counts[name]]:
        raise ValueError(f"{uncalled[0]} was not called: there are no batches, or the network does not use it")
    return {
        name: InputStatistics(moment / counts[name], mean / counts[name], largest)
        for name, (moment, mean, largest) in sums.items()
    }


def output_error(weight: torch.Tensor, approximation: torch.Tensor, moment: torch.Tensor) -> float:
    """Return trace((W - V) C (W - V)^T): the mean squared change of a layer's outputs, summed over the outputs.

    Args:
        weight, approximation: W and V, shape (m, n).
        moment: C, the mean of x x^T over the layer's inputs, shape (n, n).

    >>> output_error(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    3.0
    """
    difference = (weight - approximation).detach().to(moment.dtype)
    return ((difference @ moment) * difference).sum().item()


# --- networks ---------------------------------------------------------------------------------------------------------


class WeightOnly(NamedTuple):
    """A network whose linear layers hold the weights that `stored` stands for, and those by the layer's name."""

    model: nn.Module
    stored: dict[str, Stored]

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices of all linear layers, side information included; the rest of the network not."""
        return sum(each.nbytes for each in self.stored.values())

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight of a linear layer takes on average, side information included."""
        return 8 * self.nbytes / sum(layer.weight.numel() for layer in linear_layers(self.model).values())


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of a network by name.

    >>> list(linear_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU())))
    ['0']
    """
    layers = {n: layer for n, layer in require_module("model", model).named_modules() if isinstance(layer, nn.Linear)}
    if not layers:
        raise ValueError(f"this {type(model).__name__} has no linear layers")
    return layers


@torch.no_grad()
def round_linear_layers(model: nn.Module, form: Callable[[str, torch.Tensor], Stored]) -> WeightOnly:
    """Return a copy of a network whose linear layers hold what `form(name, weight)` stands for; biases stay.

    A form may hold a weight as one row, for one grid a matrix.

    >>> round_linear_layers(nn.Sequential(nn.Linear(64, 4)), lambda name, weight: nf4(weight)).bits_per_weight
    4.25
    """
    rounded = copy.deepcopy(model)
    stored = {}
    for name, layer in linear_layers(rounded).items():
        stored[name] = form(name, layer.weight.detach().clone())
        layer.weight.copy_(stored[name].dequantize().view_as(layer.weight))
    return WeightOnly(rounded, stored)


FORM = "form"
"""Name of the tensor that says how many bits a file's codes have, and how many columns a group."""


def to_file(rounded: WeightOnly) -> bytes:
    """Return a whole network as a safetensors file: matrices packed, everything else in float16.

    Raises a ValueError unless each matrix is a `GroupedWeight`, all of the same bits and group size.
    """
    forms = {
        (each.bits, each.group_size) if isinstance(each, GroupedWeight) else None for each in rounded.stored.values()
    }
    if len(forms) != 1 or None in forms:
        raise ValueError("a file takes GroupedWeights of one number of bits and one group size")
    tensors = {FORM: torch.tensor(*forms, dtype=torch.int16)}
    for name, each in rounded.stored.items():
        tensors |= {f"{name}.{part}": tensor for part, tensor in each.tensors().items()}
    packed = {f"{name}.weight" for name in rounded.stored}
    others = {name: tensor.half() for name, tensor in rounded.model.state_dict().items() if name not in packed}
    return save_tensors(tensors | others)


@torch.no_grad()
def from_file(content: bytes, model: nn.Module) -> nn.Module:
    """Return a copy of a network of the same form with the weights of a file that `to_file` made."""
    tensors = load_tensors(content)
    bits, group_size = tensors.pop(FORM).tolist()
    filled = copy.deepcopy(model)
    for name, layer in linear_layers(filled).items():
        parts = {part: tensors.pop(f"{name}.{part}") for part in ("codes", "scale", "zero_point")}
        shape = tuple(layer.weight.shape)
        stored = GroupedWeight.from_tensors(parts, shape=shape, bits=bits, group_size=group_size)
        tensors[f"{name}.weight"] = stored.dequantize()
    filled.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return filled
