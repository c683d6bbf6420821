"""Checks for notebook 09, post_training_quantization."""

import math
import secrets
from collections.abc import Callable

import torch

from utils.checks import check_cases, check_choice, exercise


@exercise("09.1")
def largest_safe_weight(answer: Callable) -> None:
    """The largest weight with which no pair of products leaves 16 bits."""

    def specification(largest_code: int) -> int:
        safe = 0
        for weight in range(1, 128):
            products = [code * w for code in (0, largest_code) for w in (-weight, weight)]
            sums = [one + other for one in products for other in products]
            if max(sums) <= 32767 and min(sums) >= -32768:
                safe = weight
        return safe

    check_cases(answer, [((code,), specification(code)) for code in (1, 2, 127, 128, 129, 130, 200, 254, 255)])


@exercise("09.2")
def fold_norm_in_front(answer: Callable) -> None:
    """Fold a batch norm into the linear layer behind it."""

    def specification(weight: torch.Tensor, bias: torch.Tensor, norm: dict) -> tuple:
        new_weight, new_bias = weight.clone(), bias.clone()
        for o in range(len(weight)):
            for i in range(weight.shape[1]):
                deviation = math.sqrt(norm["variance"][i].item() + norm["epsilon"])
                factor = norm["gamma"][i].item() / deviation
                new_weight[o, i] = weight[o, i] * factor
                new_bias[o] += weight[o, i] * (norm["beta"][i].item() - factor * norm["mean"][i].item())
        return new_weight, new_bias

    def norm_of(gamma: list, beta: list, mean: list, variance: list, epsilon: float) -> dict:
        four = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        return {name: torch.tensor(values) for name, values in four.items()} | {"epsilon": epsilon}

    one, nothing = torch.tensor([[2.0]]), torch.tensor([0.0])
    cases = [
        (one, nothing, norm_of([1.0], [0.0], [0.0], [1.0], 0.0)),
        (one, nothing, norm_of([3.0], [0.0], [0.0], [4.0], 0.0)),
        (one, nothing, norm_of([1.0], [0.5], [0.0], [1.0], 0.0)),
        (one, torch.tensor([1.0]), norm_of([3.0], [1.0], [0.5], [4.0], 0.0)),
        (one, nothing, norm_of([1.0], [0.0], [1.0], [0.0], 0.25)),
    ]
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    cases.append((square, torch.zeros(2), norm_of([2.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], 0.0)))
    generator = torch.Generator().manual_seed(secrets.randbits(32))
    for inputs, outputs in ((2, 3), (3, 2), (4, 4), (5, 1)):
        four = [torch.randn(inputs, generator=generator).tolist() for _ in range(3)]
        variance = torch.rand(inputs, generator=generator).tolist()
        layer = torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator)
        cases.append((*layer, norm_of(*four, variance, 1e-2)))
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-4)


@exercise("09.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about post-training quantization are true."""
    check_choice(
        answer,
        right={"B", "D"},
        why_wrong={
            "A": "over half of the sums of LeNet300100's first layer were wrong, and as many digits were read.",
            "C": "static means that calibration fixed it beforehand; found anew for each input is dynamic.",
            "E": "a channel of the weights is an output. The codes that enter a sum must share a scale to be added.",
        },
        why_missing={
            "B": "what is the largest pair sum, 2 times 255 times 64, and what fits into 16 bits?",
            "D": "how fast was float32 in ONNX Runtime at batch 1, compared with eager?",
        },
    )
