"""Checks for notebook 06, svd_compression."""

from collections.abc import Callable

import torch

from utils.checks import check_cases, check_choice, exercise


@exercise("06.1")
def largest_rank(answer: Callable) -> None:
    """The largest rank whose two matrices hold at least so many times fewer numbers."""

    def specification(out_features: int, in_features: int, times: int) -> int:
        fitting = [0]
        for rank in range(1, min(out_features, in_features) + 1):
            if rank * (out_features + in_features) * times <= out_features * in_features:
                fitting.append(rank)
        return fitting[-1]

    border = [(2, 2, 1), (4, 4, 2), (10, 10, 5), (30, 60, 4), (3, 6, 1)]  # equality holds at the answer
    ends = [(1, 1, 1), (1, 50, 1), (5, 5, 3), (8, 8, 100)]
    layers = [(300, 784, 10), (300, 784, 1), (100, 300, 10), (10, 100, 2), (500, 800, 7), (4096, 4096, 3)]
    cases = sorted({*border, *ends, *layers}, key=lambda case: case[0] * case[1])
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("06.2")
def rank_for_error(answer: Callable) -> None:
    """The smallest rank at which the relative Frobenius error is at most a given one."""

    def specification(weight: torch.Tensor, error: float) -> int:
        u, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)
        for rank in range(len(s) + 1):
            approximation = u[:, :rank] @ torch.diag(s[:rank]) @ vh[:rank]
            if (weight - approximation).norm() <= error * weight.double().norm():
                return rank
        return len(s)

    known = [
        (torch.tensor([[2.0]]), 0.5),
        (torch.tensor([[2.0]]), 1.0),
        (torch.zeros(2, 3), 0.1),
        (torch.diag(torch.tensor([4.0, 3.0])), 0.61),
        (torch.diag(torch.tensor([4.0, 3.0])), 0.59),
        (torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 4.0]]), 0.7),
        (torch.diag(torch.tensor([10.0, 1.0, 1.0, 1.0])), 0.15),
        (torch.diag(torch.tensor([10.0, 1.0, 1.0, 1.0])), 0.12),
        (torch.diag(torch.tensor([10.0, 1.0, 1.0, 1.0])), 0.05),
        (torch.ones(4, 3), 0.01),
    ]
    generator = torch.Generator().manual_seed(6)
    random = [
        (torch.randn(m, n, generator=generator), error)
        for m, n, error in ((3, 5, 0.5), (5, 3, 0.3), (1, 6, 0.9), (6, 1, 0.9), (8, 12, 0.25), (12, 8, 0.05))
    ]
    deficient = torch.randn(9, 2, generator=generator) @ torch.randn(2, 7, generator=generator)
    cases = [*known, *random, (deficient, 0.001)]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("06.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about low rank are true."""
    check_choice(
        answer,
        right={"B", "D"},
        why_wrong={
            "A": "with m = n the two matrices hold 2 n k numbers; put k = n / 2.",
            "C": "nearest to the weight is not nearest to its outputs: the data-aware cut was further from the weight.",
            "E": "compare the two curves of sensitivity: one layer gave up most of its rank for nothing.",
        },
        why_missing={
            "B": "that is what Eckart and Young proved.",
            "D": "what did the clock say about the layer whose weights lie in the cache?",
        },
    )
