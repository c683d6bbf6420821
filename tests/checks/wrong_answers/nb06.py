"""Wrong answers to the exercises of notebook 06."""

import torch


def _tail(weight, power):
    values = torch.linalg.svdvals(weight.double()) ** power
    return torch.cat([values.flip(0).cumsum(0).flip(0), torch.zeros(1).double()])


WRONG_ANSWERS = {
    "06.1": [
        lambda m, n, times: round(m * n / (times * (m + n))),  # rounded up, so too large now and then
        lambda m, n, times: m * n // (times * (m + n)) or 1,  # never below 1
        lambda m, n, times: (m * n - 1) // (times * (m + n)),  # more than so many times fewer
        lambda m, n, times: min(m, n) // times,  # a share of the full rank
        lambda m, n, times: m * n / (times * (m + n)),  # no integer
        lambda m, n, times: m * n // (m + n) // times + 1,
    ],
    "06.2": [
        # the error not squared
        lambda w, error: int((_tail(w, 2) > error * _tail(w, 2)[0]).sum()),
        # values instead of squares
        lambda w, error: int((_tail(w, 1) > error * _tail(w, 1)[0]).sum()),
        # the energy that is kept taken for the one that is lost
        lambda w, error: int((_tail(w, 2) > (1 - error**2) * _tail(w, 2)[0]).sum()),
        # one value at a time instead of their sum
        lambda w, error: int((torch.linalg.svdvals(w.double()) > error * w.double().norm()).sum()),
        # at least 1
        lambda w, error: max(1, int((_tail(w, 2) > error**2 * _tail(w, 2)[0]).sum())),
        # an absolute error
        lambda w, error: int((_tail(w, 2) > error**2).sum()),
    ],
    "06.3": [
        lambda: {"B"},
        lambda: {"D"},
        lambda: {"A", "B", "D"},
        lambda: {"B", "C", "D"},
        lambda: {"B", "D", "E"},
        lambda: "BD",
        lambda: None,
    ],
}
