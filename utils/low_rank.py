"""Low rank: truncated singular value decompositions, the choice of ranks, and layers split in two.

A weight of shape (m, n) at rank k is the product of a `second` matrix of shape (m, k) and a `first` one of shape
(k, n), in the order in which an input meets them read from the right: first, then second. It has k (m + n) numbers
instead of m n. Every decomposition is computed in float64 and returned in the dtype of the weight, so that half
precision, which LAPACK does not know, works too.
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from utils.input_validation import require_fraction, require_int, require_module, require_tensor


class TruncatedSVD(NamedTuple):
    """The k largest singular values of a matrix of shape (m, n) with their vectors, so that u diag(s) vh is near it.

    Args:
        u: left singular vectors, the columns of a matrix of shape (m, k).
        s: singular values, the largest first, shape (k,).
        vh: right singular vectors, the rows of a matrix of shape (k, n).
    """

    u: torch.Tensor
    s: torch.Tensor
    vh: torch.Tensor


# --- the decomposition -----------------------------------------------------------------------------------------------


def truncated_svd(weight: torch.Tensor, rank: int) -> TruncatedSVD:
    """Decompose a matrix and keep its `rank` largest singular values: W is near u diag(s) vh.

    No other matrix of that rank is nearer in the Frobenius norm, and the distance is the root of the sum of the squares
    of the singular values left out (Eckart and Young, 1936). Vectors are determined up to a common sign, and where two
    singular values are equal only as a plane.

    Args:
        weight: shape (m, n), any floating-point dtype, contiguous or not.
        rank: from 0, which leaves nothing, to min(m, n), which leaves everything.

    Returns:
        A `TruncatedSVD` in the dtype and on the device of `weight`.

    Raises:
        TypeError: `weight` is no floating-point tensor, or `rank` no integer.
        ValueError: `weight` is no matrix, empty or not finite, or `rank` is out of range.

    >>> u, s, vh = truncated_svd(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 1)
    >>> s, (u * s @ vh).round()
    (tensor([4.]), tensor([[0., 0.],
            [0., 4.]]))
    """
    matrix, rank = _require_matrix("weight", weight), _require_rank(rank, weight.shape)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return TruncatedSVD(*(part.to(weight.dtype) for part in (u[:, :rank], s[:rank], vh[:rank])))


def singular_values(weight: torch.Tensor) -> torch.Tensor:
    """Return the min(m, n) singular values of a matrix, the largest first, in float64.

    Raises:
        TypeError, ValueError: see `truncated_svd`.

    >>> singular_values(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor([4., 3.], dtype=torch.float64)
    """
    return torch.linalg.svdvals(_require_matrix("weight", weight))


def low_rank_approximation(weight: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the matrix of rank `rank` or less that is nearest to `weight` in the Frobenius norm; see `truncated_svd`.

    >>> low_rank_approximation(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 1).round()
    tensor([[0., 0.],
            [0., 4.]])
    """
    matrix, rank = _require_matrix("weight", weight), _require_rank(rank, weight.shape)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ vh[:rank]).to(weight.dtype)


class Factors(NamedTuple):
    """Two matrices whose product `second @ first` stands for a weight of shape (m, n).

    Args:
        first: shape (k, n): applied to the input.
        second: shape (m, k): applied to what `first` returns.
    """

    first: torch.Tensor
    second: torch.Tensor

    @property
    def product(self) -> torch.Tensor:
        """The matrix of shape (m, n) that the two stand for."""
        return self.second @ self.first


def factors(weight: torch.Tensor, rank: int) -> Factors:
    """Examples a matrix into two whose product is its best approximation of that rank.

    Each side takes the root of the singular values, first = diag(s)^(1/2) vh and second = u diag(s)^(1/2), so that both
    have the same norm: training and half precision both suffer where one is large and the other small.

    Raises:
        TypeError, ValueError: see `truncated_svd`.

    >>> first, second = factors(torch.tensor([[0.0, 0.0], [0.0, 4.0]]), 1)
    >>> first.shape, second.shape, first.norm() == second.norm()
    (torch.Size([1, 2]), torch.Size([2, 1]), tensor(True))
    """
    matrix, rank = _require_matrix("weight", weight), _require_rank(rank, weight.shape)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return Factors((root[:, None] * vh[:rank]).to(weight.dtype), (u[:, :rank] * root).to(weight.dtype))


