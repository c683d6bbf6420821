"""Checks for notebook 17, small_transformer."""

import math
import secrets
from collections.abc import Callable
from random import Random

import torch
from torch import nn

from utils.characters import load_shakespeare
from utils.checks import WrongAnswerError, check_cases, exercise, told_as_wrong
from utils.language_models import evaluate_text
from utils.transformer import Transformer, load_transformer


@exercise("17.1")
def decode_cost(answer: Callable) -> None:
    """Multiply-accumulates and bytes read of a decoding step with grouped queries, matrix by matrix."""

    def specification(
        width: int, hidden: int, blocks: int, heads: int, kv_heads: int, alphabet: int, held: int, texts: int
    ) -> tuple[int, int]:
        size = width // heads
        macs, numbers = 0, 0
        for _ in range(blocks):
            # (rows, columns): query, key, value, output, gate, up, down
            ends = [(width, width), (kv_heads * size, width), (kv_heads * size, width), (width, width)]
            ends += [(hidden, width), (hidden, width), (width, hidden)]
            for rows, columns in ends:
                macs += texts * rows * columns
                numbers += rows * columns
            for _ in range(heads):  # the scores, and the mean of the values
                macs += texts * 2 * held * size
            numbers += texts * 2 * kv_heads * held * size
            numbers += 2 * width  # two norms
        macs += texts * alphabet * width
        numbers += alphabet * width + texts * width + width  # head, rows of the embedding, last norm
        return macs, 4 * numbers

    drawn = Random(secrets.randbits(32))

    def case() -> tuple[int, ...]:
        kv_heads = drawn.choice((1, 2, 3))
        heads = kv_heads * drawn.choice((1, 2, 4))
        width = heads * drawn.choice((2, 4, 8))
        sizes = drawn.randint(3, 30), drawn.randint(1, 4), heads, kv_heads, drawn.randint(2, 70)
        return (width, *sizes, drawn.randint(1, 300), drawn.randint(1, 9))

    fixed = [
        (2, 1, 1, 1, 1, 2, 1, 1),
        (2, 1, 1, 1, 1, 2, 3, 1),
        (4, 3, 1, 2, 1, 2, 1, 1),
        (4, 3, 1, 2, 1, 5, 7, 1),
        (4, 3, 2, 2, 1, 5, 7, 3),
        (160, 416, 5, 5, 5, 65, 256, 1),
        (160, 416, 5, 5, 1, 65, 256, 32),
    ]
    cases = [*fixed, *(case() for _ in range(5))]
    check_cases(answer, [(each, specification(*each)) for each in cases], tolerance=1e-9)


