"""Checks for notebook 03, structured_pruning."""

from collections.abc import Callable

import torch

from utils.checks import check_cases, check_choice, exercise


@exercise("03.1")
def whole_speedup(answer: Callable) -> None:
    """Amdahl's law: old time over new time, operation by operation."""

    def specification(seconds: list[float], factors: list[float]) -> float:
        before = after = 0.0
        for operation in range(len(seconds)):
            before += seconds[operation]
            after += seconds[operation] / factors[operation]
        return before / after

    small = [([1.0], [1.0]), ([2.0], [4.0]), ([1.0, 1.0], [1.0, 2.0]), ([3.0, 1.0], [3.0, 1.0])]
    slower = [([1.0, 3.0], [0.5, 6.0]), ([0.001, 0.002, 0.0005], [10.0, 1.0, 2.0])]
    generator = torch.Generator().manual_seed(3)
    random = [
        (
            torch.rand(n, generator=generator).add(0.01).tolist(),
            torch.rand(n, generator=generator).mul(20).add(0.5).tolist(),
        )
        for n in (2, 3, 5, 10)
    ]
    cases = [*small, *slower, *random]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


@exercise("03.2")
def remove_constant_units(answer: Callable) -> None:
    """Remove hidden units whose row of weights is zero, their constant going to the next layer's bias."""

    def specification(weight1: torch.Tensor, bias1: torch.Tensor, weight2: torch.Tensor, bias2: torch.Tensor) -> tuple:
        kept = [unit for unit in range(len(weight1)) if any(w != 0 for w in weight1[unit].tolist())]
        new_bias = bias2.clone()
        for unit in range(len(weight1)):
            if unit not in kept:
                for output in range(len(bias2)):
                    new_bias[output] += weight2[output, unit] * max(0.0, bias1[unit].item())
        index = torch.tensor(kept, dtype=torch.long)
        return weight1[index], bias1[index], weight2[:, index], new_bias

    def network(generator: torch.Generator, inputs: int, hidden: int, outputs: int, zero: list[int]) -> tuple:
        def drawn(*shape: int) -> torch.Tensor:  # halves, so that every sum is exact and readable
            return torch.randint(-4, 5, shape, generator=generator) / 2 + 0.25

        weight1 = drawn(hidden, inputs)
        weight1[zero] = 0.0
        return weight1, drawn(hidden), drawn(outputs, hidden), drawn(outputs)

    def one_unit(bias: float) -> tuple:
        return (
            torch.tensor([[0.0], [1.0]]),
            torch.tensor([bias, 3.0]),
            torch.tensor([[5.0, 2.0]]),
            torch.tensor([0.5]),
        )

    cancelling = (
        torch.tensor([[1.0, -1.0], [0.0, 0.0]]),
        torch.tensor([1.0, 2.0]),
        torch.tensor([[1.0, 4.0]]),
        torch.zeros(1),
    )
    one_zero = (torch.tensor([[0.0, 2.0]]), torch.tensor([1.0]), torch.tensor([[3.0]]), torch.zeros(1))
    generator = torch.Generator().manual_seed(3)
    drawn = [
        network(generator, *shape)
        for shape in ((2, 3, 1, []), (2, 3, 2, [0, 1, 2]), (3, 4, 2, [1, 3]), (5, 8, 3, [0, 2, 7]), (10, 20, 4, [4]))
    ]
    cases = [one_zero, one_unit(2.0), one_unit(-2.0), cancelling, *drawn]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-5)


@exercise("03.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about removing channels are true."""
    check_choice(
        answer,
        right={"C", "D"},
        why_wrong={
            "A": "such a convolution loses half of its inputs and half of its outputs, and the two fractions multiply.",
            "B": "the columns of fc1 in the wrong order fitted, ran, and gave other answers.",
            "E": "the batch norm shifts the zero by a constant, and the next layer hears it.",
        },
        why_missing={
            "C": "what happened when eight channels were to be added to sixteen?",
            "D": "what else takes time at batch 1? Remember the network with one channel in each layer.",
        },
    )
