"""Removal of units and channels: new, narrower layers and networks with only the outputs and inputs that stay.

Indices say what stays, and every layer that reads a removed output loses an input, so a network shrinks in several
layers in step. `silence_outputs` makes the full-size network that the narrow one must equal. For a whole network of any
form `channel_groups` finds what belongs together, `narrow_network` removes it, `silence_network` makes the control.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from utils.input_validation import require_fraction, require_int, require_parameter, require_permanent
from utils.models import LeNet5, LeNet300100, evaluating
from utils.pruning import group_scores, mask_by_score

if TYPE_CHECKING:
    import torch_pruning


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


@torch.no_grad()
def fewer_inputs(layer: nn.Linear, inputs: torch.Tensor, count: int) -> tuple[torch.Tensor, nn.Linear]:
    """Choose inputs of a layer by data, and fit the layer to them, so that its outputs change little: no labels.

    Of the inputs' covariance C let R be what the chosen leave unexplained, at first all of it. One more input j takes
    ``|W R_j|^2 / R_jj`` off the outputs' squared error; the one that takes most is next, and ``R - R_j R_j^T / R_jj``
    is left. Of the chosen S the best weight is ``V = W C[:, S] C[S, S]^-1``, and the bias takes over the means.

    Args:
        layer: it is not changed.
        inputs: of that layer, one example a row, from calibration or training data.
        count: from 1 to the number of inputs.

    Returns:
        the indices that stay, ascending, and the layer that reads only them.

    Source: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, choose by a lasso and
    fit by least squares; the greedy choice is orthogonal matching pursuit with several outputs.

    >>> layer, x = nn.Linear(3, 1), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [2.0, 2.0, 1.0]])
    >>> kept, smaller = fewer_inputs(layer, x, 2)  # the second input says what the first does
    >>> kept, torch.allclose(smaller(x[:, kept]), layer(x), atol=1e-5)
    (tensor([0, 2]), True)
    """
    if require_int("count", count, minimum=1) > layer.in_features:
        raise ValueError(f"count must be at most {layer.in_features}, the inputs of the layer, got {count}")
    weight, mean = layer.weight.double(), inputs.double().mean(dim=0)
    covariance = torch.cov(inputs.double().T)
    tiny = 1e-9 * covariance.diagonal().max()
    rest, chosen = covariance.clone(), torch.zeros(len(covariance), dtype=torch.bool)
    for _ in range(count):
        unexplained = rest.diagonal().clamp(min=tiny)
        gained = (weight @ rest).square().sum(dim=0) / unexplained
        best = gained.masked_fill(chosen, -1.0).argmax()
        chosen[best] = True
        rest = rest - torch.outer(rest[:, best], rest[best]) / unexplained[best]
    kept = chosen.nonzero().flatten()
    among = covariance[kept][:, kept] + tiny * torch.eye(count, dtype=torch.float64)
    fitted = torch.linalg.solve(among, covariance[kept] @ weight.T).T  # (outputs, count)
    smaller = narrow_linear(layer, inputs=kept)
    smaller.weight.copy_(fitted)
    if layer.bias is not None:
        smaller.bias.add_((weight @ mean - fitted @ mean[kept]).to(layer.bias))
    return kept, smaller


def remove_channels(dense: nn.Module, kept: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the narrow network with only the channels that `kept_channels` names."""
    shrink = shrink_lenet5 if isinstance(dense, LeNet5) else shrink_lenet300100
    return shrink(dense, *kept.values())