def input_moment(inputs: torch.Tensor) -> torch.Tensor:
    """Return the mean of x x^T over the inputs x of a layer: shape (n, n), in float64.

    It is the covariance plus the product of the means, since a layer's error does not care which of the two an input
    owes its size to.

    Args:
        inputs: one input a row, shape (examples, n). Take them from calibration or training data.

    Raises:
        TypeError, ValueError: no floating-point matrix, empty, or not finite.

    >>> input_moment(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    tensor([[5., 0.],
            [0., 0.]], dtype=torch.float64)
    """
    matrix = _require_matrix("inputs", inputs)
    return matrix.T @ matrix / len(matrix)


def data_aware_factors(weight: torch.Tensor, rank: int, moment: torch.Tensor) -> Factors:
    """Examples a matrix so that the layer's *outputs* change least in the mean over its inputs.

    Of all W' of that rank, it minimises the mean of |W x - W' x|^2 = |(W - W') C^(1/2)|_F^2, where C is the mean of
    x x^T. With the eigenvectors u of W C W^T for the k largest eigenvalues, the minimum is W' = u u^T W, so that
    nothing has to be inverted and C may be singular (Chen and others, "DRONE", 2021, section 3; Zhang and others,
    "Accelerating very deep convolutional networks", 2016, section 3.1). With C = I it is `factors`.

    Args:
        weight: shape (m, n).
        rank: from 0 to min(m, n).
        moment: C, shape (n, n), symmetric and positive semidefinite, as `input_moment` returns it.

    Returns:
        `Factors` in the dtype of `weight`, balanced as those of `factors`.

    Raises:
        TypeError, ValueError: see `truncated_svd`; or `moment` is of another shape or not symmetric.

    >>> weight = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> seldom = torch.tensor([[0.01, 0.0], [0.0, 1.0]])  # the first input is nearly always 0
    >>> data_aware_factors(weight, 1, seldom).product.abs().round()
    tensor([[0., 0.],
            [0., 1.]])
    """
    matrix, rank = _require_matrix("weight", weight), _require_rank(rank, weight.shape)
    inputs = matrix.shape[1]
    if require_tensor("moment", moment).shape != (inputs, inputs):
        raise ValueError(f"moment must have shape {(inputs, inputs)}, inputs x inputs, got {tuple(moment.shape)}")
    moment = moment.detach().to(matrix)
    if not torch.allclose(moment, moment.T, rtol=1e-4, atol=1e-6 * float(moment.abs().max())):
        raise ValueError("moment must be symmetric, as the mean of x x^T is; input_moment makes it from the inputs")
    _, vectors = torch.linalg.eigh(matrix @ moment @ matrix.T)  # eigenvalues ascending
    u = vectors.flip(1)[:, :rank]  # (m, k)
    first = u.T @ matrix  # (k, n), its rows are neither orthogonal nor of one length
    balance = first.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    return Factors((first / balance[:, None]).to(weight.dtype), (u * balance).to(weight.dtype))


# --- the choice of a rank --------------------------------------------------------------------------------------------


def break_even_rank(out_features: int, in_features: int) -> float:
    """Return m n / (m + n), the rank at which two matrices hold as many numbers as the one; below it they save.

    Raises:
        TypeError, ValueError: a size that is not a positive integer.

    >>> break_even_rank(100, 100), round(break_even_rank(300, 784), 2)
    (50.0, 216.97)
    """
    m = require_int("out_features", out_features, minimum=1)
    n = require_int("in_features", in_features, minimum=1)
    return m * n / (m + n)


def rank_for_energy(values: torch.Tensor, energy: float) -> int:
    """Return the smallest rank whose squared singular values sum to at least the share `energy` of all.

    Args:
        values: singular values, the largest first, as `singular_values` returns them.
        energy: from 0, for which the rank is 0, to 1, for which it is the number of values that are not zero.

    Raises:
        TypeError, ValueError: no vector, or negative or ascending values, or `energy` outside [0, 1].

    >>> rank_for_energy(torch.tensor([4.0, 3.0]), 0.64), rank_for_energy(torch.tensor([4.0, 3.0]), 0.65)
    (1, 2)
    """
    energy = require_fraction("energy", energy)
    squares = _require_values("values", values).square()
    if energy == 0.0 or float(squares.sum()) == 0.0:
        return 0
    kept = squares.cumsum(0)
    # at 1 the last sums may fall short of, or reach, the whole by rounding: count the values instead
    if energy == 1.0:
        return int((squares > 0).sum())
    enough = kept >= energy * kept[-1] * (1 - 1e-12)
    return int(enough.nonzero()[0]) + 1


