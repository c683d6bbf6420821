"""A pruned, weight-shared network as one small file, and the decoder that rebuilds the network from that file alone.

Three codes for the places and the values of the weights that are left: relative indices and Huffman's code, as in Deep
Compression (Han, Mao and Dally, 2016, sections 2 and 4), and a range coder with adaptive probabilities, which the file
uses. `SharedTensor` is what is coded: a few centroids, and for each weight which of them it is, or zero.
"""

import heapq
import itertools
import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import constriction
import numpy as np
import torch
from torch import nn

from utils.input_validation import require_int, require_module
from utils.models import MODELS

MAGIC = b"NNZ2"
MAXIMUM_CENTROIDS = 127
EVENLY_SPACED = 128
"""Added to the number of centroids in the file where only the step between them is written."""

CROWDED = (0.1, 0.4, 0.8, 1.3, 2.0)
"""Bounds between the contexts of a mask by how many weights the neighbouring lines keep, in means of the layer."""

BUSY = (0.7, 1.4)
"""Bounds between the contexts by how many weights an output has kept so far, in means of the layer."""

MOST_NEIGHBOURS = 3
PRIOR_WEIGHT = 8.0
"""How many entries the layer's density counts for in a context, beside what the context has shown so far."""


class CodingError(ValueError):
    """A file or a stream is truncated, damaged or foreign, or does not fit; the message says which."""


# --- what is coded ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SharedTensor:
    """Weights that share a few values.

    Args:
        codes: integers of the tensor's shape; 0 stands for zero, k from 1 on for `centroids[k - 1]`.
        centroids: float16, shape (K,), K from 1 to 127; the file holds them as they are.

    Raises:
        TypeError: other dtypes.
        ValueError: a code without a centroid, no centroids or too many, or one that is not finite.

    >>> SharedTensor(np.array([0, 2, 1]), np.array([-0.5, 0.25], dtype=np.float16)).values
    array([ 0.  ,  0.25, -0.5 ], dtype=float32)
    """

    codes: np.ndarray
    centroids: np.ndarray

    def __post_init__(self) -> None:
        if not np.issubdtype(self.codes.dtype, np.integer) or self.centroids.dtype != np.float16:
            raise TypeError(
                f"codes must be integers and centroids float16, got {self.codes.dtype}, {self.centroids.dtype}"
            )
        if self.centroids.ndim != 1 or not 1 <= len(self.centroids) <= MAXIMUM_CENTROIDS:
            raise ValueError(f"there must be 1 to {MAXIMUM_CENTROIDS} centroids, got shape {self.centroids.shape}")
        if not np.isfinite(self.centroids).all():
            raise ValueError("a centroid is not finite in float16")
        if self.codes.size and not 0 <= self.codes.min() <= self.codes.max() <= len(self.centroids):
            raise ValueError(
                f"codes must lie between 0 and {len(self.centroids)}, got {self.codes.min()} to {self.codes.max()}"
            )

    @property
    def values(self) -> np.ndarray:
        """The weights, float32, of the shape of the codes."""
        return np.concatenate([[0.0], self.centroids]).astype(np.float32)[self.codes]


def shared_tensor(values: np.ndarray) -> SharedTensor:
    """Read off the values that an array holds, zeros aside; they become the centroids, in ascending order.

    Raises:
        ValueError: there are more than 127 different ones, or one that float16 does not hold exactly.

    >>> shared_tensor(np.array([0.0, 0.5, -1.0, 0.5], dtype=np.float32)).codes
    array([0, 2, 1, 2])
    """
    different = np.unique(values)
    different = different[different != 0]
    if len(different) > MAXIMUM_CENTROIDS:
        raise ValueError(f"holds {len(different)} different values, at most {MAXIMUM_CENTROIDS} can be shared")
    if not np.array_equal(different.astype(np.float16).astype(np.float32), different):
        raise ValueError("holds values that float16 does not hold exactly; round the centroids first")
    codes = np.where(values == 0, 0, np.searchsorted(different, values) + 1)
    return SharedTensor(codes, different.astype(np.float16) if len(different) else np.zeros(1, dtype=np.float16))


