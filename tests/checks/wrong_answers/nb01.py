"""Wrong answers to the exercises of notebook 01."""

WRONG_ANSWERS = {
    "01.1": [
        lambda: (430_500, 2_293_000),  # biases forgotten
        lambda: (431_080, 2_293_580),  # biases counted as multiply-accumulates
        lambda: (431_080, 2 * 2_293_000),  # floating-point operations
        lambda: (431_080, 430_500),  # each weight used once
        lambda: (2_293_000, 431_080),  # the two exchanged
        lambda: 431_080,
    ],
    "01.2": [
        # the padding forgotten
        lambda i, o, k, side, stride, padding, groups: o * (i // groups) * k * k * ((side - k) // stride + 1) ** 2,
        # padded on one side only
        lambda i, o, k, side, stride, padding, groups: (
            o * (i // groups) * k * k * ((side + padding - k) // stride + 1) ** 2
        ),
        # the groups forgotten
        lambda i, o, k, side, stride, padding, groups: o * i * k * k * ((side + 2 * padding - k) // stride + 1) ** 2,
        # the groups divided out twice
        lambda i, o, k, side, stride, padding, groups: (
            o * i // groups**2 * k * k * ((side + 2 * padding - k) // stride + 1) ** 2
        ),
        # the stride rounded up
        lambda i, o, k, side, stride, padding, groups: (
            o * (i // groups) * k * k * (-(-(side + 2 * padding - k) // stride) + 1) ** 2
        ),
        # positions along one side only
        lambda i, o, k, side, stride, padding, groups: (
            o * (i // groups) * k * k * ((side + 2 * padding - k) // stride + 1)
        ),
    ],
    "01.3": [
        lambda: {"B"},
        lambda: {"C"},
        lambda: {"A", "B", "C"},
        lambda: {"B", "C", "D"},
        lambda: "BC",
        lambda: None,
    ],
}
