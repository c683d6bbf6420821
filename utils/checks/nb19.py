"""Checks for notebook 19, transformer_pruning."""

import copy
import functools
import secrets
from collections.abc import Callable
from random import Random

import torch

from utils.characters import load_shakespeare, windows
from utils.checks import WrongAnswerError, check_cases, exercise
from utils.language_models import evaluate_text
from utils.transformer import Transformer, load_transformer
from utils.transformer_pruning import block_layers
from utils.weight_only import InputStatistics, input_statistics


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
def best_values(answer: Callable) -> None:
    """Least squares for a given mask, found by eliminating what is removed from the inverse, a weight at a time."""

    def specification(weight: torch.Tensor, moment: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        best = weight.clone()
        for row, kept in zip(best, mask, strict=True):
            inverse = torch.linalg.inv(moment)
            for p in (~kept).nonzero().flatten().tolist():
                row -= row[p] / inverse[p, p] * inverse[:, p]
                inverse = inverse - torch.outer(inverse[:, p], inverse[p]) / inverse[p, p]
                inverse[p, p] = 1.0
        return best.masked_fill(~mask, 0.0)

    def leaving_the_arguments_alone(weight: torch.Tensor, moment: torch.Tensor, mask: torch.Tensor) -> object:
        before = weight.clone(), moment.clone(), mask.clone()
        received = answer(weight, moment, mask)
        if not all(map(torch.equal, (weight, moment, mask), before)):
            raise WrongAnswerError("an argument was changed; work on a copy")
        return received

    generator = torch.Generator().manual_seed(secrets.randbits(32))

    def case(rows: int, columns: int, share: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        x = torch.randn(50, columns, generator=generator, dtype=torch.float64)
        x = x * torch.linspace(0.5, 2, columns) + 1.5 * x[:, :1]
        return weight, x.T @ x / 50, torch.rand(rows, columns, generator=generator) < share

    pair = torch.tensor([[2.0, 1.5]], dtype=torch.float64)
    alike = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    uneven = torch.tensor([[1.0, 0.5], [0.5, 4.0]], dtype=torch.float64)
    cases = [
        (pair, alike, torch.tensor([[True, False]])),
        (pair, uneven, torch.tensor([[False, True]])),
        (pair, alike, torch.tensor([[True, True]])),
        (pair, alike, torch.tensor([[False, False]])),
        case(2, 4, 0.5),
        case(3, 6, 0.5),
        case(3, 8, 0.3),
        case(4, 8, 0.7),
    ]
    check_cases(leaving_the_arguments_alone, [(each, specification(*each)) for each in cases], tolerance=1e-6)


CHALLENGE = {"zeros": 0.5, "nats": 0.0105, "judged": 12_800}
"""What 19.3 asks for: the share of zeros at least, nats a character lost at most; and on how many of them."""


@exercise("19.3")
def half_gone(answer: Callable) -> None:
    """Every matrix of the blocks pruned; the check counts the zeros and judges the network."""
    network, seen = _network_and_statistics()
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
    part = load_shakespeare().validation[20_000 : 20_000 + CHALLENGE["judged"] + 1]  # from the middle
    lost = evaluate_text(pruned, part, stride=256).nats - evaluate_text(network, part, stride=256).nats
    if not lost <= CHALLENGE["nats"]:  # so that NaN fails
        raise WrongAnswerError(
            f"not yet: enough zeros, but the network loses {lost:.4f} nats a character, and at most "
            f"{CHALLENGE['nats']:g} are asked for"
        )
    print(f"at least {CHALLENGE['zeros']:.0%} zeros, at most {CHALLENGE['nats']:g} nats lost")


@functools.cache
def _network_and_statistics() -> tuple[Transformer, dict[str, InputStatistics]]:
    network = load_transformer("Shakespeare-transformer")
    calibration = windows(load_shakespeare().train, 256, 32, torch.Generator().manual_seed(0))[0]
    return network, input_statistics(network, calibration.split(8))


def _called(answer: Callable, name: str, weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    try:
        received = answer(name, weight.clone(), moment.clone())
    except NotImplementedError:
        raise
    except Exception as error:  # whatever the learner's code raises is a wrong answer, told as one
        raise WrongAnswerError(f"not yet right: {name}: {type(error).__name__}: {error}") from error
    if not isinstance(received, torch.Tensor) or received.shape != weight.shape:
        raise WrongAnswerError(f"{name}: return a tensor of shape {tuple(weight.shape)}")
    return received.detach().float()
