"""The course's networks and their checkpoints.

Every network takes images of shape (N, 1, 28, 28) with values in [0, 1] and returns logits of shape (N, 10). Widths are
arguments, so that a narrower network of the same form can stand beside a pruned one.
"""

import contextlib
import copy
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn
from torch.nn import functional as F

from utils.checkpoint_files import (
    CHECKPOINTS,
    CheckpointError,
    checkpoint_card,
    damaged,
    read_checkpoint,
    write_checkpoint,
)
from utils.input_validation import require_int, require_int_pair, require_module, require_permanent


class LiteNetMLP(nn.Module):
    """784 - 256 - 10: 203,530 parameters, 203,264 multiply-accumulates."""

    def __init__(self, hidden: int = 256):
        super().__init__()
        self.fc1 = nn.Linear(784, require_int("hidden", hidden, minimum=1))
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.fc1(x.flatten(1)))  # (N, 256)
        return self.fc2(x)  # (N, 10)


class LiteNetCNN(nn.Module):
    """5x5 convolutions of 10 and 20 channels, then 320 - 50 - 10: 21,840 parameters, 480,500 multiply-accumulates."""

    def __init__(self, channels: tuple[int, int] = (10, 20), hidden: int = 50):
        super().__init__()
        first, second = require_int_pair("channels", channels)
        self.conv1 = nn.Conv2d(1, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.fc1 = nn.Linear(second * 16, require_int("hidden", hidden, minimum=1))
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))  # (N, 10, 12, 12)
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # (N, 20, 4, 4)
        x = F.relu(self.fc1(x.flatten(1)))  # (N, 50)
        return self.fc2(x)


class LeNet300100(nn.Module):
    """784 - 300 - 100 - 10: 266,610 parameters (LeCun et al., "Gradient-based learning", 1998, section III)."""

    def __init__(self, hidden: tuple[int, int] = (300, 100)):
        super().__init__()
        first, second = require_int_pair("hidden", hidden)
        self.fc1 = nn.Linear(784, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.fc1(x.flatten(1)))  # (N, 300)
        x = F.relu(self.fc2(x))  # (N, 100)
        return self.fc3(x)


class LeNet5(nn.Module):
    """LeNet-5 in Caffe's form, 20 - 50 - 500 - 10: 431,080 parameters, 2,293,000 multiply-accumulates."""

    def __init__(self, channels: tuple[int, int] = (20, 50), hidden: int = 500):
        super().__init__()
        first, second = require_int_pair("channels", channels)
        self.conv1 = nn.Conv2d(1, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.fc1 = nn.Linear(second * 16, require_int("hidden", hidden, minimum=1))
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 20, 12, 12)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 50, 4, 4)
        x = F.relu(self.fc1(x.flatten(1)))  # (N, 500)
        return self.fc2(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al., 2015, section 3.3)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A stem at 14x14, three residual blocks of 1, 2 and 4 times `width` channels, mean over the image, linear."""

    def __init__(self, width: int = 16):
        super().__init__()
        width = require_int("width", width, minimum=1)
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.block1 = ResidualBlock(width, width, stride=1)
        self.block2 = ResidualBlock(width, 2 * width, stride=2)
        self.block3 = ResidualBlock(2 * width, 4 * width, stride=2)
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.stem(x)))  # (N, 16, 14, 14)
        x = self.block3(self.block2(self.block1(x)))  # (N, 64, 4, 4)
        return self.fc(x.mean(dim=(2, 3)))


class DepthwiseBlock(nn.Module):
    """A 3x3 convolution per channel, then a 1x1 convolution across channels (Howard et al., 2017, section 3.1)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.depthwise(x)))
        return F.relu(self.bn2(self.pointwise(x)))


class SmallDepthwiseNet(nn.Module):
    """A stem at 14x14, four depthwise-separable blocks up to 8 `width` channels, mean over the image, linear."""

    def __init__(self, width: int = 16):
        super().__init__()
        width = require_int("width", width, minimum=1)
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.block1 = DepthwiseBlock(width, 2 * width, stride=1)
        self.block2 = DepthwiseBlock(2 * width, 4 * width, stride=2)
        self.block3 = DepthwiseBlock(4 * width, 4 * width, stride=1)
        self.block4 = DepthwiseBlock(4 * width, 8 * width, stride=2)
        self.fc = nn.Linear(8 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.stem(x)))  # (N, 16, 14, 14)
        x = self.block4(self.block3(self.block2(self.block1(x))))  # (N, 128, 4, 4)
        return self.fc(x.mean(dim=(2, 3)))


