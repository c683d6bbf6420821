"""Checks for notebook 00, start_here."""

import secrets
from collections.abc import Callable
from random import Random

from utils.checks import check_cases, exercise


@exercise("00.1")
def packed_size(answer: Callable) -> None:
    """Bytes of `count` numbers of `bits` bits, packed: whole bytes, the last one perhaps not full."""

    def specification(count: int, bits: int) -> int:
        total, filled = 0, 0
        for _ in range(count * bits):  # bit by bit
            if filled == 0:
                total += 1
            filled = (filled + 1) % 8
        return total

    small = [(0, 8), (1, 8), (1, 1), (8, 1), (9, 1), (3, 3), (2, 4), (3, 4), (5, 32), (100, 5), (1001, 2)]
    drawn = Random(secrets.randbits(32))
    fresh = sorted((drawn.randint(2, 2000), drawn.randint(1, 16)) for _ in range(8))
    check_cases(answer, [((count, bits), specification(count, bits)) for count, bits in (*small, *fresh)])
    check_cases(answer, [((203_530, 32), 814_120), ((203_530, 8), 203_530), ((203_530, 3), 76_324)])
