"""Wrong answers to the exercises of notebook 03."""

import torch

WRONG_ANSWERS = {
    "03.1": [
        lambda seconds, factors: sum(factors) / len(factors),  # the mean of the factors
        lambda seconds, factors: sum(s * f for s, f in zip(seconds, factors, strict=True)) / sum(seconds),  # weighted
        lambda seconds, factors: min(factors),  # the slowest alone
        lambda seconds, factors: len(factors) / sum(1 / f for f in factors),  # harmonic, but the times forgotten
        lambda seconds, factors: sum(s / f for s, f in zip(seconds, factors, strict=True)) / sum(seconds),  # inverted
        lambda seconds, factors: None,
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
        lambda: {"C"},
        lambda: {"D"},
        lambda: {"A", "C", "D"},
        lambda: {"C", "D", "E"},
        lambda: {"B", "C", "D"},
        lambda: "CD",
        lambda: None,
    ],
}