class NormedMLP(nn.Module):
    """784 - hidden - hidden - hidden - 10 without biases and with batch norm behind each layer, for binary weights.

    With `hidden` = 1024 it has the shape of the network of BinaryConnect (Courbariaux et al., 2015, section 3.1).
    """

    def __init__(self, hidden: int = 512):
        super().__init__()
        widths = [784, *[require_int("hidden", hidden, minimum=1)] * 3, 10]
        pairs = list(itertools.pairwise(widths))
        self.layers = nn.ModuleList([nn.Linear(n, m, bias=False) for n, m in pairs])
        self.norms = nn.ModuleList([nn.BatchNorm1d(m) for _, m in pairs])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = norm(layer(x))
            if index < len(self.layers) - 1:
                x = F.relu(x)  # (N, hidden)
        return x


MODELS: dict[str, type[nn.Module]] = {
    model.__name__: model for model in (LiteNetMLP, LiteNetCNN, LeNet300100, LeNet5, SmallResNet, SmallDepthwiseNet)
}


def build(name: str) -> nn.Module:
    """Make an untrained network of the course by the name of its class.

    >>> type(build("LeNet5")).__name__
    'LeNet5'
    """
    if name not in MODELS:
        raise ValueError(f"unknown network {name!r}; known are {', '.join(MODELS)}")
    return MODELS[name]()


