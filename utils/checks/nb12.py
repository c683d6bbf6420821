"""Checks for notebook 12, inference_efficiency."""

import secrets
from collections.abc import Callable

import numpy as np

from utils.checks import check_cases, exercise


@exercise("12.1")
def paid_back_after(answer: Callable) -> None:
    """After how many calls a preparation has paid for itself."""

    def specification(preparation: int, before: int, after: int) -> int | None:
        if preparation == 0:
            return 0
        if after >= before:
            return None
        calls = 0
        while preparation + calls * after > calls * before:
            calls += 1
        return calls

    small = [(1, 2, 1), (0, 2, 1), (4, 3, 1), (5, 3, 1)]  # whole milliseconds
    never = [(3, 2, 2), (3, 1, 2), (0, 1, 2)]
    larger = [(10_000, 5, 3), (10_001, 5, 3), (9_999, 7, 4), (2_500, 40, 1)]
    check_cases(answer, [(case, specification(*case)) for case in [*small, *never, *larger]])


@exercise("12.2")
def answer_times(answer: Callable) -> None:
    """A server that waits a little for its batch to fill, against one that looks at the clock every quarter second."""

    def specification(
        arrivals: list[float], a_call: float, an_input: float, max_batch: int, patience: float
    ) -> list[float]:
        answers: list[float] = []
        now = free_at = 0.0
        while len(answers) < len(arrivals):
            waiting = [time for time in arrivals[len(answers) :] if time <= now]
            ready = len(waiting) >= max_batch or (waiting and now >= waiting[0] + patience)
            if now >= free_at and ready:
                size = min(len(waiting), max_batch)
                free_at = now + a_call + an_input * size
                answers += [free_at] * size
            else:
                now += 0.25
        return answers

    one = [([0.0], 1.0, 0.0, 1, 0.0), ([0.5], 1.0, 0.5, 4, 0.0), ([0.5], 1.0, 0.5, 4, 2.0)]
    greedy = [([0.0, 0.5, 0.75], 1.0, 0.0, 1, 0.0), ([0.0, 0.5, 0.75], 1.0, 0.25, 8, 0.0)]
    patient = [
        ([0.0, 0.5, 3.0], 1.0, 0.25, 8, 1.0),
        ([0.0, 0.5, 0.75], 1.0, 0.25, 2, 5.0),  # the first two fill a batch, the last waits for nobody
        ([0.0, 0.0, 0.0, 0.0, 0.0], 1.0, 0.5, 2, 1.0),
        ([0.0, 0.25, 0.5, 0.5, 4.0], 2.0, 0.25, 3, 0.5),
    ]
    generator = np.random.default_rng(secrets.randbits(32))
    drawn = []
    for count, max_batch, patience in ((6, 2, 0.5), (8, 3, 2.0), (12, 4, 0.0), (20, 5, 1.25)):
        arrivals = np.cumsum(generator.integers(0, 4, size=count) / 4).tolist()  # quarters, which floats hold exactly
        drawn.append((arrivals, 1.0, 0.25, max_batch, patience))
    check_cases(answer, [(case, specification(*case)) for case in [*one, *greedy, *patient, *drawn]])


@exercise("12.3")
def next_batch(answer: Callable) -> None:
    """What a free server does with its queue, for queues that are short, full, old and young."""

    def specification(waited: list[float], max_batch: int, max_wait: float) -> tuple[int, float]:
        full = len(waited) >= max_batch
        old = any(seconds >= max_wait for seconds in waited)
        return (min(len(waited), max_batch), 0.0) if full or old else (0, max_wait - max(waited))

    one = [([0.0], 1, 0.5), ([0.0], 4, 0.0), ([0.0], 4, 0.5), ([0.5], 4, 0.5), ([0.75], 4, 0.5)]
    several = [([0.25, 0.0], 4, 0.5), ([0.25, 0.125], 2, 0.5), ([0.5, 0.25, 0.125], 2, 4.0), ([2.0, 0.25], 4, 0.5)]
    overdue = [([3.0, 2.5, 2.0, 1.0, 0.5], 3, 0.25), ([0.25] * 5, 8, 0.5), ([0.25] * 9, 8, 0.0)]
    generator = np.random.default_rng(secrets.randbits(32))
    drawn = []
    for count, max_batch in ((3, 8), (6, 4), (7, 16), (20, 16), (5, 6)):
        waited = sorted((generator.integers(0, 9, size=count) / 8).tolist(), reverse=True)  # floats hold these exactly
        drawn += [(waited, max_batch, max_wait) for max_wait in (0.5, 1.0, 2.0)]
    check_cases(answer, [(case, specification(*case)) for case in [*one, *several, *overdue, *drawn]])
