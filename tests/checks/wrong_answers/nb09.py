"""Wrong answers to the exercises of notebook 09."""

import torch


def _factor(norm):
    return norm["gamma"] / torch.sqrt(norm["variance"] + norm["epsilon"])


WRONG_ANSWERS = {
    "09.1": [
        lambda largest_code: 32767 // (2 * largest_code),  # the limit of 127 forgotten
        lambda largest_code: min(127, 32767 // largest_code),  # one product instead of two
        lambda largest_code: min(127, 65535 // (2 * largest_code)),  # as if the sum were unsigned
        lambda largest_code: 63,
        lambda largest_code: 32767 / (2 * largest_code),
    ],
    "09.2": [
        # the factor on the rows, as for a norm behind the layer
        lambda w, c, n: (w * _factor(n)[: len(w), None], c + w @ (n["beta"] - _factor(n) * n["mean"])),
        # the constants forgotten
        lambda w, c, n: (w * _factor(n), c),
        # the mean forgotten
        lambda w, c, n: (w * _factor(n), c + w @ n["beta"]),
        # the constants through the folded weight: the factor twice
        lambda w, c, n: (w * _factor(n), c + (w * _factor(n)) @ (n["beta"] - _factor(n) * n["mean"])),
        # variance for deviation
        lambda w, c, n: (
            w * n["gamma"] / (n["variance"] + n["epsilon"]),
            c + w @ (n["beta"] - n["gamma"] / (n["variance"] + n["epsilon"]) * n["mean"]),
        ),
        # epsilon forgotten
        lambda w, c, n: (
            w * n["gamma"] / n["variance"].sqrt(),
            c + w @ (n["beta"] - n["gamma"] / n["variance"].sqrt() * n["mean"]),
        ),
    ],
    "09.3": [
        lambda: {"B"},
        lambda: {"D"},
        lambda: {"A", "B", "D"},
        lambda: {"B", "C", "D"},
        lambda: {"B", "D", "E"},
        lambda: "BD",
        lambda: None,
    ],
}