# --- whole networks of any form ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together from all the layers that they pass: of a sum, both sides.

    Args:
        layers: names of the convolutions and linear layers whose outputs they are, in the network's order; the first
            names the group.
        norms: names of batch norms and depthwise convolutions on their way.
        readers: names of the layers that lose inputs with them.
        channels: how many there are.
        partly: names of layers that make only some of the channels, or others beside them, as where a sum follows a
            concatenation. They lose outputs, too, but are not scored: their outputs have other numbers.
    """

    layers: tuple[str, ...]
    norms: tuple[str, ...]
    readers: tuple[str, ...]
    channels: int
    partly: tuple[str, ...] = ()


def channel_groups(model: nn.Module, example: torch.Tensor) -> dict[str, ChannelGroup]:
    """Return the groups of channels that a network can lose, by the name of the first layer that makes them.

    They are read off the dependency graph of `torch_pruning` (Fang et al., 2023), which runs the network once. Left out
    are the network's answers, and channels that pass what mixes or shares them: a layer norm, attention, recurrent
    weights, a convolution in groups that is not depthwise, a parameter outside of a layer, a weight that two layers
    share. What the graph does not
    show, such as a width that is written in the forward pass, `narrow_network` meets and refuses.

    Args:
        model: it is not changed.
        example: an input or more, of shape (N, ...).

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> channel_groups(net, torch.zeros(1, 1, 4, 4))
    {'0': ChannelGroup(layers=('0',), norms=('1',), readers=('4',), channels=4, partly=())}
    """
    return {name: group for name, group, reason in _all_groups(_dependency_graph(model, example)) if not reason}


RECURRENT = (
    "{kind} reads its own outputs at each step, through the rows of all its gates, and this tool does not cut those"
)
"""Why a recurrent layer keeps its width."""


def left_out(model: nn.Module, example: torch.Tensor) -> dict[str, str]:
    """Return why each group that `channel_groups` leaves out cannot be removed, by the name of its first layer.

    Recurrent layers stand there, too, whatever lies before and behind them.

    >>> grouped = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(4, 2))
    >>> left_out(grouped, torch.zeros(1, 1, 1, 1))["3"]
    "they are the network's answers"
    """
    reasons = {name: reason for name, _, reason in _all_groups(_dependency_graph(model, example)) if reason}
    recurrent = {name: module for name, module in model.named_modules() if isinstance(module, nn.RNNBase)}
    return reasons | {name: RECURRENT.format(kind=type(module).__name__) for name, module in recurrent.items()}


def channels_by_score(
    model: nn.Module,
    groups: Mapping[str, ChannelGroup],
    pruning_ratio: float,
    score: Callable[[torch.Tensor], torch.Tensor] = group_scores,
) -> dict[str, torch.Tensor]:
    """Choose in each group the channels that stay: those with the highest mean score of the filters that make them.

    Args:
        groups: from `channel_groups`, all or some.
        pruning_ratio: the fraction of each group's channels to remove, below 1; at least one channel stays.
        score: takes a weight of shape (outputs, ...) and returns a score for each output; by default the L1 norm.
            `lambda weight: torch.rand(len(weight))` is the control.

    >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[9.0, 9], [1, 1], [0, 0], [5, 5]]))
    >>> channels_by_score(net, channel_groups(net, torch.zeros(1, 2)), 0.5)
    {'0': tensor([0, 3])}
    """
    require_fraction("pruning_ratio", pruning_ratio)
    kept = {}
    for name, group in groups.items():
        scores = []
        for layer in group.layers:
            found = score(model.get_submodule(layer).weight.detach())
            scores.append(found / found.mean().clamp(min=torch.finfo(found.dtype).tiny))  # layers count alike
        count = max(1, group.channels - round(pruning_ratio * group.channels))
        kept[name] = keep_best(torch.stack(scores).mean(dim=0), count)
    return kept


def narrow_network(model: nn.Module, example: torch.Tensor, kept: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return a narrower copy of a network of any form, with only the given channels of the groups that are named.

    It answers as `silence_network` does with the same arguments, and this is tried on `example` before it is returned.

    Args:
        model: it is not changed; each module of the copy is in the mode of the one it was.
        example: an input or more, of shape (N, ...).
        kept: indices of the channels that stay, by name of a group of `channel_groups`.

    Raises:
        ValueError: there is no such group, its channels cannot be removed, or the narrow network answers otherwise.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> narrow_network(net, torch.zeros(1, 1, 4, 4), {"0": torch.tensor([0, 2])})[4]
    Linear(in_features=8, out_features=2, bias=True)
    """
    graph = _dependency_graph(model, example)
    small = graph.model
    for layer, gone in _removed(graph, kept).items():  # names stay when layers shrink
        _group_of(graph, layer, gone).prune()
    for name, parameter in model.named_parameters():
        small.get_parameter(name).requires_grad_(parameter.requires_grad)
    masked = silence_network(model, example, kept)
    with evaluating(small, masked), torch.no_grad():
        wanted = masked(example)
        try:
            received = small(example)
        except Exception as error:  # it is the network's own code that runs
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{_cannot(model)}: does its forward pass have a width in its code, as in a reshape? {reason}"
            ) from error
    tolerance = 1e-4 * max(1.0, wanted.abs().max().item())
    if received.shape != wanted.shape or (received - wanted).abs().max() > tolerance:
        raise ValueError(f"{_cannot(model)}: without these channels it answers otherwise than with them at zero")
    for name, module in model.named_modules():
        small.get_submodule(name).training = module.training
    return small


