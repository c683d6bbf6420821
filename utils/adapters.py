"""Fine-tuning with few trained numbers: low-rank adapters (LoRA, DoRA), a random subspace as control, and the bytes.

A layer y = W x of a network that is trained already stays as it is; beside it stands a change of low rank, and
y = W x + s B (A x). Only B and A are trained. Afterwards W + s B A can be put in W's place: the same function, at the
cost of the layer alone.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from utils.input_validation import require_int, require_positive
from utils.nf4_linear import NF4Linear

Choice = Callable[[str], bool]
"""Says of a layer's name whether it gets an adapter."""


class LowRankAdapter(nn.Module):
    """A frozen linear layer with a low-rank change beside it: base(x) + scale * B (A x).

    A starts as the layer's own weights would (uniform, within sqrt(1 / n)), B at zero, so the function is that of the
    base before the first step.

    Args:
        base: m x n; `nn.Linear` or another module of its shape, such as `nf4_linear.NF4Linear`. It is frozen.
        rank: r, of the change.
        scale: s; alpha / r in LoRA, alpha / sqrt(r) in rsLoRA.

    Source: Hu et al., "LoRA", 2021, section 4.1.

    >>> adapted = LowRankAdapter(nn.Linear(6, 4), rank=2)
    >>> [(name, tuple(p.shape)) for name, p in adapted.named_parameters() if p.requires_grad]
    [('down', (2, 6)), ('up', (4, 2))]
    """

    def __init__(self, base: nn.Module, *, rank: int, scale: float = 1.0):
        super().__init__()
        rows, columns = base.out_features, base.in_features
        if not 1 <= require_int("rank", rank) <= min(rows, columns):
            raise ValueError(f"rank must be from 1 to {min(rows, columns)} for {rows} x {columns}, got {rank}")
        self.in_features, self.out_features = columns, rows
        self.base = base.requires_grad_(False)
        self.scale = require_positive("scale", scale)
        self.down = nn.Parameter(torch.empty(rank, columns).uniform_(-(columns**-0.5), columns**-0.5))  # A
        self.up = nn.Parameter(torch.zeros(rows, rank))  # B

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * (x @ self.down.T) @ self.up.T  # (..., m)

    def change(self) -> torch.Tensor:
        """Return s B A, shape (m, n)."""
        return self.scale * self.up @ self.down


class DecomposedAdapter(LowRankAdapter):
    """An adapter beside a layer whose rows' lengths are trained, too: diag(m / l) (W + scale * B A) x (DoRA).

    l are the lengths of the rows of W + scale * B A, and m starts as the lengths of W's rows. So the adapter says where
    a row points, and m how long it is. As in the paper's section 4.3, l counts as a constant in the backward pass.

    Args:
        base: m x n; frozen.
        rank: r, of the change of direction.
        scale: s, as in `LowRankAdapter`.

    Source: Liu et al., "DoRA", 2024, section 4. The paper writes columns; its program takes rows, one for each output.

    >>> adapted = DecomposedAdapter(nn.Linear(6, 4), rank=2)
    >>> [(name, tuple(p.shape)) for name, p in adapted.named_parameters() if p.requires_grad]
    [('down', (2, 6)), ('up', (4, 2)), ('lengths', (4,))]
    """

    def __init__(self, base: nn.Linear, *, rank: int, scale: float = 1.0):
        super().__init__(base, rank=rank, scale=scale)
        self.lengths = nn.Parameter(base.weight.detach().norm(dim=1))

    def whole(self) -> torch.Tensor:
        """Return the weight that stands in the place of W, shape (m, n)."""
        turned = self.base.weight + super().change()
        return (self.lengths / turned.detach().norm(dim=1))[:, None] * turned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.whole(), self.base.bias)

    def change(self) -> torch.Tensor:
        """Return the weight in W's place minus W, shape (m, n); its rank may be larger than r."""
        return self.whole() - self.base.weight


