"""Principal components of data, and how to fold their projections into the layers around them.

A projection goes down, z = P (x - mean), and up again, x' = mean + P^T z. Both are linear maps with a constant, so each
can be multiplied into a linear layer or a convolution next to it, if there is no nonlinearity between the two. One
function does all of it: `fold_between` takes two layers in a row and a projection of what passes between them. In
`split_input` and `split_output` one of the two layers is the identity, so that one layer becomes a pair.

Fit on training or calibration data only. `random_projection` is the control, `Projection.reversed` the opposite.
"""

from dataclasses import dataclass

import torch
from torch import nn

from utils.input_validation import require_fraction, require_int, require_tensor

Layer = nn.Linear | nn.Conv2d

EXACT = torch.float64
"""All directions and foldings are computed in this type, on the CPU, and rounded once, at the end."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Orthonormal directions in a space of features, the point they start from, and the data's variance along each.

    Args:
        mean: shape (features,).
        components: shape (kept, features), orthonormal rows, usually in order of falling variance.
        variances: shape (kept,), of the data along each row, with D - 1 in the denominator.
        total_variance: summed over all features, kept or not.

    Raises:
        ValueError: rows that are not orthonormal.
    """

    mean: torch.Tensor
    components: torch.Tensor
    variances: torch.Tensor
    total_variance: float

    def __post_init__(self) -> None:
        rows = self.components.double()
        off = (rows @ rows.T - torch.eye(len(rows), dtype=EXACT, device=rows.device)).abs().max()
        if not off < 1e-3:  # also where a row holds NaN
            raise ValueError(f"the rows of components must be orthonormal; P P^T is off the identity by {off:.2g}")

    @property
    def explained(self) -> torch.Tensor:
        """The share of the total variance along the first 1, 2, ... components; shape (kept,)."""
        return self.variances.cumsum(0) / self.total_variance

    def keep(self, count: int) -> "Projection":
        """Return the projection on the first `count` components, from 1 to all of them."""
        _require_count("count", count, len(self.components))
        return Projection(self.mean, self.components[:count], self.variances[:count], self.total_variance)

    def reversed(self) -> "Projection":
        """Return the same directions in the opposite order, for a control: `reversed().keep(k)` keeps the worst."""
        return Projection(self.mean, self.components.flip(0), self.variances.flip(0), self.total_variance)

    def project(self, data: torch.Tensor, *, whitened: bool = False) -> torch.Tensor:
        """Return P (x - mean) for each row x of `data`, of shape (examples, kept).

        Args:
            data: shape (examples, features), or (features,) for one.
            whitened: divide each component by its standard deviation, so that all have variance 1; a component without
                variance is a ValueError.
        """
        return (data.to(self.mean.dtype) - self.mean) @ (self.components / self._deviations(whitened)[:, None]).T

    def restore(self, scores: torch.Tensor) -> torch.Tensor:
        """Return mean + P^T z for each row z: the points closest to the original data, shape (examples, features)."""
        return self.mean + scores.to(self.mean.dtype) @ self.components

    def _deviations(self, whitened: bool) -> torch.Tensor:
        if not whitened:
            return torch.ones_like(self.variances)
        dead = self.variances <= 1e-12 * self.total_variance
        if dead.any():
            first = int(dead.nonzero()[0])
            raise ValueError(
                f"{int(dead.sum())} components have no variance, the first of them component {first}: whitening would "
                f"divide by zero; keep fewer, such as .keep({max(first, 1)})"
            )
        return self.variances.sqrt()


# --- fitting ---------------------------------------------------------------------------------------------------------


