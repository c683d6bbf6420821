"""Checks for notebook 13, keras_mobilenet_inference."""

import itertools
from collections.abc import Callable

from utils.checks import check_cases, check_choice, exercise


@exercise("13.1")
def saved_bytes(answer: Callable) -> None:
    """Bytes of all numbers in a saved model: four each, and the optimizer's averages for the trainable ones."""

    def specification(trainable: int, fixed: int, averages: int, include_optimizer: bool) -> int:
        numbers = trainable + fixed
        for _ in range(averages):
            if include_optimizer:
                numbers += trainable
        return sum(4 for _ in range(numbers))

    small = itertools.product((0, 1), (0, 1), (0, 1, 2), (False, True))
    larger = [(100, 10, 2, True), (100, 10, 2, False), (7, 30, 1, True), (409_034, 14_080, 2, True)]
    check_cases(answer, [(case, specification(*case)) for case in [*small, *larger]])


@exercise("13.2")
def same_padding(answer: Callable) -> None:
    """TensorFlow's "same" padding: the fewest zeros for ceil(side / stride) places, the larger half behind."""

    def places(side: int, kernel_size: int, stride: int) -> int:
        return sum(1 for start in range(0, side, stride) if start + kernel_size <= side)

    def specification(side: int, kernel_size: int, stride: int) -> tuple[int, int]:
        wanted = len(range(0, side, stride))
        total = 0
        while places(side + total, kernel_size, stride) < wanted:
            total += 1
        return total // 2, total - total // 2

    cases = sorted(itertools.product(range(1, 9), (1, 2, 3, 5), (1, 2, 3)), key=sum)
    cases += [(28, 5, 2), (32, 3, 1), (32, 3, 2), (33, 3, 2), (224, 3, 2), (224, 7, 4)]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("13.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about saving, calling and converting are true."""
    check_choice(
        answer,
        right={"C", "D"},
        why_wrong={
            "A": "we saved a trained network both ways, and the two .keras files were equally large.",
            "B": "the network from the small file gave the same answers to the last bit, in the same time.",
            "E": "all shapes of LiteNetCNN fitted, and over half of its answers differed: remember flatten.",
        },
        why_missing={
            "C": "how much faster did the same arithmetic go without predict around it?",
            "D": "what did we say of processors without VNNI, and of depthwise convolutions?",
        },
    )
