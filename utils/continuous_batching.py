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

from utils.compact_caches import PagedSlots
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

    def can_begin(self, length: int) -> bool:
        """Whether a text of this length may have the next slot: each slot has its room already."""
        return length <= self.capacity

    def can_extend(self, slots: Sequence[int]) -> bool:
        """Whether each of these texts may have one more character."""
        return all(self.lengths[slot] < self.capacity for slot in slots)

    def begin(self, length: int) -> None:
        """Let a text of this length have the next slot; nothing of it is read yet."""
        self.lengths.append(0)

    def release(self, slot: int) -> None:
        """Free a slot: the last text in use moves into it."""
        last = len(self.lengths) - 1
        if slot != last:
            held = self.lengths[last]
            self.stored[:, :, slot, :, :held] = self.stored[:, :, last, :, :held]
            self.lengths[slot] = held
        self.lengths.pop()

    def forget_last(self, slot: int) -> None:
        """Take a text's last character back."""
        self.lengths[slot] -= 1

    def reserve(self, slots: Sequence[int], new: int) -> torch.Tensor:
        """Make room for `new` more characters of some texts; return their positions, shape (texts, new)."""
        device = self.stored.device
        lengths = torch.tensor([self.lengths[slot] for slot in slots], device=device)
        positions = lengths[:, None] + torch.arange(new, device=device)  # (N, new)
        every = int(positions.max()) + 1
        if every > self.capacity:
            raise ValueError(f"a text of {every} characters does not fit a slot of {self.capacity}")
        for slot in slots:
            self.lengths[slot] += new
        side_by_side = list(slots) == list(range(slots[0], slots[-1] + 1))
        self._slots = slice(slots[0], slots[-1] + 1) if side_by_side else list(slots)  # a slice is not copied
        self._positions, self._every = positions, every
        return positions

    def extend(self, block: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a block's newest keys and values where `reserve` made room; return all of those texts in that block.

        Args:
            block: its number.
            key, value: shape (N, heads, new, D).

        Returns:
            Keys and values, shape (N, heads, longest, D); behind a text's end stands what an earlier one left.
        """
        rows = torch.arange(self.stored.shape[2], device=self.stored.device)[self._slots, None]
        for held, newest in zip(self.stored[:, block], (key, value), strict=True):
            held[rows, :, self._positions] = newest.transpose(1, 2)
        ours = self.stored[:, block, self._slots, :, : self._every]
        return ours[0], ours[1]


@torch.no_grad()
def read_in_slots(
    model: Transformer, tokens: torch.Tensor, cache: SlotCache | PagedSlots, slots: Sequence[int]
) -> torch.Tensor:
    """Read characters of several texts, each at its own place, and return the logits behind them.

    Args:
        model: in evaluation mode.
        tokens: shape (N, new): the same number of new characters for each of N texts.
        cache: it is extended by them.
        slots: those of the N texts.

    Returns:
        Shape (N, new, characters).
    """
    count, new = tokens.shape
    positions = cache.reserve(slots, new)  # (N, new)
    turns = [turn.view(count, 1, new, -1) for turn in rotations(positions.flatten(), model.blocks[0].attention.size)]
    every = torch.arange(int(positions.max()) + 1, device=tokens.device)
    seen = every <= positions[:, None, :, None]  # (N, 1, new, every)
    x = model.embedding(tokens)
    for number, block in enumerate(model.blocks):
        attention, normed = block.attention, block.norm1(x)
        query, key = attention.turned(normed, turns)  # (N, heads, new, D)
        value = attention.value(normed).unflatten(-1, (-1, attention.size)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, *cache.extend(number, key, value), seen)
        x = x + attention.output(mixed.transpose(1, 2).flatten(2))
        x = x + block.feed_forward(block.norm2(x))
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
        cache: where keys and values lie; a `SlotCache` if None. With `PagedSlots` a text also waits for pages, and if
            none is left for the next characters the newest text gives its own back, waits, and is read again.
        chunk: characters of prompts that are read between two characters of the texts under way, at most; None reads
            each prompt whole.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        slots: int,
        continuous: bool = True,
        cache: PagedSlots | None = None,
        chunk: int | None = None,
    ):
        self.model, self.slots, self.continuous = model, slots, continuous
        self.cache = SlotCache(model, slots) if cache is None else cache
        self.chunk = None if chunk is None else require_int("chunk", chunk, minimum=1)
        self.waiting: deque[Request] = deque()
        self.active: list[Request] = []
        """In the order of their slots."""
        self.steps = 0
        self.computed = 0
        """Rows of all steps: characters that were computed in decoding, wanted or not."""
        self.held_back = 0
        """Steps before which a text waited, a slot was free, and pages were not."""
        self.preempted = 0
        """Texts that had to give their pages back."""
        self.longest_reading = 0
        """Characters of prompts that were read between two characters of the others, at most."""
        self._unread: dict[Request, torch.Tensor] = {}

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
        self._admit()
        events = self._read_prompts()
        if any(len(request.written) < request.count for request in self.active if request not in self._unread):
            self._make_room()
            slots = self._begun()
            going = [self.active[slot] for slot in slots]
            newest = torch.tensor([[request.written[-1]] for request in going])
            logits = read_in_slots(self.model, newest.to(self.cache.stored.device), self.cache, slots)[:, -1]
            self.computed += len(slots)
            for slot, request, row in zip(slots, going, logits, strict=True):
                if len(request.written) < request.count:
                    events.append(self._written(request, row, self.steps + 1))
                else:  # computed in vain, and not to grow out of its slot
                    self.cache.forget_last(slot)
            self.steps += 1
        complete = [slot for slot, request in enumerate(self.active) if len(request.written) == request.count]
        if self.continuous or len(complete) == len(self.active):
            for slot in reversed(complete):  # from the end, as the last one moves
                self._release(slot)
        return events

    def _begun(self) -> list[int]:
        """Return the slots whose prompts are read."""
        return [slot for slot, request in enumerate(self.active) if request not in self._unread]

    def _admit(self) -> None:
        """Give those that wait longest a slot each, as long as there are slots, and room for what is to be read."""
        free = self.slots - len(self.active) if self.continuous or not self.active else 0
        for _ in range(min(free, len(self.waiting))):
            request = self.waiting[0]
            text = torch.cat([request.prompt, torch.tensor(request.written, dtype=torch.int64)])
            if not self.cache.can_begin(len(text) + 1):
                self.held_back += 1
                return
            self.active.append(self.waiting.popleft())
            self.cache.begin(len(text) + 1)
            self._unread[request] = text
            request.begun = self.steps

    def _read_prompts(self) -> list[Event]:
        """Read prompts, whole or a chunk; each that is read to its end writes its first character."""
        events, left = [], self.chunk
        if left is None:  # all of one length in one pass
            by_length: dict[int, list[Request]] = {}
            for request, text in self._unread.items():
                by_length.setdefault(len(text), []).append(request)
            groups = list(by_length.values())
        else:
            groups = [[request] for request in self._unread]
        read = 0
        for some in groups:
            pieces = torch.stack([self._unread[request][:left] for request in some])
            slots = [self.active.index(request) for request in some]
            logits = read_in_slots(self.model, pieces.to(self.cache.stored.device), self.cache, slots)[:, -1]
            for request, row in zip(some, logits, strict=True):
                self._unread[request] = self._unread[request][pieces.shape[1] :]
                if not len(self._unread[request]):
                    del self._unread[request]
                    events.append(self._written(request, row, self.steps))
            read += pieces.numel()
            if left is not None and (left := left - pieces.shape[1]) == 0:
                break
        self.longest_reading = max(self.longest_reading, read)
        return events

    def _make_room(self) -> None:
        """Let the newest texts wait again until there is room for one more character of each of the others."""
        while not self.cache.can_extend(self._begun()):
            newest = max(range(len(self.active)), key=lambda slot: (self.active[slot].begun, slot))
            request = self.active[newest]
            self._release(newest)
            if len(request.written) < request.count:  # else its prompt's pass has just completed it
                self.waiting.appendleft(request)
                self.preempted += 1

    def _written(self, request: Request, logits: torch.Tensor, step: int) -> Event:
        character = request.draw(logits)
        last = len(request.written) == request.count
        if last:
            request.ended = step
        return Event(request, character, last)

    def _release(self, slot: int) -> None:
        self._unread.pop(self.active[slot], None)
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
