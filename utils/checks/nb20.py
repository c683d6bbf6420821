"""Checks for notebook 20, low_rank_adapters."""

import copy
import secrets
from collections.abc import Callable, Mapping
from random import Random

import torch

from utils.characters import load_shakespeare
from utils.checks import WrongAnswerError, check_cases, exercise, told_as_wrong
from utils.language_models import evaluate_text
from utils.restyling import prose
from utils.transformer import Transformer, load_transformer
from utils.weight_only import linear_layers


@exercise("20.1")
def adapter_cost(answer: Callable) -> None:
    """Numbers, moments and file of adapters, counted number by number."""

    def specification(shapes: list[tuple[int, int]], rank: int) -> tuple[int, int, int]:
        numbers = 0
        for rows, columns in shapes:
            for _ in range(min(rank, rows, columns)):
                numbers += rows + columns
        return numbers, 8 * numbers, 2 * numbers

    drawn = Random(secrets.randbits(32))
    fixed = [
        ([(1, 1)], 1),
        ([(4, 6)], 1),
        ([(4, 6)], 2),
        ([(2, 6)], 3),
        ([(6, 2)], 3),
        ([(4, 6), (3, 4)], 2),
        ([(96, 96)] * 8 + [(320, 96)] * 4 + [(96, 320)] * 2, 2),
    ]
    sizes = [[(drawn.randint(1, 40), drawn.randint(1, 40)) for _ in range(drawn.randint(1, 5))] for _ in range(8)]
    cases = fixed + [(shapes, drawn.randint(1, 30)) for shapes in sizes]
    check_cases(answer, [(case, specification(*case)) for case in cases])


@exercise("20.2")
def one_batch(answer: Callable) -> None:
    """A batch of texts, each with its own adapter or none, against a loop over the texts."""

    def specification(
        x: torch.Tensor, weight: torch.Tensor, downs: torch.Tensor, ups: torch.Tensor, which: torch.Tensor
    ) -> torch.Tensor:
        answers = []
        for text, number in zip(x, which.tolist(), strict=True):
            whole = weight if number < 0 else weight + ups[number] @ downs[number]
            answers.append(text @ whole.T)
        return torch.stack(answers)

    def leaving_the_arguments_alone(*given: torch.Tensor) -> object:
        before = [each.clone() for each in given]
        received = answer(*given)
        if not all(torch.equal(old, new) for old, new in zip(before, given, strict=True)):
            raise WrongAnswerError("an argument was changed; work on a copy")
        return received

    generator = torch.Generator().manual_seed(secrets.randbits(32))

    def case(texts: int, length: int, sizes: tuple[int, int], rank: int, which: list[int]) -> tuple[torch.Tensor, ...]:
        rows, columns = sizes
        count = max(*which, 0, 1) + 1

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        x, weight = draw(texts, length, columns), draw(rows, columns)
        return x, weight, draw(count, rank, columns), draw(count, rows, rank), torch.tensor(which)

    cases = [
        case(1, 1, (1, 1), 1, [0]),
        case(1, 1, (2, 1), 1, [-1]),
        case(2, 1, (2, 3), 1, [0, 1]),
        case(2, 1, (2, 3), 2, [1, 0]),
        case(2, 2, (3, 2), 1, [-1, 0]),
        case(3, 4, (4, 5), 2, [1, 1, -1]),
        case(5, 3, (6, 4), 3, [2, 0, -1, 2, 1]),
        case(4, 4, (4, 4), 4, [3, 2, 1, 0]),
    ]
    check_cases(leaving_the_arguments_alone, [(each, specification(*each)) for each in cases], tolerance=1e-9)


CHALLENGE = {"numbers": 1_084, "nats": 1.39, "judged": 12_800}
"""What 20.3 asks for, at most: numbers in all factors, 0.4 % of the network's; nats on validation.

And how many characters are judged, from the middle of the first half of the original's validation part."""


@exercise("20.3")
def small_adapter(answer: Callable) -> None:
    """Factors for some layers; the check counts them, adds their products and judges the network."""
    network = load_transformer("Shakespeare-draft")
    layers = linear_layers(network)
    numbers = 0
    for name, factors in _called(answer, network).items():
        if name not in layers:
            raise WrongAnswerError(f"{name!r} is no linear layer of the network; there are: {', '.join(layers)}")
        up, down = _factors(name, factors, tuple(layers[name].weight.shape))
        numbers += up.numel() + down.numel()
        layers[name].weight.data += up @ down
    if numbers > CHALLENGE["numbers"]:
        raise WrongAnswerError(
            f"not yet: the factors have {numbers:,} numbers, and at most {CHALLENGE['numbers']:,} are asked for, "
            "0.4 % of the network's"
        )
    validation = _prose(load_shakespeare().validation.tensor_split(2)[0])
    start = (len(validation) - CHALLENGE["judged"]) // 2
    nats = evaluate_text(network, validation[start : start + CHALLENGE["judged"] + 1], stride=256).nats
    if not nats <= CHALLENGE["nats"]:  # so that NaN fails
        raise WrongAnswerError(
            f"not yet: few enough numbers, but the network needs {nats:.3f} nats a character of prose, and at most "
            f"{CHALLENGE['nats']:g} are asked for"
        )
    print(f"at most {CHALLENGE['numbers']:,} numbers, at most {CHALLENGE['nats']:g} nats")


def _prose(part: torch.Tensor) -> torch.Tensor:
    vocabulary = load_shakespeare().vocabulary
    return vocabulary.encode(prose(vocabulary.decode(part)))


def _called(answer: Callable, network: Transformer) -> Mapping[str, object]:
    learned = _prose(load_shakespeare().train)
    torch.manual_seed(0)
    with told_as_wrong():
        received = answer(copy.deepcopy(network), learned)
    if not isinstance(received, Mapping):
        raise WrongAnswerError(f"return a dict from names of layers to (B, A), not a {type(received).__name__}")
    return received


def _factors(name: str, factors: object, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(factors, tuple | list) or len(factors) != 2:
        raise WrongAnswerError(f"{name}: two tensors are asked for, (B, A)")
    if not all(isinstance(each, torch.Tensor) and each.dim() == 2 for each in factors):
        raise WrongAnswerError(f"{name}: B and A must be matrices")
    up, down = (each.detach().float() for each in factors)
    if up.shape[1] != down.shape[0] or (up.shape[0], down.shape[1]) != shape:
        raise WrongAnswerError(
            f"{name}: B must be ({shape[0]}, r) and A (r, {shape[1]}), got {tuple(up.shape)} and {tuple(down.shape)}"
        )
    return up, down