def shared_tensors(model: nn.Module) -> dict[str, SharedTensor]:
    """Read the shared values off a network whose tensors hold few different ones.

    Returns:
        a `SharedTensor` for each entry of the state, in its order.

    Raises:
        TypeError: `model` is no network.
        ValueError: a tensor holds more than 127 different values, or one that float16 does not hold exactly.

    >>> layer = nn.Linear(2, 1)
    >>> layer.load_state_dict({"weight": torch.tensor([[0.0, 0.5]]), "bias": torch.tensor([1.0])})
    <All keys matched successfully>
    >>> {name: (t.codes.tolist(), t.centroids.tolist()) for name, t in shared_tensors(layer).items()}
    {'weight': ([[0, 1]], [0.5]), 'bias': ([1], [1.0])}
    """
    tensors = {}
    for name, tensor in require_module("model", model).state_dict().items():
        try:
            tensors[name] = shared_tensor(tensor.detach().cpu().float().numpy())
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return tensors


# --- entropy and Huffman's code ---------------------------------------------------------------------------------------


def entropy(symbols: np.ndarray) -> float:
    """Return the entropy of the symbols' frequencies in bits a symbol; 0 where there are none.

    >>> entropy(np.array([0, 1, 2, 3]))
    2.0
    """
    _, counts = np.unique(symbols, return_counts=True)
    shares = counts / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def huffman_lengths(counts: Mapping[int, int]) -> dict[int, int]:
    """Return the length in bits of each symbol's code word in Huffman's code; a lone symbol gets one bit.

    Args:
        counts: how often each symbol occurs, at least once.

    Raises:
        ValueError: there are no symbols, or a count is not positive.

    >>> huffman_lengths({7: 5, 8: 2, 9: 1})
    {7: 1, 8: 2, 9: 2}
    """
    if not counts or min(counts.values()) < 1:
        raise ValueError("counts must hold at least one symbol, and each at least once")
    if len(counts) == 1:
        return dict.fromkeys(counts, 1)
    lengths = dict.fromkeys(counts, 0)
    order = itertools.count()  # equal counts: the tree made first comes first, so that the code is the same everywhere
    trees = [(count, next(order), [symbol]) for symbol, count in sorted(counts.items())]
    heapq.heapify(trees)
    while len(trees) > 1:
        (rarest, _, left), (next_rarest, _, right) = heapq.heappop(trees), heapq.heappop(trees)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(trees, (rarest + next_rarest, next(order), left + right))
    return lengths


def canonical_codes(lengths: Mapping[int, int]) -> dict[int, str]:
    """Return the code words, as text of 0s and 1s, that follow from their lengths alone.

    Short ones come first, symbols of one length in their order; so a decoder needs the lengths only.

    Raises:
        CodingError: no prefix code has these lengths.

    >>> canonical_codes({7: 1, 8: 2, 9: 2})
    {7: '0', 8: '10', 9: '11'}
    """
    if not lengths or min(lengths.values()) < 1 or sum(2.0**-length for length in lengths.values()) > 1:
        raise CodingError(f"no prefix code has the lengths {dict(lengths)}")
    codes, word, before = {}, 0, 0
    for symbol, length in sorted(lengths.items(), key=lambda item: (item[1], item[0])):
        word <<= length - before
        codes[symbol] = f"{word:0{length}b}"
        word, before = word + 1, length
    return codes


