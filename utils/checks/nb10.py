"""Checks for notebook 10, quantization_aware_training."""

import copy
import secrets
from collections.abc import Callable

import torch
from torch import nn

from utils.checks import WrongAnswerError, check_cases, exercise, told_as_wrong
from utils.datasets import load
from utils.models import load_checkpoint
from utils.qat import LearnedScale
from utils.training import evaluate

CHALLENGE = {"network": "SmallResNet", "images": 256, "bytes": 24_000, "error": 1.25}
"""Of exercise 10.3: the weights of this network in so many bytes, and the error on validation, in per cent."""


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
    # none of them on an end of the range, where PyTorch and the formula may differ
    edges = [([0.5, 1.5, -0.5], 1.0, -2, 2), ([1.75, 2.25, -1.75, -2.25], 1.0, -2, 2), ([-1.0, 0.3], 0.25, 0, 15)]
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
        layer([[300.0] * 784], [[127] * 784], [1.0], 1.0, [1.0], 8),  # 25,389,841, which float32 does not have
    ]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("10.3")
def choose_bits(answer: Callable) -> None:
    """Bits for each layer within a budget: the check rounds the weights to them and measures the network."""
    network = load_checkpoint(CHALLENGE["network"])
    digits = load("mnist")
    weights = {
        name: layer.weight.data for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    with told_as_wrong("choose_bits raised "):
        bits = answer(copy.deepcopy(network), digits.train.images[: CHALLENGE["images"]], CHALLENGE["bytes"])
    _require_bits(bits, weights)
    size = sum(weight.numel() * int(bits[name]) for name, weight in weights.items()) / 8
    if size > CHALLENGE["bytes"]:
        raise WrongAnswerError(f"not yet: the weights take {size:,.0f} bytes, and {CHALLENGE['bytes']:,} are allowed")
    for name, weight in weights.items():
        quantizer = LearnedScale(int(bits[name]), len(weight))
        quantizer.observe(weight)
        weight.copy_(quantizer(weight).detach())
    error = 100 * (1 - evaluate(network, digits.validation).accuracy)
    if error > CHALLENGE["error"]:
        raise WrongAnswerError(
            f"not yet: in {size:,.0f} bytes the network makes {error:.2f} % errors on validation, and at most "
            f"{CHALLENGE['error']:g} % are asked for"
        )
    print(f"{size:,.0f} bytes, at most {CHALLENGE['error']:g} % errors on validation")


def _require_bits(bits: object, weights: dict[str, torch.Tensor]) -> None:
    if not isinstance(bits, dict) or bits.keys() != weights.keys():
        raise WrongAnswerError(f"not yet right: return a dict with bits for each of {', '.join(weights)}; got {bits!r}")
    unfit = {name: each for name, each in bits.items() if each not in range(2, 9)}
    if unfit:
        raise WrongAnswerError(f"not yet right: bits are whole numbers from 2 to 8; got {unfit}")