def pca_by_covariance(
    data: torch.Tensor, components: int | None = None, *, centre: torch.Tensor | None = None
) -> Projection:
    """Find the principal components of `data` as eigenvectors of its covariance matrix, largest eigenvalue first.

    Cheap when there are many more examples than features: the examples are summed up block by block into one matrix of
    features x features. The sign of a direction means nothing; we make its largest entry positive.

    Args:
        data: shape (examples, features), two examples or more; half precision is computed and returned in float32.
        components: how many, from 1 to min(examples, features), which is the default.
        centre: where the directions start, shape (features,), in place of the mean; the variances are then mean squares
            about this point. From a layer's bias, the directions of its outputs are those of the data-aware SVD.

    Raises:
        TypeError, ValueError: data that is not finite or does not vary, or too many components.

    Source: Pearson, "On lines and planes of closest fit to systems of points in space", 1901.

    >>> line = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> pca_by_covariance(line, 1).components
    tensor([[0.7071, 0.7071]])
    """
    count = _require_data(data, components)
    data = data.detach()
    mean = data.to("cpu").mean(dim=0, dtype=EXACT) if centre is None else _centre(centre, data.shape[1])
    scatter = torch.zeros(data.shape[1], data.shape[1], dtype=EXACT)
    for block in data.split(4096):
        centred = block.to("cpu", EXACT) - mean
        scatter += centred.T @ centred
    values, vectors = torch.linalg.eigh(scatter / (len(data) - 1))  # smallest first, in columns
    return _projection(data, mean, vectors.flip(1).T[:count], values.flip(0)[:count], scatter.trace())


def pca_by_svd(data: torch.Tensor, components: int | None = None) -> Projection:
    """Find the principal components of `data` as right singular vectors of the centred data; see `pca_by_covariance`.

    The variances are the squared singular values over D - 1. Small variances come out more precisely than from the
    covariance, which squares them; with many examples it takes longer.

    >>> line = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> pca_by_svd(line, 1).variances
    tensor([2.])
    """
    count = _require_data(data, components)
    data = data.detach()
    exact = data.to("cpu", EXACT)
    mean = exact.mean(dim=0)
    _, s, vh = torch.linalg.svd(exact - mean, full_matrices=False)
    variances = s.square() / (len(data) - 1)
    return _projection(data, mean, vh[:count], variances[:count], variances.sum() * (len(data) - 1))


def weight_directions(layer: Layer, centre: torch.Tensor) -> Projection:
    """Return the left singular vectors of a layer's weight as directions of its outputs, from a centre.

    With the bias as the centre, `split_output` of the first k is the truncated SVD of the weight. With the mean output
    it is the same weight, and a bias that makes the mean output right. `variances` are the squared singular values.

    Args:
        layer: a convolution counts as a matrix with a filter in each row.
        centre: shape (outputs,).

    >>> layer = nn.Linear(5, 4)
    >>> weight_directions(layer, layer.bias).keep(2).components.shape
    torch.Size([2, 4])
    """
    u, s, _ = torch.linalg.svd(_exact(layer.weight).flatten(1), full_matrices=False)
    _centre(centre, len(u))
    rows, squares = (tensor.to(layer.weight) for tensor in (u.T.contiguous(), s.square()))
    return Projection(centre.detach().to(layer.weight), rows, squares.detach(), float(s.square().sum()))


def four_ways(layer: Layer, outputs: torch.Tensor) -> dict[str, Projection]:
    """Return directions of a layer's outputs: the data's or the weight's, each from the mean output or from the bias.

    Args:
        layer: with a bias.
        outputs: of that layer, one example a row; of a convolution, `channels_as_rows`.

    >>> layer = nn.Linear(5, 4)
    >>> list(four_ways(layer, layer(torch.rand(9, 5))))
    ['PCA of outputs', 'data-aware SVD', 'SVD, centre fixed', 'SVD']
    """
    bias, mean = layer.bias.detach(), outputs.detach().mean(dim=0)
    return {
        "PCA of outputs": pca_by_covariance(outputs),
        "data-aware SVD": pca_by_covariance(outputs, centre=bias),
        "SVD, centre fixed": weight_directions(layer, mean),
        "SVD": weight_directions(layer, bias),
    }


