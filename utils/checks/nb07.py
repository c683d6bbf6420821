"""Checks for notebook 07, pca_compression."""

from collections.abc import Callable

import torch

from utils.checks import check_cases, check_choice, exercise


@exercise("07.1")
def components_needed(answer: Callable) -> None:
    """The smallest number of components that explain a share of the variance."""

    def specification(variances: list[float], share: float) -> int:
        total = sum(variances)
        explained = 0.0
        for count, variance in enumerate(variances, start=1):
            explained += variance
            if explained >= share * total:
                return count
        return len(variances)

    # binary fractions, so that every sum is exact and a share that is met exactly is met
    by_hand = [([1.0], 0.5), ([3.0, 1.0], 0.5), ([3.0, 1.0], 0.75), ([3.0, 1.0], 0.875), ([3.0, 1.0], 1.0)]
    with_zeros = [([4.0, 0.0], 1.0), ([8.0, 4.0, 2.0, 2.0, 0.0, 0.0], 1.0), ([1.0, 1.0, 1.0, 1.0], 0.5)]
    generator = torch.Generator().manual_seed(7)
    drawn = [
        (sorted(torch.randint(1, 64, (n,), generator=generator).double().tolist(), reverse=True), share)
        for n, share in ((3, 0.625), (5, 0.25), (8, 0.9375), (20, 0.875), (20, 0.03125))
    ]
    cases = [*by_hand, *with_zeros, *drawn]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("07.2")
def fold_whitened(answer: Callable) -> None:
    """Fold centring, projection and whitening into the layer behind them."""

    def specification(
        weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, components: torch.Tensor, variances: torch.Tensor
    ) -> tuple:
        folded, constant = torch.zeros(len(weight), len(mean)), bias.clone()
        for output in range(len(weight)):
            for kept in range(len(components)):
                scale = weight[output, kept] / variances[kept].sqrt()
                for feature in range(len(mean)):
                    folded[output, feature] += scale * components[kept, feature]
                    constant[output] -= scale * components[kept, feature] * mean[feature]
        return folded, constant

    def drawn(features: int, kept: int, outputs: int, seed: int) -> tuple:
        generator = torch.Generator().manual_seed(seed)
        directions = torch.linalg.qr(torch.randn(features, kept, generator=generator)).Q.T
        variances = torch.rand(kept, generator=generator).add(0.1).sort(descending=True).values
        halves = torch.randint(-4, 5, (outputs, kept), generator=generator) / 2
        return halves, torch.ones(outputs), torch.arange(1.0, features + 1), directions, variances

    one = torch.ones(1, 1)
    plain = (one, torch.zeros(1), torch.zeros(1), one, torch.ones(1))
    with_mean = (2 * one, torch.ones(1), torch.tensor([3.0]), one, torch.ones(1))
    with_variance = (2 * one, torch.ones(1), torch.tensor([3.0]), one, torch.tensor([4.0]))
    turned = (
        torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
        torch.tensor([0.5, 0.0]),
        torch.tensor([1.0, 0.0, 2.0]),
        torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]),
        torch.tensor([4.0, 0.25]),
    )
    cases = [plain, with_mean, with_variance, turned, drawn(4, 2, 3, 1), drawn(5, 5, 2, 2), drawn(9, 3, 1, 3)]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-4)


@exercise("07.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about principal components and folding are true."""
    check_choice(
        answer,
        right={"B", "E"},
        why_wrong={
            "A": "the product of W (m x k) and P (k x n) has m n entries, however small k is: rank is not size.",
            "C": "ReLU(Q a) is not Q ReLU(a): we tried it, and the network's answers were different ones.",
            "D": "the singular values weigh all inputs alike, while real inputs lie in few directions.",
        },
        why_missing={
            "B": "what does k examples' worth of data span, and what does that say about other data?",
            "E": "write out W P^T P (x - mean) + W mean + c and collect what does not depend on x.",
        },
    )
