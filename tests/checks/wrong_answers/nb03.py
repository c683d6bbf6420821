"""Wrong answers to the exercises of notebook 03."""

import torch

WRONG_ANSWERS = {
    "03.1": [
        lambda seconds, factors, overhead: sum(factors) / len(factors),  # the mean of the factors
        # the start made faster with the rest
        lambda seconds, factors, overhead: sum(seconds) / sum(s / f for s, f in zip(seconds, factors, strict=True)),
        # one start for the whole network
        lambda seconds, factors, overhead: (
            sum(seconds) / (overhead + (sum(seconds) - overhead) * sum(1 / f for f in factors) / len(factors))
        ),
        # the starts counted on top of the seconds, before and after
        lambda seconds, factors, overhead: (
            (sum(seconds) + overhead * len(seconds))
            / sum(overhead + s / f for s, f in zip(seconds, factors, strict=True))
        ),
        # inverted
        lambda seconds, factors, overhead: (
            sum(overhead + (s - overhead) / f for s, f in zip(seconds, factors, strict=True)) / sum(seconds)
        ),
        lambda seconds, factors, overhead: None,
    ],
    "03.2": [
        # the constants forgotten
        lambda w1, b1, w2, b2: (w1[(w1 != 0).any(dim=1)], b1[(w1 != 0).any(dim=1)], w2[:, (w1 != 0).any(dim=1)], b2),
        # the ReLU forgotten
        lambda w1, b1, w2, b2: (
            w1[(w1 != 0).any(dim=1)],
            b1[(w1 != 0).any(dim=1)],
            w2[:, (w1 != 0).any(dim=1)],
            b2 + w2[:, (w1 == 0).all(dim=1)] @ b1[(w1 == 0).all(dim=1)],
        ),
        # rows that hold any zero
        lambda w1, b1, w2, b2: (
            w1[(w1 != 0).all(dim=1)],
            b1[(w1 != 0).all(dim=1)],
            w2[:, (w1 != 0).all(dim=1)],
            b2 + w2[:, (w1 == 0).any(dim=1)] @ torch.relu(b1[(w1 == 0).any(dim=1)]),
        ),
        # rows whose sum is zero
        lambda w1, b1, w2, b2: (
            w1[w1.sum(dim=1) != 0],
            b1[w1.sum(dim=1) != 0],
            w2[:, w1.sum(dim=1) != 0],
            b2 + w2[:, w1.sum(dim=1) == 0] @ torch.relu(b1[w1.sum(dim=1) == 0]),
        ),
        # nothing removed
        lambda w1, b1, w2, b2: (w1, b1, w2, b2),
    ],
    "03.3": [
        lambda cost, budget: (20, 50, 500),  # over the budget
        lambda cost, budget: _uniform(cost, budget),  # every layer alike
        lambda cost, budget: (1, 50, 500) if cost((1, 50, 500)) <= budget else (1, 24, 128),  # one narrow door
        lambda cost, budget: (4, 4, 16),  # far below the budget
        lambda cost, budget: (0, 12, 64),
        lambda cost, budget: (3, 12),
        lambda cost, budget: {"conv1": 3, "conv2": 12, "fc1": 64},
        lambda cost, budget: None,
    ],
}


def _uniform(cost, budget):
    shapes = [tuple(max(1, round(k / 1000 * w)) for w in (20, 50, 500)) for k in range(20, 1000)]
    return max(w for w in shapes if cost(w) <= budget)