@torch.no_grad()
def silence_network(model: nn.Module, example: torch.Tensor, kept: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return a copy of full size in which the channels that are not kept are zero, and nothing reads them.

    Their filters, biases, scales and shifts are zero, and so are the weights that multiply them: behind an activation
    that makes something of zero, as a sigmoid does, the filters alone would not do.

    Args:
        model, example, kept: see `narrow_network`.

    >>> net = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 2))
    >>> masked = silence_network(net, torch.zeros(1, 2), {"0": torch.tensor([0, 2])})
    >>> masked[0].bias.count_nonzero(), masked[2].weight.count_nonzero()
    (tensor(2), tensor(4))
    """
    graph = _dependency_graph(model, example)
    masked = copy.deepcopy(model)
    names = {module: name for name, module in graph.model.named_modules()}
    for layer, gone in _removed(graph, kept).items():
        for dependency, where in _group_of(graph, layer, gone):
            if dependency.target.module not in names:
                continue  # an operation between the layers
            target = masked.get_submodule(names[dependency.target.module])
            if _reads(dependency):
                target.weight[:, where] = 0.0
            elif getattr(target, "weight", None) is not None:
                target.weight[where] = 0.0
                if target.bias is not None:
                    target.bias[where] = 0.0
    return masked


def _dependency_graph(model: nn.Module, example: torch.Tensor) -> "torch_pruning.DependencyGraph":
    """Return torch_pruning's graph of a copy of the network."""
    import torch_pruning

    if not isinstance(example, torch.Tensor):
        raise TypeError(f"example must be a torch.Tensor, got {type(example).__name__}")
    copied = copy.deepcopy(require_permanent("model", model)).eval()
    copied.requires_grad_()  # the graph is that of the gradient's operations
    with torch.enable_grad():
        copied(example)  # an error of the network's own is raised as it is
        try:  # a tuple: a tensor would be tried unpacked, image by image, first
            return torch_pruning.DependencyGraph().build_dependency(copied, (example,), verbose=False)
        except Exception as error:  # the library's, of any kind, where it meets what it was not written for
            raise ValueError(f"torch_pruning cannot read the graph of this {type(model).__name__}") from error


def _group_of(
    graph: "torch_pruning.DependencyGraph", name: str, gone: Sequence[int]
) -> "torch_pruning.dependency.Group":
    layer = graph.model.get_submodule(name)
    return graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, list(gone))