def huffman_encode(symbols: Iterable[int], codes: Mapping[int, str]) -> bytes:
    """Return the code words of the symbols one after another, filled up with zeros to whole bytes.

    Raises:
        ValueError: a symbol has no code word.

    >>> huffman_encode([7, 9, 8], {7: "0", 8: "10", 9: "11"}).hex()
    '70'
    """
    try:
        bits = "".join(codes[symbol] for symbol in symbols)
    except KeyError as error:
        raise ValueError(f"symbol {error} has no code word") from None
    size = -(-len(bits) // 8)
    return int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")


def huffman_decode(content: bytes, codes: Mapping[int, str], count: int) -> list[int]:
    """Return the first `count` symbols of what `huffman_encode` wrote.

    Raises:
        CodingError: the content ends too early or holds no code word.

    >>> huffman_decode(bytes.fromhex("70"), {7: "0", 8: "10", 9: "11"}, 3)
    [7, 9, 8]
    """
    symbols, meaning, longest = [], {word: symbol for symbol, word in codes.items()}, max(map(len, codes.values()))
    bits, word = (digit for byte in content for digit in f"{byte:08b}"), ""
    while len(symbols) < require_int("count", count):
        try:
            word += next(bits)
        except StopIteration:
            raise CodingError(f"the content ends after {len(symbols)} of {count} symbols") from None
        if word in meaning:
            symbols.append(meaning[word])
            word = ""
        elif len(word) >= longest:
            raise CodingError(f"{word} is no code word")
    return symbols


# --- relative indices -------------------------------------------------------------------------------------------------


def relative_indices(codes: np.ndarray, *, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Write the non-zero codes as gaps: how many zeros stand before each (Han, Mao and Dally, 2016, figure 2).

    A gap that `bits` bits cannot hold is broken by fillers: entries with the largest gap and the code 0.

    Args:
        codes: integers of any shape, read in row-major order.
        bits: of a gap, from 1 to 16.

    Returns:
        gaps from 0 to 2**bits - 1, and the code at the end of each gap; zeros after the last code are not written.

    Raises:
        ValueError: `bits` is out of range.

    >>> [part.tolist() for part in relative_indices(np.array([0, 0, 5, 0, 0, 0, 0, 0, 7]), bits=2)]
    [[2, 3, 1], [5, 0, 7]]
    """
    if require_int("bits", bits, minimum=1) > 16:
        raise ValueError(f"bits must be between 1 and 16, got {bits}")
    flat, reach = np.asarray(codes).reshape(-1), 2**bits
    places = np.flatnonzero(flat)
    gaps, values = [], []
    for gap, value in zip(np.diff(places, prepend=-1) - 1, flat[places], strict=True):
        fillers = gap // reach
        gaps += [reach - 1] * fillers + [gap % reach]
        values += [0] * fillers + [value]
    return np.array(gaps, dtype=np.int64), np.array(values, dtype=np.int64)


def from_relative_indices(gaps: np.ndarray, values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the codes that `relative_indices` was given.

    Raises:
        CodingError: they reach beyond the shape.

    >>> from_relative_indices(np.array([2, 3, 1]), np.array([5, 0, 7]), (9,)).tolist()
    [0, 0, 5, 0, 0, 0, 0, 0, 7]
    """
    places = np.cumsum(np.asarray(gaps, dtype=np.int64) + 1) - 1
    flat = np.zeros(math.prod(shape), dtype=np.int64)
    if len(places) and places[-1] >= flat.size:
        raise CodingError(f"the gaps reach place {places[-1]}, the shape {tuple(shape)} has {flat.size}")
    flat[places] = values
    return flat.reshape(tuple(shape))


# --- the range coder --------------------------------------------------------------------------------------------------


class _MaskModel:
    """The chance that each entry of a line of a mask is kept, from what earlier lines have shown.

    A line holds one input of the layer for all its outputs. Kept weights come in crowds: near each other in the image,
    in the same output. So entries are sorted into contexts, by how many of four neighbours the output has kept (the
    input before, and the three above it, if the inputs are the pixels of a square image), by how many weights the
    lines of these neighbours have kept in all outputs, and by how many the output has kept so far. Each context counts
    what came true in it. Where the inputs are no image, the contexts come out alike and little is lost.

    Counts, sums and quotients are those of IEEE 754, so encoder and decoder find the same bits on every machine.
    """

    def __init__(self, lines: int, outputs: int, density: float):
        self.side, self.density, self.seen = max(2, math.isqrt(lines)), density, 0
        self.before = np.zeros((self.side + 1 + lines, outputs), dtype=np.int64)  # with empty lines above the first
        self.by_output = np.zeros(outputs)
        self.kept = np.zeros((MOST_NEIGHBOURS + 1, len(BUSY) + 1, len(CROWDED) + 1))
        self.met = np.zeros_like(self.kept)

    def chances(self) -> np.ndarray:
        """Return them for the next line, shape (outputs,)."""
        above = [self.before[self.side + 1 + self.seen - back] for back in (1, self.side - 1, self.side, self.side + 1)]
        neighbours = sum(above)
        expected = self.density * neighbours.size * len(above)
        crowded = np.searchsorted(np.array(CROWDED) * expected, neighbours.sum())
        busy = np.searchsorted(np.array(BUSY) * self.density, (self.by_output + 5 * self.density) / (self.seen + 5))
        self.context = np.minimum(neighbours, MOST_NEIGHBOURS), busy, np.full(len(busy), crowded)
        kept, met = self.kept[self.context], self.met[self.context]
        return np.clip((kept + PRIOR_WEIGHT * self.density) / (met + PRIOR_WEIGHT), 1e-4, 1 - 1e-4)

    def saw(self, line: np.ndarray) -> None:
        """Learn what the line, for which `chances` were asked last, turned out to be."""
        np.add.at(self.kept, self.context, line)
        np.add.at(self.met, self.context, 1)
        self.by_output += line
        self.before[self.side + 1 + self.seen] = line
        self.seen += 1


def _code_probabilities(counts: np.ndarray) -> np.ndarray:
    return (counts / counts.sum()).astype(np.float32)


_BERNOULLI = constriction.stream.model.Bernoulli(perfect=False)
_CATEGORICAL = constriction.stream.model.Categorical(perfect=False)


def _mask_steps(lines: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each line of the mask with the chances that its entries are 1; nothing where all or none are kept."""
    mask, density = (lines != 0).astype(np.int32), np.count_nonzero(lines) / max(1, lines.size)
    model = _MaskModel(*lines.shape, density)
    for line in mask if 0 < density < 1 else []:
        yield line, model.chances()
        model.saw(line)


def _code_steps(lines: np.ndarray, centroids: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each code of a kept weight, from 0, with the chances of all of them; nothing where there is but one."""
    counts = np.ones(centroids)
    for code in lines[lines != 0] - 1 if centroids > 1 else []:
        yield code, _code_probabilities(counts)
        counts[code] += 1


def _encode_tensor(encoder, tensor: SharedTensor) -> None:
    lines = _as_lines(tensor.codes)
    for line, chances in _mask_steps(lines):
        encoder.encode(line, _BERNOULLI, chances)
    for code, chances in _code_steps(lines, len(tensor.centroids)):
        encoder.encode(np.array([code], dtype=np.int32), _CATEGORICAL, chances[None])


def _bits(tensor: SharedTensor) -> tuple[float, float]:
    """Return how many bits mask and codes take by their probabilities: the sum of -log2 of what came true."""
    lines = _as_lines(tensor.codes)
    mask = sum(-np.log2(np.where(line, chances, 1 - chances)).sum() for line, chances in _mask_steps(lines))
    codes = sum(-math.log2(chances[code]) for code, chances in _code_steps(lines, len(tensor.centroids)))
    return float(mask), float(codes)


def _decode_tensor(decoder, shape: tuple[int, ...], kept: int, centroids: np.ndarray) -> SharedTensor:
    lines = _as_lines(np.zeros(shape, dtype=np.int64)).copy()
    density = kept / max(1, lines.size)
    if 0 < density < 1:
        model = _MaskModel(*lines.shape, density)
        for line in lines:
            line[:] = decoder.decode(_BERNOULLI, model.chances())
            model.saw(line)
    elif density == 1:
        lines[:] = 1
    places = np.flatnonzero(lines)
    if len(places) != kept:
        raise CodingError(f"{len(places)} weights came out where the file says {kept}")
    if len(centroids) > 1:
        counts = np.ones(len(centroids))
        for place in places:
            code = int(decoder.decode(_CATEGORICAL, _code_probabilities(counts)[None])[0])
            lines.flat[place] = code + 1
            counts[code] += 1
    return SharedTensor(_from_lines(lines, shape), centroids)


def _as_lines(codes: np.ndarray) -> np.ndarray:
    """Lay a tensor out as lines of equal length, one per input of the layer: shape (inputs, outputs)."""
    return codes.reshape(codes.shape[0], -1).T if codes.ndim > 1 else codes.reshape(1, -1)


def _from_lines(lines: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(lines.T).reshape(shape) if len(shape) > 1 else lines.reshape(shape)


# --- the file ---------------------------------------------------------------------------------------------------------


def encode_network(tensors: Mapping[str, SharedTensor], *, model: str, arguments: Mapping[str, object]) -> bytes:
    """Return the content of the file.

    Four bytes of magic, the CRC-32 of all that follows, the length of a JSON header (two bytes) and the header (the
    class and its arguments); for each tensor in the order of the state the number of non-zeros (seven bits a byte, the
    eighth says that more follow), the number of centroids (one byte) and the centroids (float16), or only their step if
    they are evenly spaced; and then one range-coded stream of all masks and codes. Numbers are little-endian. Shapes
    are not written: they follow from the class and its arguments.

    Args:
        tensors: for each entry of the state of the network, in its order.
        model: name of a class of `models.MODELS`.
        arguments: of its constructor, as JSON holds them.

    Raises:
        CodingError: the tensors are not those of such a network.
    """
    header = json.dumps({"model": model, "arguments": dict(arguments)}, separators=(",", ":")).encode()
    found = {name: tensor.codes.shape for name, tensor in tensors.items()}
    if found != (wanted := _shapes(_build(header))):
        raise CodingError(f"the tensors are not those of {model} with {dict(arguments)}: {found} instead of {wanted}")
    encoder, side = constriction.stream.queue.RangeEncoder(), b""
    for tensor in tensors.values():
        kept = int(np.count_nonzero(tensor.codes))
        side += _varint(kept) + _centroid_table(tensor.centroids)
        _encode_tensor(encoder, tensor)
    body = struct.pack("<H", len(header)) + header + side + encoder.get_compressed().astype("<u4").tobytes()
    return MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def decode_tensors(content: bytes) -> dict[str, SharedTensor]:
    """Return the tensors that `encode_network` was given, bit for bit.

    Raises:
        CodingError: the content is truncated, damaged, or no file of this format.
    """
    return _decode(content)[1]


def decode_network(content: bytes) -> nn.Module:
    """Rebuild the network from the file's content alone, in evaluation mode.

    Raises:
        CodingError: see `decode_tensors`.
    """
    model, tensors = _decode(content)
    model.load_state_dict({name: torch.from_numpy(tensor.values) for name, tensor in tensors.items()})
    return model.eval()


def byte_account(content: bytes) -> dict[str, dict[str, float]]:
    """Say where the bytes of a file go.

    Returns:
        for each tensor its bytes for "counts" (of non-zeros), "centroids" (with their number), "mask" and "codes", and
        under "file" those of the "header" (magic and checksum included) and the "rest": what the stream is longer than
        the sum of its probabilities says, the rounding to whole words mostly. Masks and codes share one stream, so
        theirs are fractions; the sum of all is the length of the file.

    Raises:
        CodingError: see `decode_tensors`.
    """
    tensors = decode_tensors(content)
    (header,) = struct.unpack_from("<H", content, len(MAGIC) + 4)
    rows: dict[str, dict[str, float]] = {"file": {"header": len(MAGIC) + 4 + 2 + header}}
    for name, tensor in tensors.items():
        mask, codes = _bits(tensor)
        counts, table = _varint(int(np.count_nonzero(tensor.codes))), _centroid_table(tensor.centroids)
        rows[name] = {"counts": len(counts), "centroids": len(table), "mask": mask / 8, "codes": codes / 8}
    rows["file"]["rest"] = len(content) - sum(sum(row.values()) for row in rows.values())
    return rows


def _decode(content: bytes) -> tuple[nn.Module, dict[str, SharedTensor]]:
    if content[: len(MAGIC)] != MAGIC:
        raise CodingError(f"this is no compressed network: it does not begin with {MAGIC.decode()}")
    start = len(MAGIC) + 4
    if len(content) < start or zlib.crc32(content[start:]) != struct.unpack("<I", content[len(MAGIC) : start])[0]:
        raise CodingError("the file is truncated or damaged: its checksum is not the one it names")
    try:  # a right checksum over a wrong content: written by another version, or on purpose
        (size,) = struct.unpack_from("<H", content, start)
        header = content[start + 2 : start + 2 + size]
        model, place, sizes = _build(header), start + 2 + size, []
        shapes = _shapes(model)
        for _ in shapes:
            kept, place = _read_varint(content, place)
            centroids, place = _read_centroid_table(content, place)
            sizes.append((kept, centroids))
        decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(content[place:], dtype="<u4").astype(np.uint32))
        tensors = {
            name: _decode_tensor(decoder, shape, *size)
            for (name, shape), size in zip(shapes.items(), sizes, strict=True)
        }
    except CodingError:
        raise
    except (struct.error, ValueError, TypeError, AssertionError) as error:
        raise CodingError(f"the file's content does not fit together: {error}") from None
    return model, tensors


def _varint(number: int) -> bytes:
    content = b""
    while number > 127:
        content, number = content + bytes([128 | number & 127]), number >> 7
    return content + bytes([number])


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        (byte,) = struct.unpack_from("<B", content, place)
        place, number = place + 1, number | (byte & 127) << shift
        if byte < 128:
            return number, place
    raise CodingError("a number of non-zeros has no end")


def _multiples(step: np.float16, most: int) -> np.ndarray:
    """Return -most to most times the step, without zero, rounded to float16 once; the step itself is the one given."""
    levels = np.array([level for level in range(-most, most + 1) if level])
    return (levels * np.float64(step)).astype(np.float16)


def _centroid_table(centroids: np.ndarray) -> bytes:
    most, odd = divmod(len(centroids), 2)
    if not odd and np.array_equal(_multiples(centroids[most], most), centroids):
        return struct.pack("<B", EVENLY_SPACED | most) + centroids[most].astype("<f2").tobytes()
    return struct.pack("<B", len(centroids)) + centroids.astype("<f2").tobytes()


def _read_centroid_table(content: bytes, place: int) -> tuple[np.ndarray, int]:
    (count,) = struct.unpack_from("<B", content, place)
    written = 1 if count & EVENLY_SPACED else count
    values = np.frombuffer(content, dtype="<f2", count=written, offset=place + 1).astype(np.float16)
    if count & EVENLY_SPACED:
        values = _multiples(values[0], count & ~EVENLY_SPACED)
    return values, place + 1 + 2 * written


def _build(header: bytes) -> nn.Module:
    try:
        about = json.loads(header)
        return MODELS[about["model"]](**about["arguments"])
    except (ValueError, KeyError, TypeError) as error:
        raise CodingError(f"the header {header!r} names no network of the course: {error!r}") from None


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