@contextlib.contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put networks into evaluation mode inside the block, and each of their modules back into its own mode after it.

    `model.train(model.training)` would not do: it also wakes a batch norm that was frozen on purpose.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training, model[1].training
    (True, False)
    """
    modes = {module: module.training for model in models for module in model.modules()}
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def first_input(module: nn.Module, arguments: Sequence[object], named: Mapping[str, object]) -> torch.Tensor:
    """Return what a module was called with first, by position or by name: for hooks registered `with_kwargs`.

    Raises a TypeError if nothing was given for the first parameter of its forward pass.

    >>> first_input(nn.Linear(2, 3), (), {"input": torch.ones(2)})
    tensor([1., 1.])
    """
    if arguments:
        return arguments[0]
    first = next(iter(inspect.signature(module.forward).parameters), "input")
    if first not in named:
        given = ", ".join(named) or "nothing"
        raise TypeError(f"this {type(module).__name__} was called with {given} and no {first!r}")
    return named[first]


def replace_everywhere(model: nn.Module, layer: nn.Module, replacement: nn.Module) -> None:
    """Put `replacement` in the place of `layer`, in place: in all of its places, if several parts share it.

    A transformer's encoder layer is told to call its linear layers. In evaluation mode PyTorch's fused path would read
    their weights instead, which a replacement computes otherwise or does not have.

    >>> shared = nn.Linear(2, 2)
    >>> model = nn.Sequential(shared, shared)
    >>> replace_everywhere(model, shared, nn.ReLU())
    >>> model
    Sequential(
      (0): ReLU()
      (1): ReLU()
    )
    """
    for name in [name for name, module in model.named_modules(remove_duplicate=False) if module is layer]:
        model.set_submodule(name, replacement)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # the fused path's own flag: "neither"
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def matrices(module: nn.Module) -> list[str]:
    """Return the names of a module's own weights that multiply its inputs and have a row for each output.

    >>> matrices(nn.Linear(2, 3)), matrices(nn.MultiheadAttention(4, 2)), matrices(nn.GRU(2, 3)), matrices(nn.ReLU())
    (['weight'], ['in_proj_weight'], ['weight_ih_l0', 'weight_hh_l0'], [])
    """
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return ["weight"]
    if isinstance(module, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return [name for name in names if getattr(module, name) is not None]
    if isinstance(module, nn.RNNBase):
        return [name for name in module._flat_weights_names if name.startswith("weight")]
    return []


@torch.no_grad()
def untrained_twin(model: nn.Module) -> nn.Module:
    """Return a copy with new weights: the control "from scratch", of the same shape and with nothing of the training.

    Each module with `reset_parameters`, or `_reset_parameters` as `nn.MultiheadAttention` has, draws its own anew, and
    after the modules inside it, as when it was made: what it sets in them counts.

    Args:
        model: it is not changed; the copy is in the same modes.

    Raises `ValueError`, which names them, if parameters are left that no module draws anew: with their trained values
    the control would not be one. So it does if modules of different kinds share one and each draws it its own way.

    >>> trained = nn.Linear(3, 2)
    >>> torch.equal(untrained_twin(trained).weight, trained.weight)
    False
    """
    twin = copy.deepcopy(require_permanent("model", model))
    for parameter in twin.parameters():
        parameter.fill_(torch.nan)  # what no module draws anew stays so
    owners: dict[nn.Parameter, dict[str, nn.Module]] = {}
    for name, module in twin.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            owners.setdefault(parameter, {})[f"{name}.{own}".removeprefix(".")] = module
    unclear = {p: set(found.values()) for p, found in owners.items() if len({type(m) for m in found.values()}) > 1}
    for module in _inside_out(twin, set()):
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if reset is not None:
            reset()
        for parameter, sharing in unclear.items():
            if module in sharing:
                parameter.fill_(torch.nan)  # by which of them? one above both has to say
    for parameter in unclear:
        if parameter.isnan().any():
            raise ValueError(
                f"{' and '.join(owners[parameter])} of this {type(model).__name__} are one parameter, which each of "
                "its modules draws its own way; give the module that ties them a method reset_parameters(self), which "
                "sets it as __init__ does"
            )
    left = [name for name, parameter in twin.named_parameters() if parameter.isnan().any()]
    if left:
        raise ValueError(
            f"no module of this {type(model).__name__} draws {', '.join(left)} anew; give the module that owns it a "
            "method reset_parameters(self), which sets its own parameters as __init__ does"
        )
    return twin


def _inside_out(module: nn.Module, seen: set[nn.Module]) -> Iterator[nn.Module]:
    """Yield each module once, behind all that are inside it."""
    seen.add(module)
    for child in module.children():
        if child not in seen:
            yield from _inside_out(child, seen)
    yield module


# --- checkpoints: the files are those of utils.checkpoint_files -------------------------------------------------------


def to_safetensors(model: nn.Module) -> bytes:
    """Return the content of a safetensors file with the model's state; a tensor of several names is stored once."""
    state = _each_once(require_module("model", model))
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def _each_once(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state of a network without the further names of parameters and buffers that it shares."""
    names: dict[torch.Tensor, str] = {}  # a tensor is its own key
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(tensor, name)
    return {name: tensor for tensor, name in names.items()}


def save_checkpoint(model: nn.Module, name: str, *, folder: Path | str = CHECKPOINTS, **about: object) -> Path:
    """Write `<name>.safetensors` and, beside it, `<name>.json` with its digest and whatever `about` says."""
    content = to_safetensors(model)
    parameters = sum(p.numel() for p in model.parameters())
    return write_checkpoint(folder, name, content, model=type(model).__name__, parameters=parameters, **about)


def load_checkpoint(name: str, *, model: nn.Module | None = None, folder: Path | str = CHECKPOINTS) -> nn.Module:
    """Load a checkpoint into a network, in evaluation mode, after checking its digest, names and shapes.

    Args:
        name: the file's name without its ending; those of the course are named after the class, `"LeNet5"`.
        model: the network to fill; by default a new one of the class that the card names, with the card's "arguments"
            if it has any: a narrow network is not of the class's default widths.
        folder: where the checkpoint lies: the file and its card, which `save_checkpoint` writes together.

    Raises:
        CheckpointError: missing, damaged, or of another shape than `model`.

    >>> load_checkpoint("LiteNetMLP").training
    False
    """
    path = Path(folder) / f"{name}.safetensors"
    card = checkpoint_card(name, folder=folder)
    tensors = read_checkpoint(folder, name, load_tensors)
    if model is None:
        if card["model"] not in MODELS:
            raise damaged(path.with_suffix(".json"), f"names {card['model']!r}, no network of the course")
        try:
            model = MODELS[card["model"]](**card.get("arguments", {}))
        except (TypeError, ValueError) as error:
            raise damaged(path.with_suffix(".json"), f"has arguments that do not fit: {error}") from None
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    wanted = {key: tuple(value.shape) for key, value in _each_once(require_module("model", model)).items()}
    if found != wanted:  # compared first: a failing load_state_dict would leave the model half overwritten
        differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
        raise CheckpointError(
            f"{path.name} does not fit this {type(model).__name__}; pass one of the form it was saved from. "
            f"{differing[0]} is {found.get(differing[0])} in the file, {wanted.get(differing[0])} in the network"
        )
    model.load_state_dict(tensors, strict=False)  # all names were compared, but for the further names of shared tensors
    return model.eval()
