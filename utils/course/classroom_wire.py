"""What a submission's process and the grader's say to each other: plain data in frames, never a pickle.

A frame is a header in JSON and the raw bytes of its arrays. Decoding runs no code that came with the data: numbers,
texts, containers, tensors and arrays come back as what they are; a network comes back as a graph of PyTorch's own
operations (`utils.course.classroom_networks`), a function as a handle, and anything else as its name and its text.
"""

import json
import math
import numbers
import struct
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, BinaryIO

LARGEST_FRAME = 512 * 2**20
"""Bytes of the largest frame that the grader sends; what it accepts is less, see `Connection`."""

_DEEPEST, _MOST_VALUES, _LONGEST_TEXT = 30, 200_000, 2**20
_PREFIX = struct.Struct(">QQ")  # the header's bytes, and those of all arrays
_ARRAY_KINDS = "biufc"


class ProtocolError(BaseException):
    """A frame is too large, or not what was agreed on. No `Exception`: a check that catches those must not go on."""


class Opaque:
    """A value of a type that is not sent: its class has the type's name, and it is shown by the text that it had."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


Hook = Callable[[Any], dict | None]
"""Encodes a value of a kind of its own, such as a network: returns a JSON object with one key, or None."""


class Encoder:
    """Turns values into a tree of JSON and a list of raw arrays."""

    def __init__(self, *hooks: Hook):
        self._hooks, self.arrays, self._count = hooks, [], 0

    def tree(self, value: Any, depth: int = 0) -> Any:
        """Return the tree of one value; its arrays are appended to `arrays`."""
        self._count += 1
        if depth > _DEEPEST or self._count > _MOST_VALUES:
            return _opaque(value, "too large or too deep to be sent")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value) if len(value) <= _LONGEST_TEXT else _opaque(value, "a text that is too long to be sent")
        if isinstance(value, int):
            return {"int": hex(value)} if value.bit_length() <= 4096 else _opaque(value, "an int beyond 4096 bits")
        for hook in self._hooks:
            if (found := hook(value)) is not None:
                return found
        torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
        if torch is not None and isinstance(value, torch.Tensor):
            return self._tensor(value, torch)
        if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
            return self._array(value, numpy)
        if isinstance(value, numbers.Real | Decimal):
            return _number(value)
        for kind, name in ((tuple, "tuple"), (list, "list"), (set, "set"), (frozenset, "frozenset")):
            if isinstance(value, kind):
                return {name: [self.tree(part, depth + 1) for part in value]}
        if isinstance(value, Mapping):
            return {"dict": [[self.tree(k, depth + 1), self.tree(v, depth + 1)] for k, v in value.items()]}
        return _opaque(value)

    def _tensor(self, value: Any, torch: Any) -> dict:
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            return _opaque(value)
        value = value.detach().cpu()
        if value.is_complex():
            value = value.resolve_conj()
        stride = value.stride()
        plain = value.contiguous().reshape(-1)
        raw = plain.view(torch.uint8).numpy() if plain.numel() else b""
        return {
            "tensor": [str(value.dtype).removeprefix("torch."), list(value.shape), list(stride), self._add(bytes(raw))]
        }

    def _array(self, value: Any, numpy: Any) -> dict:
        if value.dtype.kind not in _ARRAY_KINDS:
            return _opaque(value)
        name = "array" if isinstance(value, numpy.ndarray) else "scalar"
        return {name: [value.dtype.str, list(value.shape), self._add(numpy.ascontiguousarray(value).tobytes())]}

    def _add(self, raw: bytes) -> int:
        self.arrays.append(raw)
        return len(self.arrays) - 1


class Decoder:
    """Turns a tree and its arrays back into values; `hooks` decode the kinds that have a key of their own."""

    def __init__(self, arrays: list[memoryview], hooks: Mapping[str, Callable[[Any, "Decoder"], Any]] | None = None):
        self.arrays, self._hooks = arrays, hooks or {}

    def value(self, tree: Any) -> Any:
        """Return the value of a tree.

        Raises:
            ProtocolError: the tree is not one that an `Encoder` writes.
        """
        try:
            return self._value(tree)
        except ProtocolError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
            raise ProtocolError(f"a value that cannot be read: {type(error).__name__}: {error}") from error

    def _value(self, tree: Any) -> Any:
        if tree is None or isinstance(tree, bool | str):
            return tree
        if not isinstance(tree, dict) or len(tree) != 1:
            raise ProtocolError("a value that cannot be read")
        ((kind, content),) = tree.items()
        if kind in self._hooks:
            return self._hooks[kind](content, self)
        if kind not in _DECODE:
            raise ProtocolError(f"a value of the unknown kind {kind[:40]!r}")
        return _DECODE[kind](self, content)

    def array(self, index: int) -> memoryview:
        """Return the bytes of one array."""
        return self.arrays[index]


def _number(value: Any) -> dict:
    try:
        return {"float": float(value).hex()}
    except (OverflowError, ValueError):
        return _opaque(value)


def _opaque(value: Any, text: str | None = None) -> dict:
    if text is None:
        try:
            text = repr(value)[:300]
        except Exception as error:
            text = f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"
    return {"opaque": [type(value).__name__, text]}


def _decode_opaque(_decoder: Decoder, content: list) -> Opaque:
    name, text = content
    safe = name if isinstance(name, str) and name.isidentifier() else "object"
    return type(safe[:80], (Opaque,), {})(str(text)[:300])


def _decode_tensor(decoder: Decoder, content: list) -> Any:
    import torch

    name, shape, stride, index = content
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype) or not all(isinstance(n, int) and 0 <= n < 2**40 for n in (*shape, *stride)):
        raise ProtocolError("a tensor that cannot be read")
    raw = decoder.array(index)
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ProtocolError("a tensor with more or fewer bytes than its shape")
    plain = torch.frombuffer(bytearray(raw), dtype=dtype) if len(raw) else torch.empty(0, dtype=dtype)
    plain = plain.reshape(shape)
    reach = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if plain.numel() else 0
    if reach != plain.numel() or plain.stride() == tuple(stride):
        return plain  # expanded or sliced: its values count, not where they lie
    return torch.empty_strided(shape, stride, dtype=dtype).copy_(plain)


def _decode_array(decoder: Decoder, content: list) -> Any:
    import numpy

    name, shape, index = content
    dtype = numpy.dtype(name)
    if dtype.kind not in _ARRAY_KINDS:
        raise ProtocolError("an array that cannot be read")
    return numpy.frombuffer(bytearray(decoder.array(index)), dtype=dtype).reshape(shape)


_DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    "int": lambda _decoder, content: int(content, 16),
    "float": lambda _decoder, content: float.fromhex(content),
    "tuple": lambda decoder, content: tuple(map(decoder._value, content)),
    "list": lambda decoder, content: list(map(decoder._value, content)),
    "set": lambda decoder, content: set(map(decoder._value, content)),
    "frozenset": lambda decoder, content: frozenset(map(decoder._value, content)),
    "dict": lambda decoder, content: {decoder._value(key): decoder._value(value) for key, value in content},
    "tensor": _decode_tensor,
    "array": _decode_array,
    "scalar": lambda decoder, content: _decode_array(decoder, content)[()],
    "opaque": _decode_opaque,
}


class Connection:
    """Sends and receives frames over a pair of pipes.

    Args:
        source, sink: the two ends.
        largest: bytes of the largest frame that is accepted; a larger one is an error before it is read.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO, *, largest: int = LARGEST_FRAME):
        self._source, self._sink, self._largest = source, sink, largest

    def send(self, message: Mapping[str, Any], arrays: list[bytes] = ()) -> None:
        """Send a message, which is JSON, and the arrays that belong to it.

        Raises:
            ProtocolError: it is larger than any frame may be.
        """
        header = json.dumps({"message": message, "sizes": list(map(len, arrays))}).encode()
        total = sum(map(len, arrays))
        if len(header) + total > LARGEST_FRAME:
            raise ProtocolError(f"{len(header) + total:,} bytes are too many to be sent")
        self._sink.write(_PREFIX.pack(len(header), total) + header)
        for raw in arrays:
            self._sink.write(raw)
        self._sink.flush()

    def receive(self) -> tuple[dict[str, Any], list[memoryview]]:
        """Return the next message and its arrays.

        Raises:
            EOFError: the other side is gone.
            ProtocolError: the frame is too large or malformed.
        """
        header, total = _PREFIX.unpack(self._exactly(_PREFIX.size))
        if header + total > self._largest:
            raise ProtocolError(f"{header + total:,} bytes came back; at most {self._largest:,} are accepted")
        try:
            content = json.loads(self._exactly(header))
            message, sizes = content["message"], content["sizes"]
            whole = all(type(size) is int and size >= 0 for size in sizes)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ProtocolError(f"a frame that cannot be read: {type(error).__name__}") from error
        if not isinstance(message, dict) or not whole or sum(sizes) != total:
            raise ProtocolError("a frame that cannot be read")
        raw, arrays, start = memoryview(self._exactly(total)), [], 0
        for size in sizes:
            arrays.append(raw[start : start + size])
            start += size
        return message, arrays

    def _exactly(self, count: int) -> bytes:
        content = self._source.read(count)
        if len(content) < count:
            raise EOFError("the other side is gone")
        return content