def random_projection(data: torch.Tensor, components: int, generator: torch.Generator) -> Projection:
    """Draw orthonormal directions uniformly: the control beside principal components, with the same mean.

    Args:
        data: shape (examples, features), for the mean and for the variances along the drawn directions.
        components: how many, as in `pca_by_covariance`.
        generator: draws them; its seed should not be one that a network was initialised with.

    >>> data = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]])
    >>> random_projection(data, 2, torch.Generator().manual_seed(1000)).components.shape
    torch.Size([2, 2])
    """
    count = _require_data(data, components)
    data = data.detach()
    drawn = torch.randn(data.shape[1], count, generator=generator, dtype=EXACT, device=generator.device).to("cpu")
    directions = torch.linalg.qr(drawn).Q.T
    mean = data.to("cpu").mean(dim=0, dtype=EXACT)
    along = torch.zeros(count, dtype=EXACT)
    total = torch.zeros((), dtype=EXACT)
    for block in data.split(4096):
        centred = block.to("cpu", EXACT) - mean
        along += (centred @ directions.T).square().sum(dim=0)
        total += centred.square().sum()
    return _projection(data, mean, directions, along / (len(data) - 1), total)


def components_for(projection: Projection, share: float) -> int:
    """Return the smallest number of components that explain at least `share` of the variance.

    Args:
        projection: with its components in order of falling variance.
        share: a fraction, from 0 to 1; for any share at least one component is kept.

    Raises:
        ValueError: `share` is no fraction, or all components together explain less.

    >>> corners = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> components_for(pca_by_svd(corners), 0.9), components_for(pca_by_svd(corners), 0.95)
    (1, 2)
    """
    share = require_fraction("share", share)
    enough = projection.explained.double() >= share - 1e-6  # the rounding of a sum in float32
    if not enough.any():
        reached = projection.explained[-1].item()
        raise ValueError(f"share must be at most {reached:.4f}, what all components explain together; got {share}")
    return int(enough.nonzero()[0]) + 1


def channels_as_rows(outputs: torch.Tensor) -> torch.Tensor:
    """Turn (N, channels, height, width) into (N height width, channels): each place of each image is one example.

    >>> channels_as_rows(torch.ones(2, 3, 4, 4)).shape
    torch.Size([32, 3])
    """
    return outputs.movedim(1, -1).flatten(0, 2)


# --- folding ---------------------------------------------------------------------------------------------------------


def fold_between(first: Layer, second: Layer, projection: Projection) -> nn.Sequential:
    """Fold a projection of what passes between two layers into both of them; nothing is left of it at run time.

    With the outputs a = W x + c of `first`, the new pair computes exactly second(mean + P^T P (a - mean)): the weights
    become P W and W' P^T, and all constants gather in the second bias, W' (mean + P^T P (c - mean)) + c'.

    Args:
        first: a linear layer or a convolution from n to m features (channels).
        second: one of the same kind from m features, which reads what `first` writes, with *no nonlinearity between*;
            a convolution must not pad, as a padded zero gets no share of the mean.
        projection: of the m features, to k of them.

    Returns:
        Two layers, n to k without a bias and k to the outputs of `second` with one, of the dtype and on the device of
        the weights of `first`. A convolution keeps its kernel size, stride and dilation.

    Raises:
        ValueError: features that do not fit, or grouped or padded convolutions.

    Source: Zhang et al., "Accelerating very deep convolutional networks", 2016, section 3.1, with the bias.

    >>> first, second = nn.Linear(5, 4), nn.Linear(4, 3)
    >>> fold_between(first, second, pca_by_svd(torch.eye(4), 2))
    Sequential(
      (0): Linear(in_features=5, out_features=2, bias=False)
      (1): Linear(in_features=2, out_features=3, bias=True)
    )
    """
    _require_mixable("first", first)
    _require_mixable("second", second)
    _require_no_padding("second", second)
    written, read, projected = first.weight.shape[0], second.weight.shape[1], projection.components.shape[1]
    if not written == read == projected:
        raise ValueError(
            f"the projection takes {projected} features, first gives {written} and second takes {read}; all three must "
            "be equal"
        )
    mean = _exact(projection.mean)  # (m,)
    rows = _exact(projection.components)  # (k, m)
    constant = mean + rows.T @ (rows @ (_bias(first) - mean))  # (m,)
    down = torch.tensordot(rows, _exact(first.weight), dims=([1], [0]))  # (k, n, ...)
    up = torch.tensordot(_exact(second.weight), rows, dims=([1], [1])).movedim(-1, 1)  # (outputs, k, ...)
    bias = _bias(second) + _taps(second) @ constant
    return nn.Sequential(_like(first, down, None, first), _like(second, up, bias, first))


