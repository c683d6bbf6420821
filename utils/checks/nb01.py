"""Checks for notebook 01, measuring_a_network."""

from collections.abc import Callable

from utils.checks import check_cases, check_choice, exercise


@exercise("01.1")
def lenet5_cost(answer: Callable) -> None:
    """Parameters and MACs of LeNet-5, 20-50-500-10."""
    check_cases(answer, [((), (431_080, 2_293_000))])


@exercise("01.2")
def conv_macs(answer: Callable) -> None:
    """MACs of a square convolution with stride, padding and groups, counted one by one."""

    def specification(inputs: int, outputs: int, kernel: int, side: int, stride: int, padding: int, groups: int) -> int:
        total = 0
        for _ in range(outputs):
            for top in range(-padding, side + padding - kernel + 1, stride):
                for _left in range(-padding, side + padding - kernel + 1, stride):
                    assert top + kernel <= side + padding
                    total += kernel * kernel * (inputs // groups)
        return total

    plain = [(1, 1, 1, 1, 1, 0, 1), (1, 1, 3, 3, 1, 0, 1), (2, 3, 3, 5, 1, 0, 1), (1, 10, 5, 28, 1, 0, 1)]
    strided = [(1, 1, 1, 4, 2, 0, 1), (1, 1, 3, 6, 2, 0, 1), (2, 2, 2, 7, 3, 0, 1)]
    padded = [(1, 1, 3, 3, 1, 1, 1), (3, 4, 5, 8, 1, 2, 1), (3, 4, 3, 8, 2, 1, 1)]
    grouped = [(2, 2, 1, 1, 1, 0, 2), (4, 8, 3, 6, 1, 1, 2), (6, 6, 3, 9, 2, 1, 6), (16, 16, 3, 14, 2, 1, 16)]
    cases = sorted([*plain, *strided, *padded, *grouped], key=lambda case: specification(*case))
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("01.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about cost are true."""
    check_choice(
        answer,
        right={"B", "C"},
        why_wrong={
            "A": "LiteNetCNN has nine times fewer parameters than LiteNetMLP and was slower in this notebook.",
            "D": "the kernel visits twice as many rows and twice as many columns.",
            "E": "at batch 256 the user waits for the whole batch; we measured how far the division is off.",
        },
        why_missing={
            "B": "work out the operations for each byte of a linear layer at batch 1 and look at the roofline.",
            "C": "what else takes time at batch 1, beside multiplying? Look at the left end of the curves.",
        },
    )