class RandomSubspace(nn.Module):
    """The control of an adapter: A and B are drawn and stay, and only a square matrix R between them is trained.

    base(x) + B (R (A x)), with R of zeros at first. As many trained numbers as in an adapter make R larger than the
    adapter's rank; but what the change may be was drawn, not learned.

    Args:
        base: m x n; frozen.
        size: rows and columns of R.
        generator: draws A and B, both with rows or columns of length about 1.

    >>> [tuple(p.shape) for p in RandomSubspace(nn.Linear(6, 4), size=3).parameters() if p.requires_grad]
    [(3, 3)]
    """

    def __init__(self, base: nn.Module, *, size: int, generator: torch.Generator | None = None):
        super().__init__()
        rows, columns = base.out_features, base.in_features
        self.in_features, self.out_features = columns, rows
        self.base = base.requires_grad_(False)
        self.register_buffer("down", torch.randn(size, columns, generator=generator) / math.sqrt(columns))
        self.register_buffer("up", torch.randn(rows, size, generator=generator) / math.sqrt(size))
        self.between = nn.Parameter(torch.zeros(size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + ((x @ self.down.T) @ self.between.T) @ self.up.T

    def change(self) -> torch.Tensor:
        """Return B R A, shape (m, n)."""
        return self.up @ self.between @ self.down


Adapter = LowRankAdapter | RandomSubspace


@torch.no_grad()
def principal_adapter(base: nn.Linear, *, rank: int) -> LowRankAdapter:
    """Return an adapter that starts as the best rank-r part of a layer's weight; the rest of it is frozen (PiSSA).

    With W = U S V^T, cut to r singular values: B = U sqrt(S) and A = sqrt(S) V^T, and the base becomes W - B A. So the
    function is the layer's own at first, and both factors have a gradient from the first step.

    Args:
        base: its weight is changed and frozen.
        rank: r, of the adapter.

    Source: Meng et al., "PiSSA", 2024, section 3.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight.data = torch.diag(torch.tensor([4.0, 1.0]))
    >>> started = principal_adapter(layer, rank=1)
    >>> started.change().detach(), started.base.weight.data
    (tensor([[4., 0.],
            [0., 0.]]), tensor([[0., 0.],
            [0., 1.]]))
    """
    started = LowRankAdapter(base, rank=rank)
    u, s, v = torch.linalg.svd(base.weight, full_matrices=False)
    started.up.copy_(u[:, :rank] * s[:rank].sqrt())
    started.down.copy_(s[:rank, None].sqrt() * v[:rank])
    started.base.weight -= started.change()
    return started


@torch.no_grad()
def rescaled(adapter: LowRankAdapter, scale: float) -> LowRankAdapter:
    """Give an adapter another scale and leave its change as it is: the root of the ratio goes into each factor.

    >>> started = rescaled(principal_adapter(nn.Linear(2, 2, bias=False), rank=1), 4.0)
    >>> started.scale
    4.0
    """
    for factor in (adapter.up, adapter.down):
        factor *= math.sqrt(adapter.scale / require_positive("scale", scale))
    adapter.scale = scale
    return adapter


# --- whole networks ---------------------------------------------------------------------------------------------------


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """Return the adapters of a network by the name of their layer."""
    return {name: each for name, each in model.named_modules() if isinstance(each, LowRankAdapter | RandomSubspace)}


def adapted(model: nn.Module, make: Callable[[nn.Module], Adapter], *, choose: Choice = lambda _: True) -> nn.Module:
    """Return a copy of a network that is frozen but for the adapters which `make` puts in place of its linear layers.

    Args:
        model: left as it is; its linear layers may be held in NF4.
        make: such as `lambda layer: LowRankAdapter(layer, rank=4)`.
        choose: which layers; all of them by default.

    >>> network = adapted(nn.Sequential(nn.Linear(6, 4)), lambda layer: LowRankAdapter(layer, rank=2))
    >>> trained_parameters(network)
    20
    """
    changed = copy.deepcopy(model).requires_grad_(False)
    layers = {name: each for name, each in changed.named_modules() if isinstance(each, nn.Linear | NF4Linear)}
    for name, layer in layers.items():
        if choose(name):
            _put(changed, name, make(layer))
    if not adapters(changed):
        raise ValueError("choose took none of the network's linear layers, or there are none")
    return changed


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def training_only(model: nn.Module, choose: Choice) -> nn.Module:
    """Return a copy of a network of which only the parameters with a chosen name are trained.

    >>> trained_parameters(training_only(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), lambda name: "bias" in name))
    7
    """
    changed = copy.deepcopy(model).requires_grad_(False)
    for name, parameter in changed.named_parameters():
        parameter.requires_grad_(choose(name))
    return changed


@torch.no_grad()
def merged(model: nn.Module) -> nn.Module:
    """Return a copy of a network in which each layer with an adapter is one `nn.Linear`, with W + s B A in float.

    A base in NF4 comes back in float: the sum is no NF4 weight, and rounding it again would change the function.

    >>> network = adapted(nn.Sequential(nn.Linear(6, 4)), lambda layer: LowRankAdapter(layer, rank=2))
    >>> type(merged(network)[0]).__name__
    'Linear'
    """
    whole = copy.deepcopy(model)
    for name, each in adapters(whole).items():
        base = each.base.in_float() if isinstance(each.base, NF4Linear) else each.base
        base.weight += each.change()
        _put(whole, name, base)
    return whole.requires_grad_(True)


def adapter_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what is trained of a network, by name: all that has to be stored for one more task.

    >>> network = adapted(nn.Sequential(nn.Linear(6, 4)), lambda layer: LowRankAdapter(layer, rank=2))
    >>> list(adapter_state(network))
    ['0.down', '0.up']
    """
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_adapter(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Write what `adapter_state` returned into a network of the same form; its base is not touched.

    Raises a ValueError if the names are not those of the network's trained parameters.
    """
    mine = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if mine.keys() != state.keys():
        other = sorted(mine.keys() ^ state.keys())[0]
        raise ValueError(f"state is of another network: {other} is in one of the two only")
    for name, parameter in mine.items():
        parameter.copy_(state[name])


# --- what a training holds in memory ----------------------------------------------------------------------------------


def trained_parameters(model: nn.Module) -> int:
    """Return how many numbers a training would change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def adapter_parameters(shapes: Iterable[tuple[int, int]], rank: int) -> int:
    """Return r (m + n), summed over layers of m outputs and n inputs.

    >>> adapter_parameters([(4, 6), (3, 4)], rank=2)
    34
    """
    return sum(rank * (rows + columns) for rows, columns in shapes)


class TrainingBytes(NamedTuple):
    """What one step of training holds at the same time, in bytes.

    Args:
        weights: all parameters and buffers, trained or not.
        gradients: of what is trained.
        optimizer: the moments that Adam keeps, two for each trained number.
        activations: what the forward pass keeps for the backward pass, weights not counted.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Sum of the four."""
        return sum(self)


def training_bytes(model: nn.Module, loss: Callable[[], torch.Tensor]) -> TrainingBytes:
    """Measure one step of AdamW: every tensor that is kept for the backward pass is counted once, by its storage.

    The network's parameters are put back.

    Args:
        model: with what is trained marked by `requires_grad`.
        loss: runs the network forward and returns a number to minimize.

    >>> layer = nn.Linear(6, 4)
    >>> training_bytes(layer, lambda: layer(torch.ones(5, 6)).sum())
    TrainingBytes(weights=112, gradients=112, optimizer=224, activations=120)
    """
    own = [*model.parameters(), *model.buffers()]
    places = {each.untyped_storage().data_ptr() for each in own}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in places:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    trained = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    optimizer = torch.optim.AdamW(trained)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss()
    value.backward()
    optimizer.step()
    gradients = sum(p.grad.nbytes for p in trained)
    moments = sum(t.nbytes for held in optimizer.state.values() for name, t in held.items() if name != "step")
    with torch.no_grad():
        for parameter, old in zip(trained, before, strict=True):
            parameter.copy_(old)
            parameter.grad = None
    return TrainingBytes(sum(each.nbytes for each in own), gradients, moments, sum(kept.values()))


# --- how low the rank of a change is ----------------------------------------------------------------------------------


def energy(change: torch.Tensor) -> torch.Tensor:
    """Return the share of a matrix's squared norm that its k largest singular values hold, for k = 0, 1, ...

    That is also 1 - ||D - D_k||^2 / ||D||^2 for the best D_k of rank k (Eckart and Young, 1936).

    >>> energy(torch.diag(torch.tensor([2.0, 1.0])))
    tensor([0.0000, 0.8000, 1.0000])
    """
    squares = torch.linalg.svdvals(change.detach()).square()
    return torch.cat([squares.new_zeros(1), squares.cumsum(0) / squares.sum()])


def truncated(change: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the nearest matrix of a rank.

    >>> truncated(torch.diag(torch.tensor([2.0, 1.0])), 1).abs()
    tensor([[2., 0.],
            [0., 0.]])
    """
    u, s, v = torch.linalg.svd(change.detach(), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]
