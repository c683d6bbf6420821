"""Quantization-aware training: layers that compute with rounded numbers while they learn, and what is deployed of them.

`prepare` gives every linear layer and convolution a quantizer for its weight and one for its input, `calibrate` sets
their ranges from a few images (that alone is post-training quantization), `training.fit` trains through them, `freeze`
holds the ranges still, and `convert` makes the network that stores packed integers and multiplies integers.
"""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from utils.bit_packing import pack, unpack
from utils.input_validation import require_inputs, require_module, require_permanent, require_tensor
from utils.models import evaluating, matrices, replace_everywhere
from utils.onnx_export import export_onnx, exported_graph, quiet
from utils.quantization import SMALLEST_SCALE, binary, integer_range, parameters_for, parameters_from_range

LARGEST_BIAS = 2**30
"""Of a bias in steps of its layer's sums, so that bias and sums together stay within 32 bits."""

LARGEST_PAIR = 2**15 - 1
"""Of the sum of two products in 16 bits, where kernels without VNNI add them up."""

# --- the straight-through estimator -----------------------------------------------------------------------------------


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_context, _x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value.clone()  # autograd wants a new tensor

    @staticmethod
    def backward(_context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def straight_through(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return `value`, exactly, with the gradient that `x` would have had: d value / d x is taken to be 1.

    The usual x + (value - x).detach() is off in the last digits.

    Args:
        x: what is learnt.
        value: what the network computes with instead, of the same shape, such as the signs of `x`.

    >>> x = torch.tensor([-0.2, 0.7], requires_grad=True)
    >>> y = straight_through(x, x.sign())
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([-1.0, 1.0], [1.0, 1.0])
    """
    return _StraightThrough.apply(x, value)


def round_straight_through(x: torch.Tensor) -> torch.Tensor:
    """Round to the nearest integer, halves to the even one; the derivative is taken to be 1 (Bengio et al., 2013).

    >>> x = torch.tensor([0.4, 1.5], requires_grad=True)
    >>> y = round_straight_through(x)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """
    return straight_through(x, x.detach().round())


def fake_quantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | int, *, qmin: int, qmax: int
) -> torch.Tensor:
    """Return S (clamp(round(x / S) + Z, qmin, qmax) - Z) with a gradient for x, and for S where it is learnt.

    The rounding passes the gradient straight through, the clamp passes it inside the range only. By the product rule
    the derivative by S is then round(x / S) - x / S inside the range, qmin - Z below and qmax - Z above it: LSQ (Esser
    et al., 2020, equation 3).

    Args:
        x: any shape.
        scale, zero_point: of a shape that broadcasts against `x`.
        qmin, qmax: the smallest and the largest integer.

    >>> fake_quantize(torch.tensor([-1.0, 0.3, 9.0]), torch.tensor(0.5), 0, qmin=0, qmax=3)
    tensor([0.0000, 0.5000, 1.5000])
    """
    steps = round_straight_through(torch.clamp(x / scale, qmin - zero_point, qmax - zero_point))
    return steps * scale


def clip_weights(model: nn.Module, limit: float) -> Callable[[int], None]:
    """Return a hook for `training.fit` that holds every weight matrix and kernel in [-limit, limit].

    Beyond the limit a weight would take ever longer to change its sign (BinaryConnect, section 2.4).

    >>> layer = nn.Linear(2, 2)
    >>> _ = nn.init.constant_(layer.weight, 3.0)
    >>> clip_weights(layer, 1.0)(0)
    >>> layer.weight.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]

    @torch.no_grad()
    def clip(_step: int) -> None:
        for weight in weights:
            weight.clamp_(-limit, limit)

    return clip


# --- quantizers -------------------------------------------------------------------------------------------------------


class Quantizer(nn.Module):
    """What all quantizers share: a number of bits, the integers they allow, and how a tensor is rounded.

    A subclass says in `steps` which scale and zero point a tensor gets.

    Args:
        bits, signed, symmetric: see `quantization.integer_range`.
    """

    def __init__(self, bits: int, *, signed: bool, symmetric: bool = False):
        super().__init__()
        self.bits = bits
        self.qmin, self.qmax = integer_range(bits, signed=signed, symmetric=symmetric)
        self.frozen = False
        self.bypassed = False

    def observe(self, x: torch.Tensor) -> None:
        """Set the range from an example of what will come; by default there is nothing to set."""

    def steps(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | int]:
        """Return scale and zero point for `x`, of a shape that broadcasts against it."""
        raise NotImplementedError

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        """Return the integers that stand for `x`, int32, from qmin to qmax."""
        scale, zero_point = self.steps(x)
        return (torch.clamp(x / scale, self.qmin - zero_point, self.qmax - zero_point).round() + zero_point).int()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.bypassed:
            return x
        scale, zero_point = self.steps(x)
        return fake_quantize(x, scale, zero_point, qmin=self.qmin, qmax=self.qmax)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, qmin={self.qmin}, qmax={self.qmax}"


Quantizer.must_be_converted = True
"""So that `export_onnx` refuses it: the file would compute in float what its integers are for."""


class WeightRange(Quantizer):
    """Symmetric, one scale for each output channel: the largest absolute weight is the largest integer.

    The range follows the weight in every step; there is nothing to learn or to freeze.
    """

    def __init__(self, bits: int, channels: int):
        super().__init__(bits, signed=True, symmetric=True)

    def steps(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return _by_channel(parameters_for(x, bits=self.bits, symmetric=True, axis=0).scale, x), 0


class LearnedScale(Quantizer):
    """Symmetric with a scale that is trained like a weight: learned step size quantization (Esser et al., 2020).

    What is trained is the logarithm of the scale. The paper scales the gradient instead, which fits SGD; an Adam step
    has about the size of the learning rate whatever the gradient, and in the logarithm that is a relative change.

    Args:
        bits: from 1 to 8.
        channels: of a weight, which is signed and has a scale for each; None for an activation, which has one.
        signed: whether an activation may be negative, such as a normalised image or what a GELU gives.
    """

    def __init__(self, bits: int, channels: int | None = None, *, signed: bool = False):
        super().__init__(bits, signed=signed or channels is not None)
        self.log_scale = nn.Parameter(torch.zeros(() if channels is None else channels))

    def observe(self, x: torch.Tensor) -> None:
        """Start from the scale with the smallest mean squared error over `x`; unsigned, it refuses what is negative."""
        if self.qmin == 0 and bool((x < 0).any()):
            raise ValueError(
                f"values down to {x.min().item():g} would be clipped at 0; take LearnedScale({self.bits}, signed=True) "
                f"or MovingAverageRange({self.bits})"
            )
        rows = x.detach().reshape(self.log_scale.numel(), -1)
        best = smallest_error_scale(rows, qmin=self.qmin, qmax=self.qmax)
        self.log_scale.data.copy_(best.log().view_as(self.log_scale))

    def steps(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        scale = self.log_scale.exp()
        return (scale if scale.ndim == 0 else _by_channel(scale, x)), 0


class MovingAverageRange(Quantizer):
    """For activations: lowest and highest value as moving averages over the batches of training (Jacob et al., 2018).

    In training mode every batch moves both ends by the share `momentum` towards its own; in evaluation mode, and once
    frozen, they stay. The range always includes zero, and zero is an integer.
    """

    def __init__(self, bits: int, *, momentum: float = 0.01):
        super().__init__(bits, signed=False)
        self.momentum = momentum
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.ones(()))

    def observe(self, x: torch.Tensor) -> None:
        """Take the range of `x` as it is."""
        low, high = x.detach().aminmax()
        self.low.copy_(low.clamp(max=0.0))
        self.high.copy_(high.clamp(min=0.0))

    def steps(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parameters = parameters_from_range(self.low, self.high, bits=self.bits, signed=False)
        return parameters.scale, parameters.zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and not self.frozen and not self.bypassed:
            low, high = x.detach().aminmax()
            self.low.lerp_(low.clamp(max=0.0), self.momentum)
            self.high.lerp_(high.clamp(min=0.0), self.momentum)
        return super().forward(x)


class TernaryWeight(Quantizer):
    """-S, 0 and +S for each output channel (Li, Zhang and Liu, 2016): zero below 0.7 times the mean absolute weight.

    S is the mean absolute value of the weights above that threshold. Stored in 2 bits.
    """

    def __init__(self, channels: int):
        super().__init__(2, signed=True, symmetric=True)

    def steps(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        rows = x.detach().flatten(1).abs()
        kept = self.integers(x).flatten(1) != 0
        scale = (rows * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
        return _by_channel(scale.clamp(min=SMALLEST_SCALE), x), 0

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.detach().flatten(1).abs()
        kept = rows > 0.7 * rows.mean(dim=1, keepdim=True)
        return (x.detach().sign() * kept.view_as(x)).int()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.bypassed else straight_through(x, self.integers(x) * self.steps(x)[0])


class BinaryWeight(Quantizer):
    """-S and +S, the sign of the weight; zero counts as positive. Stored in 1 bit.

    Args:
        scaled: S is the mean absolute weight of the channel (Rastegari et al., 2016), the best scale in the sense of
            least squares; else S is 1, as in BinaryConnect (Courbariaux et al., 2015), for layers with batch norm
            behind, which takes any scale away again.
    """

    def __init__(self, channels: int, *, scaled: bool = True):
        super().__init__(1, signed=True)
        self.qmin, self.qmax = -1, 1  # of which 0 is not used: one bit is enough
        self.scaled = scaled

    def steps(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        scale = binary(x).scale
        # the smallest scale and not 1 for a channel of zeros, whose integers are +1 all the same
        return (scale.clamp(min=SMALLEST_SCALE) if self.scaled else torch.ones_like(scale)), 0

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        return binary(x).codes.int()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.bypassed else straight_through(x, self.integers(x) * self.steps(x)[0])


def smallest_error_scale(rows: torch.Tensor, *, qmin: int, qmax: int) -> torch.Tensor:
    """Return for each row the scale with the smallest mean squared error, of 80 evenly spaced up to its min-max scale.

    Args:
        rows: shape (rows, values).
        qmin, qmax: the integers allowed; the zero point is 0.

    Returns:
        scales, shape (rows,), positive.

    >>> smallest_error_scale(torch.tensor([[-2.0, 1.0, 0.0]]), qmin=-2, qmax=1)
    tensor([1.])
    """
    require_tensor("rows", rows)
    whole = rows.amax(dim=1) / max(qmax, 1)
    if qmin < 0:
        whole = torch.maximum(whole, rows.amin(dim=1) / qmin)
    whole = _positive(whole)
    best = whole.clone()
    least = torch.full_like(whole, torch.inf)
    for share in torch.linspace(1.0, 1.0 / 80, 80):
        scale = (whole * share)[:, None]
        error = (torch.clamp((rows / scale).round(), qmin, qmax) * scale - rows).square().mean(dim=1)
        best = torch.where(error < least, scale[:, 0], best)
        least = torch.minimum(error, least)
    return _positive(best)


def _by_channel(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Give one value for each row of `x` the shape that broadcasts against it."""
    return values.view(-1, *[1] * (x.ndim - 1))


def _positive(scale: torch.Tensor) -> torch.Tensor:
    """Replace scales that would divide by zero: a constant zero is stored exactly at any scale."""
    return torch.where(scale < SMALLEST_SCALE, torch.ones_like(scale), scale)


# --- layers -----------------------------------------------------------------------------------------------------------


class FakeQuantizedLinear(nn.Linear):
    """A linear layer that computes with its rounded input, its rounded weight and a bias rounded to the sums' scale.

    Without rounding of the input the bias stays as it is: the sums are then no integers either.

    Args:
        layer: the float layer, whose weight and bias are taken over.
        weight_quantizer: rounds the weight in every forward pass.
        input_quantizer: rounds what comes in; an `nn.Identity` leaves it as it is.
    """

    def __init__(self, layer: nn.Linear, weight_quantizer: Quantizer, input_quantizer: nn.Module):
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight = layer.weight
        self.bias = layer.bias
        self.weight_quantizer = weight_quantizer
        self.input_quantizer = input_quantizer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input_quantizer(x)  # first: its range may move, and the bias is rounded to it
        weight, bias = rounded_parameters(self)
        return F.linear(x, weight, bias)


class FakeQuantizedConv2d(nn.Conv2d):
    """A convolution that computes with its rounded input and its rounded weight; see `FakeQuantizedLinear`."""

    def __init__(self, layer: nn.Conv2d, weight_quantizer: Quantizer, input_quantizer: nn.Module):
        super().__init__(layer.in_channels, layer.out_channels, layer.kernel_size, device="meta", **_placement(layer))
        self.weight = layer.weight
        self.bias = layer.bias
        self.weight_quantizer = weight_quantizer
        self.input_quantizer = input_quantizer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input_quantizer(x)
        weight, bias = rounded_parameters(self)
        return F.conv2d(x, weight, bias, **_placement(self))


FakeQuantizedLayer = FakeQuantizedLinear | FakeQuantizedConv2d


def rounded_parameters(layer: FakeQuantizedLayer) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the layer's weight in steps of its scale, and its bias in steps of S_input S_weight, straight through.

    In the integer layer the bias is one more int32 term of the sum (Jacob et al., 2018, section 2.4). At few bits the
    steps are so far apart that a simulation with the exact bias would answer otherwise than the integers.
    """
    rounded = layer.weight_quantizer(layer.weight)
    input_scale = _input_scale(layer)
    if input_scale is None:
        return rounded, layer.bias
    weight_scale = layer.weight_quantizer.steps(layer.weight)[0].detach().flatten()
    with torch.no_grad():
        unfit = _unfit_channels(layer, input_scale, weight_scale, rounded)
        some_unfit = torch.compiler.is_compiling() or bool(unfit.any())  # a trace must not ask
        if some_unfit:
            integers, weight_scale = _raised(layer, input_scale, weight_scale, unfit)
            raised = integers * _by_channel(weight_scale, integers)
    if some_unfit:
        rounded = torch.where(_by_channel(unfit, rounded), straight_through(layer.weight, raised), rounded)
    if layer.bias is None:
        return rounded, None
    scale = input_scale * weight_scale
    return rounded, straight_through(layer.bias, (layer.bias / scale).round() * scale)


def _input_scale(layer: FakeQuantizedLayer) -> torch.Tensor | None:
    """Return the one scale of the layer's input; None where the input stays float."""
    quantizer = layer.input_quantizer
    if not isinstance(quantizer, Quantizer) or quantizer.bypassed:
        return None
    scale = quantizer.steps(layer.weight)[0].detach()  # an input's scale does not depend on the tensor that asks
    if scale.numel() != 1:
        raise ValueError(f"an input needs one scale, its quantizer has {scale.numel()}; give it no channels")
    return scale.reshape(())


def _unfit_channels(
    layer: FakeQuantizedLayer, input_scale: torch.Tensor, weight_scale: torch.Tensor, rounded: torch.Tensor
) -> torch.Tensor:
    """Tell for each channel whether its scale is unfit for its bias: too small for 32 bits, or of no weight at all.

    A bias beside tiny weights would have more steps than int32 can count. And where all weights are zero any scale
    serves the weights, so that the bias may choose.
    """
    return (weight_scale < _least_scale(layer, input_scale)) | ~rounded.flatten(1).any(dim=1)


def _least_scale(layer: FakeQuantizedLayer, input_scale: torch.Tensor) -> torch.Tensor:
    """Return for each channel the scale of the weight at which the bias has `LARGEST_BIAS` steps."""
    bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach().abs()
    return (bias / LARGEST_BIAS).clamp(min=SMALLEST_SCALE) / input_scale


def _raised(
    layer: FakeQuantizedLayer, input_scale: torch.Tensor, weight_scale: torch.Tensor, unfit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight's integers and scales with those of the unfit channels at their least scale instead."""
    quantizer = layer.weight_quantizer
    integers = quantizer.integers(layer.weight)
    scale = torch.where(unfit, _least_scale(layer, input_scale), weight_scale)
    if quantizer.bits > 1:  # one bit has no zero: the signs stay
        again = (layer.weight / _by_channel(scale, integers)).round().clamp(quantizer.qmin, quantizer.qmax).int()
        integers = torch.where(_by_channel(unfit, integers), again, integers)
    return integers, scale


def _placement(layer: nn.Conv2d) -> dict[str, object]:
    """Return how a convolution walks over the image, in the words of both nn.Conv2d and F.conv2d."""
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}


def _by_position(_: nn.Module, arguments: tuple, named: dict[str, object]) -> tuple[tuple, dict[str, object]]:
    """Move `input=` to the front: a network may call PyTorch's layers by that name, and ours call it otherwise."""
    others = {name: value for name, value in named.items() if name != "input"}
    return ((named["input"], *arguments) if "input" in named else arguments), others


def _fake_quantized(kind: type[nn.Module]) -> Callable[[nn.Module, Quantizer, nn.Module], FakeQuantizedLayer]:
    def make(layer: nn.Module, weight_quantizer: Quantizer, input_quantizer: nn.Module) -> FakeQuantizedLayer:
        made = kind(layer, weight_quantizer, input_quantizer)
        made.register_forward_pre_hook(_by_position, with_kwargs=True)  # before all hooks that look at the input
        return made

    return make


FAKE_QUANTIZED = {nn.Linear: _fake_quantized(FakeQuantizedLinear), nn.Conv2d: _fake_quantized(FakeQuantizedConv2d)}
"""What `prepare` makes of a layer, by its class."""


def prepare(
    model: nn.Module, *, weight: Callable[[int], Quantizer], activation: Callable[[], Quantizer] | None
) -> nn.Module:
    """Return a copy of the network in which every linear layer and convolution is fake-quantized.

    Args:
        model: the trained float network; it is not changed.
        weight: makes a quantizer for a weight with the given number of output channels, such as
            `lambda channels: LearnedScale(4, channels)`.
        activation: makes a quantizer for a layer's input, such as `lambda: LearnedScale(4)`; None leaves inputs float.

    Returns:
        the copy, in evaluation mode, its weights still float. The quantizers of the weights have seen them; those of
        the activations have seen nothing yet: see `calibrate`. Of weights that stay float a warning gives the names.

    >>> prepare(nn.Sequential(nn.Linear(2, 3)), weight=TernaryWeight, activation=None)
    Sequential(
      (0): FakeQuantizedLinear(
        in_features=2, out_features=3, bias=True
        (weight_quantizer): TernaryWeight(bits=2, qmin=-1, qmax=1)
        (input_quantizer): Identity()
      )
    )
    """
    prepared = copy.deepcopy(require_permanent("model", model))
    layers = [(name, layer) for name, layer in prepared.named_modules() if type(layer) in FAKE_QUANTIZED and name]
    if not layers:
        raise ValueError(f"there is no nn.Linear or nn.Conv2d inside this {type(model).__name__} to prepare")
    in_float = [
        f"{name}.{own}"
        for name, module in prepared.named_modules()
        for own in matrices(module)
        if type(module) not in FAKE_QUANTIZED and name
    ]
    if in_float:
        warnings.warn(
            f"only nn.Linear and nn.Conv2d themselves are quantized; these weights stay float: {', '.join(in_float)}",
            stacklevel=2,
        )
    for name, layer in layers:
        if getattr(layer, "padding_mode", "zeros") != "zeros":
            raise ValueError(f"{name} pads with {layer.padding_mode!r}; only padding with zeros can be quantized")
        weight_quantizer = weight(len(layer.weight))
        weight_quantizer.observe(layer.weight)
        input_quantizer = nn.Identity() if activation is None else activation()
        replacement = FAKE_QUANTIZED[type(layer)](layer, weight_quantizer, input_quantizer)
        replace_everywhere(prepared, layer, replacement.to(layer.weight.device))
    return prepared.eval()


def fake_quantized_layers(model: nn.Module) -> dict[str, FakeQuantizedLinear | FakeQuantizedConv2d]:
    """Return the fake-quantized layers of a prepared network by name."""
    found = {
        name: layer
        for name, layer in require_module("model", model).named_modules()
        if isinstance(layer, FakeQuantizedLayer)
    }
    if not found:
        raise ValueError(f"this {type(model).__name__} has no fake-quantized layers; call prepare(model, ...) first")
    return found


def quantizers(model: nn.Module) -> list[Quantizer]:
    """Return all quantizers of a prepared network, those of weights and of activations."""
    fake_quantized_layers(model)
    return [module for module in model.modules() if isinstance(module, Quantizer)]


@torch.no_grad()
def calibrate(model: nn.Module, images: torch.Tensor) -> None:
    """Set the range of every activation from what reaches its layer when the network runs in float.

    With this a prepared network is quantized after training. The images must come from the training split.
    """
    layers = fake_quantized_layers(model)
    require_inputs("images", images)
    inputs: dict[str, list[torch.Tensor]] = {}
    in_float = quantizers(model)
    hooks = [  # a layer may be called more than once
        layer.register_forward_pre_hook(lambda _, given, name=name: inputs.setdefault(name, []).append(given[0]))
        for name, layer in layers.items()
    ]
    for quantizer in in_float:
        quantizer.bypassed = True
    try:
        with evaluating(model):
            model(images.to(next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        for quantizer in in_float:
            quantizer.bypassed = False
    for name, seen in inputs.items():
        if isinstance(layers[name].input_quantizer, Quantizer):
            x = seen[0] if len(seen) == 1 else torch.cat([each.flatten() for each in seen])
            try:
                layers[name].input_quantizer.observe(x)
            except ValueError as error:
                raise ValueError(f"the inputs of {name}: {error}") from None


def freeze(model: nn.Module, *, frozen: bool = True) -> None:
    """Hold every range still, or let it go again: moving averages do not move, learned scales do not learn."""
    for quantizer in quantizers(model):
        quantizer.frozen = frozen
        for parameter in quantizer.parameters():
            parameter.requires_grad_(not frozen)


# --- what is deployed -------------------------------------------------------------------------------------------------


class ConvertedLayer(nn.Module):
    """A layer that stores its weight as packed integers and computes with integers.

    The input is rounded to integers, the products are summed in int32 with a bias of int32, and one multiplication by
    S_input S_weight for each channel makes real numbers of the sums. Without an input quantizer the input stays float
    and so do the sums; the weight is stored in integers all the same.

    Args:
        layer: the trained fake-quantized layer.
    """

    def __init__(self, layer: FakeQuantizedLinear | FakeQuantizedConv2d):
        super().__init__()
        of_weight = layer.weight_quantizer
        of_input = layer.input_quantizer
        self.placement = _placement(layer) if isinstance(layer, nn.Conv2d) else None
        self.bits = of_weight.bits
        self.shape = tuple(layer.weight.shape)
        weight_scale = of_weight.steps(layer.weight)[0].detach().flatten()
        integers = of_weight.integers(layer.weight)
        input_scale = _input_scale(layer)
        if input_scale is not None:
            unfit = _unfit_channels(layer, input_scale, weight_scale, integers)
            integers, weight_scale = _raised(layer, input_scale, weight_scale, unfit)
        integers = integers.cpu()
        self.register_buffer("packed", pack((integers + 1) // 2 if self.bits == 1 else integers, self.bits))
        self.register_buffer("weight_scale", weight_scale.clone())
        self.register_buffer("input_scale", None)
        self.register_buffer("input_zero_point", None)
        bias = torch.zeros_like(weight_scale) if layer.bias is None else layer.bias.detach().clone()
        if isinstance(of_input, Quantizer):
            self.input_qmin, self.input_qmax = of_input.qmin, of_input.qmax
            zero_point = of_input.steps(layer.weight)[1]
            self.input_scale = input_scale.clone()
            self.input_zero_point = torch.as_tensor(zero_point, dtype=torch.int32, device=input_scale.device)
            bias = (bias / (self.input_scale * weight_scale)).round().int()
        self.register_buffer("bias", bias)

    def weight_integers(self) -> torch.Tensor:
        """Return the weight as int32, of the shape of the layer's weight."""
        unpacked = unpack(self.packed.cpu(), self.bits, self.shape, signed=self.bits > 1).to(self.packed.device).int()
        return 2 * unpacked - 1 if self.bits == 1 else unpacked  # one bit: 0 and 1 stand for -1 and +1

    def input_integers(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input as int32, its zero point taken off: x is about S_input times that."""
        low = self.input_qmin - self.input_zero_point
        high = self.input_qmax - self.input_zero_point
        return torch.clamp((x / self.input_scale).round(), low, high).int()

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # as PyTorch's layers name it: it may be called by name
        if self.input_scale is None:
            sums = self._sums(input, self.weight_integers().to(input.dtype))
            return sums * self._by_channel(self.weight_scale) + self._by_channel(self.bias)
        sums = self._sums(self.input_integers(input), self.weight_integers()) + self._by_channel(self.bias)
        return sums * self._by_channel(self.input_scale * self.weight_scale)

    def _sums(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weight) if self.placement is None else F.conv2d(x, weight, **self.placement)

    def _by_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values if self.placement is None else values[:, None, None]

    def extra_repr(self) -> str:
        return f"shape={self.shape}, bits={self.bits}"


@torch.no_grad()
def convert(model: nn.Module) -> nn.Module:
    """Return a copy of a prepared network in which every fake-quantized layer is a `ConvertedLayer`.

    >>> small = prepare(nn.Sequential(nn.Linear(2, 3)), weight=BinaryWeight, activation=None)
    >>> convert(small)[0].weight_integers().abs().tolist()
    [[1, 1], [1, 1], [1, 1]]
    """
    converted = copy.deepcopy(model)
    for layer in fake_quantized_layers(converted).values():
        replace_everywhere(converted, layer, ConvertedLayer(layer))
    return converted.eval()


class _QdqLayer(nn.Module):
    """A converted layer as a file describes it: integers, their scales, where to round. PyTorch cannot run it.

    The input's integers are unsigned: signed ones are moved up by -qmin, and their zero point with them.
    """

    runs_in_onnx_only = True

    def __init__(self, layer: ConvertedLayer):
        super().__init__()
        self.layer = layer
        channels = len(layer.weight_scale)
        steps = layer.input_qmax - layer.input_qmin
        self.largest = None
        if steps < 255:  # QuantizeLinear itself stops at 255 only
            self.largest = float(layer.input_scale * (layer.input_qmax - layer.input_zero_point))
        weight = layer.weight_integers()
        # ONNX Runtime sums up in 32 bits at once, but more slowly, where the weight is unsigned too
        moved = 128 if _may_saturate(weight, steps) else 0
        dtype = torch.uint8 if moved else torch.int8
        self.register_buffer("weight", (weight + moved).to(dtype))
        self.register_buffer("weight_zero_point", torch.full((channels,), moved, dtype=dtype))
        self.register_buffer("input_zero_point", (layer.input_zero_point - layer.input_qmin).to(torch.uint8))
        self.register_buffer("bias_scale", layer.input_scale * layer.weight_scale)
        self.register_buffer("bias_zero_point", torch.zeros(channels, dtype=torch.int32))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        x = input if self.largest is None else torch.clamp(input, max=self.largest)
        q = _onnx("QuantizeLinear", x, layer.input_scale, self.input_zero_point, dtype=torch.uint8)
        x = _onnx("DequantizeLinear", q, layer.input_scale, self.input_zero_point)
        weight = _onnx("DequantizeLinear", self.weight, layer.weight_scale, self.weight_zero_point, axis=0)
        bias = _onnx("DequantizeLinear", layer.bias, self.bias_scale, self.bias_zero_point, axis=0)
        if layer.placement is None:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, **layer.placement)


def _may_saturate(weight: torch.Tensor, largest_input: int) -> bool:
    """Tell whether two products of one output, of a weight and an input up to `largest_input`, may exceed 16 bits."""
    rows = weight.flatten(1)
    pair = min(2, rows.shape[1])
    highest = rows.topk(pair, dim=1).values.clamp(min=0).sum(dim=1)
    lowest = (-rows).topk(pair, dim=1).values.clamp(min=0).sum(dim=1)
    return bool((torch.maximum(highest, lowest) * largest_input > LARGEST_PAIR).any())


def _onnx(operator: str, *inputs: torch.Tensor, dtype: torch.dtype = torch.float32, **attributes: int) -> torch.Tensor:
    """Insert an ONNX operator that PyTorch does not have; its output has the shape of its first input."""
    return torch.onnx.ops.symbolic(operator, inputs, attrs=attributes, dtype=dtype, shape=inputs[0].shape, version=19)


def export_quantized(model: nn.Module, example: torch.Tensor, path: str | Path) -> Path:
    """Write a converted network to an ONNX file with int8 weights, int32 biases and QuantizeLinear pairs (QDQ).

    Each weight takes a whole byte in this file, whatever its bits. The file answers as the network does on every
    processor. Kernels without VNNI add two products in 16 bits, which weights of 8 bits and inputs of 8 can exceed: a
    layer with such weights is written with unsigned ones, -128 moved to 0, for which ONNX Runtime has slower kernels
    that do not. With 7 bits, `WeightRange(7, channels)`, no layer needs that.

    Args:
        model: what `convert` returned, with quantized inputs in every layer.
        example, path: see `export_onnx`.
    """
    described = copy.deepcopy(require_module("model", model))
    layers = {name: layer for name, layer in described.named_modules() if isinstance(layer, ConvertedLayer)}
    if not layers:
        raise ValueError(f"this {type(model).__name__} has no converted layers; call convert(model) first")
    for name, layer in layers.items():
        if layer.input_scale is None:
            raise ValueError(f"{name} takes float inputs; give prepare an activation quantizer")
        replace_everywhere(described, layer, _QdqLayer(layer))
    return export_onnx(described, example, path)


# --- the library's way ------------------------------------------------------------------------------------------------


def prepare_with_torchao(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return the network as a graph with torchao's fake-quantize operators inserted for x86 processors.

    It can be trained with `training.fit`; weights and activations take 8 bits and their ranges follow moving averages.

    Args:
        model: a float network.
        example: one input or more, of shape (N, ...); only its shape behind N matters.
    """
    with quiet():
        from torchao.quantization.pt2e import allow_exported_model_train_eval
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
        return allow_exported_model_train_eval(prepare_qat_pt2e(exported_graph(model, example), quantizer))


def convert_with_torchao(prepared: nn.Module) -> nn.Module:
    """Return what torchao deploys of a trained graph: quantize and dequantize operators around int8 weights.

    The trained graph is used up: it cannot be trained on afterwards.
    """
    with quiet():
        from torchao.quantization.pt2e import allow_exported_model_train_eval
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        prepared.eval()
        return allow_exported_model_train_eval(convert_pt2e(prepared))
