"""Checks for notebook 08, quantization_from_scratch."""

from collections.abc import Callable
from fractions import Fraction

import torch

from utils.checks import WrongAnswerError, check_cases, check_choice, exercise


@exercise("08.1")
def affine_parameters(answer: Callable) -> None:
    """Scale, zero point and the largest value of an unsigned affine grid."""

    def specification(minimum: float, maximum: float, bits: int) -> tuple[float, int, float]:
        low, high = min(Fraction(minimum), Fraction(0)), max(Fraction(maximum), Fraction(0))
        steps = 0
        for _ in range(bits):  # 2^bits - 1
            steps = 2 * steps + 1
        scale = (high - low) / steps
        zero_point = round(-low / scale)
        return float(scale), zero_point, float(scale * (steps - zero_point))

    small = [(0.0, 1.0, 1), (-1.0, 2.5, 3), (0.0, 7.0, 3), (-1.0, 0.0, 2), (-1.0, 3.0, 2)]
    without_zero = [(1.0, 3.0, 8), (-3.0, -1.0, 8), (2.0, 2.0, 4), (-0.25, -0.25, 4)]
    generator = torch.Generator().manual_seed(8)
    drawn = [tuple(sorted((10 * torch.randn(2, generator=generator)).tolist())) for _ in range(20)]
    random = [(*ends, 1 + number % 8) for number, ends in enumerate(drawn)]
    cases = [*small, *without_zero, *random]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


@exercise("08.2")
def product_with_zero_points(answer: Callable) -> None:
    """A product of codes that both have a zero point, in int32."""

    def specification(codes_x: torch.Tensor, zero_x: int, codes_w: torch.Tensor, zero_w: int) -> torch.Tensor:
        result = torch.zeros(len(codes_x), len(codes_w), dtype=torch.int32)
        for b, inputs in enumerate(codes_x.tolist()):
            for i, weights in enumerate(codes_w.tolist()):
                total = 0
                for w, x in zip(weights, inputs, strict=True):
                    total += (w - zero_w) * (x - zero_x)
                result[b, i] = total
        return result

    def drawn(generator: torch.Generator, batch: int, outputs: int, inputs: int) -> tuple:
        codes_x = torch.randint(-128, 128, (batch, inputs), generator=generator).to(torch.int8)
        codes_w = torch.randint(0, 256, (outputs, inputs), generator=generator).to(torch.uint8)
        zero_x, zero_w = (int(torch.randint(low, low + 256, (), generator=generator)) for low in (-128, 0))
        return codes_x, zero_x, codes_w, zero_w

    def codes(x: list, zero_x: int, w: list, zero_w: int) -> tuple:
        return torch.tensor(x, dtype=torch.int8), zero_x, torch.tensor(w, dtype=torch.uint8), zero_w

    small = [
        codes([[2]], 0, [[3]], 0),
        codes([[2]], 1, [[3]], 0),
        codes([[2]], 0, [[3]], 1),
        codes([[2]], 1, [[3]], 1),
        codes([[-128]], 127, [[255]], 0),
        codes([[1, -2], [3, 4]], -1, [[5, 6], [0, 7], [8, 9]], 2),
    ]
    extreme = (torch.full((1, 1000), -128, dtype=torch.int8), 127, torch.full((2, 1000), 255, dtype=torch.uint8), 0)
    generator = torch.Generator().manual_seed(8)
    random = [drawn(generator, *shape) for shape in ((1, 1, 4), (2, 3, 5), (4, 2, 33), (3, 5, 100))]
    cases = [(case, specification(*case)) for case in (*small, *random, extreme)]
    check_cases(answer, cases)
    kind = answer(*small[0]).dtype
    if kind != torch.int32:
        raise WrongAnswerError(f"the values are right, but the result must be torch.int32, not {kind}")


@exercise("08.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about quantization are true."""
    check_choice(
        answer,
        right={"A", "C", "E"},
        why_wrong={
            "B": "our network of integers had a quarter of the bytes and was slower; the kernel decides.",
            "D": "for the last layer the list of 256 values took more than a quarter of the codebook's bytes.",
        },
        why_missing={
            "A": "how far does each of the two move at most?",
            "C": "by how much does the step grow, and what does doubling the step cost?",
            "E": "which code does 0 get then, and what becomes of a negative value?",
        },
    )
