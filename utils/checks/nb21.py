"""Checks for notebook 21, faster_generation."""

import functools
import math
import secrets
from collections.abc import Callable
from random import Random

import torch

from utils.characters import load_shakespeare
from utils.checks import WrongAnswerError, check_cases, exercise, told_as_wrong
from utils.transformer import load_transformer


@exercise("21.1")
def best_drafted(answer: Callable) -> None:
    """The number of drafted characters that writes fastest, each power added up by itself."""

    def specification(accepted: float, draft_cost: float, check_costs: list[float]) -> tuple[int, float]:
        best = 0, 1.0
        for drafted, check_cost in enumerate(check_costs):
            written = math.fsum(accepted**place for place in range(drafted + 1))
            gain = written / (drafted * draft_cost + check_cost)
            if gain > best[1]:
                best = drafted, gain
        return best

    drawn = Random(secrets.randbits(32))
    cases: list[tuple[float, float, list[float]]] = [
        (0.5, 0.0, [1.0]),
        (0.0, 0.0, [1.0, 1.0]),
        (0.5, 0.0, [1.0, 1.0]),
        (0.5, 0.125, [1.0, 1.0, 1.0, 1.0]),
        (1.0, 0.25, [1.0, 1.0, 1.0, 1.0]),
        (1.0, 0.0, [1.0, 1.5, 8.0, 1.5]),
        (0.9, 1.0, [1.0, 1.25, 1.5]),
    ]
    for _ in range(8):
        costs = [1.0]
        for _ in range(drawn.randint(1, 9)):
            costs.append(costs[-1] + drawn.uniform(0.01, 0.4))
        cases.append((drawn.uniform(0.3, 0.98), drawn.uniform(0.0, 0.4), costs))
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


@exercise("21.2")
def judge_round(answer: Callable) -> None:
    """A round of speculative decoding, judged place by place in Python numbers."""

    def specification(
        p: torch.Tensor, q: torch.Tensor, drafted: torch.Tensor, uniform: torch.Tensor
    ) -> tuple[int, torch.Tensor]:
        for place, (character, drawn) in enumerate(zip(drafted.tolist(), uniform.tolist(), strict=True)):
            of_network, of_draft = p[place].tolist(), q[place].tolist()
            if drawn >= of_network[character] / of_draft[character]:
                more = [max(a - b, 0.0) for a, b in zip(of_network, of_draft, strict=True)]
                return place, torch.tensor([each / math.fsum(more) for each in more], dtype=torch.float64)
        return len(drafted), p[-1]

    generator = torch.Generator().manual_seed(secrets.randbits(32))

    def case(count: int, characters: int = 4) -> tuple[torch.Tensor, ...]:
        p = torch.rand(count + 1, characters, generator=generator, dtype=torch.float64) ** 2 + 1e-3
        q = torch.rand(count, characters, generator=generator, dtype=torch.float64) + 1e-3
        p, q = p / p.sum(dim=1, keepdim=True), q / q.sum(dim=1, keepdim=True)
        drafted = q.multinomial(1, generator=generator)[:, 0] if count else torch.zeros(0, dtype=torch.int64)
        return p, q, drafted, torch.rand(count, generator=generator, dtype=torch.float64)

    half, ends = torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[0.75, 0.25], [0.25, 0.75]]).double()
    place = torch.tensor([1])
    cases = [
        case(0),
        (ends, half, place, torch.tensor([0.25]).double()),  # 0.25 / 0.5 = 0.5: accepted
        (ends, half, place, torch.tensor([0.75]).double()),  # refused
        (ends, half, place, torch.tensor([0.5]).double()),  # not below: refused
        *(case(count) for count in (1, 1, 2, 2, 3, 3, 4, 4, 5, 5)),
    ]
    check_cases(_as_pair(answer), [(each, specification(*each)) for each in cases], tolerance=1e-9)


def _as_pair(answer: Callable) -> Callable:
    def called(*given: torch.Tensor) -> object:
        received = answer(*given)
        if isinstance(received, tuple) and len(received) == 2 and isinstance(received[0], torch.Tensor):
            return received[0].item(), received[1]
        return received

    return called


CHALLENGE = {"accepted": 0.74, "places": 2_000}
"""What 21.3 asks for: the share that is accepted, at least; and at how many places of validation."""

BEFORE = 8
"""Characters before the first place."""


@exercise("21.3")
def counting_draft(answer: Callable) -> None:
    """A draft that counts: its rows are distributions, look at nothing ahead, and are accepted often enough."""
    text = load_shakespeare()
    part = text.validation[20_000 : 20_000 + CHALLENGE["places"] + BEFORE]  # from the middle
    q = _rows(answer, text.train, part)
    other = part.clone()
    other[len(part) // 2 :] = text.validation[40_000 : 40_000 + len(part) - len(part) // 2]
    until = len(part) // 2 - BEFORE + 1  # row i is of place i + 8, and that place itself may differ
    if not torch.allclose(_rows(answer, text.train, other)[:until], q[:until], atol=1e-6):
        raise WrongAnswerError("with another end of the text the rows before it change: the draft looks ahead")
    accepted = torch.minimum(_wanted(), q).sum(dim=1).mean().item()
    if not accepted >= CHALLENGE["accepted"]:  # so that NaN fails
        raise WrongAnswerError(
            f"not yet: of this draft's characters {100 * accepted:.1f} % would be accepted, and at least "
            f"{100 * CHALLENGE['accepted']:g} % are asked for"
        )
    print(f"at least {100 * CHALLENGE['accepted']:g} % would be accepted")


def _rows(answer: Callable, train: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    with told_as_wrong():
        received = answer(train.clone(), part.clone())
    shape = (len(part) - BEFORE, len(load_shakespeare().vocabulary.characters))
    if not isinstance(received, torch.Tensor) or received.shape != shape:
        raise WrongAnswerError(f"a tensor of shape {shape} is asked for, got {getattr(received, 'shape', received)}")
    rows = received.detach().double()
    if not (torch.isfinite(rows).all() and (rows >= 0).all() and (rows.sum(dim=1) - 1).abs().max() < 1e-3):
        raise WrongAnswerError("each row must be a distribution: at least 0 everywhere, and adding up to 1")
    return rows


@functools.cache
def _wanted() -> torch.Tensor:
    """Return the network's distribution at each of the places, read in windows that overlap by half."""
    part = load_shakespeare().validation[20_000 - 128 : 20_000 + CHALLENGE["places"] + BEFORE]
    network = load_transformer("Shakespeare-transformer")
    places = torch.arange(128 + BEFORE, len(part))
    rows = []
    with torch.no_grad():
        for some in places.split(128):
            window = part[some[0] - 128 : some[-1]]  # what stands before the last place
            rows.append(network(window[None])[0, -len(some) :].softmax(dim=-1))
    return torch.cat(rows).double()
