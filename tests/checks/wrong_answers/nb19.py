"""Wrong answers to the exercises of notebook 19."""

from functools import partial

import torch

from utils.pruning import mask_by_score, mask_each_row
from utils.sparsegpt import sparsegpt


def _weights(width, heads, blocks, *, attention=4, feed_forward=3, size=None):
    size = width // heads if size is None else size
    return sum(attention * width * size * left + feed_forward * width * hidden for left, hidden in blocks)


def _square_attention(width, heads, blocks):
    return sum(4 * (left * width // heads) ** 2 + 3 * width * hidden for left, hidden in blocks)


def _branch_or_nothing(width, heads, blocks):
    return sum((4 * width**2 if left else 0) + 3 * width * hidden for left, hidden in blocks)


def _solve(weight, moment, mask, *, of_kept=False):
    best = torch.zeros_like(weight)
    for row, kept in enumerate(mask):
        wanted = moment[kept][:, kept] @ weight[row, kept] if of_kept else moment[kept] @ weight[row]
        best[row, kept] = torch.linalg.solve(moment[kept][:, kept], wanted)
    return best


def _from_left_to_right(weight, moment, mask):
    left = weight.clone()
    factor = torch.linalg.cholesky(torch.linalg.inv(moment), upper=True)
    for j in range(left.shape[1]):
        left[:, j:] -= torch.outer(left[:, j] * ~mask[:, j] / factor[j, j], factor[j, j:])
        left[:, j] *= mask[:, j]
    return left


def _first_row_for_all(weight, moment, mask):
    kept = mask[0]
    best = torch.zeros_like(weight)
    best[:, kept] = torch.linalg.solve(moment[kept][:, kept], moment[kept] @ weight.T).T
    return best


def _into_the_argument(weight, moment, mask):
    weight.copy_(_solve(weight, moment, mask))
    return weight


def _without_the_cross_terms(weight, moment, mask):
    return _solve(weight, torch.diag(moment.diagonal()), mask)


def _wanda(weight, moment, sparsity=0.5):
    return weight * mask_each_row(weight.abs() * moment.diagonal().sqrt(), sparsity)


WRONG_ANSWERS = {
    "19.1": [
        # the output matrix forgotten
        partial(_weights, attention=3),
        # two matrices in a feed-forward branch, as without a gate
        partial(_weights, feed_forward=2),
        # both sides of the matrices become smaller
        _square_attention,
        # a head more or less changes nothing
        _branch_or_nothing,
        # heads counted as numbers
        partial(_weights, size=1),
        # the feed-forward branches forgotten
        partial(_weights, feed_forward=0),
    ],
    "19.2": [
        # nothing moves
        lambda weight, moment, mask: weight * mask,
        # only what was kept is asked for: the same
        partial(_solve, of_kept=True),
        # what has been passed does not move any more
        _from_left_to_right,
        # inputs taken as if none were alike
        _without_the_cross_terms,
        # one mask for all rows
        _first_row_for_all,
        # the mask turned round
        lambda weight, moment, mask: _solve(weight, moment, ~mask),
        # dense least squares, then the mask
        lambda weight, moment, mask: _solve(weight, moment, torch.ones_like(mask)) * mask,
        _into_the_argument,
    ],
    "19.3": [
        # by magnitude
        lambda name, weight, moment: weight * mask_by_score(weight.abs(), 0.5),
        # Wanda, nothing repaired
        lambda name, weight, moment: _wanda(weight, moment),
        # SparseGPT as it stands: what has been passed does not move any more
        lambda name, weight, moment: sparsegpt(weight, moment, partial(mask_by_score, sparsity=0.5)),
        # repaired, but too few zeros
        lambda name, weight, moment: sparsegpt(weight, moment, partial(mask_by_score, sparsity=0.4)),
        # a Hessian of the identity
        lambda name, weight, moment: sparsegpt(
            weight, torch.eye(len(moment)).to(moment), partial(mask_by_score, sparsity=0.5)
        ),
        # nothing removed
        lambda name, weight, moment: weight,
        # very small is not zero
        lambda name, weight, moment: _wanda(weight, moment) + 1e-9,
        # the mask, not the weight
        lambda name, weight, moment: mask_by_score(weight.abs(), 0.5),
        # half of the rows
        lambda name, weight, moment: weight[::2],
        lambda name, weight, moment: weight * float("nan"),
        lambda name, weight, moment: None,
    ],
}
