"""Wrong answers to the exercises of notebook 04."""

import itertools

WRONG_ANSWERS = {
    "04.1": [
        # the mean number of weights kept, not of zeros
        lambda m, n, s: (m * n * (1 - s), (m * n * s * (1 - s)) ** 0.5, 1 - (1 - s**n) ** m),
        # the variance instead of its root
        lambda m, n, s: (m * n * s, m * n * s * (1 - s), 1 - (1 - s**n) ** m),
        # one given neuron instead of any of them
        lambda m, n, s: (m * n * s, (m * n * s * (1 - s)) ** 0.5, s**n),
        # the expected number of lost neurons instead of a probability
        lambda m, n, s: (m * n * s, (m * n * s * (1 - s)) ** 0.5, m * s**n),
        # rows and columns exchanged
        lambda m, n, s: (m * n * s, (m * n * s * (1 - s)) ** 0.5, 1 - (1 - s**m) ** n),
        # the spread of a Poisson count
        lambda m, n, s: (m * n * s, (m * n * s) ** 0.5, 1 - (1 - s**n) ** m),
        lambda m, n, s: m * n * s,
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
        lambda: {"B"},
        lambda: {"E"},
        lambda: {"B", "C", "E"},
        lambda: {"B", "D", "E"},
        lambda: {"A", "B", "E"},
        lambda: {"B", "E", "F"},
        lambda: "BE",
        lambda: None,
    ],
}
