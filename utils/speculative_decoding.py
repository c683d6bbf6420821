"""Speculative decoding: a cheap draft writes a few characters, and the network checks all of them in one pass.

What is written has exactly the network's distribution, whatever the draft says (Leviathan, Kalman and Matias, 2023,
appendix A.1; found at the same time by Chen et al., 2023). A bad draft costs time and never quality.
"""

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch

from utils.input_validation import require_fraction, require_int, require_number
from utils.language_models import next_probabilities
from utils.transformer import KeyValueCache, Transformer

# --- the rule ---------------------------------------------------------------------------------------------------------


def acceptance(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return the probability that a character drawn from `q` is accepted: the sum of min(p, q) over the characters.

    Args:
        p: of the network, shape (..., characters).
        q: of the draft, the same shape.

    >>> acceptance(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])).item()
    0.5
    """
    return torch.minimum(p, q).sum(dim=-1)


def left_over(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return what is drawn from where the draft was refused: max(p - q, 0), made to add up to 1.

    Where the two are equal nothing is refused; rounding can still ask for it, and gets p.

    >>> left_over(torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.75, 0.0])).tolist()
    [0.5, 0.0, 0.5]
    """
    more = (p - q).clamp(min=0)
    total = more.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, more / total, p)


class Judgement(NamedTuple):
    """How many drafted characters were accepted, and the distribution of the one that follows them, (characters,)."""

    accepted: int
    following: torch.Tensor


def judge(p: torch.Tensor, q: torch.Tensor, drafted: torch.Tensor, uniform: torch.Tensor) -> Judgement:
    """Accept drafted characters up to the first that is refused.

    Character x at place i is accepted if uniform[i] < p[i, x] / q[i, x]. Behind the last accepted one the network's own
    character follows: drawn from what is left over where one was refused, from p where none was.

    Args:
        p: of the network, shape (drafted + 1, characters), a row more than was drafted.
        q: of the draft, shape (drafted, characters).
        drafted: shape (drafted,), int64, each drawn from its row of q.
        uniform: shape (drafted,), drawn evenly from 0 to 1, without 1.

    >>> judge(torch.eye(2), torch.tensor([[0.5, 0.5]]), torch.tensor([1]), torch.tensor([0.1])).accepted
    0
    """
    for place, (character, drawn) in enumerate(zip(drafted.tolist(), uniform.tolist(), strict=True)):
        if drawn * q[place, character] >= p[place, character]:
            return Judgement(place, left_over(p[place], q[place]))
    return Judgement(len(drafted), p[len(drafted)])


def expected_characters(accepted: float, drafted: int) -> float:
    """Return the characters a round writes on average: 1 + a + a^2 + ... + a^drafted (Leviathan et al., equation 1).

    Args:
        accepted: probability a that a drafted character is accepted, the same at each place.
        drafted: characters drafted a round.

    >>> expected_characters(0.5, 2), expected_characters(1.0, 4)
    (1.75, 5.0)
    """
    a = require_fraction("accepted", accepted)
    return math.fsum(a**place for place in range(require_int("drafted", drafted, minimum=0) + 1))


def expected_speedup(accepted: float, drafted: int, *, draft_cost: float, check_cost: float) -> float:
    """Return how many times as fast a round writes as the network alone.

    Args:
        accepted, drafted: see `expected_characters`.
        draft_cost: of one drafted character, in decoding steps of the network.
        check_cost: of the pass that reads `drafted` + 1 characters, in decoding steps of the network.

    >>> expected_speedup(0.5, 2, draft_cost=0.125, check_cost=1.0)
    1.4
    """
    for name, cost in (("draft_cost", draft_cost), ("check_cost", check_cost)):
        require_number(name, cost, low=0.0)
    return expected_characters(accepted, drafted) / (drafted * draft_cost + check_cost)


# --- drafts -----------------------------------------------------------------------------------------------------------