def _all_groups(graph: "torch_pruning.DependencyGraph") -> Iterator[tuple[str, ChannelGroup, str]]:
    """Yield each group with the name of its first layer and, if it cannot be removed, why."""
    names = {module: name for name, module in graph.model.named_modules()}
    tied = _tied(graph.model)
    seen: set[str] = set()
    for name, layer in graph.model.named_modules():
        if not _makes_channels(layer) or name in seen or layer not in graph.module2node:
            continue
        layers, norms, readers = {name: {}}, {}, {}  # as ordered sets
        channels = len(layer.weight)
        reason, read, fits = "", set(), True
        for item in _group_of(graph, name, range(channels)):
            target = item.dep.target.module
            reason = reason or _why_not(item.dep)
            if target in names:
                reason = reason or tied.get(names[target], "")
                which = readers if _reads(item.dep) else layers if _makes_channels(target) else norms
                pairs = which.setdefault(names[target], {})
                pairs |= dict.fromkeys(zip(item.idxs, item.root_idxs, strict=True))
                read |= set(item.root_idxs) if which is readers else set()
                if which is not norms and max(item.idxs, default=-1) >= target.weight.shape[int(which is readers)]:
                    fits = False
        seen |= layers.keys()
        fits &= all(channel is not None for pairs in layers.values() for _, channel in pairs)
        if not reason and not (fits and read >= set(range(channels))):
            inputs = [f"{each!r} reads {graph.model.get_submodule(each).weight.shape[1]}" for each in readers]
            reason = (
                f"{name!r} makes {channels}, and {' and '.join(inputs) or 'no layer reads them'}; "
                "does a reshape, split or slice take them apart on the way, as in attention?"
            )
        whole = {each for each, pairs in layers.items() if _one_to_one(graph, each, pairs, channels)}
        in_order = tuple(each for each in names.values() if each in whole)
        partly = tuple(each for each in names.values() if each in layers and each not in whole)
        first = next(each for each in names.values() if each in layers) if not partly else name
        yield first, ChannelGroup(in_order, tuple(norms), tuple(readers), channels, partly), reason


def _tied(model: nn.Module) -> dict[str, str]:
    """Return, for each layer whose weight is another's, too, why it keeps its shape: the other would change with it."""
    owners: dict[nn.Parameter, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(weight := getattr(module, "weight", None), nn.Parameter):
            owners.setdefault(weight, []).append(name)
    return {
        name: f"{name!r} and {next(each for each in names if each != name)!r} are tied: they share one weight"
        for names in owners.values()
        if len(names) > 1
        for name in names
    }


def _one_to_one(
    graph: "torch_pruning.DependencyGraph", layer: str, pairs: Iterable[tuple[int, int]], channels: int
) -> bool:
    """Tell whether a layer's outputs are a group's channels, one for one and by the same numbers."""
    return len(graph.model.get_submodule(layer).weight) == channels and set(pairs) == {(i, i) for i in range(channels)}


def _removed(graph: "torch_pruning.DependencyGraph", kept: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """Check what is to be kept and return what goes, by name of a group."""
    groups = {name: (group, reason) for name, group, reason in _all_groups(graph)}
    first = {layer: name for name, (group, _) in groups.items() for layer in (*group.partly, *group.layers)}
    gone = {}
    for name, indices in kept.items():
        if name not in groups:
            remedy = f"; its channels are those of {first[name]!r}" if name in first else ", see channel_groups"
            raise ValueError(f"kept: {name!r} names no group of channels{remedy}")
        group, reason = groups[name]
        if reason:
            raise ValueError(f"kept: the channels of {name!r} cannot be removed: {reason}")
        _require_indices(f"kept[{name!r}]", indices, below=group.channels)
        if left := sorted(set(range(group.channels)) - set(indices.tolist())):
            gone[name] = left
    return gone


def _makes_channels(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    return isinstance(layer, _CONVOLUTIONS) and not layer.transposed and not _is_depthwise(layer)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, _CONVOLUTIONS) and layer.groups == layer.in_channels == layer.out_channels > 1


def _reads(dependency: "torch_pruning.Dependency") -> bool:
    return _makes_channels(dependency.target.module) and dependency.handler.__name__ == "prune_in_channels"


def _why_not(dependency: "torch_pruning.Dependency") -> str:
    """Say why a dependency forbids to remove channels; an empty string if it does not."""
    node = dependency.target
    module = node.module
    if not node.outputs and not _reads(dependency):
        return "they are the network's answers"
    if isinstance(module, nn.Parameter):
        return "a parameter outside of a layer has a value for each"
    if isinstance(module, _CONVOLUTIONS) and module.groups > 1 and not _is_depthwise(module):
        return f"{module} computes in groups"
    known = _makes_channels(module) or _is_depthwise(module) or isinstance(module, _NORMS)
    if known or type(module).__module__.startswith("torch_pruning"):
        return ""
    return f"{module} is on their way"


def _cannot(model: nn.Module) -> str:
    return f"this {type(model).__name__} cannot be narrowed so"


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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
