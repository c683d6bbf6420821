"""Wrong answers to the exercises of notebook 05."""

import torch

from utils.models import load_checkpoint
from utils.pruning import GradualPruner, apply_masks, global_magnitude_masks


def _moved(mask, dropped, grown):
    new = mask.flatten().clone()
    new[dropped] = False
    new[grown] = True
    return new.view_as(mask)


def _smallest(mask, weight, count):
    return weight.flatten().abs().masked_fill(~mask.flatten(), torch.inf).argsort(stable=True)[:count]


def _steepest(mask, gradient, count, *, magnitude=True):
    values = gradient.flatten().abs() if magnitude else gradient.flatten()
    return values.masked_fill(mask.flatten(), -torch.inf).argsort(descending=True, stable=True)[:count]


def _movable(mask, count):
    return min(count, int(mask.sum()), int((~mask).sum()))


def _right(mask, weight, gradient, count):
    count = _movable(mask, count)
    return _moved(mask, _smallest(mask, weight, count), _steepest(mask, gradient, count))


def _by_threshold(mask, weight, gradient, count):
    count = _movable(mask, count)
    if count == 0:
        return mask.clone()
    smallest = weight[mask].abs().sort().values[count - 1]
    largest = gradient[~mask].abs().sort(descending=True).values[count - 1]
    return (mask & (weight.abs() > smallest)) | (~mask & (gradient.abs() >= largest))


def _forgotten_zeros(network, steps):
    """Cuts once, and lets the optimizer fill the zeros again."""

    def after_step(step):
        if step == steps // 2:
            apply_masks(network, global_magnitude_masks(network, 0.98))

    return after_step


def _shipped_weights(network, steps):
    """Puts a network that is sparse already in the place of the one it was given."""
    ready = load_checkpoint("LeNet300100-2-percent-seed0").state_dict()
    return lambda step: network.load_state_dict(ready)


WRONG_ANSWERS = {
    "05.1": [
        # one product instead of three
        lambda sparsities, moves: sum(1 if i in moves else 1 - s for i, s in enumerate(sparsities)) / len(sparsities),
        # all three dense where weights move
        lambda sparsities, moves: (
            sum(3 if i in moves else 3 * (1 - s) for i, s in enumerate(sparsities)) / (3 * len(sparsities))
        ),
        # the dense gradient comes on top of the sparse one
        lambda sparsities, moves: (
            sum(3 * (1 - s) + (i in moves) for i, s in enumerate(sparsities)) / (3 * len(sparsities))
        ),
        # moves past the last step count too
        lambda sparsities, moves: (
            (sum(3 * (1 - s) for s in sparsities) + sum(sparsities[min(i, len(sparsities) - 1)] for i in moves))
            / (3 * len(sparsities))
        ),
        # the moves forgotten
        lambda sparsities, moves: 1 - sum(sparsities) / len(sparsities),
        # the sparsity in place of what is left
        lambda sparsities, moves: (
            sum(2 * s + (1 if i in moves else s) for i, s in enumerate(sparsities)) / (3 * len(sparsities))
        ),
        # not divided by the steps
        lambda sparsities, moves: sum(2 * (1 - s) + (1 if i in moves else 1 - s) for i, s in enumerate(sparsities)) / 3,
    ],
    "05.2": [
        # what was just dropped may return at once
        lambda mask, weight, gradient, count: (
            lambda n, d: _moved(mask, d, _steepest(_moved(mask, d, d[:0]), gradient, n))
        )(_movable(mask, count), _smallest(mask, weight, _movable(mask, count))),
        # the sign of the gradient counted
        lambda mask, weight, gradient, count: (
            lambda n: _moved(mask, _smallest(mask, weight, n), _steepest(mask, gradient, n, magnitude=False))
        )(_movable(mask, count)),
        # the sign of the weight counted
        lambda mask, weight, gradient, count: (
            lambda n: _moved(
                mask,
                weight.flatten().masked_fill(~mask.flatten(), torch.inf).argsort(stable=True)[:n],
                _steepest(mask, gradient, n),
            )
        )(_movable(mask, count)),
        # the largest weights dropped
        lambda mask, weight, gradient, count: (
            lambda n: _moved(
                mask,
                weight.flatten()
                .abs()
                .masked_fill(~mask.flatten(), -torch.inf)
                .argsort(descending=True, stable=True)[:n],
                _steepest(mask, gradient, n),
            )
        )(_movable(mask, count)),
        # the count not limited: the number of weights changes
        lambda mask, weight, gradient, count: _moved(
            mask, _smallest(mask, weight, count), _steepest(mask, gradient, count)
        ),
        # only drops
        lambda mask, weight, gradient, count: (lambda d: _moved(mask, d, d[:0]))(
            _smallest(mask, weight, _movable(mask, count))
        ),
        lambda mask, weight, gradient, count: mask,
        # writes into the mask
        lambda mask, weight, gradient, count: mask.copy_(_right(mask, weight, gradient, count)),
        # kept places count as zero and not as minus infinity
        lambda mask, weight, gradient, count: (
            lambda n: _moved(
                mask,
                _smallest(mask, weight, n),
                (gradient.abs() * ~mask).flatten().argsort(descending=True, stable=True)[:n],
            )
        )(_movable(mask, count)),
        # a threshold, which takes all that are equal
        _by_threshold,
        # what is not zero in place of what is kept
        lambda mask, weight, gradient, count: (
            lambda n: _moved(mask, _smallest(weight != 0, weight, n), _steepest(mask, gradient, n))
        )(_movable(mask, count)),
        # fails on a transposed matrix
        lambda mask, weight, gradient, count: _right(mask.view(-1), weight.view(-1), gradient.view(-1), count).view(
            mask.shape
        ),
        # of equal ones the last
        lambda mask, weight, gradient, count: _right(mask.flip(-1), weight.flip(-1), gradient.flip(-1), count).flip(-1),
        # numbers in place of a mask
        lambda mask, weight, gradient, count: _right(mask, weight, gradient, count).int(),
    ],
    "05.3": [
        lambda network, steps: GradualPruner(network, final=0.98, start=0, end=0, every=1),  # one cut
        lambda network, steps: GradualPruner(
            network, final=0.98, start=0, end=steps - 1, every=10
        ),  # no time to settle
        lambda network, steps: GradualPruner(network, final=0.98, start=0, end=round(0.7 * steps), every=10),
        lambda network, steps: GradualPruner(
            network, final=0.9, start=0, end=round(0.5 * steps), every=10
        ),  # too dense
        _forgotten_zeros,
        _shipped_weights,
        lambda network, steps: 0.98,
        lambda network, steps: network.no_such_layer,
    ],
}
