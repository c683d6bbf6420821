"""Wrong answers to the exercises of notebook 04."""

import itertools

import torch

from utils.pruning import mask_by_score, mask_each_row


def _positions(by_magnitude, by_wanda, by_obs):
    return tuple(int(scores.argmin()) for scores in (by_magnitude, by_wanda, by_obs))


def _moment(images):
    moment = images.T @ images / len(images)
    return moment + 0.01 * moment.diagonal().mean() * torch.eye(len(moment))


def _repair(weight, mask, moment):
    repaired = torch.zeros_like(weight)
    for row, kept in enumerate(mask):
        repaired[row, kept] = torch.linalg.solve(moment[kept][:, kept], moment[kept] @ weight[row])
    return repaired


def _obs_at_once(weight, images, sparsity=0.97):
    moment = _moment(images)
    mask = mask_each_row(weight**2 / torch.linalg.inv(moment).diagonal(), sparsity)
    return _repair(weight, mask, moment)


def _wanda(weight, images):
    return mask_each_row(weight.abs() * images.norm(dim=0), 0.97)


def _in_place(weight, images):
    weight[:] = 0
    return weight


WRONG_ANSWERS = {
    "04.1": [
        # Wanda without the root: the weight's magnitude times the square of the norm
        lambda w, c: _positions(w.abs(), w.abs() * c.diagonal(), w**2 / torch.linalg.inv(c).diagonal()),
        # OBS with the diagonal of C in place of its inverse's
        lambda w, c: _positions(w.abs(), w.abs() * c.diagonal().sqrt(), w**2 * c.diagonal()),
        # OBS multiplied in place of divided
        lambda w, c: _positions(w.abs(), w.abs() * c.diagonal().sqrt(), w**2 * torch.linalg.inv(c).diagonal()),
        # OBS without the square of the weight
        lambda w, c: _positions(w.abs(), w.abs() * c.diagonal().sqrt(), 1 / torch.linalg.inv(c).diagonal()),
        # the sign left in
        lambda w, c: _positions(w, w * c.diagonal().sqrt(), w**2 / torch.linalg.inv(c).diagonal()),
        # the weight that goes last
        lambda w, c: _positions(-w.abs(), -w.abs() * c.diagonal().sqrt(), -(w**2) / torch.linalg.inv(c).diagonal()),
        # counted from 1
        lambda w, c: tuple(
            i + 1 for i in _positions(w.abs(), w.abs() * c.diagonal().sqrt(), w**2 / torch.linalg.inv(c).diagonal())
        ),
    ],
    "04.2": [
        # one side only
        lambda d: (
            sum(
                sum(a * b for a, b in zip(p, d, strict=True)) >= sum(d)
                for p in itertools.product([1, -1], repeat=len(d))
            )
            / 2 ** len(d)
        ),
        # further from zero, but not as far: the observed pattern itself does not count
        lambda d: (
            sum(
                abs(sum(a * b for a, b in zip(p, d, strict=True))) > abs(sum(d))
                for p in itertools.product([1, -1], repeat=len(d))
            )
            / 2 ** len(d)
        ),
        # always the smallest value that is possible
        lambda d: 2 / 2 ** len(d),
        # the order changed instead of the signs
        lambda d: 1.0,
        # the plain sign test, which ignores the sizes
        lambda d: (
            sum(
                abs(sum(p)) >= abs(sum((x > 0) - (x < 0) for x in d)) for p in itertools.product([1, -1], repeat=len(d))
            )
            / 2 ** len(d)
        ),
        # a count instead of a share
        lambda d: sum(
            abs(sum(a * b for a, b in zip(p, d, strict=True))) >= abs(sum(d))
            for p in itertools.product([1, -1], repeat=len(d))
        ),
    ],
    "04.3": [
        # magnitude, in the layer
        lambda w, x: w * mask_by_score(w.abs(), 0.97),
        # Wanda without repair, and with it
        lambda w, x: w * _wanda(w, x),
        lambda w, x: _repair(w, _wanda(w, x), _moment(x)),
        # OBS, all at once
        _obs_at_once,
        # good enough, but not sparse enough
        lambda w, x: _obs_at_once(w, x, 0.9),
        # nothing removed
        lambda w, x: w.clone(),
        # the mask in place of the weight
        _wanda,
        # transposed
        lambda w, x: (w * _wanda(w, x)).T,
        _in_place,
        lambda w, x: None,
    ],
}
