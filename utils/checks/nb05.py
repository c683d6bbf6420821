"""Checks for notebook 05, iterative_pruning."""

from collections.abc import Callable

import torch

from utils.checks import check_cases, check_choice, exercise


@exercise("05.1")
def rounds_to_two_percent(answer: Callable) -> None:
    """Rounds of 20 % until at most 2 % is left, and the sparsity then."""
    rounds, left = 0, 1.0
    while left > 0.02:
        rounds, left = rounds + 1, left * 0.8
    check_cases(answer, [((), (rounds, 1.0 - left))], tolerance=5e-5)


@exercise("05.2")
def drop_and_grow(answer: Callable) -> None:
    """One step of RigL: as many weights as before, some of them elsewhere."""

    def specification(mask: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, count: int) -> torch.Tensor:
        old = mask.flatten().tolist()
        weights, gradients = weight.flatten().tolist(), gradient.flatten().tolist()
        kept = sorted((i for i, stays in enumerate(old) if stays), key=lambda i: abs(weights[i]))
        removed = sorted((i for i, stays in enumerate(old) if not stays), key=lambda i: -abs(gradients[i]))
        count = min(count, len(kept), len(removed))
        new = list(old)
        for i in kept[:count]:
            new[i] = False
        for i in removed[:count]:
            new[i] = True
        return torch.tensor(new).view(mask.shape)

    generator = torch.Generator().manual_seed(5)

    def case(shape: tuple[int, ...], share: float, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        total = torch.Size(shape).numel()
        # magnitudes that all differ, so that no answer depends on how a sort treats equals
        weight, gradient = (
            (torch.randperm(total, generator=generator) + 1) * (2 * torch.randint(2, (total,), generator=generator) - 1)
            for _ in range(2)
        )
        order = torch.randperm(total, generator=generator)
        mask = torch.zeros(total, dtype=torch.bool)
        mask[order[: round(share * total)]] = True
        return mask.view(shape), (weight * mask / 10).view(shape), (gradient / 10).view(shape), count

    pair = (torch.tensor([True, False]), torch.tensor([0.5, 0.0]), torch.tensor([3.0, 0.1]))
    four = (torch.tensor([True, True, False, False]), torch.tensor([-2.0, 1.0, 0.0, 0.0]))
    fixed = [
        (*pair, 0),
        (*pair, 1),  # the gradient of the dropped weight is larger, and it must not return
        (*four, torch.tensor([0.0, 9.0, 1.0, -2.0]), 1),  # signs of weight and gradient
        (torch.ones(3, dtype=torch.bool), torch.ones(3), torch.ones(3), 2),  # nothing to grow, so nothing moves
        (torch.zeros(3, dtype=torch.bool), torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]), 2),  # nothing to drop
    ]
    drawn = [case((6,), 0.5, 2), case((2, 5), 0.8, 4), case((4, 4), 0.25, 6), case((3, 2, 4), 0.5, 5)]
    check_cases(answer, [(arguments, specification(*arguments)) for arguments in [*fixed, *drawn]])


@exercise("05.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about pruning step by step are true."""
    check_choice(
        answer,
        right={"B", "E"},
        why_wrong={
            "A": "the second round takes half of what the first one left: a quarter of the weights stays.",
            "C": "the hook applies its old masks before it computes new ones, so a removed weight is zero by then.",
            "D": "that was our control, and it made many more errors than the ticket.",
            "F": "look at the claims at 50 % and at 90 %.",
        },
        why_missing={
            "B": "what else would a comparison with more steps for one of them measure?",
            "E": "go through the network of three weights again: what did retraining do to the twin?",
        },
    )
