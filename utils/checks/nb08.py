"""Checks for notebook 08, quantization_from_scratch."""

import copy
import secrets
from collections.abc import Callable, Mapping
from fractions import Fraction

import torch

from utils.accounting import packed_bytes
from utils.checks import FLOAT32_TOLERANCE, WrongAnswerError, below, check_cases, exercise, same, told_as_wrong, wrong
from utils.datasets import load
from utils.models import load_checkpoint
from utils.quantization import out_of_groups
from utils.training import evaluate


def _generator() -> torch.Generator:
    """Return a generator that draws other cases in each process: a table of answers is no answer."""
    return torch.Generator().manual_seed(secrets.randbelow(2**31))


@exercise("08.1")
def affine_parameters(answer: Callable) -> None:
    """Scale, zero point and the largest value of an unsigned affine grid."""

    def ends(minimum: float, maximum: float, bits: int) -> tuple[Fraction, Fraction, int]:
        low, high = min(Fraction(minimum), Fraction(0)), max(Fraction(maximum), Fraction(0))
        steps = 0
        for _ in range(bits):  # 2^bits - 1
            steps = 2 * steps + 1
        return low, (high - low) / steps, steps

    def specification(minimum: float, maximum: float, bits: int) -> tuple[float, int, float]:
        low, scale, steps = ends(minimum, maximum, bits)
        zero_point = round(-low / scale)
        return float(scale), zero_point, float(scale * (steps - zero_point))

    def clear(minimum: float, maximum: float, bits: int) -> bool:
        """Tell whether float32 rounds to the same zero point."""
        low, scale, _ = ends(minimum, maximum, bits)
        return abs(float(-low / scale) % 1 - 0.5) > 1e-3

    small = [(0.0, 1.0, 1), (-1.0, 2.5, 3), (0.0, 7.0, 3), (-1.0, 0.0, 2), (-1.0, 3.0, 2)]
    without_zero = [(1.0, 3.0, 8), (-3.0, -1.0, 8), (2.0, 2.0, 4), (-0.25, -0.25, 4)]
    drawn = [tuple(sorted((10 * torch.randn(2, generator=_generator())).tolist())) for _ in range(20)]
    random = [(*pair, 1 + number % 8) for number, pair in enumerate(drawn)]
    cases = [*small, *without_zero, *filter(lambda case: clear(*case), random)]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=FLOAT32_TOLERANCE)


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

    generator = _generator()

    def drawn(batch: int, outputs: int, inputs: int) -> tuple:
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
    random = [drawn(*shape) for shape in ((1, 1, 4), (2, 3, 5), (4, 2, 33), (3, 5, 100))]
    check_cases(answer, [(case, specification(*case)) for case in (*small, *random)])
    _only_integers(answer, [codes([[127] * n], -128, [[255] * n], 0) for n in (785, 784, 1000, 1031)], specification)
    kind = str(answer(*small[0]).dtype) if hasattr(answer(*small[0]), "dtype") else type(answer(*small[0])).__name__
    if not kind.endswith("int32"):
        raise WrongAnswerError(f"the values are right, but the result must be torch.int32, not {kind}")


def _only_integers(answer: Callable, cases: list[tuple], specification: Callable) -> None:
    """Check sums above 2^24, which float32 does not hold, and say so where an answer is off by what it rounds."""
    for case in cases:
        expected = specification(*case)
        try:
            received = answer(*copy.deepcopy(case))
        except Exception as error:  # whatever the learner's code raises is a wrong answer, told as one
            raise wrong(case, expected, f"{type(error).__name__}: {error}") from error
        if same(received, expected):
            continue
        if same(torch.as_tensor(received).double(), expected.double(), tolerance=1e-5):
            raise WrongAnswerError(
                f"nearly right: {len(case[0][0])} inputs, all x = 127 with the zero point -128 and all w = 255 with 0, "
                f"make {expected.item():,}, and yours is {int(torch.as_tensor(received).item()):,}. float32 holds "
                "every integer only up to 2^24 = 16,777,216: think of the type in which you multiply and add"
            )
        raise wrong(case, expected, received)


