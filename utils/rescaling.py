"""The same function with other matrices: factors moved from layer to layer, rotations, and what they are good for.

A transformer computes the same if a channel is made smaller where it is written and its column larger where it is read.
AWQ chooses such factors so that weights round better, SmoothQuant so that inputs do. A rotation of all channels
between the blocks passes through RMSNorm and changes nothing either (QuaRot).
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from scipy import linalg
from torch import nn

from utils.input_validation import require_fraction
from utils.transformer import Transformer
from utils.weight_only import InputStatistics, linear_layers, output_error

Factors = dict[str, torch.Tensor]
"""For some places, by the writer's name, a factor for each channel: positive, shape (channels,)."""


class Place(NamedTuple):
    """Where channels are written and read: a norm or a linear layer, and the linear layers that read its outputs."""

    writer: str
    readers: tuple[str, ...]


def places(model: Transformer) -> list[Place]:
    """List where factors can be moved in a transformer: four places a block, and the head's norm.

    Attention takes means of values, channel by channel, so that a factor on a value comes out as it went in; and `up`
    is only multiplied. Queries and keys are turned in pairs, and what comes out of `gate` goes through silu: no places.

    >>> places(Transformer(width=4, heads=1, hidden=4, blocks=1))[1]
    Place(writer='blocks.0.attention.value', readers=('blocks.0.attention.output',))
    """
    found = []
    for number in range(len(model.blocks)):
        attention, branch = f"blocks.{number}.attention", f"blocks.{number}.feed_forward"
        found += [
            Place(f"blocks.{number}.norm1", tuple(f"{attention}.{name}" for name in ("query", "key", "value"))),
            Place(f"{attention}.value", (f"{attention}.output",)),
            Place(f"blocks.{number}.norm2", (f"{branch}.gate", f"{branch}.up")),
            Place(f"{branch}.up", (f"{branch}.down",)),
        ]
    return [*found, Place("norm", ("head",))]


@torch.no_grad()
def rescale(model: Transformer, factors: Mapping[str, torch.Tensor]) -> Transformer:
    """Return a copy with each channel divided by its factor where it is written and multiplied where it is read.

    >>> model = Transformer(width=4, heads=1, hidden=4, blocks=1)
    >>> rescale(model, {"norm": torch.tensor([1.0, 2.0, 4.0, 8.0])}).norm.weight
    Parameter containing:
    tensor([1.0000, 0.5000, 0.2500, 0.1250], requires_grad=True)
    """
    changed = copy.deepcopy(model)
    readers = {place.writer: place.readers for place in places(model)}
    for name, factor in factors.items():
        if name not in readers:
            raise ValueError(f"{name!r} is no place where factors can be moved; there are {', '.join(readers)}")
        if not bool((factor > 0).all()):
            raise ValueError(f"the factors of {name} must be positive, got {factor.min().item():g}")
        weight = changed.get_submodule(name).weight
        weight /= factor.view(-1, *[1] * (weight.ndim - 1))
        for reader in readers[name]:
            changed.get_submodule(reader).weight.mul_(factor)
    return changed


# --- AWQ: weights that round better -----------------------------------------------------------------------------------

EXPONENTS = tuple(k / 20 for k in range(21))
"""How strongly the factors follow the inputs: not at all to in proportion."""


def awq_factors(
    model: Transformer,
    statistics: Mapping[str, InputStatistics],
    change: Callable[[torch.Tensor], torch.Tensor],
    *,
    exponents: Sequence[float] = EXPONENTS,
) -> tuple[Factors, dict[str, float]]:
    """Choose for each place how strongly its factors follow the mean magnitude of the inputs: s = mean |x|^a.

    A column that is multiplied by s before rounding and divided afterwards has its error divided by s, as long as the
    scale of its group stays what it was; the other columns of the group pay where it grows. For each exponent a the
    readers' weights are rounded that way, and the one with the least error of their outputs is taken. 0 is no factor.

    Args:
        model: a trained network; it is not changed.
        statistics: of `weight_only.input_statistics`.
        change: rounds a matrix.
        exponents: to try.

    Returns:
        factors for `rescale`, their largest times their smallest 1, and the exponents.

    Source: Lin et al., "AWQ", 2024, section 3.2, equations 4 and 5.
    """
    layers = linear_layers(model)
    factors, chosen = {}, {}
    for place in places(model):
        magnitude = statistics[place.readers[0]].mean_magnitude.clamp(min=1e-6)
        least = torch.inf
        for exponent in exponents:
            factor = _centred(magnitude**exponent)
            error = 0.0
            for reader in place.readers:
                weight = layers[reader].weight.detach()
                error += output_error(weight, change(weight * factor) / factor, statistics[reader].moment)
            if error < least:
                least, factors[place.writer], chosen[place.writer] = error, factor, exponent
    return factors, chosen


def _centred(factor: torch.Tensor) -> torch.Tensor:
    return factor / (factor.max() * factor.min()).sqrt()


# --- SmoothQuant: inputs that round better ----------------------------------------------------------------------------


