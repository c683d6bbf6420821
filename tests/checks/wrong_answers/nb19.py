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


def _stays(inner, heads, gone, *, turned=False, interleaved=False, places_of_heads=True):
    of_heads = torch.tensor([(head in gone) == turned for head in range(heads)])
    if not places_of_heads:
        return torch.tensor([place not in gone for place in range(inner)])
    size = inner // heads
    return of_heads.repeat(size) if interleaved else of_heads.repeat_interleave(size)


def _cut(query, key, value, output, heads, gone, *, output_rows=False, **mistake):
    stays = _stays(len(query), heads, gone, **mistake)
    return query[stays], key[stays], value[stays], output[stays] if output_rows else output[:, stays]


def _silenced(query, key, value, output, heads, gone):
    stays = _stays(len(query), heads, gone)[:, None]
    return query * stays, key * stays, value * stays, output * stays.T


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
        # the heads that go are the ones that stay
        lambda *matrices_heads_gone: _cut(*matrices_heads_gone, turned=True),
        # silenced, but as large as before
        _silenced,
        # the output's rows, not its columns
        lambda *matrices_heads_gone: _cut(*matrices_heads_gone, output_rows=True),
        # the output left as it was
        lambda *matrices_heads_gone: (*_cut(*matrices_heads_gone)[:3], matrices_heads_gone[3]),
        # every heads-th number taken for a head
        lambda *matrices_heads_gone: _cut(*matrices_heads_gone, interleaved=True),
        # numbers of heads taken for places
        lambda *matrices_heads_gone: _cut(*matrices_heads_gone, places_of_heads=False),
        # only the first head of the list
        lambda query, key, value, output, heads, gone: _cut(query, key, value, output, heads, gone[:1]),
        # the value forgotten
        lambda *matrices_heads_gone: (
            *_cut(*matrices_heads_gone)[:2],
            matrices_heads_gone[2],
            _cut(*matrices_heads_gone)[3],
        ),
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