def ranks_for_budget(weights: Mapping[str, torch.Tensor], budget_bytes: int) -> dict[str, int]:
    """Share a number of bytes among several layers, so that they keep much of their energy in sum.

    Every layer begins at rank 1. Then, as long as something fits, the layer gains a rank that gains the largest share
    of its own energy per byte. A layer for which the two matrices would hold as many numbers as the one stays below the
    break-even rank.

    Args:
        weights: a matrix for each name; its dtype says how many bytes a number takes.
        budget_bytes: for all factors together, biases not counted.

    Returns:
        A rank for each name.

    Raises:
        TypeError, ValueError: no matrices, or the budget does not suffice for rank 1 everywhere.

    >>> ranks_for_budget({"a": torch.diag(torch.tensor([9.0, 1, 1, 1, 1])), "b": torch.eye(5)}, 120)
    {'a': 1, 'b': 2}
    """
    if not isinstance(weights, Mapping) or not weights:
        raise TypeError(f"weights must map at least one name to a matrix, got {weights!r}")
    budget = require_int("budget_bytes", budget_bytes)
    energies, price, most = {}, {}, {}
    for name, weight in weights.items():
        squares = singular_values(weight).square()
        energies[name] = (squares / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)).tolist()
        price[name] = sum(weight.shape) * weight.element_size()
        most[name] = max(1, math.ceil(break_even_rank(*weight.shape)) - 1)
    ranks = dict.fromkeys(weights, 1)
    left = budget - sum(price.values())
    if left < 0:
        raise ValueError(
            f"budget_bytes must be at least {sum(price.values())}, which is rank 1 everywhere, got {budget}"
        )
    while True:
        open_to = [name for name in weights if ranks[name] < most[name] and price[name] <= left]
        if not open_to:
            return ranks
        best = max(open_to, key=lambda name: energies[name][ranks[name]] / price[name])
        ranks[best] += 1
        left -= price[best]


# --- layers split in two ---------------------------------------------------------------------------------------------


class LowRankLinear(nn.Module):
    """A linear layer of rank at most k: y = second (first x) + bias, with k (m + n) weights instead of m n.

    Made by itself it has random weights, for a control trained from scratch; `split_linear` makes one from a layer.

    Args:
        in_features, out_features: n and m, at least 1.
        rank: k, from 0, where only the bias answers, to min(m, n).
        bias: whether there is one.

    Raises:
        TypeError, ValueError: a value of the wrong type or out of range.

    >>> LowRankLinear(784, 300, 21)
    LowRankLinear(in_features=784, out_features=300, rank=21, bias=True)
    """

    def __init__(self, in_features: int, out_features: int, rank: int, *, bias: bool = True):
        super().__init__()
        self.in_features = require_int("in_features", in_features, minimum=1)
        self.out_features = require_int("out_features", out_features, minimum=1)
        self.rank = _require_rank(rank, (out_features, in_features))
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
        layer = nn.Linear(
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            device=self.first.device,
            dtype=self.first.dtype,
        )
        layer.weight.data = (self.second.double() @ self.first.double()).detach().to(self.first.dtype)
        if self.bias is not None:
            layer.bias.data = self.bias.detach().clone()
        return layer


def split_linear(layer: nn.Linear, rank: int, *, moment: torch.Tensor | None = None) -> LowRankLinear:
    """Examples a linear layer in two with the best factors of that rank, the bias as it was.

    Args:
        layer: of shape (m, n); it is not changed.
        rank: from 0 to min(m, n); at min(m, n) the split layer computes the same, up to rounding.
        moment: the mean of x x^T over the layer's inputs, for `data_aware_factors`; without it, `factors`.

    Raises:
        TypeError: `layer` is no nn.Linear.
        ValueError: `rank` or `moment` does not fit.

    >>> split_linear(nn.Linear(6, 4), 2)
    LowRankLinear(in_features=6, out_features=4, rank=2, bias=True)
    """
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"layer must be an nn.Linear, got {type(require_module('layer', layer)).__name__}")
    pair = factors(layer.weight, rank) if moment is None else data_aware_factors(layer.weight, rank, moment)
    split = LowRankLinear(layer.in_features, layer.out_features, rank, bias=layer.bias is not None)
    return _filled(split, layer, first=pair.first, second=pair.second)