def smoothing_factors(
    model: Transformer, statistics: Mapping[str, InputStatistics], *, strength: float = 0.5
) -> Factors:
    """Return s_j = max |x_j|^a / max |w_j|^(1 - a): with a = 1/2, inputs and columns become equally large.

    Args:
        model: a trained network; it is not changed.
        statistics: of `weight_only.input_statistics`.
        strength: a, from 0, which makes all columns equally large, to 1, which makes all inputs so.

    Source: Xiao et al., "SmoothQuant", 2023, equation 4.
    """
    require_fraction("strength", strength)
    layers = linear_layers(model)
    factors = {}
    for place in places(model):
        of_weight = torch.stack([layers[reader].weight.detach().abs().amax(dim=0) for reader in place.readers])
        of_input = statistics[place.readers[0]].largest.clamp(min=1e-5)
        factors[place.writer] = of_input**strength / of_weight.amax(dim=0).clamp(min=1e-5) ** (1 - strength)
    return factors


def round_inputs(x: torch.Tensor, largest: float | None = None, *, bits: int = 8) -> torch.Tensor:
    """Round inputs to a symmetric grid: one for all up to `largest`, or one for each token up to its own largest.

    Args:
        x: shape (..., n), a token a row.
        largest: of the static grid, from calibration; None for dynamic grids.
        bits: of a code.

    >>> round_inputs(torch.tensor([[1.27, 0.004], [127.0, 0.4]]))
    tensor([[  1.2700,   0.0000],
            [127.0000,   0.0000]])
    """
    qmax = 2 ** (bits - 1) - 1
    top = x.abs().amax(dim=-1, keepdim=True) if largest is None else torch.tensor(largest)
    scale = top.clamp(min=torch.finfo(x.dtype).tiny * qmax) / qmax
    return (x / scale).round().clamp(-qmax, qmax) * scale


@contextlib.contextmanager
def rounding_inputs(
    model: nn.Module, statistics: Mapping[str, InputStatistics] | None = None, *, bits: int = 8
) -> Iterator[None]:
    """Let each linear layer round its inputs inside the block: with its largest input of calibration, or by token.

    >>> layer = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> layer[0].weight.data.fill_(1.0)
    tensor([[1., 1.]])
    >>> with rounding_inputs(layer):
    ...     layer(torch.tensor([[127.0, 0.4]])).item()
    127.0
    """

    def rounds(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]:
        largest = None if statistics is None else statistics[name].largest.max().item()
        return lambda _, inputs: (round_inputs(inputs[0], largest, bits=bits), *inputs[1:])

    hooks = [layer.register_forward_pre_hook(rounds(name)) for name, layer in linear_layers(model).items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


# --- rotations --------------------------------------------------------------------------------------------------------


def random_rotation(size: int, generator: torch.Generator) -> torch.Tensor:
    """Draw an orthogonal matrix, all equally likely: the Q of a normal matrix, with the signs of R's diagonal.

    >>> q = random_rotation(3, torch.Generator().manual_seed(0))
    >>> torch.allclose(q @ q.T, torch.eye(3), atol=1e-6)
    True
    """
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def block_hadamard(size: int, generator: torch.Generator, *, block: int = 32) -> torch.Tensor:
    """Return a Hadamard matrix of order `block` in each block of the diagonal, with signs drawn for the inputs.

    Sizes that are no power of two, such as 160 = 5 x 32, have no Hadamard matrix of that simple form. Entries are plus
    or minus block^(-1/2): each output spreads an input evenly over its block, and a product takes additions only.

    >>> block_hadamard(4, torch.Generator().manual_seed(0), block=2).abs()
    tensor([[0.7071, 0.7071, 0.0000, 0.0000],
            [0.7071, 0.7071, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.7071, 0.7071],
            [0.0000, 0.0000, 0.7071, 0.7071]])
    """
    if size % block:
        raise ValueError(f"size must be a multiple of block, got {size} and {block}")
    one = torch.from_numpy(linalg.hadamard(block)).float() / block**0.5
    signs = torch.randint(0, 2, (size, 1), generator=generator) * 2.0 - 1
    return signs * torch.block_diag(*[one] * (size // block))


@torch.no_grad()
def rotate_channels(model: Transformer, rotation: torch.Tensor) -> Transformer:
    """Return a copy whose sum between the blocks is x R in the place of x; nothing is computed in addition.

    Embedding and what the blocks add are rotated where they are written, and rotated back where they are read. The
    norms' factors go into the readers first: an RMSNorm without factors gives x R / rms(x R) = (x / rms(x)) R.

    Args:
        model: a trained network; it is not changed.
        rotation: R, orthogonal, shape (width, width).

    Source: Ashkboos et al., "QuaRot", 2024, section 4, stage 1a.
    """
    rotated = copy.deepcopy(model)
    for place in places(model):
        writer = rotated.get_submodule(place.writer)
        if not isinstance(writer, nn.RMSNorm):
            continue
        for reader in place.readers:
            layer = rotated.get_submodule(reader)
            layer.weight.copy_(layer.weight * writer.weight @ rotation)
        writer.weight.fill_(1.0)
    for block in rotated.blocks:
        for layer in (block.attention.output, block.feed_forward.down):
            layer.weight.copy_(rotation.T @ layer.weight)
    rotated.embedding.weight.copy_(rotated.embedding.weight @ rotation)
    return rotated
