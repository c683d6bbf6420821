"""Wrong answers to the exercises of notebook 07."""

import torch


def _folded(weight, components, variances):
    return (weight / variances.sqrt()) @ components


WRONG_ANSWERS = {
    "07.1": [
        # strictly more than the share
        lambda variances, share: next(
            (k for k in range(1, len(variances) + 1) if sum(variances[:k]) > share * sum(variances)), len(variances)
        ),
        # counted from 0
        lambda variances, share: next(
            k for k in range(len(variances)) if sum(variances[: k + 1]) >= share * sum(variances)
        ),
        # standard deviations in place of variances
        lambda variances, share: next(
            k
            for k in range(1, len(variances) + 1)
            if sum(v**0.5 for v in variances[:k]) >= share * sum(v**0.5 for v in variances) - 1e-12
        ),
        # the smallest first
        lambda variances, share: next(
            k for k in range(1, len(variances) + 1) if sum(variances[-k:]) >= share * sum(variances)
        ),
        # a share of the number of components
        lambda variances, share: -int(-share * len(variances) // 1),
        # single components above the share
        lambda variances, share: max(1, sum(v >= share * sum(variances) for v in variances)),
        lambda variances, share: None,
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
        lambda: {"B"},
        lambda: {"E"},
        lambda: {"A", "B", "E"},
        lambda: {"B", "C", "E"},
        lambda: {"B", "D", "E"},
        lambda: "BE",
        lambda: None,
    ],
}
