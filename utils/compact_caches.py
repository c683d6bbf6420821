"""Caches that waste less: in pages, which several texts can share, and with keys and values in 8 bits.

A `PagedText` and an `Int8Cache` stand where a `KeyValueCache` does: `Transformer.forward` takes them. `PagedSlots` hold
several texts of different lengths.
"""

from collections.abc import Sequence

import torch

from utils.input_validation import require_int
from utils.transformer import KeyValueCache, Transformer

# --- pages ------------------------------------------------------------------------------------------------------------


class NoPageFreeError(RuntimeError):
    """All pages are in use."""


class PagePool:
    """Pages of a fixed number of characters, for the keys and values of all texts (Kwon et al., 2023, section 4.1).

    Args:
        model: the transformer.
        pages: how many.
        page: characters of a page.
    """

    def __init__(self, model: Transformer, *, pages: int, page: int = 16):
        attention = model.blocks[0].attention
        self.page = require_int("page", page, minimum=1)
        shape = (require_int("pages", pages, minimum=1), 2, len(model.blocks))
        heads = attention.key.out_features // attention.size
        self.stored = torch.zeros(*shape, heads, self.page, attention.size, device=model.head.weight.device)
        self.uses = [0] * pages
        """How many texts each page belongs to."""

    @property
    def in_use(self) -> int:
        """Pages that belong to a text."""
        return sum(count > 0 for count in self.uses)

    @property
    def page_bytes(self) -> int:
        """Bytes of a page."""
        return self.stored[0].numel() * self.stored.element_size()

    def take(self) -> int:
        """Return the number of a page that nobody uses, for one text."""
        for number, count in enumerate(self.uses):
            if count == 0:
                self.uses[number] = 1
                return number
        raise NoPageFreeError(f"all {len(self.uses)} pages are in use")

    def give_back(self, number: int) -> None:
        """Count one text less for a page."""
        self.uses[number] -= 1


