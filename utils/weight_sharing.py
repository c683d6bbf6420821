"""Weights that share a few values and are trained on: what `entropy_coding` writes into a small file is made here.

Two ways, both as parametrizations, so that any training loop sees an ordinary network. `share_centroids` groups the
non-zero weights by k-means and then trains the centroids alone (Han, Mao and Dally, 2016, section 3).
`share_levels` rounds them to a few equally spaced levels in every step while the weights behind the rounding and the
step between the levels learn (Esser et al., 2020). In both, what was zero stays zero. `read_shared` reads off what
`entropy_coding.encode_network` takes.
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from utils.entropy_coding import MAXIMUM_CENTROIDS, SharedTensor
from utils.input_validation import require_int, require_permanent, require_tensor
from utils.qat import fake_quantize
from utils.quantization import codebook

MAXIMUM_BITS = 6
"""Of a code: a file holds at most 127 centroids a tensor."""


def share(values: torch.Tensor, *, bits: int) -> SharedTensor:
    """Let the non-zero values share at most 2^bits centroids, found by k-means and rounded to float16; zeros stay.

    A centroid that no value is near is left out. One so small that float16 makes zero of it is zero.

    Args:
        values: any shape.
        bits: of a code, 1 to 6.

    Raises:
        ValueError: values that are not finite in float16, or bits out of range.

    >>> shared = share(torch.tensor([[0.0, 0.1, 0.15], [-1.0, 0.0, -0.5]]), bits=1)
    >>> shared.codes.tolist(), shared.centroids.tolist()
    ([[0, 2, 2], [1, 0, 1]], [-0.75, 0.125])
    """
    require_tensor("values", values)
    if require_int("bits", bits, minimum=1) > MAXIMUM_BITS:
        raise ValueError(f"bits must be between 1 and {MAXIMUM_BITS}, got {bits}")
    rounded = torch.zeros_like(values, dtype=torch.float16)
    kept = values != 0
    if kept.any():
        rounded[kept] = codebook(values[kept], bits=bits).dequantize().to(values.device).half()
    if not torch.isfinite(rounded).all():
        raise ValueError("values holds numbers that float16 cannot hold; did training diverge?")
    rounded = rounded.cpu().numpy()
    centroids = np.unique(rounded[rounded != 0])
    codes = np.where(rounded == 0, 0, np.searchsorted(centroids, rounded) + 1)
    if len(centroids) == 0:  # a file has at least one, used or not
        centroids = np.zeros(1, dtype=np.float16)
    return SharedTensor(codes, centroids)


class TrainedCentroids(nn.Module):
    """A parametrization whose codes stay and whose centroids are trained, one number for each cluster of weights.

    The weight is `concat(0, centroids)[codes]`, so the gradient of a centroid is the sum of the gradients of all
    weights that share it (Han, Mao and Dally, 2016, section 3.3 and figure 3); a zero has none. What the optimizer
    sees of the layer is `layer.parametrizations.weight.original`, of shape (K,).

    Args:
        shared: codes and first centroids, as `share` finds them.

    >>> layer = nn.Linear(3, 1, bias=False)
    >>> layer.weight.data = torch.tensor([[0.5, 0.0, 0.5]])
    >>> centroids = TrainedCentroids(share(layer.weight, bits=1))
    >>> _ = parametrize.register_parametrization(layer, "weight", centroids)
    >>> layer(torch.tensor([[1.0, 2.0, 4.0]])).backward()
    >>> layer.parametrizations.weight.original.tolist(), layer.parametrizations.weight.original.grad.tolist()
    ([0.5], [5.0])
    """

    def __init__(self, shared: SharedTensor):
        super().__init__()
        codes = torch.from_numpy(shared.codes).long()
        self.register_buffer("codes", codes)
        self.register_buffer("places", codes.flatten().nonzero()[:, 0], persistent=False)
        self.register_buffer("start", torch.from_numpy(shared.centroids).float(), persistent=False)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the centroids to start from; PyTorch asks when the parametrization is registered."""
        return self.start.to(weight)

    def forward(self, centroids: torch.Tensor) -> torch.Tensor:
        # only where weights are left: adding up gradients over all the zeros would take most of the time
        kept = centroids[self.codes.flatten()[self.places] - 1]
        return centroids.new_zeros(self.codes.numel()).scatter(0, self.places, kept).view(self.codes.shape)

    def shared(self, centroids: torch.Tensor) -> SharedTensor:
        """Return what a file will hold: the codes, and the centroids rounded to float16."""
        return SharedTensor(self.codes.cpu().numpy(), centroids.detach().half().cpu().numpy())