def conv_channel_matrix(weight: torch.Tensor) -> torch.Tensor:
    """Lay a kernel out with a filter in each row: (C_out, C_in, kh, kw) -> (C_out, C_in kh kw).

    Raises:
        TypeError, ValueError: no floating-point tensor of four dimensions, empty, or not finite.

    >>> conv_channel_matrix(torch.ones(50, 20, 5, 3)).shape
    torch.Size([50, 300])
    """
    return _require_kernel(weight).flatten(1)


def conv_spatial_matrix(weight: torch.Tensor) -> torch.Tensor:
    """Lay a kernel out with rows for (output, column) and columns for (input, row of the kernel).

    The shape goes from (C_out, C_in, kh, kw) to (C_out kw, C_in kh).

    >>> conv_spatial_matrix(torch.ones(50, 20, 5, 3)).shape
    torch.Size([150, 100])
    """
    kernel = _require_kernel(weight)
    outputs, inputs, height, width = kernel.shape
    return kernel.permute(0, 3, 1, 2).reshape(outputs * width, inputs * height)


def split_conv_channels(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """Examples a convolution into one with `rank` filters and a 1x1 convolution that mixes them.

    It has k (C_in kh kw + C_out) weights instead of C_out C_in kh kw (Denton and others, 2014, section 3; Zhang and
    others, 2016). Stride, padding and dilation stay with the first, the bias goes to the second.

    Args:
        conv: with groups=1; it is not changed.
        rank: from 1 to min(C_out, C_in kh kw), at which the two compute the same, up to rounding.

    Raises:
        TypeError: `conv` is no nn.Conv2d.
        ValueError: it is grouped, or `rank` is out of range.

    >>> split_conv_channels(nn.Conv2d(20, 50, 5), 8)
    Sequential(
      (0): Conv2d(20, 8, kernel_size=(5, 5), stride=(1, 1), bias=False)
      (1): Conv2d(8, 50, kernel_size=(1, 1), stride=(1, 1))
    )
    """
    matrix = conv_channel_matrix(_require_conv(conv).weight)
    pair = factors(matrix, _require_rank(rank, matrix.shape, minimum=1))
    first = nn.Conv2d(
        conv.in_channels,
        rank,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        padding_mode=conv.padding_mode,
        bias=False,
    )
    second = nn.Conv2d(rank, conv.out_channels, 1, bias=conv.bias is not None)
    _filled(first, conv, weight=pair.first.reshape(first.weight.shape))
    return nn.Sequential(first, _filled(second, conv, weight=pair.second.reshape(second.weight.shape)))


def split_conv_spatial(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """Examples a convolution into a vertical one, kh x 1 with `rank` filters, and a horizontal one, 1 x kw.

    It has k (C_in kh + C_out kw) weights instead of C_out C_in kh kw (Jaderberg, Vedaldi and Zisserman, 2014, section
    2). Each takes the stride, padding and dilation of its direction; the bias goes to the second.

    Args:
        conv: with groups=1; it is not changed.
        rank: from 1 to min(C_in kh, C_out kw), at which the two compute the same, up to rounding.

    Raises:
        TypeError: `conv` is no nn.Conv2d.
        ValueError: it is grouped, or `rank` is out of range.

    >>> split_conv_spatial(nn.Conv2d(20, 50, 5, padding=2), 30)
    Sequential(
      (0): Conv2d(20, 30, kernel_size=(5, 1), stride=(1, 1), padding=(2, 0), bias=False)
      (1): Conv2d(30, 50, kernel_size=(1, 5), stride=(1, 1), padding=(0, 2))
    )
    """
    matrix = conv_spatial_matrix(_require_conv(conv).weight)
    pair = factors(matrix, _require_rank(rank, matrix.shape, minimum=1))
    (height, width), (down, across), (spread_down, spread_across) = conv.kernel_size, conv.stride, conv.dilation
    named = isinstance(conv.padding, str)  # "same" or "valid", in each direction by itself
    first = nn.Conv2d(
        conv.in_channels,
        rank,
        (height, 1),
        stride=(down, 1),
        padding=conv.padding if named else (conv.padding[0], 0),
        dilation=(spread_down, 1),
        padding_mode=conv.padding_mode,
        bias=False,
    )
    second = nn.Conv2d(
        rank,
        conv.out_channels,
        (1, width),
        stride=(1, across),
        padding=conv.padding if named else (0, conv.padding[1]),
        dilation=(1, spread_across),
        padding_mode=conv.padding_mode,
        bias=conv.bias is not None,
    )
    vertical = pair.first.reshape(rank, conv.in_channels, height)[..., None]  # (k, C_in, kh, 1)
    horizontal = pair.second.reshape(conv.out_channels, width, rank).transpose(1, 2)[:, :, None]  # (C_out, k, 1, kw)
    _filled(first, conv, weight=vertical)
    return nn.Sequential(first, _filled(second, conv, weight=horizontal))


def split_layers(
    model: nn.Module, ranks: Mapping[str, int], *, split: Callable[[nn.Module, int], nn.Module] = split_linear
) -> nn.Module:
    """Return a copy of a network in which the named layers are split in two.

    Args:
        model: it is not changed.
        ranks: a rank for each layer's name, as in `model.named_modules()`.
        split: makes the two of a layer and its rank: `split_linear`, `split_conv_channels`, `split_conv_spatial`.

    Raises:
        TypeError, ValueError: there is no layer of that name, or `split` refuses it.

    >>> split_layers(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), {"0": 2})[0]
    LowRankLinear(in_features=6, out_features=4, rank=2, bias=True)
    """
    smaller = copy.deepcopy(require_module("model", model))
    layers = dict(model.named_modules())
    for name, rank in ranks.items():
        if name not in layers or not name:
            raise ValueError(f"there is no layer {name!r}; there are: {', '.join(filter(None, layers))}")
        smaller.set_submodule(name, split(layers[name], rank).train(layers[name].training))
    return smaller


def merge_layers(model: nn.Module) -> nn.Module:
    """Return a copy in which every `LowRankLinear` is one linear layer again, with the product as its weight.

    >>> merge_layers(nn.Sequential(LowRankLinear(6, 4, 2)))
    Sequential(
      (0): Linear(in_features=6, out_features=4, bias=True)
    )
    """
    merged = copy.deepcopy(model)
    for name, module in model.named_modules():
        if isinstance(module, LowRankLinear):
            merged.set_submodule(name, module.merged())
    return merged.train(model.training)


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


def _require_matrix(name: str, value: object) -> torch.Tensor:
    """Return a finite matrix in float64, detached."""
    if require_tensor(name, value).ndim != 2:
        raise ValueError(f"{name} must be a matrix, with two dimensions, got shape {tuple(value.shape)}")
    return value.detach().double()


def _require_kernel(weight: object) -> torch.Tensor:
    if require_tensor("weight", weight).ndim != 4:
        raise ValueError(f"weight must have shape (C_out, C_in, kh, kw), got {tuple(weight.shape)}")
    return weight.detach()


def _require_conv(conv: object) -> nn.Conv2d:
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(f"conv must be an nn.Conv2d, got {type(require_module('conv', conv)).__name__}")
    if conv.groups != 1:
        raise ValueError(f"conv must have groups=1, got groups={conv.groups}; split each group by itself")
    return conv


def _require_rank(rank: object, shape: tuple[int, int] | torch.Size, *, minimum: int = 0) -> int:
    most = min(shape)
    if require_int("rank", rank, minimum=minimum) > most:
        raise ValueError(f"rank must be at most {most}, the smaller side of a matrix of {tuple(shape)}, got {rank}")
    return int(rank)


def _require_values(name: str, values: object) -> torch.Tensor:
    """Return singular values in float64."""
    if require_tensor(name, values).ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {tuple(values.shape)}")
    values = values.detach().double()
    if float(values.min()) < 0 or bool((values.diff() > 0).any()):
        raise ValueError(f"{name} must be singular values: none negative, the largest first")
    return values