CHALLENGE = {"bytes": 80_000, "error": 1.6}
"""What 08.3 asks for: counted bytes of the weights at most, and the error on validation in per cent at most."""


@exercise("08.3")
def few_bytes(answer: Callable) -> None:
    """The weights of LeNet300100 in few bytes: the check counts them, and runs the network that comes back."""
    network = load_checkpoint("LeNet300100")
    weights = {name: layer.weight.detach() for name, layer in network.named_children()}
    with told_as_wrong("your function raised "):
        received = answer(copy.deepcopy(weights))
    if not isinstance(received, Mapping) or received.keys() != weights.keys():
        raise WrongAnswerError(f"return a dictionary with the keys {', '.join(weights)}, got {type(received).__name__}")
    counted = {}
    for name, weight in weights.items():
        codes, scale, zero_point = _require_grid(name, weight, received[name])
        both = torch.cat([codes.flatten().long(), zero_point.long()])
        bits = max(1, int(both.max() - both.min()).bit_length())
        packed = packed_bytes(weight.numel(), bits) + packed_bytes(zero_point.numel(), bits)
        counted[name] = packed + scale.numel() * scale.element_size()
        real = scale.float()[:, None] * (codes.int() - zero_point.int()[:, None])
        network.get_submodule(name).weight.data = out_of_groups(real, weight.shape)
    total = sum(counted.values())
    error = round(100 * (1 - evaluate(network, load("mnist").validation).accuracy), 6)  # 1.6 is 1.6, not a hair above
    shown = ", ".join(f"{name} {size:,}" for name, size in counted.items())
    if total > CHALLENGE["bytes"]:
        raise WrongAnswerError(
            f"not yet: {total:,} bytes ({shown}), and at most {CHALLENGE['bytes']:,} are asked for; "
            f"the error on validation is {error:.2f} %"
        )
    if error > CHALLENGE["error"]:
        raise WrongAnswerError(
            f"not yet: the error on validation is {error:.2f} %, and at most {CHALLENGE['error']:g} % is asked for; "
            f"there are {total:,} bytes ({shown})"
        )
    print(f"{total:,} bytes, error on validation {below(error)}")


def _require_grid(name: str, weight: torch.Tensor, grid: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes, scale and zero point of one layer, or say which of the three is not as it was asked for."""
    if not isinstance(grid, tuple | list) or len(grid) != 3 or not all(isinstance(part, torch.Tensor) for part in grid):
        raise WrongAnswerError(f"{name}: three tensors are asked for, (codes, scale, zero_point)")
    codes, scale, zero_point = grid
    if codes.dim() != 2 or len(codes) % len(weight) or codes.shape[1] * len(codes) // len(weight) < weight[0].numel():
        raise WrongAnswerError(
            f"{name}: the codes must have a row for each group, as in_groups makes them of a weight "
            f"{tuple(weight.shape)}; got {tuple(codes.shape)}"
        )
    if codes.is_floating_point() or zero_point.is_floating_point():
        raise WrongAnswerError(f"{name}: codes and zero points must be integers, got {codes.dtype}, {zero_point.dtype}")
    if scale.dtype not in (torch.float16, torch.float32):
        raise WrongAnswerError(f"{name}: the scale must be float16 or float32, got {scale.dtype}")
    if scale.shape != (len(codes),) or zero_point.shape != (len(codes),):
        raise WrongAnswerError(
            f"{name}: {len(codes)} rows of codes need as many scales and zero points, "
            f"got {tuple(scale.shape)} and {tuple(zero_point.shape)}"
        )
    if any(int(part.min()) < -128 or int(part.max()) > 255 for part in (codes, zero_point)):
        raise WrongAnswerError(
            f"{name}: codes and zero points must fit into a byte: from -128 to 127, or from 0 to 255"
        )
    return codes, scale, zero_point