class LearnedLevels(nn.Module):
    """A parametrization that rounds a weight to the levels -q S, ..., -S, 0, S, ..., q S; the step S is learned.

    The rounding passes the gradient straight through (`qat.fake_quantize`). What is learned is the logarithm of S, as
    in `qat.LearnedScale`; unlike there, a weight that is zero at the start stays zero, and one step serves all.

    Args:
        weight: what the first step is found from: the mean of |w| over the non-zeros for one level, 2 / sqrt(q) times
            it for more (Esser et al., 2020, section 2.1).
        levels: q, on each side of zero, 1 to 63; with 1 the weights are ternary.
        masked: whether zeros stay zero; a bias is not masked.

    >>> rounding = LearnedLevels(torch.tensor([-1.5, 0.0, 0.5, 1.0]), levels=1)
    >>> rounding.step.item(), rounding(torch.tensor([-1.5, 0.9, 0.4, 1.0])).tolist()
    (1.0, [-1.0, 0.0, 0.0, 1.0])
    """

    def __init__(self, weight: torch.Tensor, *, levels: int, masked: bool = True):
        super().__init__()
        require_tensor("weight", weight)
        if 2 * require_int("levels", levels, minimum=1) > MAXIMUM_CENTROIDS:
            raise ValueError(f"levels must be between 1 and {MAXIMUM_CENTROIDS // 2}, got {levels}")
        self.levels = levels
        kept = weight.detach() != 0
        mean = weight.detach()[kept].abs().mean() if kept.any() else torch.ones(())
        step = mean if levels == 1 else 2 * mean / math.sqrt(levels)
        self.log_step = nn.Parameter(step.log().to(weight.device))
        self.register_buffer("mask", kept if masked else torch.ones_like(kept))
        self.register_buffer("places", self.mask.flatten().nonzero()[:, 0], persistent=False)

    @property
    def step(self) -> torch.Tensor:
        """The distance S between two neighbouring levels."""
        return self.log_step.exp()

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight itself, which is trained behind the rounding."""
        return weight

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        kept = weight.flatten().gather(0, self.places)  # only what is left is rounded: a few per cent of the work
        kept = fake_quantize(kept, self.step, 0, qmin=-self.levels, qmax=self.levels)
        return weight.new_zeros(weight.numel()).scatter(0, self.places, kept).view(weight.shape)

    def shared(self, weight: torch.Tensor) -> SharedTensor:
        """Return what a file will hold: which level each weight has, and the multiples of the step in float16.

        The levels reach as far on either side as any weight does. Of such a table `encode_network` writes one number.
        """
        integers = (weight / self.step).clamp(-self.levels, self.levels).round().int() * self.mask
        integers = integers.detach().cpu().numpy()
        most = max(1, int(np.abs(integers).max()))
        levels = np.delete(np.arange(-most, most + 1), most)  # without zero
        step = self.step.detach().half().cpu().numpy()
        codes = np.where(integers == 0, 0, integers + most + (integers < 0))
        return SharedTensor(codes, (levels * np.float64(step)).astype(np.float16))


def share_centroids(model: nn.Module, *, bits: int, bias_bits: int = 5) -> nn.Module:
    """Return a copy whose linear layers and convolutions share centroids; only the centroids are trained.

    Args:
        model: a trained, pruned network; it is not changed.
        bits: of a code in the weights, 1 to 6: at most 2^bits centroids a layer.
        bias_bits: the same for the biases.

    >>> shared = share_centroids(nn.Sequential(nn.Linear(8, 4)), bits=2)
    >>> len(shared[0].weight.unique()), shared[0].parametrizations.weight.original.shape
    (4, torch.Size([4]))
    """
    return _parametrized(
        model,
        weight=lambda values: TrainedCentroids(share(values, bits=bits)),
        bias=lambda values: TrainedCentroids(share(values, bits=bias_bits)),
    )


def share_levels(model: nn.Module, *, levels: int = 3, bias_levels: int = 7) -> nn.Module:
    """Return a copy whose linear layers and convolutions round to learned levels; weights and steps are trained.

    Args:
        model: a trained, pruned network; it is not changed.
        levels: on each side of zero, 1 to 63: 2 levels + 1 values a weight.
        bias_levels: the same for the biases, whose zeros may move.

    >>> shared = share_levels(nn.Sequential(nn.Linear(8, 4)), levels=1)
    >>> len(shared[0].weight.unique()) <= 3
    True
    """
    return _parametrized(
        model,
        weight=lambda values: LearnedLevels(values, levels=levels),
        bias=lambda values: LearnedLevels(values, levels=bias_levels, masked=False),
    )


@torch.no_grad()
def read_shared(model: nn.Module) -> dict[str, SharedTensor]:
    """Return what `entropy_coding.encode_network` takes: every tensor by its name in the plain network, in order.

    Centroids and levels are rounded to float16, as the file holds them.

    Raises:
        ValueError: a tensor is not shared, or a centroid is too large for float16.

    >>> {name: t.codes.shape for name, t in read_shared(share_levels(nn.Sequential(nn.Linear(8, 4)))).items()}
    {'0.weight': (4, 8), '0.bias': (4,)}
    """
    tensors = {}
    read = set()  # what has found its place in `tensors`, by identity
    for prefix, layer in _layers(model):
        for part in ("weight", "bias"):
            if parametrize.is_parametrized(layer, part):
                form = layer.parametrizations[part]
                tensors[f"{prefix}.{part}" if prefix else part] = form[-1].shared(form.original)
                read |= {id(tensor) for tensor in (*form.parameters(), *form.buffers())}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if id(tensor) not in read:
            raise ValueError(f"{name} is not shared; call share_levels or share_centroids on the network first")
    return tensors


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def _parametrized(model: nn.Module, **make: Callable[[torch.Tensor], nn.Module]) -> nn.Module:
    """Return a copy in which each layer's "weight" and "bias" pass through the parametrization that `make` makes."""
    copied = copy.deepcopy(require_permanent("model", model))
    for name, layer in _layers(copied):
        if parametrize.is_parametrized(layer):
            raise ValueError(f"{name or 'the layer'} is parametrized already; share the weights of a plain network")
        for part, parametrization in make.items():
            values = getattr(layer, part)
            if values is not None:
                parametrize.register_parametrization(layer, part, parametrization(values.detach()))
    return copied
