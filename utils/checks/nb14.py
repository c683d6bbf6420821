"""Checks for notebook 14, keras_data_parallelism; no framework is loaded for them."""

import functools
import operator
import random
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np

from utils.checks import check_cases, check_choice, exercise


@exercise("14.1")
def epoch_plan(answer: Callable) -> None:
    """Steps of an epoch, and how the last batch is dealt out."""

    def specification(examples: int, global_batch: int, replicas: int, drop_remainder: bool) -> tuple[int, list[int]]:
        batches = []
        left = examples
        while left > 0:
            batches.append(min(left, global_batch))
            left -= batches[-1]
        if drop_remainder:
            batches = [batch for batch in batches if batch == global_batch]
        if not batches:
            return 0, []
        last, sizes = batches[-1], []
        portion = (batches[-1] + replicas - 1) // replicas
        for _ in range(replicas):
            sizes.append(min(portion, last))
            last -= sizes[-1]
        return len(batches), sizes

    cases = [
        *((1, 1, 1, False), (1, 1, 2, False), (3, 3, 2, False), (5, 3, 2, False), (5, 3, 2, True), (2, 3, 2, True)),
        *((4, 2, 2, True), (13, 8, 4, False), (2051, 256, 2, False), (2051, 256, 2, True), (2049, 256, 2, False)),
    ]
    generator = random.Random(secrets.randbits(32))
    for _ in range(30):
        batch = generator.randint(1, 40)
        cases.append((generator.randint(1, 200), batch, generator.randint(1, 9), generator.random() < 0.5))
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("14.2")
def replica_loss(answer: Callable) -> None:
    """What each replica contributes to the weighted mean over all shards, after one all-reduce."""

    def specification(losses: list[list[float]], weights: list[list[float]]) -> list[float]:
        total = 0.0
        for shard in weights:
            for weight in shard:
                total += weight
        contributions = []
        for values, shard in zip(losses, weights, strict=True):
            contribution = 0.0
            for value, weight in zip(values, shard, strict=True):
                contribution += value * weight
            contributions.append(contribution / total if total else 0.0)
        return contributions

    cases = [
        ([[2.0]], [[1.0]]),
        ([[2.0], [4.0]], [[1.0], [1.0]]),
        ([[2.0, 4.0], [6.0]], [[1.0, 1.0], [1.0]]),
        ([[2.0, 4.0], [6.0, 8.0]], [[1.0, 0.0], [1.0, 1.0]]),
        ([[2.0], []], [[1.0], []]),
        ([[2.0], [3.0]], [[0.0], [0.0]]),
        ([[2.0, 1.0], [6.0]], [[0.5, 2.0], [0.25]]),
    ]
    generator = random.Random(secrets.randbits(32))
    for _ in range(10):
        sizes = [generator.randint(0, 4) for _ in range(generator.randint(1, 4))]
        losses = [[generator.randint(1, 20) / 4 for _ in range(size)] for size in sizes]
        cases.append((losses, [[float(generator.randint(0, 2)) for _ in shard] for shard in losses]))

    def in_replicas(losses: list[list[float]], weights: list[list[float]]) -> list[float]:
        return _step_together(answer, list(zip(losses, weights, strict=True)))

    check_cases(in_replicas, [(case, specification(*case)) for case in cases], tolerance=1e-5)


class _WaitsForOthersError(BaseException):
    """A replica gives a value to an all-reduce whose sum is not known yet. No `except Exception` must catch it."""

    def __init__(self, value: Any):
        super().__init__()
        self.value = value


class _Context:
    """What a replica needs of TensorFlow's replica context: the sums of the all-reduces that are done."""

    def __init__(self, sums: list[Any]):
        self._left = list(sums)

    def all_reduce(self, reduce_op: Any, value: Any) -> Any:
        if str(getattr(reduce_op, "value", reduce_op)).upper() != "SUM":
            raise ValueError(f'here all_reduce knows "SUM" alone, got {reduce_op!r}')
        if not self._left:
            raise _WaitsForOthersError(value)
        return self._left.pop(0)


def _step_together(answer: Callable, shards: list[tuple[list[float], list[float]]]) -> list[float]:
    """Call `answer` for each replica and return what they contribute, without threads or TensorFlow.

    At an all-reduce a replica is given up; once all have got there, all begin anew and now find the sum.
    """
    sums: list[Any] = []
    while len(sums) < 10:
        given, contributions = [], []
        for shard in shards:
            losses, weights = (np.array(numbers, dtype=np.float32) for numbers in shard)
            try:
                contributions.append(float(answer(losses, weights, _Context(sums))))
            except _WaitsForOthersError as waiting:
                given.append(waiting.value)
        if not given:
            return contributions
        if contributions:
            raise RuntimeError("some replicas wait in all_reduce for others that have returned: on devices it hangs")
        sums.append(functools.reduce(operator.add, given))
    raise RuntimeError("ten all-reduces, and no end; one is enough")


@exercise("14.3")
def true_statements(answer: Callable) -> None:
    """Which statements about strategies are true."""
    check_choice(
        answer,
        right={"A", "C", "E"},
        why_wrong={
            "B": "Adam divides the gradient by the root of its mean square: a constant factor falls out of the ratio.",
            "D": "the figure shows the opposite: sums are rounded in another order, and training magnifies it.",
        },
        why_missing={
            "A": "is the number given to batch() the global size or that of a replica?",
            "C": "add up what two replicas contribute for shards of two and one, dividing by three.",
            "E": "what do the two logical devices share, and does it matter for the values?",
        },
    )
