"""Checks for notebook 19, transformer_pruning."""

import copy
import secrets
from collections.abc import Callable
from random import Random

import torch

from utils.checks import WrongAnswerError, check_cases, exercise, told_as_wrong
from utils.checks.shipped_transformer import nats_lost, network_and_statistics
from utils.transformer_pruning import block_layers, keep_heads


@exercise("19.1")
def weights_left(answer: Callable) -> None:
    """Weights of the blocks' matrices after pruning, counted matrix by matrix."""

    def specification(width: int, heads: int, blocks: list[tuple[int, int]]) -> int:
        total = 0
        for heads_left, hidden in blocks:
            inner = heads_left * (width // heads)
            shapes = [(inner, width)] * 3 + [(width, inner)] + [(hidden, width)] * 2 + [(width, hidden)]
            total += sum(rows * columns for rows, columns in shapes)
        return total

    drawn = Random(secrets.randbits(32))
    fixed = [
        (4, 2, []),
        (4, 2, [(2, 0)]),
        (4, 2, [(1, 0)]),
        (4, 2, [(0, 3)]),
        (4, 1, [(1, 5), (1, 0)]),
        (160, 5, [(5, 416)] * 5),
        (160, 5, [(5, 416), (0, 416), (4, 0)]),
    ]
    for _ in range(6):
        heads = drawn.randint(2, 6)
        blocks = [(drawn.randint(0, heads), drawn.randint(0, 50)) for _ in range(drawn.randint(1, 4))]
        fixed.append((heads * 2 * drawn.randint(1, 8), heads, blocks))
    check_cases(answer, [(case, specification(*case)) for case in fixed])


@exercise("19.2")
def heads_removed(answer: Callable) -> None:
    """Four matrices of an attention without some heads, put together head by head; and a block of the network."""

    def specification(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, output: torch.Tensor, heads: int, gone: list[int]
    ) -> tuple[torch.Tensor, ...]:
        size = len(query) // heads
        places = [head * size + k for head in range(heads) if head not in gone for k in range(size)]
        rows = tuple(torch.stack([matrix[place] for place in places]) for matrix in (query, key, value))
        return *rows, torch.stack([output[:, place] for place in places], dim=1)

    generator = torch.Generator().manual_seed(secrets.randbits(32))
    drawn = Random(secrets.randbits(32))

    def case(heads: int, size: int, width: int, gone: list[int]) -> tuple:
        inner = heads * size
        shapes = [(inner, width)] * 3 + [(width, inner)]
        return *(torch.randn(shape, generator=generator) for shape in shapes), heads, gone

    cases = [case(2, 1, 2, [0]), case(2, 2, 4, [1]), case(3, 2, 6, [0, 2]), case(3, 2, 6, []), case(4, 3, 5, [2, 0])]
    for _ in range(4):
        heads = drawn.randint(2, 6)
        cases.append(case(heads, drawn.randint(1, 4), 8, drawn.sample(range(heads), drawn.randint(1, heads - 1))))
    check_cases(answer, [(each, specification(*each)) for each in cases], tolerance=1e-6)
    _block_without_heads(answer)


def _block_without_heads(answer: Callable) -> None:
    """Compare the second block of the shipped network without two heads with what the library makes of it."""
    network, _ = network_and_statistics()
    names = ("query", "key", "value", "output")
    attention = network.blocks[1].attention
    matrices = [getattr(attention, name).weight.detach().clone() for name in names]
    library = keep_heads(network, {1: [1, 2, 4]}).blocks[1].attention
    for name, received in zip(names, answer(*matrices, attention.heads, [3, 0]), strict=True):
        wanted = getattr(library, name).weight
        if received.shape != wanted.shape or (received - wanted).abs().max() > 1e-6:
            raise WrongAnswerError(f"{name} of block 1 without the heads 0 and 3 is not what `keep_heads` leaves of it")


CHALLENGE = {"zeros": 0.5, "nats": 0.0105, "judged": 12_800}
"""What 19.3 asks for: the share of zeros at least, nats a character lost at most; and on how many of them."""


@exercise("19.3")
def half_gone(answer: Callable) -> None:
    """Every matrix of the blocks pruned; the check counts the zeros and judges the network."""
    network, seen = network_and_statistics()
    pruned = copy.deepcopy(network)
    layers = block_layers(pruned)
    zeros = total = 0
    for name, layer in layers.items():
        received = _called(answer, name, layer.weight.detach(), seen[name].moment)
        zeros += int((received == 0).sum())
        total += received.numel()
        layer.weight.data = received
    if zeros < CHALLENGE["zeros"] * total - len(layers):  # an odd number of weights is rounded
        raise WrongAnswerError(
            f"not yet: {zeros / total:.2%} of the blocks' weights are zero, and {CHALLENGE['zeros']:.0%} are asked for"
        )
    lost = nats_lost(pruned, CHALLENGE["judged"])
    if not lost <= CHALLENGE["nats"]:  # so that NaN fails
        raise WrongAnswerError(
            f"not yet: enough zeros, but the network loses {lost:.4f} nats a character, and at most "
            f"{CHALLENGE['nats']:g} are asked for"
        )
    print(f"at least {CHALLENGE['zeros']:.0%} zeros, at most {CHALLENGE['nats']:g} nats lost")


def _called(answer: Callable, name: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    with told_as_wrong(f"{name}: "):
        received = answer(name, weight.clone(), moment.clone())
    if not isinstance(received, torch.Tensor) or received.shape != weight.shape:
        raise WrongAnswerError(f"{name}: return a tensor of shape {tuple(weight.shape)}")
    return received.detach().float()
