"""Wrong answers to the exercises of notebook 13."""

WRONG_ANSWERS = {
    "13.1": [
        # averages for the fixed numbers too
        lambda trainable, fixed, averages, include: 4 * (trainable + fixed) * (1 + averages * include),
        # always two averages, as with Adam
        lambda trainable, fixed, averages, include: 4 * (trainable * (1 + 2 * include) + fixed),
        # the option ignored
        lambda trainable, fixed, averages, include: 4 * (trainable * (1 + averages) + fixed),
        # numbers, not bytes
        lambda trainable, fixed, averages, include: trainable * (1 + averages * include) + fixed,
        # the fixed numbers forgotten
        lambda trainable, fixed, averages, include: 4 * trainable * (1 + averages * include),
        lambda trainable, fixed, averages, include: None,
    ],
    "13.2": [
        lambda side, kernel_size, stride: (kernel_size // 2, kernel_size // 2),  # PyTorch's usual padding
        lambda side, kernel_size, stride: ((kernel_size - 1) // 2, kernel_size // 2),  # the stride forgotten
        # the larger half before
        lambda side, kernel_size, stride: (
            (max((-(-side // stride) - 1) * stride + kernel_size - side, 0) + 1) // 2,
            max((-(-side // stride) - 1) * stride + kernel_size - side, 0) // 2,
        ),
        # may be negative
        lambda side, kernel_size, stride: (
            ((-(-side // stride) - 1) * stride + kernel_size - side) // 2,
            -(-((-(-side // stride) - 1) * stride + kernel_size - side) // 2),
        ),
        # rounded down
        lambda side, kernel_size, stride: (
            max((side // stride - 1) * stride + kernel_size - side, 0) // 2,
            -(-max((side // stride - 1) * stride + kernel_size - side, 0) // 2),
        ),
        lambda side, kernel_size, stride: None,
    ],
    "13.3": [
        lambda: {"C"},
        lambda: {"D"},
        lambda: {"A", "C", "D"},
        lambda: {"B", "C", "D"},
        lambda: {"C", "D", "E"},
        lambda: "CD",
        lambda: None,
    ],
}
