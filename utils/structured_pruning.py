"""Removal of units and channels: new, narrower layers and networks with only the outputs and inputs that stay.

Indices say what stays, and every layer that reads a removed output loses an input, so a network shrinks in several
layers in step. `silence_outputs` makes the full-size network that the narrow one must equal.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from utils.input_validation import require_int, require_parameter, require_permanent
from utils.models import LeNet5, LeNet300100, evaluating
from utils.pruning import group_scores, mask_by_score


def keep_best(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices of the `count` highest scores in ascending order; of equal ones the later stay.

    The same channels as `pruning.mask_by_score` keeps.

    Args:
        scores: shape (channels,).
        count: from 1 to channels; a layer without channels computes nothing.

    >>> keep_best(torch.tensor([0.1, 0.9, 0.3, 0.8]), 2)
    tensor([1, 3])
    """
    if scores.dim() != 1:
        raise ValueError(f"scores must have the shape (channels,), got {tuple(scores.shape)}; see group_scores")
    if require_int("count", count, minimum=1) > len(scores):
        raise ValueError(f"count must be at most {len(scores)}, the number of channels, got {count}")
    return mask_by_score(scores, (len(scores) - count) / len(scores)).nonzero().flatten()


def flatten_indices(kept: torch.Tensor, positions: int) -> torch.Tensor:
    """Return where the kept channels lie after `flatten(1)`: channel c becomes c positions, ..., (c + 1) positions - 1.

    Args:
        kept: indices of channels, shape (kept,).
        positions: height times width of the image that is flattened, at least 1.

    Returns:
        shape (kept positions,), the inputs to keep of the linear layer that follows.

    >>> flatten_indices(torch.tensor([0, 2]), 3)
    tensor([0, 1, 2, 6, 7, 8])
    """
    places = torch.arange(positions, device=kept.device)
    return (kept[:, None] * positions + places).flatten()  # (kept, positions) -> (kept positions,)


def narrow_linear(
    layer: nn.Linear, *, outputs: torch.Tensor | None = None, inputs: torch.Tensor | None = None
) -> nn.Linear:
    """Return a new linear layer with only the given outputs and inputs, in the given order: W[outputs][:, inputs].

    Args:
        layer: it is not changed.
        outputs, inputs: indices to keep, without repetition; None for all. A permutation reorders.

    >>> narrow_linear(nn.Linear(4, 3), outputs=torch.tensor([0, 2]), inputs=torch.tensor([1]))
    Linear(in_features=1, out_features=2, bias=True)
    """
    small = _narrowed(layer, outputs, inputs)
    small.out_features, small.in_features = small.weight.shape
    return small


def narrow_conv(
    layer: nn.Module, *, outputs: torch.Tensor | None = None, inputs: torch.Tensor | None = None
) -> nn.Module:
    """Return a new convolution with only the given output and input channels, in the given order.

    In a depthwise convolution (groups = inputs = outputs) each channel has its own filter: give `inputs` or `outputs`,
    or the same indices for both.

    Args:
        layer: an `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d`; it is not changed.
        outputs, inputs: indices to keep, without repetition; None for all.

    >>> narrow_conv(nn.Conv2d(4, 6, 3), outputs=torch.tensor([0, 2]))
    Conv2d(4, 2, kernel_size=(3, 3), stride=(1, 1))
    >>> narrow_conv(nn.Conv2d(4, 4, 3, groups=4), inputs=torch.tensor([1, 3]))
    Conv2d(2, 2, kernel_size=(3, 3), stride=(1, 1), groups=2)
    """
    _refuse_transposed(layer)
    if layer.groups == 1:
        small = _narrowed(layer, outputs, inputs)
        small.out_channels, small.in_channels = small.weight.shape[:2]
        return small
    if not layer.groups == layer.in_channels == layer.out_channels:
        raise ValueError(
            f"layer must have groups=1 or be depthwise (groups = inputs = outputs), got groups={layer.groups} with "
            f"{layer.in_channels} inputs and {layer.out_channels} outputs; torch_pruning's dependency graph can do it"
        )
    if inputs is not None and outputs is not None and not torch.equal(inputs, outputs):
        raise ValueError("inputs and outputs of a depthwise convolution must be the same indices; give one of them")
    small = _narrowed(layer, outputs if outputs is not None else inputs, None)
    small.out_channels = small.in_channels = small.groups = len(small.weight)
    return small