class PagedText:
    """The keys and values of one text, wherever its pages lie: what a `KeyValueCache` of one text does."""

    def __init__(self, pool: PagePool):
        self.pool = pool
        self.table: list[int] = []
        """The number of the page that holds each stretch of the text."""
        self.length = 0

    def fork(self) -> "PagedText":
        """Return a text that begins as this one does and shares its pages; whoever writes into one copies it first."""
        other = PagedText(self.pool)
        other.table, other.length = list(self.table), self.length
        for number in self.table:
            self.pool.uses[number] += 1
        return other

    def free(self) -> None:
        """Give all pages back."""
        for number in self.table:
            self.pool.give_back(number)
        self.table, self.length = [], 0

    def reserve(self, count: int) -> torch.Tensor:
        """Make room for `count` more characters; return their positions."""
        began, page = self.length, self.pool.page
        if began % page and self.pool.uses[self.table[-1]] > 1:  # the last page is half full and not ours alone
            copied = self.pool.take()
            self.pool.stored[copied] = self.pool.stored[self.table[-1]]
            self.pool.give_back(self.table[-1])
            self.table[-1] = copied
        while len(self.table) * page < began + count:
            self.table.append(self.pool.take())
        self.length += count
        return torch.arange(began, self.length, device=self.pool.stored.device)

    def extend(self, block: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a block's newest keys and values; return all of that block, each of shape (1, heads, length, D)."""
        places = torch.arange(self.length - key.shape[2], self.length)
        numbers, inside = torch.tensor(self.table)[places // self.pool.page], places % self.pool.page
        pages = self.pool.stored[:, :, block]  # a view: (pages, 2, heads, page, D)
        pages[numbers, 0, :, inside] = key[0].transpose(0, 1)
        pages[numbers, 1, :, inside] = value[0].transpose(0, 1)
        ours = pages[self.table].permute(1, 2, 0, 3, 4).flatten(2, 3)  # (2, heads, all places, D)
        return ours[0, None, :, : self.length], ours[1, None, :, : self.length]


def pages_needed(length: int, page: int) -> int:
    """Return how many pages a text takes.

    >>> pages_needed(16, 16), pages_needed(17, 16)
    (1, 2)
    """
    return -(-length // page)


class PagedSlots:
    """What a `continuous_batching.SlotCache` does, with the keys and values of all texts in pages of one pool.

    A text has the pages it needs by now, and not those of the longest text that may come. So there may be many more
    slots for the same memory; but pages can run out, and whoever asks must wait.

    Args:
        model: the transformer.
        pages: of the pool.
        page: characters of a page.
    """

    def __init__(self, model: Transformer, *, pages: int, page: int = 16):
        self.pool = PagePool(model, pages=pages, page=page)
        self.capacity = min(model.context, pages * page)
        self.stored = self.pool.stored
        self.texts: list[PagedText] = []

    @property
    def lengths(self) -> list[int]:
        """Characters of each text."""
        return [text.length for text in self.texts]

    @property
    def free(self) -> int:
        """Pages that belong to no text."""
        return len(self.pool.uses) - self.pool.in_use

    def can_begin(self, length: int) -> bool:
        """Whether there are pages for a text of this length."""
        return pages_needed(length, self.pool.page) <= self.free

    def can_extend(self, slots: Sequence[int]) -> bool:
        """Whether there are pages for one more character of each of these texts."""
        some = [self.texts[slot] for slot in slots]
        return sum(text.length == len(text.table) * self.pool.page for text in some) <= self.free

    def begin(self, length: int) -> None:
        """Give a text of this length its pages; nothing of it is read yet."""
        text = PagedText(self.pool)
        text.table = [self.pool.take() for _ in range(pages_needed(length, self.pool.page))]
        self.texts.append(text)

    def release(self, slot: int) -> None:
        """Give a text's pages back; only the number of the last text changes, and nothing is copied."""
        self.texts[slot].free()
        self.texts[slot] = self.texts[-1]
        self.texts.pop()

    def forget_last(self, slot: int) -> None:
        """Take a text's last character back."""
        self.texts[slot].length -= 1

    def reserve(self, slots: Sequence[int], new: int) -> torch.Tensor:
        """See `continuous_batching.SlotCache.reserve`."""
        some = [self.texts[slot] for slot in slots]
        positions = torch.stack([text.reserve(new) for text in some])  # (N, new)
        tables = torch.zeros(len(some), max(len(text.table) for text in some), dtype=torch.int64)
        for row, text in zip(tables, some, strict=True):
            row[: len(text.table)] = torch.tensor(text.table)  # behind its end any page will do: it is masked
        self._tables = tables.to(self.stored.device)
        self._positions, self._every = positions, int(positions.max()) + 1
        return positions

    def extend(self, block: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `continuous_batching.SlotCache.extend`; the pages are gathered (Kwon et al. read them in place)."""
        numbers = self._tables.gather(1, self._positions // self.pool.page)  # (N, new): the page of each new character
        inside = self._positions % self.pool.page
        for which, newest in enumerate((key, value)):
            self.stored[:, which, block][numbers, :, inside] = newest.transpose(1, 2)
        ours = self.stored[:, :, block][self._tables]  # (N, pages, 2, heads, page, D)
        ours = ours.permute(2, 0, 3, 1, 4, 5).flatten(3, 4)[..., : self._every, :]
        return ours[0], ours[1]


# --- 8 bits -----------------------------------------------------------------------------------------------------------


class Int8Cache(KeyValueCache):
    """A `KeyValueCache` whose numbers are int8 times a scale in float16, one for each row of a head.

    A row is one character's key or value in one head, D numbers. It is rounded when it is written, by itself, and made
    float again whenever it is read.
    """

    def __init__(self, model: Transformer, *, batch_size: int = 1, capacity: int | None = None):
        super().__init__(model, batch_size=batch_size, capacity=capacity)
        self.scales = torch.zeros(self.stored.shape[:-1], dtype=torch.float16, device=self.stored.device)
        self.stored = self.stored.to(torch.int8)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and scales that it holds."""
        return super().nbytes + 2 * self.scales[..., : self.length].numel()

    def reserve(self, count: int) -> torch.Tensor:
        """See `KeyValueCache.reserve`; a full cache is refused, as forgetting is not written for the scales."""
        if self.length + count > self.capacity:
            raise ValueError(f"{self.length} and {count} characters do not fit a cache of {self.capacity}")
        return super().reserve(count)

    def extend(self, block: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Round and write a block's newest keys and values; return all of that block in float."""
        here = slice(self.length - key.shape[2], self.length)
        for which, rows in enumerate((key, value)):
            scale = (rows.abs().amax(dim=-1) / 127).clamp(min=6e-8).half()  # no smaller than float16 holds
            self.scales[which, block, :, :, here] = scale
            self.stored[which, block, :, :, here] = (rows / scale.float()[..., None]).round().clamp(-127, 127)
        codes = self.stored[:, block, :, :, : self.length].to(key.dtype)
        both = codes * self.scales[:, block, :, :, : self.length, None].to(key.dtype)
        return both[0], both[1]
