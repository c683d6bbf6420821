"""Wrong answers to the exercises of notebook 07."""

import copy
import itertools

import torch

from utils import low_rank, pca


def _folded(weight, components, variances):
    return (weight / variances.sqrt()) @ components


def _always_pairs(sizes, relu, kept):
    """The way up is never folded."""
    widths = zip(sizes, sizes[1:], kept, strict=False)
    return sum(n * m if k is None else k * (n + m) for n, m, k in widths)


def _always_folds(sizes, relu, kept):
    """Both halves are folded, across a ReLU as well."""
    macs, inputs = 0, sizes[0]
    for outputs, components in zip(sizes[1:], kept, strict=True):
        width = outputs if components is None else components
        macs, inputs = macs + inputs * width, width
    return macs


def _no_last_pair(sizes, relu, kept):
    """The last layer's way up is forgotten."""
    last = kept[-1]
    right = _right_macs(sizes, relu, kept)
    return right if last is None else right - last * sizes[-1]


def _folds_where_there_is_a_relu(sizes, relu, kept):
    return _right_macs(sizes, [not each for each in relu], kept)


def _folded_one_layer(sizes, relu, kept):
    """The products multiplied out again: as large as before."""
    return sum(n * m for n, m in itertools.pairwise(sizes))


def _right_macs(sizes, relu, kept):
    macs, inputs = 0, sizes[0]
    for index, (outputs, k) in enumerate(zip(sizes[1:], kept, strict=True)):
        if k is None:
            macs, inputs = macs + inputs * outputs, outputs
        elif relu[index] or index == len(kept) - 1:
            macs, inputs = macs + k * (inputs + outputs), outputs
        else:
            macs, inputs = macs + inputs * k, k
    return macs


def _compressed(dense, images, split, ranks=(20, 9)):
    network = copy.deepcopy(dense)
    first = dense.fc1(images[:4000].flatten(1))
    second = dense.fc2(first.relu())
    for name, outputs, rank in (("fc1", first, ranks[0]), ("fc2", second, ranks[1])):
        setattr(network, name, split(getattr(dense, name), outputs, rank))
    return network


def _by_pca(layer, outputs, rank):
    return pca.split_output(layer, pca.pca_by_covariance(outputs, rank))


def _by_svd(layer, outputs, rank):
    return low_rank.split_linear(layer, rank)


def _by_svd_centre_fixed(layer, outputs, rank):
    """The weight's directions, from the right centre."""
    return pca.split_output(layer, pca.weight_directions(layer, outputs.mean(dim=0)).keep(rank))


def _centred_once(layer, outputs, rank):
    """The mean is put back and was never subtracted."""
    pair = _by_pca(layer, outputs, rank)
    pair[1].bias.data = outputs.mean(dim=0)
    return pair


def _at_random(layer, outputs, rank):
    return pca.split_output(layer, pca.random_projection(outputs, rank, torch.Generator().manual_seed(1)))


def _one_layer(layer, outputs, rank):
    pair = _by_pca(layer, outputs, rank)
    one = torch.nn.Linear(layer.in_features, layer.out_features)
    one.weight.data, one.bias.data = pair[1].weight.data @ pair[0].weight.data, pair[1].bias.data
    return one


def _across_the_relu(dense, images):
    network = copy.deepcopy(dense)
    hidden = dense.fc1(images[:4000].flatten(1)).relu()
    network.fc1, network.fc2 = pca.fold_between(dense.fc1, dense.fc2, pca.pca_by_covariance(hidden, 28))
    return network


def _into_the_dense_network(dense, images):
    dense.fc1 = _compressed(dense, images, _by_pca).fc1
    return dense


WRONG_ANSWERS = {
    "07.1": [
        _always_pairs,
        _always_folds,
        _no_last_pair,
        _folds_where_there_is_a_relu,
        _folded_one_layer,
        lambda sizes, relu, kept: 2 * _right_macs(sizes, relu, kept),
        lambda sizes, relu, kept: None,
    ],
    "07.2": [
        # the mean forgotten
        lambda w, c, mean, p, v: (_folded(w, p, v), c),
        # the mean with the wrong sign
        lambda w, c, mean, p, v: (_folded(w, p, v), c + _folded(w, p, v) @ mean),
        # whitening forgotten
        lambda w, c, mean, p, v: (w @ p, c - w @ p @ mean),
        # multiplied where it should be divided
        lambda w, c, mean, p, v: ((w * v.sqrt()) @ p, c - (w * v.sqrt()) @ p @ mean),
        # divided by the variance
        lambda w, c, mean, p, v: ((w / v) @ p, c - (w / v) @ p @ mean),
        # whitening in the weight only
        lambda w, c, mean, p, v: (_folded(w, p, v), c - w @ p @ mean),
        lambda w, c, mean, p, v: torch.zeros(1),
    ],
    "07.3": [
        lambda dense, images: dense,
        lambda dense, images: _compressed(dense, images, _by_svd),
        lambda dense, images: _compressed(dense, images, _by_svd_centre_fixed),
        lambda dense, images: _compressed(dense, images, _centred_once),
        lambda dense, images: _compressed(dense, images, _at_random),
        lambda dense, images: _compressed(dense, images, _one_layer),
        lambda dense, images: _compressed(dense, images, _by_pca, ranks=(21, 6)),
        lambda dense, images: _compressed(dense, images, _by_pca, ranks=(16, 20)),
        _across_the_relu,
        _into_the_dense_network,
        lambda dense, images: None,
    ],
}