def narrow_batch_norm(layer: nn.Module, kept: torch.Tensor) -> nn.Module:
    """Return a new batch norm with only the given channels: scale, shift, running mean and variance.

    Args:
        layer: an `nn.BatchNorm1d`, `nn.BatchNorm2d` or `nn.BatchNorm3d`; it is not changed.
        kept: indices of channels, without repetition.

    >>> small = narrow_batch_norm(nn.BatchNorm2d(8), torch.tensor([0, 5]))
    >>> small.num_features, small.running_mean.shape
    (2, torch.Size([2]))
    """
    _require_indices("kept", kept, below=layer.num_features)
    small = copy.deepcopy(layer)
    for name, value in (*layer.named_parameters(), *layer.named_buffers()):
        if value.dim() == 1:  # all but the count of batches
            new = value.detach()[kept.to(value.device)].clone()
            setattr(small, name, nn.Parameter(new, value.requires_grad) if isinstance(value, nn.Parameter) else new)
    small.num_features = len(kept)
    return small


@torch.no_grad()
def silence_outputs(layer: nn.Module, kept: torch.Tensor) -> None:
    """Set every output that is not kept to zero, in place: its row or filter and bias; of a batch norm scale and shift.

    The network then computes what it computes once these channels are removed. A zeroed filter alone would not do: its
    bias would still reach the next layer, and the batch norm behind it would make a constant of the zero.

    Args:
        layer: linear, convolution or batch norm.
        kept: indices of the outputs that stay.

    >>> layer = nn.Linear(2, 3)
    >>> silence_outputs(layer, torch.tensor([1]))
    >>> layer(torch.ones(2)).nonzero().flatten()
    tensor([1])
    """
    if layer.weight is None:
        raise ValueError("layer is a batch norm with affine=False: it has no scale to set to zero")
    _refuse_transposed(layer)
    weight = require_parameter("layer.weight", layer.weight)
    _require_indices("kept", kept, below=len(weight))
    gone = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    gone[kept.to(weight.device)] = False
    weight[gone] = 0.0
    if layer.bias is not None:
        layer.bias[gone] = 0.0


def shrink_lenet300100(model: LeNet300100, keep1: torch.Tensor, keep2: torch.Tensor) -> LeNet300100:
    """Return a narrower network with only the given hidden units of both layers.

    It equals `model` with the other units silenced (`silence_outputs`).

    Args:
        model: it is not changed.
        keep1, keep2: indices of the units to keep in `fc1` and `fc2`.

    >>> small = shrink_lenet300100(LeNet300100(), torch.arange(30), torch.arange(20))
    >>> small(torch.zeros(2, 1, 28, 28)).shape, small.fc2
    (torch.Size([2, 10]), Linear(in_features=30, out_features=20, bias=True))
    """
    small = copy.deepcopy(require_permanent("model", model))
    small.fc1 = narrow_linear(model.fc1, outputs=keep1)
    small.fc2 = narrow_linear(model.fc2, outputs=keep2, inputs=keep1)
    small.fc3 = narrow_linear(model.fc3, inputs=keep2)
    return small


def shrink_lenet5(model: LeNet5, keep1: torch.Tensor, keep2: torch.Tensor, keep_hidden: torch.Tensor) -> LeNet5:
    """Return a narrower network with only the given channels of both convolutions and the given hidden units.

    It equals `model` with the other channels and units silenced (`silence_outputs`).

    Args:
        model: it is not changed.
        keep1, keep2, keep_hidden: indices to keep of the outputs of `conv1`, `conv2` and `fc1`.

    >>> small = shrink_lenet5(LeNet5(), torch.arange(5), torch.arange(10), torch.arange(32))
    >>> small(torch.zeros(2, 1, 28, 28)).shape, small.fc1
    (torch.Size([2, 10]), Linear(in_features=160, out_features=32, bias=True))
    """
    small = copy.deepcopy(require_permanent("model", model))
    small.conv1 = narrow_conv(model.conv1, outputs=keep1)
    small.conv2 = narrow_conv(model.conv2, outputs=keep2, inputs=keep1)
    small.fc1 = narrow_linear(model.fc1, outputs=keep_hidden, inputs=flatten_indices(keep2, 16))  # 4 x 4 places
    small.fc2 = narrow_linear(model.fc2, inputs=keep_hidden)
    return small