@exercise("17.2")
def decode_step(answer: Callable) -> None:
    """Attention of one new character with grouped queries and a cache of limited length, number by number."""

    def specification(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        capacity: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads, size = query.shape
        groups = len(key)
        new_keys = [[*keys[g].tolist(), key[g].tolist()][-capacity:] for g in range(groups)]
        new_values = [[*values[g].tolist(), value[g].tolist()][-capacity:] for g in range(groups)]
        output = []
        for head in range(heads):
            group = head * groups // heads
            scores = [
                sum(a * b for a, b in zip(query[head].tolist(), k, strict=True)) / math.sqrt(size)
                for k in new_keys[group]
            ]
            shares = [math.exp(score - max(scores)) for score in scores]
            mixed = [
                sum(s * v[n] for s, v in zip(shares, new_values[group], strict=True)) / sum(shares) for n in range(size)
            ]
            output.append(mixed)
        as_tensor = [torch.tensor(each, dtype=torch.float32) for each in (output, new_keys, new_values)]
        return tuple(as_tensor)

    def leaving_the_arguments_alone(*arguments: object) -> object:
        before = [each.clone() for each in arguments[:5]]
        received = answer(*arguments)
        if any(not torch.equal(each, old) for each, old in zip(arguments[:5], before, strict=True)):
            raise WrongAnswerError("an argument was changed; the cache that comes back is a new one")
        return received

    drawn = torch.Generator().manual_seed(secrets.randbits(32))

    def case(heads: int, kv_heads: int, size: int, held: int, capacity: int, *, large: bool = False) -> tuple:
        query = torch.full((heads, size), 100.0) if large else torch.randn(heads, size, generator=drawn)
        key, value = torch.randn(2, kv_heads, size, generator=drawn).unbind()
        if large:  # a score of over 100, whose exponential float32 does not hold
            key = torch.ones(kv_heads, size)
        keys, values = torch.randn(2, kv_heads, held, size, generator=drawn).unbind()
        return query, key, value, keys, values, capacity

    cases = [
        case(1, 1, 1, 0, 3),  # nothing before it
        case(1, 1, 2, 1, 3),
        case(1, 1, 2, 2, 2),  # full: the oldest goes
        case(1, 1, 2, 1, 1),  # only itself is left
        case(2, 2, 2, 3, 9),
        case(2, 1, 2, 3, 9),  # two queries share a key
        case(4, 2, 3, 4, 4),
        case(4, 2, 3, 2, 4, large=True),
        case(6, 3, 4, 5, 6),
    ]
    check_cases(leaving_the_arguments_alone, [(each, specification(*each)) for each in cases], tolerance=1e-4)


CHALLENGE = {"bits": 4.5, "nats": 0.02, "judged": 12_800}
"""What 17.3 asks for, at most: bits a number, nats a character more than without packing; and on how many of them."""


@exercise("17.3")
def cache_codec(answer: Callable) -> None:
    """Keys and values in fewer bits; the check packs every one of them, and measures what the network then says."""
    received = answer()
    if not isinstance(received, tuple | list) or len(received) != 2 or not all(map(callable, received)):
        raise WrongAnswerError(f"return two functions, (pack, unpack); got {received!r}")
    codec = _Codec(*received)
    codec.require_rows_by_themselves()
    codec(torch.randn(1024, 32))
    codec.require_few_bits()
    network = load_transformer("Shakespeare-transformer")
    part = load_shakespeare().validation[: CHALLENGE["judged"]]
    plain = evaluate_text(network, part).nats
    packed = evaluate_text(_WithCodec(network, codec), part).nats
    codec.require_few_bits()
    if not packed - plain <= CHALLENGE["nats"]:  # so that NaN fails
        raise WrongAnswerError(
            f"not yet: few enough bits, but the network needs {packed - plain:.3f} nats a character more than with the "
            f"cache as it is, and at most {CHALLENGE['nats']:g} are asked for"
        )
    print(f"at most {CHALLENGE['bits']:g} bits a number, at most {CHALLENGE['nats']:g} nats more")


class _Codec:
    """The learner's two functions, watched: shapes, kinds and bytes of what they return."""

    def __init__(self, pack: Callable, unpack: Callable):
        self.pack, self.unpack = pack, unpack
        self.bytes = self.numbers = 0

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Pack rows of shape (rows, D) and return what comes back."""
        parts = self._called("pack", self.pack, rows.clone())
        if isinstance(parts, torch.Tensor):
            parts = (parts,)
        if not isinstance(parts, tuple | list) or not all(isinstance(part, torch.Tensor) for part in parts):
            raise WrongAnswerError(f"pack must return a tuple of tensors and nothing else; got {type(parts).__name__}")
        self.bytes += sum(part.numel() * part.element_size() for part in parts)
        self.numbers += rows.numel()
        back = self._called("unpack", self.unpack, tuple(part.clone() for part in parts))
        if not isinstance(back, torch.Tensor) or back.shape != rows.shape or not back.is_floating_point():
            shown = tuple(back.shape) if isinstance(back, torch.Tensor) else type(back).__name__
            raise WrongAnswerError(
                f"unpack must return floats of the shape of the rows, {tuple(rows.shape)}; got {shown}"
            )
        return back.float()

    def require_few_bits(self) -> None:
        """Refuse what takes more bits a number, up to now, than are asked for; and count anew."""
        bits = 8 * self.bytes / self.numbers
        if bits > CHALLENGE["bits"]:
            raise WrongAnswerError(
                f"not yet: the tensors that pack returns take {bits:.2f} bits a number, everything counted, and at "
                f"most {CHALLENGE['bits']:g} are asked for"
            )
        self.bytes = self.numbers = 0

    def _called(self, name: str, function: Callable, argument: object) -> object:
        with told_as_wrong(f"{name} raised "):
            return function(argument)

    def require_rows_by_themselves(self) -> None:
        """A cache is written row by row: what a row becomes must not depend on the rows beside it."""
        drawn = torch.Generator().manual_seed(secrets.randbits(32))
        rows = torch.randn(6, 32, generator=drawn) * torch.tensor([0.1, 1.0, 10.0, 1.0, 0.0, 3.0])[:, None]
        together, alone = self(rows), torch.cat([self(row[None]) for row in rows])
        parts = self._called("pack", self.pack, rows.clone())
        self(rows.flip(0))  # packed in between
        later = self._called("unpack", self.unpack, parts)
        if not torch.equal(torch.as_tensor(later).float(), together):
            raise WrongAnswerError(
                "what comes back must be made from the tensors that pack returned, and from nothing else"
            )
        if not torch.allclose(together, alone, atol=1e-5, equal_nan=True):
            raise WrongAnswerError(
                "a row comes back otherwise when it is packed alone than among others; a cache is written one "
                "character at a time, so each row must be packed by itself"
            )
        self.bytes = self.numbers = 0


class _WithCodec(nn.Module):
    """A transformer whose keys and values all go through a codec before a query meets them."""

    def __init__(self, network: Transformer, codec: _Codec):
        super().__init__()
        self.network, self.codec = network, codec

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.network(tokens, self)

    def reserve(self, count: int) -> torch.Tensor:
        """Return the positions of characters that are read at once, from 0."""
        return torch.arange(count)

    def extend(self, _block: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the block's keys and values as they come back."""
        return tuple(self.codec(each.flatten(0, 2)).view(each.shape) for each in (key, value))
