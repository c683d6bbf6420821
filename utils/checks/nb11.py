"""Checks for the exercises of notebook 11."""

import secrets
from collections.abc import Callable

import torch

from utils.checks import check_cases, check_choice, exercise


@exercise("11.1")
def ring_efficiency(answer: Callable) -> None:
    """The share of a step that is spent computing: the messages counted one by one."""

    def specification(
        compute_s: float, gradient_bytes: float, world_size: int, startup_s: float, bandwidth: float
    ) -> float:
        exchange_s = 0.0
        for _round in ("add up", "hand round"):
            for _step in range(world_size - 1):
                exchange_s += startup_s + (gradient_bytes / world_size) / bandwidth
        return compute_s / (compute_s + exchange_s)

    small = [(1.0, 1e9, 1, 1.0, 1e9), (1.0, 1e9, 2, 0.0, 1e9), (1.0, 0.0, 2, 0.5, 1e9), (2.0, 4.0, 4, 0.0, 1.0)]
    large = [(0.6, 178e6, 512, 5e-6, 3.125e9), (0.01, 1.7e6, 3, 2e-3, 1e9), (1.2, 553e6, 1024, 5e-5, 1.25e10)]
    cases = [*small, *large]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


@exercise("11.2")
def recursive_doubling(answer: Callable) -> None:
    """The state of all workers after each round: after round k, sums over blocks of 2**(k + 1) workers."""

    def specification(shares: torch.Tensor) -> torch.Tensor:
        states, bit = [shares.tolist()], 1
        while bit < len(shares):
            before, after = states[-1], []
            for worker in range(len(shares)):
                partner = worker - bit if worker // bit % 2 else worker + bit
                after.append([mine + other for mine, other in zip(before[worker], before[partner], strict=True)])
            states.append(after)
            bit *= 2
        return torch.tensor(states)

    generator = torch.Generator().manual_seed(secrets.randbits(32))
    by_hand = [torch.tensor([[3.0]]), torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0], [4.0], [8.0]])]
    drawn = [torch.randint(-9, 10, size, generator=generator).float() for size in ((2, 3), (4, 2), (8, 1), (16, 5))]
    check_cases(_unchanged(answer), [((shares,), specification(shares)) for shares in [*by_hand, *drawn]])


def _unchanged(answer: Callable) -> Callable:
    """Refuse an answer that changes what it was given."""

    def guarded(shares: torch.Tensor) -> torch.Tensor:
        before = shares.clone()
        received = answer(shares)
        if not torch.equal(shares, before):
            raise ValueError("the function changed its argument")
        return received

    return guarded


@exercise("11.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about many workers are true."""
    check_choice(
        answer,
        right={"C", "E"},
        why_wrong={
            "A": "compute 2 (N - 1) / N for four workers and for eight.",
            "B": "each worker's batch norm takes mean and variance of its own 32 digits, and the gradient was off.",
            "D": "activations come from a worker's own examples; parameters, gradients and averages are shared.",
        },
        why_missing={
            "C": "what is exchanged, and what is computed between two exchanges?",
            "E": "how many exchanges were there for the four parts, and how many digits passed?",
        },
    )