def kept_channels(dense: nn.Module, arguments: Mapping[str, object], *, n: float = 1) -> dict[str, torch.Tensor]:
    """Return the outputs that stay in each layer but the last: those with the largest L_n norms, in their order.

    Args:
        dense: a LeNet5 or LeNet300100.
        arguments: widths of the narrow network, as its constructor takes them.
        n: of the norm; see `pruning.group_scores`.

    Returns:
        indices by name of the layer, in the order of the layers.

    >>> {name: len(kept) for name, kept in kept_channels(LeNet300100(), {"hidden": (64, 32)}).items()}
    {'fc1': 64, 'fc2': 32}
    """
    if isinstance(dense, LeNet5):
        widths = dict(zip(("conv1", "conv2", "fc1"), (*arguments["channels"], arguments["hidden"]), strict=True))
    elif isinstance(dense, LeNet300100):
        widths = dict(zip(("fc1", "fc2"), arguments["hidden"], strict=True))
    else:
        raise TypeError(f"dense must be a LeNet5 or a LeNet300100, got {type(dense).__name__}")
    return {
        name: keep_best(group_scores(dense.get_submodule(name).weight, n=n), width) for name, width in widths.items()
    }


def taylor_scores(
    model: nn.Module, layers: Sequence[str], images: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the first-order score of each layer's outputs: (sum of gradient times weight)^2 over filter and bias.

    Silencing an output changes the cross-entropy of these images by about minus that sum. Molchanov et al. (2019)
    average this square over mini-batches; here all images are one.

    Args:
        model: it and its gradients are not changed; it computes in evaluation mode.
        layers: names of linear layers and convolutions.
        images, labels: from the training split.

    >>> scores = taylor_scores(LeNet5(), ["conv1"], torch.ones(2, 1, 28, 28), torch.tensor([0, 1]))
    >>> scores["conv1"].shape
    torch.Size([20])
    """
    with evaluating(model):  # in training mode the images would move the statistics of a batch norm
        loss = nn.functional.cross_entropy(model(images), labels)
    scores = {}
    for name in layers:
        total = torch.tensor(0.0)
        parameters = list(model.get_submodule(name).parameters())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True
        ):
            total = total + (parameter.detach() * gradient).reshape(len(parameter), -1).sum(dim=1)  # (outputs,)
        scores[name] = total**2
    return scores


def remove_channels(dense: nn.Module, kept: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the narrow network with only the channels that `kept_channels` names."""
    shrink = shrink_lenet5 if isinstance(dense, LeNet5) else shrink_lenet300100
    return shrink(dense, *kept.values())


# --- helpers ---------------------------------------------------------------------------------------------------------


def _narrowed(layer: nn.Module, outputs: torch.Tensor | None, inputs: torch.Tensor | None) -> nn.Module:
    """Return a copy of a layer with only some rows and columns of weight and bias; its sizes are still to set."""
    weight = require_parameter("layer.weight", layer.weight)
    small = copy.deepcopy(layer)  # not a new layer: that would draw random numbers and forget dtype, mode and stride
    new_weight = weight.detach()
    new_bias = None if layer.bias is None else layer.bias.detach()
    if outputs is not None:
        _require_indices("outputs", outputs, below=weight.shape[0])
        rows = outputs.to(weight.device)
        new_weight = new_weight[rows]
        new_bias = None if new_bias is None else new_bias[rows]
    if inputs is not None:
        _require_indices("inputs", inputs, below=weight.shape[1])
        new_weight = new_weight[:, inputs.to(weight.device)]
    small.weight = nn.Parameter(new_weight.clone(memory_format=torch.contiguous_format), weight.requires_grad)
    if new_bias is not None:
        small.bias = nn.Parameter(new_bias.clone(), layer.bias.requires_grad)
    return small


def _refuse_transposed(layer: nn.Module) -> None:
    if getattr(layer, "transposed", False):  # it would silently lose the wrong channels
        raise TypeError(
            f"layer is a {type(layer).__name__}, whose weight has inputs before outputs: that is not done here"
        )


def _require_indices(name: str, indices: torch.Tensor, *, below: int) -> None:
    dtype = getattr(indices, "dtype", type(indices).__name__)
    if dtype != torch.int64:
        raise TypeError(
            f"{name} must be an int64 tensor of indices, got {dtype}; from a mask: mask.nonzero().flatten()"
        )
    if indices.dim() != 1 or indices.numel() == 0:
        raise ValueError(f"{name} must have the shape (kept,) with at least one index, got {tuple(indices.shape)}")
    if indices.min() < 0 or indices.max() >= below:
        raise ValueError(f"{name} must be from 0 to {below - 1}, got {indices.min()} to {indices.max()}")
