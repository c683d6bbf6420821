"""Low rank: the nearest matrix of a given rank, the choice of ranks, and layers split in two.

A weight of shape (m, n) at rank k becomes the product `second @ first` of shapes (m, k) and (k, n): an input meets
`first`, then `second`. The two hold k (m + n) numbers instead of m n. Every decomposition is computed in float64 and
returned in the dtype of the weight, so half precision, which LAPACK does not support, works too.
"""

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from utils.input_validation import require_fraction, require_int, require_permanent, require_tensor
from utils.models import replace_everywhere

# --- the decomposition -----------------------------------------------------------------------------------------------


def singular_values(weight: torch.Tensor) -> torch.Tensor:
    """Return the min(m, n) singular values of a matrix, the largest first, in float64.

    >>> singular_values(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor([4., 3.], dtype=torch.float64)
    """
    return torch.linalg.svdvals(_matrix("weight", weight))


def low_rank_approximation(weight: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the matrix nearest to `weight` in the Frobenius norm among those of rank `rank` or less.

    With W = U diag(s) V^T it keeps the largest k values: the sum of s_i u_i v_i^T for i up to k. The distance to W is
    the root of the sum of the squares of the values left out (Eckart and Young, 1936).

    Args:
        weight: shape (m, n), any floating-point dtype.
        rank: k, from 0, which leaves nothing, to min(m, n), which leaves everything.

    Raises:
        TypeError, ValueError: `weight` is not a finite floating-point matrix, or `rank` is out of range.

    >>> low_rank_approximation(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 1).round()
    tensor([[0., 0.],
            [0., 4.]])
    """
    u, s, vh = _largest(weight, rank)
    return ((u * s) @ vh).to(weight.dtype)


def factors(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `first`, shape (k, n), and `second`, shape (m, k): `second @ first` is the best approximation of rank k.

    Each takes the root of the singular values, first = diag(s)^(1/2) V^T and second = U diag(s)^(1/2), so that both
    have the same norm: training and half precision suffer where one is large and the other small.

    >>> first, second = factors(torch.tensor([[0.0, 0.0], [0.0, 4.0]]), 1)
    >>> first.shape, second.shape, first.norm() == second.norm()
    (torch.Size([1, 2]), torch.Size([2, 1]), tensor(True))
    """
    u, s, vh = _largest(weight, rank)
    root = s.sqrt()
    first = root[:, None] * vh
    second = u * root
    return first.to(weight.dtype), second.to(weight.dtype)


def input_moment(inputs: torch.Tensor) -> torch.Tensor:
    """Return the mean of x x^T over the inputs x of a layer: shape (n, n), in float64.

    It is the covariance plus the product of the means: a layer's error depends on how large an input is, not on whether
    the size comes from its mean or from its variance.

    Args:
        inputs: one input a row, shape (examples, n). Take them from calibration or training data.

    >>> input_moment(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    tensor([[5., 0.],
            [0., 0.]], dtype=torch.float64)
    """
    matrix = _matrix("inputs", inputs)
    return matrix.T @ matrix / len(matrix)


def data_aware_factors(weight: torch.Tensor, rank: int, moment: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `first` and `second`, as `factors` does, such that the layer's *outputs* change least over its inputs.

    Of all W' of that rank, `second @ first` minimises the mean of |W x - W' x|^2 = |(W - W') C^(1/2)|_F^2, where C is
    the mean of x x^T. With the eigenvectors u of W C W^T for the k largest eigenvalues, the minimum is W' = u u^T W:
    nothing has to be inverted, so C may be singular (Chen and others, "DRONE", 2021, section 3; Zhang and others,
    "Accelerating very deep convolutional networks", 2016, section 3.1). With C = I the product is that of `factors`.

    Args:
        weight: shape (m, n).
        rank: from 0 to min(m, n).
        moment: C, shape (n, n), symmetric and positive semidefinite, as `input_moment` returns it.

    >>> weight = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> moment = torch.tensor([[0.01, 0.0], [0.0, 1.0]])  # the first input is nearly always 0
    >>> first, second = data_aware_factors(weight, 1, moment)
    >>> (second @ first).abs().round()
    tensor([[0., 0.],
            [0., 1.]])
    """
    matrix = _matrix("weight", weight)
    _require_rank(rank, weight.shape)
    moment = moment.detach().to(matrix)
    # eigh reads one triangle only and would not notice, for example, rows in another order than the columns
    if not torch.allclose(moment, moment.T, rtol=1e-4, atol=1e-6 * float(moment.abs().max())):
        raise ValueError("moment must be symmetric, as the mean of x x^T is; input_moment makes it from the inputs")
    _, vectors = torch.linalg.eigh(matrix @ moment @ matrix.T)
    u = vectors.flip(1)[:, :rank]  # (m, k); flipped because eigh puts the smallest eigenvalue first
    first = u.T @ matrix  # (k, n); its rows are neither orthogonal nor of one length
    balance = first.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    return (first / balance[:, None]).to(weight.dtype), (u * balance).to(weight.dtype)


# --- the choice of a rank --------------------------------------------------------------------------------------------


def break_even_rank(out_features: int, in_features: int) -> float:
    """Return m n / (m + n), the rank at which two matrices hold as many numbers as the one; below it they save.

    >>> break_even_rank(100, 100), round(break_even_rank(300, 784), 2)
    (50.0, 216.97)
    """
    return out_features * in_features / (out_features + in_features)


def rank_for_energy(values: torch.Tensor, energy: float) -> int:
    """Return the smallest rank whose squared singular values sum to at least the share `energy` of all.

    Args:
        values: singular values, the largest first, as `singular_values` returns them.
        energy: from 0, for which the rank is 0, to 1, for which it is the number of values that are not zero.

    Raises:
        ValueError: negative or ascending values, or `energy` outside [0, 1].

    >>> rank_for_energy(torch.tensor([4.0, 3.0]), 0.64), rank_for_energy(torch.tensor([4.0, 3.0]), 0.65)
    (1, 2)
    """
    energy = require_fraction("energy", energy)
    values = require_tensor("values", values).detach().double()
    if values[-1] < 0 or (values.diff() > 0).any():
        raise ValueError("values must be singular values: none negative, the largest first")
    squares = values.square()
    kept = squares.cumsum(0)
    if energy == 0.0 or kept[-1] == 0.0:
        return 0
    if energy == 1.0:  # rounding may make a sum reach the whole early or never: count the values instead
        return int((squares > 0).sum())
    enough = kept >= energy * kept[-1] * (1 - 1e-12)
    return int(enough.nonzero()[0]) + 1


def ranks_for_budget(weights: Mapping[str, torch.Tensor], budget_bytes: int) -> dict[str, int]:
    """Share a number of bytes among several layers, greedily, so that the sum of their kept energies is large.

    Every layer begins at rank 1. As long as something fits, the next rank goes to the layer where it adds the largest
    share of the layer's own energy per byte. No layer reaches its break-even rank.

    Args:
        weights: a matrix for each name; its dtype says how many bytes a number takes.
        budget_bytes: for all factors together, without biases; at least enough for rank 1 everywhere.

    >>> ranks_for_budget({"a": torch.diag(torch.tensor([9.0, 1, 1, 1, 1])), "b": torch.eye(5)}, 120)
    {'a': 1, 'b': 2}
    """
    energies, price, most = {}, {}, {}
    for name, weight in weights.items():
        squares = singular_values(weight).square()
        energies[name] = (squares / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)).tolist()
        price[name] = sum(weight.shape) * weight.element_size()  # of one more rank, in bytes
        most[name] = max(1, math.ceil(break_even_rank(*weight.shape)) - 1)
    ranks = dict.fromkeys(weights, 1)
    left = budget_bytes - sum(price.values())
    if left < 0:
        raise ValueError(
            f"budget_bytes must be at least {sum(price.values())}, which is rank 1 everywhere, got {budget_bytes}"
        )
    while True:
        affordable = [name for name in weights if ranks[name] < most[name] and price[name] <= left]
        if not affordable:
            return ranks
        best = max(affordable, key=lambda name: energies[name][ranks[name]] / price[name])
        ranks[best] += 1
        left -= price[best]


# --- layers split in two ---------------------------------------------------------------------------------------------


class LowRankLinear(nn.Module):
    """A linear layer of rank at most k: y = second (first x) + bias, with k (m + n) weights instead of m n.

    Made by itself it has random weights, for a control trained from scratch; `split_linear` makes one from a layer.

    Args:
        in_features, out_features: n and m.
        rank: k, from 0, where only the bias is left, to min(m, n).
        bias: whether there is one.

    >>> LowRankLinear(784, 300, 21)
    LowRankLinear(in_features=784, out_features=300, rank=21, bias=True)
    """

    def __init__(self, in_features: int, out_features: int, rank: int, *, bias: bool = True):
        super().__init__()
        _require_rank(rank, (out_features, in_features))
        self.in_features = in_features
        self.out_features = out_features
        self.rank = rank
        self.first = nn.Parameter(_uniform((rank, in_features), in_features))
        self.second = nn.Parameter(_uniform((out_features, rank), max(rank, 1)))
        self.bias = nn.Parameter(_uniform((out_features,), in_features)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.linear(x, self.first), self.second, self.bias)  # (N, n) -> (N, k) -> (N, m)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}, bias={bias}"

    def merged(self) -> nn.Linear:
        """Return one linear layer that computes the same, with the product of the two as its weight."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None).to(self.first)
        layer.weight.data = (self.second.double() @ self.first.double()).detach().to(self.first.dtype)
        if self.bias is not None:
            layer.bias.data = self.bias.detach().clone()
        return layer.train(self.training)


def split_linear(layer: nn.Linear, rank: int, *, moment: torch.Tensor | None = None) -> LowRankLinear:
    """Split a linear layer in two with the best factors of that rank, the bias as it was.

    Args:
        layer: of shape (m, n); it is not changed.
        rank: from 0 to min(m, n); at min(m, n) the split layer computes the same, up to rounding.
        moment: the mean of x x^T over the layer's inputs, for `data_aware_factors`; without it, `factors`.

    >>> split_linear(nn.Linear(6, 4), 2)
    LowRankLinear(in_features=6, out_features=4, rank=2, bias=True)
    """
    if moment is None:
        first, second = factors(layer.weight, rank)
    else:
        first, second = data_aware_factors(layer.weight, rank, moment)
    split = LowRankLinear(layer.in_features, layer.out_features, rank, bias=layer.bias is not None)
    return _filled(split, layer, first=first, second=second)


def conv_channel_matrix(weight: torch.Tensor) -> torch.Tensor:
    """Lay a kernel out with a filter in each row: (C_out, C_in, kh, kw) -> (C_out, C_in kh kw).

    >>> conv_channel_matrix(torch.ones(50, 20, 5, 3)).shape
    torch.Size([50, 300])
    """
    return weight.detach().flatten(1)


def conv_spatial_matrix(weight: torch.Tensor) -> torch.Tensor:
    """Lay a kernel out with rows for (output, column) and columns for (input, row of the kernel).

    The shape goes from (C_out, C_in, kh, kw) to (C_out kw, C_in kh).

    >>> conv_spatial_matrix(torch.ones(50, 20, 5, 3)).shape
    torch.Size([150, 100])
    """
    outputs, inputs, height, width = weight.shape
    return weight.detach().permute(0, 3, 1, 2).reshape(outputs * width, inputs * height)


def split_conv_channels(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """Split a convolution into one with `rank` filters and a 1x1 convolution that mixes them.

    It has k (C_in kh kw + C_out) weights instead of C_out C_in kh kw (Denton and others, 2014, section 3; Zhang and
    others, 2016). Stride, padding and dilation stay with the first, the bias goes to the second.

    Args:
        conv: with groups=1; it is not changed.
        rank: from 1 to min(C_out, C_in kh kw), at which the two compute the same, up to rounding.

    >>> split_conv_channels(nn.Conv2d(20, 50, 5), 8)
    Sequential(
      (0): Conv2d(20, 8, kernel_size=(5, 5), stride=(1, 1), bias=False)
      (1): Conv2d(8, 50, kernel_size=(1, 1), stride=(1, 1))
    )
    """
    mixed, mixing = _conv_factors(conv, conv_channel_matrix(conv.weight), rank)
    form = {
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "padding_mode": conv.padding_mode,
    }
    first = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, **form, bias=False)
    second = nn.Conv2d(rank, conv.out_channels, 1, bias=conv.bias is not None)
    _filled(first, conv, weight=mixed.reshape(first.weight.shape))
    _filled(second, conv, weight=mixing.reshape(second.weight.shape))
    return nn.Sequential(first, second)


def split_conv_spatial(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """Split a convolution into a vertical one, kh x 1 with `rank` filters, and a horizontal one, 1 x kw.

    It has k (C_in kh + C_out kw) weights instead of C_out C_in kh kw (Jaderberg, Vedaldi and Zisserman, 2014, section
    2). Each takes the stride, padding and dilation of its direction; the bias goes to the second.

    Args:
        conv: with groups=1; it is not changed.
        rank: from 1 to min(C_in kh, C_out kw), at which the two compute the same, up to rounding.

    >>> split_conv_spatial(nn.Conv2d(20, 50, 5, padding=2), 30)
    Sequential(
      (0): Conv2d(20, 30, kernel_size=(5, 1), stride=(1, 1), padding=(2, 0), bias=False)
      (1): Conv2d(30, 50, kernel_size=(1, 5), stride=(1, 1), padding=(0, 2))
    )
    """
    vertical, horizontal = _conv_factors(conv, conv_spatial_matrix(conv.weight), rank)
    height, width = conv.kernel_size
    named = isinstance(conv.padding, str)  # "same" or "valid" holds in each direction by itself
    first = nn.Conv2d(
        conv.in_channels,
        rank,
        (height, 1),
        stride=(conv.stride[0], 1),
        padding=conv.padding if named else (conv.padding[0], 0),
        dilation=(conv.dilation[0], 1),
        padding_mode=conv.padding_mode,
        bias=False,
    )
    second = nn.Conv2d(
        rank,
        conv.out_channels,
        (1, width),
        stride=(1, conv.stride[1]),
        padding=conv.padding if named else (0, conv.padding[1]),
        dilation=(1, conv.dilation[1]),
        padding_mode=conv.padding_mode,
        bias=conv.bias is not None,
    )
    vertical = vertical.reshape(rank, conv.in_channels, height)[..., None]  # (k, C_in, kh, 1)
    horizontal = horizontal.reshape(conv.out_channels, width, rank).transpose(1, 2)[:, :, None]  # (C_out, k, 1, kw)
    _filled(first, conv, weight=vertical)
    _filled(second, conv, weight=horizontal)
    return nn.Sequential(first, second)


def split_layers(
    model: nn.Module, ranks: Mapping[str, int], *, split: Callable[[nn.Module, int], nn.Module] = split_linear
) -> nn.Module:
    """Return a copy of a network in which the named layers are split in two; each part takes its layer's mode.

    Args:
        model: it is not changed.
        ranks: a rank for each layer's name, as in `model.named_modules()`.
        split: makes the two of a layer and its rank: `split_linear`, `split_conv_channels`, `split_conv_spatial`.

    Raises a ValueError for the `out_proj` of an `nn.MultiheadAttention`, which reads its weight and does not call it.

    >>> split_layers(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), {"0": 2})[0]
    LowRankLinear(in_features=6, out_features=4, rank=2, bias=True)
    """
    smaller = copy.deepcopy(require_permanent("model", model))
    layers = {name: smaller.get_submodule(name) for name in ranks}  # before any is replaced: some may be one layer
    for name, layer in layers.items():
        parent = name.rpartition(".")[0]
        if isinstance(model.get_submodule(parent), nn.MultiheadAttention):
            raise ValueError(
                f"{name} cannot be split: nn.MultiheadAttention reads its weight and does not call it; write the "
                "attention with nn.Linear layers and scaled_dot_product_attention"
            )
        replace_everywhere(smaller, layer, split(layer, ranks[name]).train(layer.training))
    return smaller


def merge_layers(model: nn.Module) -> nn.Module:
    """Return a copy in which every `LowRankLinear` is one linear layer again, with the product as its weight.

    >>> merge_layers(nn.Sequential(LowRankLinear(6, 4, 2)))
    Sequential(
      (0): Linear(in_features=6, out_features=4, bias=True)
    )
    """
    merged = copy.deepcopy(require_permanent("model", model))
    for module in list(merged.modules()):
        if isinstance(module, LowRankLinear):
            replace_everywhere(merged, module, module.merged())
    return merged


# --- helpers ---------------------------------------------------------------------------------------------------------


def _largest(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the `rank` largest singular values with their vectors, in float64: shapes (m, k), (k,), (k, n)."""
    matrix = _matrix("weight", weight)
    _require_rank(rank, matrix.shape)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)  # the largest first
    return u[:, :rank], s[:rank], vh[:rank]


def _conv_factors(conv: nn.Conv2d, matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    if conv.groups != 1:
        raise ValueError(f"conv must have groups=1, got groups={conv.groups}; split each group by itself")
    require_int("rank", rank, minimum=1)  # a convolution without channels does not exist
    return factors(matrix, rank)


def _filled(new: nn.Module, old: nn.Module, **tensors: torch.Tensor) -> nn.Module:
    """Put tensors into a new layer, the bias of the old one too, and take its dtype, device and mode."""
    new.to(old.weight)
    for name, tensor in tensors.items():
        getattr(new, name).data = tensor.detach().contiguous()
    if new.bias is not None:
        new.bias.data = old.bias.detach().clone()
    return new.train(old.training)


def _uniform(shape: tuple[int, ...], fan_in: int) -> torch.Tensor:
    """Draw from [-1/sqrt(fan_in), 1/sqrt(fan_in)], as PyTorch's own layers do."""
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound)


def _matrix(name: str, value: torch.Tensor) -> torch.Tensor:
    """Return a finite matrix in float64, detached."""
    if require_tensor(name, value).ndim != 2:
        raise ValueError(f"{name} must be a matrix, with two dimensions, got shape {tuple(value.shape)}")
    return value.detach().double()


def _require_rank(rank: int, shape: tuple[int, int]) -> None:
    if require_int("rank", rank) > min(shape):
        raise ValueError(
            f"rank must be at most {min(shape)}, the smaller side of a matrix of {tuple(shape)}, got {rank}"
        )
