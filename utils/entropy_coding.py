"""A pruned, weight-shared network as one small file, and the decoder that rebuilds the network from that file alone.

Three codes for the places and the values of the weights that are left: relative indices and Huffman's code, as in Deep
Compression (Han, Mao and Dally, 2016, sections 2 and 4), and a range coder with adaptive probabilities, which the file
uses. What is coded is a `SharedTensor`: a few centroids, and for each weight which of them it is, or zero.
"""

import functools
import heapq
import itertools
import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from utils.models import MODELS

try:
    import constriction
except ImportError:  # it has no wheel for Linux on aarch64: all else in this module works without
    constriction = None

MAGIC = b"NNZ2"
MAXIMUM_CENTROIDS = 127
EVENLY_SPACED = 128
"""Added to the number of centroids in the file where only the step between them is written."""

# The contexts of a mask, see `_ContextModel`. Changing a number here makes shipped files unreadable.
MAXIMUM_NEIGHBOURS = 3
OUTPUT_BOUNDS = (0.7, 1.4)
LINE_BOUNDS = (0.1, 0.4, 0.8, 1.3, 2.0)
PRIOR_WEIGHT = 8.0
"""How many entries the layer's density counts for in a context, beside what the context has shown so far."""


class CodingError(ValueError):
    """A file or a stream is truncated, damaged or foreign, or does not fit; the message says which."""


class RangeCoderMissingError(RuntimeError):
    """The package `constriction`, whose range coder writes and reads these files, is not installed here."""


def _range_coder():
    """Return `constriction.stream`, or say how to get it."""
    if constriction is None:
        raise RangeCoderMissingError(
            "these files are written and read with the range coder of the package constriction, which has no wheel "
            "for Linux on aarch64; with a Rust compiler, `pip install constriction` builds it"
        )
    return constriction.stream


# --- what is coded ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SharedTensor:
    """Weights that share a few values.

    Args:
        codes: integers of the tensor's shape; 0 stands for zero, k from 1 on for `centroids[k - 1]`.
        centroids: float16, shape (K,), K from 1 to 127; the file holds them as they are.

    Raises:
        ValueError: a code without a centroid, no centroids or too many, or one that is not finite.

    >>> SharedTensor(np.array([0, 2, 1]), np.array([-0.5, 0.25], dtype=np.float16)).values
    array([ 0.  ,  0.25, -0.5 ], dtype=float32)
    """

    codes: np.ndarray
    centroids: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.centroids)
        if self.centroids.dtype != np.float16 or not 1 <= count <= MAXIMUM_CENTROIDS:
            raise ValueError(
                f"centroids must be 1 to {MAXIMUM_CENTROIDS} float16 numbers, got {count} of {self.centroids.dtype}"
            )
        if not np.isfinite(self.centroids).all():
            raise ValueError("a centroid is not finite in float16")
        if self.codes.size and not 0 <= self.codes.min() <= self.codes.max() <= count:
            raise ValueError(f"codes must lie between 0 and {count}, got {self.codes.min()} to {self.codes.max()}")

    @property
    def values(self) -> np.ndarray:
        """The weights, float32, of the shape of the codes."""
        return np.asarray(np.concatenate([[0.0], self.centroids]).astype(np.float32)[self.codes])  # of one number too


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

    >>> huffman_lengths({7: 5, 8: 2, 9: 1})
    {7: 1, 8: 2, 9: 2}
    """
    if len(counts) == 1:
        return dict.fromkeys(counts, 1)
    lengths = dict.fromkeys(counts, 0)
    order = itertools.count()  # equal counts: the tree made first comes first, so that the code is the same everywhere
    trees = [(count, next(order), [symbol]) for symbol, count in sorted(counts.items())]
    heapq.heapify(trees)
    while len(trees) > 1:
        rarest, _, left = heapq.heappop(trees)
        next_rarest, _, right = heapq.heappop(trees)
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
    if sum(2.0**-length for length in lengths.values()) > 1:  # Kraft's inequality
        raise CodingError(f"no prefix code has the lengths {dict(lengths)}")
    codes = {}
    word = 0
    previous_length = 0
    for symbol, length in sorted(lengths.items(), key=lambda item: (item[1], item[0])):
        word <<= length - previous_length
        codes[symbol] = f"{word:0{length}b}"
        word += 1
        previous_length = length
    return codes


def huffman_encode(symbols: Iterable[int], codes: Mapping[int, str]) -> bytes:
    """Return the code words of the symbols one after another, filled up with zeros to whole bytes.

    >>> huffman_encode([7, 9, 8], {7: "0", 8: "10", 9: "11"}).hex()
    '70'
    """
    bits = "".join(codes[symbol] for symbol in symbols)
    size = -(-len(bits) // 8)  # rounded up
    return int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")


def huffman_decode(content: bytes, codes: Mapping[int, str], count: int) -> list[int]:
    """Return the first `count` symbols of what `huffman_encode` wrote.

    Raises:
        CodingError: the content ends too early or holds no code word.

    >>> huffman_decode(bytes.fromhex("70"), {7: "0", 8: "10", 9: "11"}, 3)
    [7, 9, 8]
    """
    symbol_of = {word: symbol for symbol, word in codes.items()}
    longest = max(map(len, codes.values()), default=0)
    bits = (bit for byte in content for bit in f"{byte:08b}")
    symbols = []
    word = ""
    while len(symbols) < count:
        try:
            word += next(bits)
        except StopIteration:
            raise CodingError(f"the content ends after {len(symbols)} of {count} symbols") from None
        if word in symbol_of:
            symbols.append(symbol_of[word])
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
        bits: of a gap.

    Returns:
        gaps from 0 to 2**bits - 1, and the code at the end of each gap; zeros after the last code are not written.

    >>> [part.tolist() for part in relative_indices(np.array([0, 0, 5, 0, 0, 0, 0, 0, 7]), bits=2)]
    [[2, 3, 1], [5, 0, 7]]
    """
    flat = np.asarray(codes).reshape(-1)
    reach = 2**bits
    places = np.flatnonzero(flat)
    gaps, values = [], []
    for gap, value in zip(np.diff(places, prepend=-1) - 1, flat[places], strict=True):
        fillers = gap // reach
        gaps += [reach - 1] * fillers + [gap % reach]
        values += [0] * fillers + [value]
    return np.array(gaps, dtype=np.int64), np.array(values, dtype=np.int64)


