"""Checks for notebook 18, weight_only_quantization."""

import copy
import math
import secrets
from collections.abc import Callable
from random import Random

import torch

from utils.checks import WrongAnswerError, check_cases, exercise, told_as_wrong
from utils.checks.shipped_transformer import nats_lost, network_and_statistics
from utils.weight_only import linear_layers


@exercise("18.1")
def matrix_bytes(answer: Callable) -> None:
    """Bytes of a rounded matrix, counted bit by bit."""

    def specification(rows: int, columns: int, bits: int, group_size: int, with_zero_point: bool) -> int:
        of_codes = of_scales = of_zero_points = 0
        for _ in range(rows):
            for column in range(columns):
                of_codes += bits
                if column % group_size == 0:
                    of_scales += 16
                    of_zero_points += bits if with_zero_point else 0
        return sum(math.ceil(each / 8) for each in (of_codes, of_scales, of_zero_points))

    drawn = Random(secrets.randbits(32))
    fixed = [
        (1, 1, 8, 1, False),
        (1, 2, 4, 2, False),
        (1, 2, 4, 2, True),
        (1, 3, 4, 2, True),
        (3, 5, 3, 4, True),
        (160, 416, 4, 64, True),
        (160, 160, 2, 64, True),
        (65, 160, 3, 32, False),
    ]
    sizes = [(drawn.randint(1, 30), drawn.randint(1, 200), drawn.randint(2, 8)) for _ in range(8)]
    cases = fixed + [(*size, drawn.randint(1, 90), drawn.random() < 0.5) for size in sizes]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("18.2")
def round_in_order(answer: Callable) -> None:
    """Rounding with repair in any order of the columns, the least squares solved anew at each step."""

    def specification(weight: torch.Tensor, moment: torch.Tensor, step: float, order: list[int]) -> torch.Tensor:
        whole = torch.zeros_like(weight)
        for r, row in enumerate(weight):
            for place, column in enumerate(order):
                done, left = order[:place], order[place:]
                wanted = row[left]
                if done:
                    gap = moment[left][:, done] @ (row[done] - step * whole[r, done])
                    wanted = wanted + torch.linalg.solve(moment[left][:, left], gap)
                whole[r, column] = (wanted[0] / step).round()
        return whole

    def leaving_the_arguments_alone(
        weight: torch.Tensor, moment: torch.Tensor, step: float, order: list[int]
    ) -> object:
        before = weight.clone(), moment.clone(), list(order)
        received = answer(weight, moment, step, order)
        if not (torch.equal(weight, before[0]) and torch.equal(moment, before[1]) and list(order) == before[2]):
            raise WrongAnswerError("an argument was changed; work on a copy")
        return received

    generator = torch.Generator().manual_seed(secrets.randbits(32))

    def case(rows: int, columns: int, step: float, order: list[int] | None = None) -> tuple:
        weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        x = torch.randn(50, columns, generator=generator, dtype=torch.float64)
        x = x * torch.linspace(0.5, 2, columns) + 1.5 * x[:, :1]
        if order is None:
            order = torch.randperm(columns, generator=generator).tolist()
        return weight, x.T @ x / 50, step, order

    together = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    cases = [
        (torch.tensor([[1.3]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64), 1.0, [0]),
        (torch.tensor([[0.4, 1.4]], dtype=torch.float64), together, 1.0, [0, 1]),
        (torch.tensor([[0.4, 1.4]], dtype=torch.float64), together, 1.0, [1, 0]),
        (torch.tensor([[0.2, 0.7]], dtype=torch.float64), together, 0.5, [0, 1]),
        case(2, 3, 0.5, [0, 1, 2]),
        case(2, 3, 0.5, [2, 0, 1]),
        *(case(3, 6, 0.25) for _ in range(4)),
    ]
    check_cases(leaving_the_arguments_alone, [(each, specification(*each)) for each in cases])


CHALLENGE = {"bits": 2.5, "nats": 0.05, "judged": 12_800}
"""What 18.3 asks for, at most: bits a weight, nats a character lost; and on how many of them."""


@exercise("18.3")
def two_bits(answer: Callable) -> None:
    """Every matrix of the transformer in few bits; the check counts them and judges the network."""
    network, seen = network_and_statistics()
    rounded = copy.deepcopy(network)
    layers = linear_layers(rounded)
    weights = sum(layer.weight.numel() for layer in layers.values())
    bits = 0
    for name, layer in layers.items():
        weight = layer.weight.detach()
        layer.weight.data, taken = _read(name, weight, _called(answer, name, weight, seen[name].moment))
        bits += taken
        if bits > CHALLENGE["bits"] * weights:
            raise WrongAnswerError(
                f"not yet: everything counted, the matrices up to {name} alone take over {CHALLENGE['bits']:g} bits "
                f"for each of all {weights:,} weights, which is the most that is asked for"
            )
    lost = nats_lost(rounded, CHALLENGE["judged"])
    if not lost <= CHALLENGE["nats"]:  # so that NaN fails
        raise WrongAnswerError(
            f"not yet: few enough bits, but the network loses {lost:.3f} nats a character, and at most "
            f"{CHALLENGE['nats']:g} are asked for"
        )
    print(f"at most {CHALLENGE['bits']:g} bits a weight, at most {CHALLENGE['nats']:g} nats lost")


def _called(answer: Callable, name: str, weight: torch.Tensor, moment: torch.Tensor) -> object:
    with told_as_wrong(f"{name}: "):
        return answer(name, weight.clone(), moment.clone())


def _read(name: str, weight: torch.Tensor, received: object) -> tuple[torch.Tensor, int]:
    """Return the weight that an answer stands for, and the bits that it takes."""
    if not isinstance(received, tuple | list) or not all(isinstance(each, torch.Tensor) for each in received):
        raise WrongAnswerError(f"{name}: return three tensors, (codes, scale, zero_point)")
    if len(received) != 3 or received[0].shape != weight.shape:
        raise WrongAnswerError(f"{name}: three tensors are asked for, codes of shape {tuple(weight.shape)}")
    codes, scale, zero_point = (each.detach().double() for each in received)
    if scale.dim() != 2 or len(scale) != len(weight) or scale.shape != zero_point.shape or not scale.numel():
        raise WrongAnswerError(f"{name}: scale and zero_point must have a row for each of {len(weight)} rows")
    if not torch.isfinite(scale).all() or not torch.equal(scale.half().double(), scale):
        raise WrongAnswerError(f"{name}: scale must be float16 numbers, since 16 bits are counted for each")
    if not all(torch.equal(each.round(), each) for each in (codes, zero_point)):
        raise WrongAnswerError(f"{name}: codes and zero points must be whole numbers")
    size = -(-weight.shape[1] // scale.shape[1])
    spread = [each.repeat_interleave(size, dim=1)[:, : weight.shape[1]] for each in (scale, zero_point)]
    if spread[0].shape != weight.shape:
        raise WrongAnswerError(f"{name}: {scale.shape[1]} groups do not cover a row of {weight.shape[1]} columns")
    bits = 16 * scale.numel()
    for each in (codes, zero_point):
        reach = int(each.max() - each.min())
        bits += each.numel() * reach.bit_length()
    return (spread[0] * (codes - spread[1])).float(), bits
