"""Texts of different lengths written side by side: slots of one cache, and a scheduler that fills a free one at once.

A static batch ends with its longest text, and the slots of the others stand idle. Continuous batching decides anew
before every step (Yu et al., "Orca", 2022, section 3.1, where it is called iteration-level scheduling).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch.nn import functional as F

from utils.input_validation import require_int
from utils.language_models import next_probabilities
from utils.transformer import Transformer, rotations


class SlotCache:
    """Keys and values of several texts of different lengths, a slot for each; the slots in use are the first ones.

    Args:
        model: the transformer; each of its heads has a key and a value.
        slots: texts, at most.
        capacity: characters of a text, at most; the model's context if None.
    """

    def __init__(self, model: Transformer, slots: int, *, capacity: int | None = None):
        attention = model.blocks[0].attention
        self.capacity = model.context if capacity is None else require_int("capacity", capacity, minimum=1)
        shape = (2, len(model.blocks), require_int("slots", slots, minimum=1), attention.heads)
        self.stored = torch.zeros(*shape, self.capacity, attention.size, device=model.head.weight.device)
        self.lengths: list[int] = []
        """Characters of each text, those of the slots in use."""

    def release(self, slot: int) -> None:
        """Free a slot: the last text in use moves into it."""
        last = len(self.lengths) - 1
        if slot != last:
            held = self.lengths[last]
            self.stored[:, :, slot, :, :held] = self.stored[:, :, last, :, :held]
            self.lengths[slot] = held
        self.lengths.pop()


@torch.no_grad()
def read_in_slots(model: Transformer, tokens: torch.Tensor, cache: SlotCache, first: int = 0) -> torch.Tensor:
    """Read characters of several texts, each at its own place, and return the logits behind them.

    Args:
        model: in evaluation mode.
        tokens: shape (N, new): the same number of new characters for each of N texts.
        cache: it is extended by them.
        first: the texts are those of the slots from here on.

    Returns:
        Shape (N, new, characters).
    """
    count, new = tokens.shape
    slots = range(first, first + count)
    device = tokens.device
    lengths = torch.tensor([cache.lengths[slot] for slot in slots], device=device)
    every = int(lengths.max()) + new
    if every > cache.capacity:
        raise ValueError(f"a text of {every} characters does not fit a slot of {cache.capacity}")
    positions = lengths[:, None] + torch.arange(new, device=device)  # (N, new)
    turns = [turn.view(count, 1, new, -1) for turn in rotations(positions.flatten(), model.blocks[0].attention.size)]
    seen = torch.arange(every, device=device) <= positions[:, None, :, None]  # (N, 1, new, every)
    rows = torch.arange(count, device=device)[:, None].expand(-1, new)
    x = model.embedding(tokens)
    for number, block in enumerate(model.blocks):
        attention, normed = block.attention, block.norm1(x)
        query, key = attention.turned(normed, turns)  # (N, heads, new, D)
        value = attention.value(normed).unflatten(-1, (-1, attention.size)).transpose(1, 2)
        held = cache.stored[:, number, first : first + count]  # a view: (2, N, heads, capacity, D)
        held[0][rows, :, positions] = key.transpose(1, 2)
        held[1][rows, :, positions] = value.transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, held[0, :, :, :every], held[1, :, :, :every], seen)
        x = x + attention.output(mixed.transpose(1, 2).flatten(2))
        x = x + block.feed_forward(block.norm2(x))
    for slot in slots:
        cache.lengths[slot] += new
    return model.head(model.norm(x))


# --- the scheduler ----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Request:
    """A text to be continued.

    Args:
        prompt: shape (T,), at least one character.
        count: characters to write.
        temperature: see `next_probabilities`.
        seed: of what is drawn for this text alone, so that its neighbours change nothing in it.
    """

    prompt: torch.Tensor
    count: int
    temperature: float = 0.0
    seed: int = 0
    written: list[int] = field(default_factory=list)
    begun: int = -1
    """The step before which it was put into a slot; -1 as long as it waits."""
    ended: int = -1
    """The step after which it was complete."""

    def __post_init__(self) -> None:
        require_int("count", self.count, minimum=1)
        self._generator = torch.Generator().manual_seed(self.seed)

    def draw(self, logits: torch.Tensor) -> int:
        """Draw the next character, keep it, and return it."""
        probabilities = next_probabilities(logits, temperature=self.temperature).cpu()
        self.written.append(int(probabilities.multinomial(1, generator=self._generator)))
        return self.written[-1]


class Event(NamedTuple):
    """A character that was written, and whether its text is complete."""

    request: Request
    character: int
    last: bool


class TextBatcher:
    """Writes several texts at once, a character of each a step.

    Args:
        model: in evaluation mode.
        slots: texts side by side, at most.
        continuous: put a text that waits into a slot as soon as one is free; else only when all are free, and a text
            that is complete keeps its slot, and is computed on, until the longest of its batch is complete.
    """

    def __init__(self, model: Transformer, *, slots: int, continuous: bool = True):
        self.model, self.slots, self.continuous = model, slots, continuous
        self.cache = SlotCache(model, slots)
        self.waiting: deque[Request] = deque()
        self.active: list[Request] = []
        """In the order of their slots."""
        self.steps = 0
        self.computed = 0
        """Rows of all steps: characters that were computed in decoding, wanted or not."""

    def require_fit(self, request: Request) -> None:
        """Raise a `ValueError` if a request's text does not fit a slot."""
        if not len(request.prompt) or len(request.prompt) + request.count > self.cache.capacity:
            raise ValueError(
                f"a prompt must have a character and fit {self.cache.capacity} with what is written, got "
                f"{len(request.prompt)} and {request.count}"
            )

    def add(self, request: Request) -> None:
        """Let a request wait."""
        self.require_fit(request)
        self.waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Take a request back, whether it waits or is in a slot, which is then free."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.active:
            self._release(self.active.index(request))

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.active)

    def step(self) -> list[Event]:
        """Fill slots, write one more character of each text in a slot, and return what was written."""
        events = self._fill()
        going = [request for request in self.active if len(request.written) < request.count]
        if going:
            newest = torch.tensor([[request.written[-1]] for request in self.active])
            logits = read_in_slots(self.model, newest.to(self.cache.stored.device), self.cache)[:, -1]
            self.computed += len(self.active)
            for slot, request in enumerate(self.active):
                if len(request.written) == request.count:  # computed in vain, and not to grow out of its slot
                    self.cache.lengths[slot] -= 1
            events += [
                self._written(request, row)
                for request, row in zip(self.active, logits, strict=True)
                if len(request.written) < request.count
            ]
            self.steps += 1
        complete = [slot for slot, request in enumerate(self.active) if len(request.written) == request.count]
        if self.continuous or len(complete) == len(self.active):
            for slot in reversed(complete):  # from the end, as the last one moves
                self._release(slot)
        return events

    def _fill(self) -> list[Event]:
        """Read the prompts of those that get a slot, all of one length in one pass; each writes its first character."""
        free = self.slots - len(self.active) if self.continuous or not self.active else 0
        events, chosen = [], [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
        for length in dict.fromkeys(len(request.prompt) for request in chosen):
            some = [request for request in chosen if len(request.prompt) == length]
            first = len(self.active)
            self.active += some
            self.cache.lengths += [0] * len(some)
            prompts = torch.stack([request.prompt for request in some]).to(self.cache.stored.device)
            logits = read_in_slots(self.model, prompts, self.cache, first)[:, -1]
            for request, row in zip(some, logits, strict=True):
                request.begun = self.steps
                events.append(self._written(request, row))
        return events

    def _written(self, request: Request, logits: torch.Tensor) -> Event:
        character = request.draw(logits)
        last = len(request.written) == request.count
        if last:
            request.ended = self.steps + (request.count > 1)
        return Event(request, character, last)

    def _release(self, slot: int) -> None:
        self.cache.release(slot)
        self.active[slot] = self.active[-1]
        self.active.pop()


def write_all(batcher: TextBatcher, requests: Iterable[Request]) -> list[list[int]]:
    """Let a batcher write all requests to their ends; return what was written, in the order of the requests."""
    wanted = list(requests)
    for request in wanted:
        batcher.add(request)
    while batcher.busy:
        batcher.step()
    return [request.written for request in wanted]


def steps_needed(counts: Sequence[int], slots: int, *, continuous: bool) -> int:
    """Return the decoding steps that texts of these lengths take, in their order, by counting alone.

    A text of n characters takes n - 1 steps: its first character is written by the pass over its prompt.

    >>> steps_needed([9, 2, 2, 2], 2, continuous=False), steps_needed([9, 2, 2, 2], 2, continuous=True)
    (9, 8)
    """
    left = [count - 1 for count in counts]
    if not continuous:
        return sum(max(left[start : start + slots]) for start in range(0, len(left), slots))
    free = [0] * slots  # when each slot is free
    for steps in left:
        slot = free.index(min(free))
        free[slot] += steps
    return max(free)