def from_relative_indices(gaps: np.ndarray, values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the codes that `relative_indices` was given.

    >>> from_relative_indices(np.array([2, 3, 1]), np.array([5, 0, 7]), (9,)).tolist()
    [0, 0, 5, 0, 0, 0, 0, 0, 7]
    """
    places = np.cumsum(np.asarray(gaps, dtype=np.int64) + 1) - 1
    flat = np.zeros(math.prod(shape), dtype=np.int64)
    flat[places] = values
    return flat.reshape(tuple(shape))


# --- the range coder --------------------------------------------------------------------------------------------------


class _ContextModel:
    """Predicts which entries of a line of a mask are kept, from the lines before it.

    A line holds one input of the layer for all its outputs. Kept weights lie in clusters: near each other in the image,
    in the same output. So each entry gets a context, made of three numbers:

    - how many of four neighbours its output has kept: the input before, and the three above it, if the inputs are the
      pixels of a square image;
    - how many weights the neighbours' lines have kept in all outputs, in multiples of the layer's mean (`LINE_BOUNDS`);
    - how many its output has kept so far, in multiples of the layer's mean (`OUTPUT_BOUNDS`).

    Each context counts its entries and how many of them were kept; the ratio, after `PRIOR_WEIGHT` entries of the
    layer's density, is the next probability. Where the inputs are no image, the contexts come out alike and little is
    lost.

    Counts, sums and quotients are those of IEEE 754, so encoder and decoder find the same bits on every machine.
    """

    def __init__(self, lines: int, outputs: int, density: float):
        self.density = density
        self.width = max(2, math.isqrt(lines))  # of the image
        self.margin = self.width + 1  # empty lines above the first, so that it has neighbours too
        self.mask = np.zeros((self.margin + lines, outputs), dtype=np.int64)
        self.line = 0
        self.kept_by_output = np.zeros(outputs)
        self.kept_counts = np.zeros((MAXIMUM_NEIGHBOURS + 1, len(OUTPUT_BOUNDS) + 1, len(LINE_BOUNDS) + 1))
        self.counts = np.zeros_like(self.kept_counts)

    def probabilities(self) -> np.ndarray:
        """Return the probability that each entry of the next line is kept, shape (outputs,)."""
        distances = (1, self.width - 1, self.width, self.width + 1)
        neighbours = sum(self.mask[self.margin + self.line - distance] for distance in distances)
        expected = self.density * neighbours.size * len(distances)
        by_line = np.searchsorted(np.array(LINE_BOUNDS) * expected, neighbours.sum())
        kept_so_far = (self.kept_by_output + 5 * self.density) / (self.line + 5)  # starts at the layer's mean
        by_output = np.searchsorted(np.array(OUTPUT_BOUNDS) * self.density, kept_so_far)
        self.context = np.minimum(neighbours, MAXIMUM_NEIGHBOURS), by_output, np.full(len(by_output), by_line)
        kept = self.kept_counts[self.context] + PRIOR_WEIGHT * self.density
        return np.clip(kept / (self.counts[self.context] + PRIOR_WEIGHT), 1e-4, 1 - 1e-4)

    def update(self, line: np.ndarray) -> None:
        """Count the line whose `probabilities` were asked for last."""
        np.add.at(self.kept_counts, self.context, line)
        np.add.at(self.counts, self.context, 1)
        self.kept_by_output += line
        self.mask[self.margin + self.line] = line
        self.line += 1


def _probabilities(counts: np.ndarray) -> np.ndarray:
    return (counts / counts.sum()).astype(np.float32)


def _mask_steps(lines: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each line of the mask with the probabilities that its entries are 1."""
    mask = (lines != 0).astype(np.int32)
    density = np.count_nonzero(mask) / max(1, mask.size)
    if density in (0, 1):
        return  # the number of non-zeros says it all
    model = _ContextModel(*mask.shape, density)
    for line in mask:
        yield line, model.probabilities()
        model.update(line)


def _code_steps(lines: np.ndarray, centroids: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each code of a kept weight, from 0, with the probabilities of all codes."""
    if centroids == 1:
        return  # there is nothing to choose
    counts = np.ones(centroids)
    for code in lines[lines != 0] - 1:
        yield code, _probabilities(counts)
        counts[code] += 1


@functools.cache
def _bernoulli():
    return _range_coder().model.Bernoulli(perfect=False)


@functools.cache
def _categorical():
    return _range_coder().model.Categorical(perfect=False)


def _encode_tensor(encoder: "constriction.stream.queue.RangeEncoder", tensor: SharedTensor) -> None:
    lines = _as_lines(tensor.codes)
    for line, probabilities in _mask_steps(lines):
        encoder.encode(line, _bernoulli(), probabilities)
    for code, probabilities in _code_steps(lines, len(tensor.centroids)):
        encoder.encode(np.array([code], dtype=np.int32), _categorical(), probabilities[None])


def _information(tensor: SharedTensor) -> tuple[float, float]:
    """Return the bits that mask and codes take by their probabilities: the sum of -log2 of what came true."""
    lines = _as_lines(tensor.codes)
    mask = sum(-np.log2(np.where(line, chances, 1 - chances)).sum() for line, chances in _mask_steps(lines))
    codes = sum(-math.log2(chances[code]) for code, chances in _code_steps(lines, len(tensor.centroids)))
    return float(mask), float(codes)


def _decode_tensor(
    decoder: "constriction.stream.queue.RangeDecoder", shape: tuple[int, ...], kept: int, centroids: np.ndarray
) -> SharedTensor:
    lines = _as_lines(np.zeros(shape, dtype=np.int64)).copy()
    density = kept / max(1, lines.size)
    if 0 < density < 1:
        model = _ContextModel(*lines.shape, density)
        for line in lines:
            line[:] = decoder.decode(_bernoulli(), model.probabilities())
            model.update(line)
    elif density == 1:
        lines[:] = 1
    places = np.flatnonzero(lines)
    if len(places) != kept:
        raise CodingError(f"{len(places)} weights came out where the file says {kept}")
    if len(centroids) > 1:
        counts = np.ones(len(centroids))
        for place in places:
            code = int(decoder.decode(_categorical(), _probabilities(counts)[None])[0])
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
    wanted = _shapes(_build(header))
    if found != wanted:
        raise CodingError(f"the tensors are not those of {model} with {dict(arguments)}: {found} instead of {wanted}")
    tables = b""
    encoder = _range_coder().queue.RangeEncoder()
    for tensor in tensors.values():
        tables += _varint(int(np.count_nonzero(tensor.codes))) + _centroid_table(tensor.centroids)
        _encode_tensor(encoder, tensor)
    body = struct.pack("<H", len(header)) + header + tables + encoder.get_compressed().astype("<u4").tobytes()
    return MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def decode_tensors(content: bytes) -> dict[str, SharedTensor]:
    """Return the tensors that `encode_network` was given, bit for bit.

    Raises:
        CodingError: the content is truncated, damaged, or no file of this format.
    """
    return _decode(content)[1]


def decode_network(content: bytes) -> nn.Module:
    """Rebuild the network from the file's content alone, in evaluation mode; errors as in `decode_tensors`."""
    model, tensors = _decode(content)
    model.load_state_dict({name: torch.from_numpy(tensor.values) for name, tensor in tensors.items()})
    return model.eval()


def byte_account(content: bytes) -> dict[str, dict[str, float]]:
    """Say where the bytes of a file go.

    Returns:
        For each tensor its bytes for "counts" (of non-zeros), "centroids" (with their number), "mask" and "codes". The
        row "file" holds the "header" (magic and checksum included) and the "rest", by which the stream is longer than
        its probabilities say: mostly the rounding to whole words. Masks and codes share one stream, so theirs are
        fractions. The sum of all is the length of the file.
    """
    tensors = decode_tensors(content)
    (header,) = struct.unpack_from("<H", content, len(MAGIC) + 4)
    rows: dict[str, dict[str, float]] = {"file": {"header": len(MAGIC) + 4 + 2 + header}}
    for name, tensor in tensors.items():
        mask, codes = _information(tensor)
        rows[name] = {
            "counts": len(_varint(int(np.count_nonzero(tensor.codes)))),
            "centroids": len(_centroid_table(tensor.centroids)),
            "mask": mask / 8,
            "codes": codes / 8,
        }
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
        offset = start + 2 + size
        model = _build(content[start + 2 : offset])
        tables = {}
        for name in _shapes(model):
            kept, offset = _read_varint(content, offset)
            centroids, offset = _read_centroid_table(content, offset)
            tables[name] = kept, centroids
        stream = np.frombuffer(content[offset:], dtype="<u4").astype(np.uint32)
        decoder = _range_coder().queue.RangeDecoder(stream)
        tensors = {name: _decode_tensor(decoder, shape, *tables[name]) for name, shape in _shapes(model).items()}
    except CodingError:
        raise
    except (struct.error, ValueError, TypeError, AssertionError) as error:
        raise CodingError(f"the file's content does not fit together: {error}") from None
    return model, tensors


def _varint(number: int) -> bytes:
    content = bytearray()
    while number > 127:
        content.append(128 | number & 127)
        number >>= 7
    return bytes([*content, number])


def _read_varint(content: bytes, offset: int) -> tuple[int, int]:
    """Return the number that begins at `offset`, and the offset of what follows it."""
    number = 0
    for index in range(10):
        (byte,) = struct.unpack_from("<B", content, offset + index)
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, offset + index + 1
    raise CodingError("a number of non-zeros has no end")


def _multiples(step: np.float16, most: int) -> np.ndarray:
    """Return -most to most times the step, without zero, rounded to float16 once; the step itself is the one given."""
    levels = np.array([level for level in range(-most, most + 1) if level])
    with np.errstate(over="ignore"):  # a large last centroid need not be a step; what is infinite equals none
        return (levels * np.float64(step)).astype(np.float16)


def _centroid_table(centroids: np.ndarray) -> bytes:
    most, odd = divmod(len(centroids), 2)
    if not odd and np.array_equal(_multiples(centroids[most], most), centroids):
        return struct.pack("<B", EVENLY_SPACED | most) + centroids[most].astype("<f2").tobytes()
    return struct.pack("<B", len(centroids)) + centroids.astype("<f2").tobytes()


def _read_centroid_table(content: bytes, offset: int) -> tuple[np.ndarray, int]:
    """Return the centroids that begin at `offset`, and the offset of what follows them."""
    (count,) = struct.unpack_from("<B", content, offset)
    written = 1 if count & EVENLY_SPACED else count
    values = np.frombuffer(content, dtype="<f2", count=written, offset=offset + 1).astype(np.float16)
    if count & EVENLY_SPACED:
        values = _multiples(values[0], count & ~EVENLY_SPACED)
    return values, offset + 1 + 2 * written


def _build(header: bytes) -> nn.Module:
    try:
        about = json.loads(header)
        return MODELS[about["model"]](**about["arguments"])
    except (ValueError, KeyError, TypeError) as error:
        raise CodingError(f"the header {header!r} names no network of the course: {error!r}") from None


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
