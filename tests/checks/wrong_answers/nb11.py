"""Wrong answers to the exercises of notebook 11."""

import torch


def _in_place(shares):
    """One worker after another: the second of a pair adds what the first has already added."""
    states, bit = [shares.clone()], 1
    while bit < len(shares):
        now = states[-1].clone()
        for worker in range(len(shares)):
            now[worker] = now[worker] + now[worker ^ bit]
        states.append(now)
        bit *= 2
    return torch.stack(states)


def _rounds(shares, partner):
    states, bit = [shares], 1
    while bit < len(shares):
        states.append(states[-1] + states[-1][partner(torch.arange(len(shares)), bit, len(shares))])
        bit *= 2
    return torch.stack(states)


def _overwriting(shares):
    states, bit = [shares.clone()], 1
    while bit < len(shares):
        shares += shares[torch.arange(len(shares)) ^ bit].clone()
        states.append(shares.clone())
        bit *= 2
    return torch.stack(states)


WRONG_ANSWERS = {
    "11.1": [
        lambda c, g, n, a, b: c / (c + 2 * (n - 1) * a + 2 * g / b),  # 2 G, whatever N
        lambda c, g, n, a, b: c / (c + 2 * (n - 1) * (a + g / b)),  # whole vectors instead of pieces
        lambda c, g, n, a, b: c / (c + 2 * (n - 1) / n * (a + g / b)),  # start-ups divided as well
        lambda c, g, n, a, b: c / (c + (n - 1) * (a + g / n / b)),  # one round only
        lambda c, g, n, a, b: c / (n * (c + 2 * (n - 1) * (a + g / n / b))),  # divided by N once more
        lambda c, g, n, a, b: 2 * (n - 1) * (a + g / n / b) / c,  # the ratio, upside down
        lambda c, g, n, a, b: None,
    ],
    "11.2": [
        _in_place,
        _overwriting,
        lambda shares: _rounds(shares, lambda i, bit, n: (i + bit) % n),  # a ring of doubling steps
        lambda shares: _rounds(shares, lambda i, bit, n: i ^ (n // 2 // bit)),  # the largest distance first
        lambda shares: torch.stack([shares, shares.sum(dim=0).expand_as(shares)]),  # first and last state only
        lambda shares: _rounds(shares, lambda i, bit, n: i ^ bit)[1:],  # without the first state
        lambda shares: shares.sum(dim=0).expand_as(shares),
    ],
    "11.3": [
        lambda: {"C"},
        lambda: {"E"},
        lambda: {"A", "C", "E"},
        lambda: {"B", "C", "E"},
        lambda: {"C", "D", "E"},
        lambda: "CE",
        lambda: None,
    ],
}