class Draft(Protocol):
    """What writes ahead."""

    def propose(
        self, text: torch.Tensor, count: int, *, temperature: float, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `count` characters that may follow `text`, shape (count,), and what each was drawn from."""


class ReadAhead:
    """A transformer with a cache that follows a text: it reads what is new, and forgets what was taken back."""

    def __init__(self, model: Transformer):
        self.model = model
        self.cache = KeyValueCache(model)
        self.read: list[int] = []

    @torch.no_grad()
    def logits(self, text: list[int]) -> torch.Tensor:
        """Return the logits behind each character that it had not read yet, at least the last; shape (new, characters).

        Args:
            text: all of it; it may differ from what was read before from any place on.
        """
        return self.model(self.not_yet_read(text), self.cache)[0]

    def not_yet_read(self, text: list[int]) -> torch.Tensor:
        """Forget what was taken back, and return what the model must read, shape (1, new); it then counts as read."""
        same = 0
        for old, new in zip(self.read, text[:-1], strict=False):
            if old != new:
                break
            same += 1
        self.cache.forget_last(len(self.read) - same)
        self.read = list(text)
        return torch.tensor([text[same:]])


class NetworkDraft:
    """A small transformer as a draft."""

    def __init__(self, model: Transformer):
        self._ahead = ReadAhead(model)

    def propose(
        self, text: torch.Tensor, count: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Draft`."""
        written, rows = text.tolist(), []
        for _ in range(count):
            q = next_probabilities(self._ahead.logits(written)[-1], temperature=temperature)
            written.append(int(q.multinomial(1, generator=generator)))
            rows.append(q)
        return torch.tensor(written[len(text) :]), torch.stack(rows)


class CountingDraft:
    """A table of counted probabilities as a draft: what follows is looked up.

    Args:
        table: `ngrams.ngram_probabilities`, shape (characters,) * order. It is looked up from the last order - 1
            characters; a text must have so many.
    """

    def __init__(self, table: torch.Tensor):
        self.table = table.float()

    def propose(
        self, text: torch.Tensor, count: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Draft`."""
        seen = self.table.ndim - 1
        written, rows = text[len(text) - seen :].tolist(), []
        for _ in range(count):
            q = self.table[tuple(written[len(written) - seen :])]
            if temperature != 1:
                q = next_probabilities(q.log(), temperature=temperature)
            written.append(int(q.multinomial(1, generator=generator)))
            rows.append(q)
        return torch.tensor(written[seen:]), torch.stack(rows)


# --- writing ----------------------------------------------------------------------------------------------------------


class Laps:
    """Adds up, by name, the seconds from each call to the next, so that nothing between two calls is left out.

    >>> laps = Laps()
    >>> laps("reading"), laps("writing"), laps("reading")
    (None, None, None)
    >>> list(laps.seconds), laps.seconds["reading"] > 0
    (['reading', 'writing'], True)
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def __call__(self, name: str) -> None:
        """Count what has passed since the last call for `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


@dataclass
class Written:
    """A text, prompt included, and how it came about.

    `rounds` are passes of the network; of the `drafted` characters some were `judged`, up to the first of a round that
    was refused, and of those some `accepted`. `seconds` went into the "draft", the "check" (the network's passes), the
    "judging" (softmax, the rule, the draw of what follows), and the "rest": Python that follows the text.
    """

    text: torch.Tensor
    rounds: int = 0
    drafted: int = 0
    judged: int = 0
    accepted: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def speculate(
    model: Transformer,
    draft: Draft,
    prompt: torch.Tensor,
    count: int,
    *,
    drafted: int = 4,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Written:
    """Continue a text by speculative decoding; its distribution is that of `language_models.generate`.

    Args:
        model: in evaluation mode.
        draft: writes ahead.
        prompt: shape (T,), at least one character.
        count: characters to write; with the prompt at most the model's context.
        drafted: characters a round, at most.
        temperature: see `next_probabilities`; the draft has the same.
        generator: draws; the global one if None.
    """
    if len(prompt) + count > model.context:
        raise ValueError(f"prompt and count must fit the context of {model.context}, got {len(prompt)} and {count}")
    laps = Laps()
    ahead, found = ReadAhead(model), Written(prompt, seconds=laps.seconds)
    while (left := len(prompt) + count - len(found.text)) > 0:
        some = min(drafted, left - 1)  # the round adds one of its own
        text = found.text
        laps("rest")
        if some:
            guesses, q = draft.propose(text, some, temperature=temperature, generator=generator)
        else:
            guesses, q = text[:0], torch.empty(0, model.head.out_features)
        laps("draft")
        new = ahead.not_yet_read([*text.tolist(), *guesses.tolist()])
        laps("rest")
        logits = model(new, ahead.cache)[0, -some - 1 :]
        laps("check")
        p = next_probabilities(logits, temperature=temperature)  # (some + 1, characters)
        accepted, following = judge(p, q, guesses, torch.rand(some, generator=generator))
        own = following.multinomial(1, generator=generator)
        laps("judging")
        found.text = torch.cat([text, guesses[:accepted], own])
        found.rounds += 1
        found.drafted += some
        found.accepted += accepted
        found.judged += min(accepted + 1, some)
    laps("rest")
    return found
