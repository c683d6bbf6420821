"""A small decoder-only transformer for characters: attention, the block, the network, and its key-value cache.

The form is the one of today's language models (Touvron et al., 2023, section 2.2), made small: RMSNorm before each
branch, rotary positions, a gated feed-forward branch, no biases.
"""

import math
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from utils.checkpoint_files import CHECKPOINTS, checkpoint_card
from utils.input_validation import require_int
from utils.models import load_checkpoint

LANGUAGE = CHECKPOINTS / "language"
"""Where the checkpoints of language models lie."""

ROTARY_BASE = 10_000.0
"""The slowest pair of a head turns about this many times as slowly as the fastest, one radian a character."""


# --- attention --------------------------------------------------------------------------------------------------------


def causal_mask(queries: int, keys: int) -> torch.Tensor:
    """Return what each query may look at, bool of shape (queries, keys): itself and what stands before it.

    The queries are the last of the keys, as where a cache holds the earlier ones.

    >>> causal_mask(2, 3)
    tensor([[ True,  True, False],
            [ True,  True,  True]])
    """
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


def attention_weights(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Return softmax(Q K^T / sqrt(D)), where each query looks at itself and at what stands before it.

    Args:
        query: shape (..., queries, D); the last of the places that `key` has.
        key: shape (..., keys, D).

    Returns:
        Shape (..., queries, keys); each row is at least 0 and adds up to 1.

    >>> attention_weights(torch.zeros(2, 4), torch.zeros(2, 4))
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000]])
    """
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # (..., queries, keys)
    mask = causal_mask(query.shape[-2], key.shape[-2]).to(scores.device)
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return `attention_weights(query, key)` times the values: for each query a mean of what it may look at.

    The definition (Vaswani et al., 2017, equation 1). The network calls `scaled_dot_product_attention` instead, which
    does not store the weights.

    Args:
        query: shape (..., queries, D).
        key, value: shape (..., keys, D).

    Returns:
        Shape (..., queries, D).

    >>> attention(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])).tolist()
    [[1.0], [2.0]]
    """
    return attention_weights(query, key) @ value


