"""Wrong answers to the exercises of notebook 05."""

import torch


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


WRONG_ANSWERS = {
    "05.1": [
        lambda: (5, 1.0),  # added up
        lambda: (17, 1 - 0.8**17),  # rounded down: 2.25 % is left
        lambda: (18, 0.8**18),  # the share left instead of the sparsity
        lambda: (18, 0.98),  # the target instead of what is reached
        lambda: (3, 1 - 0.2**3),  # keeps 20 % instead of removing them
        lambda: 18,
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
    ],
    "05.3": [
        lambda: {"B"},
        lambda: {"E"},
        lambda: {"A", "B", "E"},
        lambda: {"B", "C", "E"},
        lambda: {"B", "D", "E"},
        lambda: {"B", "E", "F"},
        lambda: "BE",
        lambda: None,
    ],
}
