"""Checks for notebook 10, quantization_aware_training."""

import secrets
from collections.abc import Callable

import torch

from utils.checks import check_cases, check_choice, exercise


@exercise("10.1")
def scale_gradients(answer: Callable) -> None:
    """The derivative of each rounded value by the scale, with the rounding passed straight through."""

    def specification(values: list[float], scale: float, qmin: int, qmax: int) -> list[float]:
        found = []
        for value in values:
            steps = value / scale
            if steps < qmin:
                found.append(float(qmin))
            elif steps > qmax:
                found.append(float(qmax))
            else:
                found.append(round(steps) - steps)
        return found

    small = [([0.0], 1.0, -2, 1), ([0.25], 1.0, -2, 1), ([9.0], 0.5, -2, 2), ([-9.0], 0.5, -3, 2), ([], 1.0, 0, 3)]
    edges = [([0.5, 1.5, -0.5], 1.0, -2, 2), ([2.0, 2.3, -2.0, -2.3], 1.0, -2, 2), ([-1.0, 0.3], 0.25, 0, 15)]
    generator = torch.Generator().manual_seed(secrets.randbits(32))
    drawn = [
        ((torch.rand(n, generator=generator) * 6 - 3).tolist(), 0.1 * n, low, high)
        for n, low, high in ((3, -8, 7), (5, 0, 3), (9, -2, 1))
    ]
    cases = [*small, *edges, *drawn]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


@exercise("10.2")
def integer_sums(answer: Callable) -> None:
    """The int32 sums of a linear layer: rounded input, integer weight, bias in the scale of the sums."""

    def specification(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        input_scale: float,
        weight_scale: torch.Tensor,
        bits: int,
    ) -> torch.Tensor:
        sums = torch.zeros(len(x), len(weight), dtype=torch.int32)
        for example in range(len(x)):
            for output in range(len(weight)):
                total = round(bias[output].item() / (input_scale * weight_scale[output].item()))
                for position in range(x.shape[1]):
                    q = round(x[example, position].item() / input_scale)
                    total += min(max(q, 0), 2**bits - 1) * int(weight[output, position])
                sums[example, output] = total
        return sums

    def layer(x: list, weight: list, bias: list, input_scale: float, weight_scale: list, bits: int) -> tuple:
        real = torch.tensor(x), torch.tensor(weight, dtype=torch.int32), torch.tensor(bias)
        return *real, input_scale, torch.tensor(weight_scale), bits

    generator = torch.Generator().manual_seed(secrets.randbits(32))

    def drawn(examples: int, inputs: int, outputs: int, bits: int) -> tuple:
        # quarters off the halves, so that nothing depends on how a tie is rounded; scales are powers of two
        x = torch.randint(-8, 2 ** (bits + 2) + 8, (examples, inputs), generator=generator) * 0.5 + 0.125
        weight = torch.randint(-8, 8, (outputs, inputs), generator=generator, dtype=torch.int32)
        bias = torch.randint(-40, 40, (outputs,), generator=generator) * 0.25 + 0.03125
        weight_scale = 2.0 ** torch.randint(-3, 0, (outputs,), generator=generator)
        return x, weight, bias, 0.5, weight_scale, bits

    cases = [
        layer([[1.0]], [[1]], [0.0], 1.0, [1.0], 4),
        layer([[2.0]], [[3]], [1.0], 0.5, [0.25], 4),  # the bias is 8 units
        layer([[100.0]], [[1]], [0.0], 1.0, [1.0], 4),  # clipped at 15
        layer([[-3.0]], [[2]], [0.0], 1.0, [1.0], 8),  # clipped at 0
        layer([[1.0, 2.0]], [[1, -1], [2, 5]], [1.0, 1.0], 0.5, [0.5, 0.125], 8),
        *(drawn(*shape) for shape in ((2, 3, 2, 2), (4, 6, 3, 4), (3, 10, 5, 8))),
    ]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("10.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about training through a rounding are true."""
    check_choice(
        answer,
        right={"B", "D"},
        why_wrong={
            "A": "our first cell asked PyTorch for that derivative, and it said 0.",
            "C": "look at the first row of the ladder: quantized after training, both lost next to nothing.",
            "E": "a sign cannot take a step of a thousandth; something must collect the steps until it turns.",
        },
        why_missing={
            "B": "what does `fake_quantize` return, integers or real numbers?",
            "D": "what would happen at 4 bits, where one unit of the sum is large?",
        },
    )