def rotations(positions: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cosines and sines by which `rotate` turns queries and keys, each of shape (positions, size / 2).

    Pair j of a head of `size` numbers turns by position * ROTARY_BASE^(-2 j / size) (Su et al., 2021, section 3.2).

    >>> [round(each.item(), 4) for each in rotations(torch.tensor([1]), 2)]
    [0.5403, 0.8415]
    """
    pairs = torch.arange(size // 2, device=positions.device)
    angles = positions[:, None] * ROTARY_BASE ** (-2 * pairs / size)
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Turn each pair (x_j, x_{j + D/2}) of a query or key by an angle that grows with its position.

    The product of a query and a key then depends on how far apart they stand, and not on where.

    Args:
        x: shape (..., positions, D).
        cosine, sine: of `rotations`, shape (positions, D / 2).

    >>> rotate(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor([[0., 1.]])
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


# --- the key-value cache ----------------------------------------------------------------------------------------------


class KeyValueCache:
    """The keys and values of the characters so far, for each block, so that they need not be computed again.

    When it is full the oldest characters are forgotten. What the others remember of them stays: the network then knows
    more than one that is given the last `capacity` characters afresh.

    Args:
        model: the transformer whose keys and values it will hold.
        batch_size: texts that are continued side by side.
        capacity: characters it holds, at most; the model's context if None.
    """

    def __init__(self, model: "Transformer", *, batch_size: int = 1, capacity: int | None = None):
        self.capacity = model.context if capacity is None else require_int("capacity", capacity, minimum=1)
        attention = model.blocks[0].attention
        heads = attention.key.out_features // attention.size  # fewer than those of the queries where heads share
        shape = (2, len(model.blocks), batch_size, heads, self.capacity, attention.size)
        self.stored = torch.zeros(shape, device=model.head.weight.device, dtype=model.head.weight.dtype)
        self.length = 0
        """Characters it holds."""
        self.seen = 0
        """Characters so far, those that it has forgotten included."""

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values that it holds: 2 blocks width numbers for each character of each text."""
        return self.stored[..., : self.length, :].numel() * self.stored.element_size()

    def reserve(self, count: int) -> torch.Tensor:
        """Make room for `count` more characters and return their positions in the text, shape (count,)."""
        if count > self.capacity:
            raise ValueError(f"{count} characters at once do not fit a cache of {self.capacity}; give it fewer a pass")
        if (surplus := self.length + count - self.capacity) > 0:
            left = self.length - surplus
            self.stored[..., :left, :] = self.stored[..., surplus : self.length, :].clone()  # the two overlap
            self.length = left
        positions = torch.arange(self.seen, self.seen + count, device=self.stored.device)
        self.length += count
        self.seen += count
        return positions

    def extend(self, block: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a block's newest keys and values where `reserve` made room; return all that it has of that block.

        Args:
            block: its number.
            key, value: shape (batch, heads, new, D).

        Returns:
            Keys and values, shape (batch, heads, length, D).
        """
        here = slice(self.length - key.shape[2], self.length)
        self.stored[0, block, :, :, here] = key
        self.stored[1, block, :, :, here] = value
        return self.stored[0, block, :, :, : self.length], self.stored[1, block, :, :, : self.length]

    def forget_last(self, count: int) -> None:
        """Take back the last `count` characters, as if they had never been read."""
        if not 0 <= count <= self.length:
            raise ValueError(f"count must be from 0 to {self.length}, the characters it holds, got {count}")
        self.length -= count
        self.seen -= count


# --- the network ------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Causal attention of several heads, each `width / heads` numbers wide, with rotary positions.

    Queries, keys and values have a matrix each, and not one together, so that notebooks 18 to 20 can round, prune and
    adapt each by itself. There is no dropout on the weights: PyTorch's fused kernel for the CPU has none.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads or width // heads % 2:
            raise ValueError(f"width must be heads times an even number, got width {width} and {heads} heads")
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(
        self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], cache: KeyValueCache | None, block: int
    ) -> torch.Tensor:
        query, key = self.turned(x, turns)
        value = self._split(self.value(x))  # each (N, heads, new, D)
        if cache is not None:
            key, value = cache.extend(block, key, value)  # (N, heads, all, D)
        new, every = query.shape[2], key.shape[2]
        mask = causal_mask(new, every).to(x.device) if 1 < new < every else None
        mixed = F.scaled_dot_product_attention(query, key, value, mask, is_causal=new == every > 1)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (N, new, width)

    def turned(self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries and keys, turned by their positions, each of shape (N, heads, new, D)."""
        return rotate(self._split(self.query(x)), *turns), rotate(self._split(self.key(x)), *turns)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)  # (N, heads, new, D)


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x)): SwiGLU (Shazeer, 2020, equation 6), three matrices in place of two.

    A factor on an output of `up` can be taken back in `down` without a change of the function: what AWQ and SmoothQuant
    do (notebook 18). With GELU between two matrices it could not.
    """

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # (N, T, width)


class Block(nn.Module):
    """x + attention(norm(x)), and then x + feed_forward(norm(x)): each branch adds to what it is given.

    The norm stands before the branch ("pre-norm"), so that the sum runs through all blocks untouched and training needs
    little warm-up (Xiong et al., 2020). RMSNorm has neither mean nor bias; its factor can be folded into the matrices
    behind it, and a rotation of all channels passes through it (notebook 18).
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = (nn.RMSNorm(width, eps=1e-5) for _ in range(2))
        self.attention = Attention(width, heads)
        self.feed_forward = FeedForward(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], cache: KeyValueCache | None, block: int
    ) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), turns, cache, block))
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class Transformer(nn.Module):
    """Numbers of characters, shape (N, T), to the logits of the character that follows each, shape (N, T, characters).

    By default 1,532,960 parameters. Why this form:

    - rotary positions cost no parameters and know distances; a learned vector for each of 256 places would cost 40,960;
    - embedding and head are two matrices: tying them would save 10,400 numbers, 0.7 %, and make a special case of the
      head wherever matrices are rounded or pruned;
    - dropout falls on the sum behind the embedding and on each branch: with 950,000 characters to learn from, the
      network sees each some forty times;
    - the head starts at zero, so an untrained network says 1 / characters for each, ln 65 = 4.17 nats.

    Args:
        characters: how many kinds there are.
        width: numbers for each character between the blocks.
        blocks: how many.
        heads: of each attention.
        hidden: numbers inside the feed-forward branch.
        context: characters it was trained to look at, at most; a longer input is refused.
        dropout: share of the numbers that training sets to zero.

    >>> sum(p.numel() for p in Transformer().parameters())
    1532960
    """

    def __init__(
        self,
        characters: int = 65,
        *,
        width: int = 160,
        blocks: int = 5,
        heads: int = 5,
        hidden: int = 416,
        context: int = 256,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.context = require_int("context", context, minimum=1)
        self.embedding = nn.Embedding(characters, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(width, heads, hidden, dropout) for _ in range(blocks)])
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, characters, bias=False)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            for block in self.blocks:  # 2 blocks terms are added up: their variances, too (Radford et al., 2019)
                block.attention.output.weight /= math.sqrt(2 * blocks)
                block.feed_forward.down.weight /= math.sqrt(2 * blocks)

    def forward(self, tokens: torch.Tensor, cache: KeyValueCache | None = None) -> torch.Tensor:
        """Return the logits behind each character.

        Args:
            tokens: shape (N, T), int64; with a cache, only the characters that it does not hold yet.
            cache: of N texts; it is extended by T characters.
        """
        x = self.dropout(self.embedding(tokens))  # (N, T, width)
        turns = self.turns(tokens, cache)
        for number, block in enumerate(self.blocks):
            x = block(x, turns, cache, number)
        return self.head(self.norm(x))  # (N, T, characters)

    def turns(self, tokens: torch.Tensor, cache: KeyValueCache | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rotations of the characters' positions, those of a cache made room for."""
        if tokens.shape[1] > self.context:
            raise ValueError(f"tokens must be at most {self.context} long, the context, got {tokens.shape[1]}")
        if cache is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        else:
            positions = cache.reserve(tokens.shape[1])
        return rotations(positions, self.blocks[0].attention.size)


@torch.no_grad()
def all_attention_weights(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """Return who looks at whom in each head: shape (blocks, heads, T, T), rows for the character that looks.

    Args:
        model: in evaluation mode.
        tokens: one text, shape (T,).

    >>> all_attention_weights(Transformer(width=8, heads=2, hidden=8, blocks=3), torch.zeros(4, dtype=torch.long)).shape
    torch.Size([3, 2, 4, 4])
    """
    x = model.embedding(tokens[None])
    turns = model.turns(tokens[None])
    seen = []
    for number, block in enumerate(model.blocks):
        seen.append(attention_weights(*block.attention.turned(block.norm1(x), turns))[0])
        x = block(x, turns, None, number)
    return torch.stack(seen)


def load_transformer(name: str, *, folder: Path = LANGUAGE) -> Transformer:
    """Load a transformer's checkpoint, in evaluation mode; its card says the arguments.

    Raises:
        CheckpointError: missing, damaged, or of another form than its card says.
    """
    return load_checkpoint(name, model=Transformer(**checkpoint_card(name, folder=folder)["arguments"]), folder=folder)