def split_output(layer: Layer, projection: Projection) -> nn.Sequential:
    """Split a layer in two by a projection of its *outputs*: n to k features, then k to m.

    The pair computes mean + P^T P (layer(x) - mean), before any nonlinearity: it stands where the layer stood. Of a
    convolution it makes one with k filters and a 1x1 convolution behind. Parameters: k (n + m) + m for a linear layer.

    >>> split_output(nn.Linear(5, 4), pca_by_svd(torch.eye(4), 2))[1]
    Linear(in_features=2, out_features=4, bias=True)
    """
    return fold_between(layer, _identity(layer, layer.weight.shape[0]), projection)


def split_input(layer: Layer, projection: Projection) -> nn.Sequential:
    """Split a layer in two by a projection of its *inputs*: n to k features, then k to m.

    The pair computes layer(mean + P^T P (x - mean)), behind any nonlinearity before it. The projection itself is the
    first of the two layers: it is *not* gone. Of a convolution it makes a 1x1 convolution with the convolution behind.

    >>> split_input(nn.Linear(5, 4), pca_by_svd(torch.eye(5), 2))[0]
    Linear(in_features=5, out_features=2, bias=False)
    """
    return fold_between(_identity(layer, layer.weight.shape[1]), layer, projection)


def fold_input(layer: Layer, projection: Projection, *, whitened: bool = False) -> Layer:
    """Fold a projection in front of a layer into it, so that it takes the features themselves: V P, and c - V P mean.

    The result computes layer(projection.project(x)). It has m n weights, however few the components are: it is a layer
    of full size and of rank k at most. What is saved was saved in training.

    Args:
        layer: takes the k components; a convolution must not pad.
        projection: of n features, to k components.
        whitened: the layer takes whitened components.

    >>> fold_input(nn.Linear(2, 4), pca_by_svd(torch.eye(5), 2))
    Linear(in_features=5, out_features=4, bias=True)
    """
    _require_mixable("layer", layer)
    _require_no_padding("layer", layer)
    rows = _exact(projection.components / projection._deviations(whitened)[:, None])  # (k, n)
    weight = torch.tensordot(_exact(layer.weight), rows, dims=([1], [0])).movedim(-1, 1)  # (m, n, ...)
    return _like(layer, weight, _bias(layer) - _taps(layer) @ (rows @ _exact(projection.mean)), layer)


def drop_constant_inputs(layer: nn.Linear, data: torch.Tensor) -> tuple[nn.Linear, torch.Tensor]:
    """Remove the inputs of a linear layer that never vary in `data`; what they always add goes into the bias.

    Returns:
        The smaller layer, and the indices of the inputs it takes: the layer's answer to x is the smaller one's to
        x[:, indices], for every x that has the same constants.

    >>> smaller, indices = drop_constant_inputs(nn.Linear(3, 2), torch.tensor([[1.0, 5.0, 0.0], [2.0, 5.0, 0.5]]))
    >>> smaller, indices
    (Linear(in_features=2, out_features=2, bias=True), tensor([0, 2]))
    """
    _require_data(data)
    varies = (data != data[0]).any(dim=0).to("cpu")
    constants = data[0].detach().to("cpu", EXACT)[~varies]
    weight = _exact(layer.weight)
    smaller = _like(layer, weight[:, varies], _bias(layer) + weight[:, ~varies] @ constants, layer)
    return smaller, varies.nonzero().flatten().to(layer.weight.device)


