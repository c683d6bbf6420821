"""Checks for notebook 14, keras_data_parallelism; no framework is loaded for them."""

import random
import secrets
from collections.abc import Callable

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
def replica_losses(answer: Callable) -> None:
    """Contributions whose sum is the weighted mean over all shards."""

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
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


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