# --- checks and helpers ----------------------------------------------------------------------------------------------


def _projection(
    data: torch.Tensor, mean: torch.Tensor, rows: torch.Tensor, variances: torch.Tensor, scatter: torch.Tensor
) -> Projection:
    """Give the rows their signs, clear rounding below zero, and return to the data's type and device."""
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    rows = torch.where(largest < 0, -rows, rows)
    dtype = data.dtype if data.dtype in (torch.float32, EXACT) else torch.float32
    mean, rows, variances = (t.to(data.device, dtype) for t in (mean, rows, variances.clamp(min=0.0)))
    return Projection(mean, rows.contiguous(), variances, float(scatter) / (len(data) - 1))


def _require_data(data: torch.Tensor, components: int | None = None) -> int:
    """Check data and number of components, and return the number."""
    if require_tensor("data", data).ndim != 2:
        raise ValueError(
            f"data must have the shape (examples, features), got {tuple(data.shape)}; flatten images with .flatten(1), "
            "bring channels last with channels_as_rows"
        )
    if bool((data == data[0]).all()):  # a single example too
        raise ValueError(f"data does not vary: all {len(data)} examples are equal, so no direction is a principal one")
    if components is None:
        return min(data.shape)
    return _require_count("components", components, min(data.shape))


def _centre(centre: torch.Tensor, features: int) -> torch.Tensor:
    if require_tensor("centre", centre).shape != (features,):
        raise ValueError(f"centre must have the shape ({features},), a number for each feature; got {centre.shape}")
    return _exact(centre)


def _require_count(name: str, value: int, most: int) -> int:
    if require_int(name, value, minimum=1) > most:
        raise ValueError(f"{name} must be at most {most}, got {value}: there are no more directions")
    return value


def _require_mixable(name: str, layer: Layer) -> None:
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        raise ValueError(f"{name} has {layer.groups} groups: their channels must not be mixed; only groups=1 can be")
    require_tensor(f"{name}.weight", layer.weight)


def _require_no_padding(name: str, layer: Layer) -> None:
    if isinstance(layer, nn.Conv2d) and layer.padding not in ((0, 0), "valid"):
        raise ValueError(
            f"{name} pads its input by {layer.padding}: a padded zero gets no share of the mean, so that no bias is "
            "right at the border; project the outputs of the convolution instead (split_output)"
        )


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", EXACT)


def _bias(layer: Layer) -> torch.Tensor:
    return torch.zeros(layer.weight.shape[0], dtype=EXACT) if layer.bias is None else _exact(layer.bias)


def _taps(layer: Layer) -> torch.Tensor:
    """Return what the layer does to features that are the same at every place: a matrix of outputs x inputs."""
    weight = _exact(layer.weight)
    return weight if weight.ndim == 2 else weight.sum(dim=(2, 3))


def _identity(layer: Layer, features: int) -> Layer:
    """Return the identity as a layer of the same kind, without a bias."""
    eye = torch.eye(features, dtype=EXACT)
    if isinstance(layer, nn.Linear):
        return _like(layer, eye, None, layer)
    plain = nn.utils.skip_init(nn.Conv2d, features, features, 1)
    return _like(plain, eye[:, :, None, None], None, layer)


def _like(layer: Layer, weight: torch.Tensor, bias: torch.Tensor | None, of_type: Layer) -> Layer:
    """Return a layer of the kind and form of `layer` with this weight and bias, of the dtype and device of another."""
    shape = {"dtype": of_type.weight.dtype, "device": of_type.weight.device, "bias": bias is not None}
    outputs, inputs = weight.shape[:2]
    if isinstance(layer, nn.Linear):
        new = nn.utils.skip_init(nn.Linear, inputs, outputs, **shape)
    else:
        names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        form = {name: getattr(layer, name) for name in names}
        new = nn.utils.skip_init(nn.Conv2d, inputs, outputs, **form, **shape)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None:
            new.bias.copy_(bias)
    return new.train(layer.training)
