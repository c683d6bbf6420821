"""Values come back from the sandbox as what they are; what is no value, or too much of it, is refused."""

import io
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from utils.checks import same
from utils.course.classroom_wire import Connection, Decoder, Encoder, ProtocolError

PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats() | some.text(),
    lambda inner: some.lists(inner) | some.tuples(inner) | some.dictionaries(some.text() | some.integers(), inner),
    max_leaves=20,
)


def _there_and_back(value):
    encoder, pipe = Encoder(), io.BytesIO()
    Connection(pipe, pipe).send({"value": encoder.tree(value)}, encoder.arrays)
    pipe.seek(0)
    message, arrays = Connection(pipe, pipe).receive()
    return Decoder(arrays).value(message["value"])


@given(PLAIN)
def test_plain_values_come_back(value):
    assert repr(_there_and_back(value)) == repr(value)


TENSORS = [
    torch.tensor([[1.5, -0.0], [math.nan, math.inf]]),
    torch.arange(12, dtype=torch.int8).view(3, 4).t(),
    torch.linspace(0, 1, 6).view(2, 3).to(torch.bfloat16),
    torch.tensor([True, False]),
    torch.zeros(0, 3),
    torch.tensor(3, dtype=torch.int64),
    torch.ones(3).expand(2, 3),
]


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
def test_tensors_come_back_bit_for_bit(tensor):
    back = _there_and_back(tensor)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    same_bits = [each.contiguous().reshape(-1).view(torch.uint8).tolist() for each in (back, tensor) if each.numel()]
    assert not same_bits or same_bits[0] == same_bits[1]


def test_a_transposed_matrix_comes_back_transposed():
    assert _there_and_back(torch.rand(3, 4).t()).stride() == (1, 4)


@pytest.mark.parametrize("value", [np.arange(6.0).reshape(2, 3), np.float32(0.1), np.array(["a"]), {1, 2}, {"A": (1,)}])
def test_what_a_check_would_accept_it_accepts_after_the_journey(value):
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        assert type(_there_and_back(value)).__name__ == "ndarray", "named, and no array any more"
        assert not same(_there_and_back(value), ["a"])
    elif isinstance(value, np.ndarray | np.generic):
        assert same(_there_and_back(value), value.tolist())
    else:
        assert _there_and_back(value) == value


def test_anything_else_is_named():
    class Odd:
        def __repr__(self):
            raise RuntimeError

    back = _there_and_back([Odd(), iter([])])
    assert [type(each).__name__ for each in back] == ["Odd", "list_iterator"]
    assert "whose repr raises RuntimeError" in repr(back[0])


HOSTILE_TREES = [
    {"pickle": "x"},
    {"tensor": ["float32", [2], [1], 0]},
    {"tensor": ["os", [1], [1], 0]},
    {"tensor": ["float32", [-1], [1], 0]},
    {"array": ["|O", [1], 0]},
    {"tensor": ["float32", [1], [1], 7]},
    {"set": [{"list": []}]},
    {"int": "import os"},
    [1, 2],
    3,
]


@pytest.mark.parametrize("tree", HOSTILE_TREES, ids=str)
def test_a_tree_that_no_encoder_writes_is_refused(tree):
    with pytest.raises(ProtocolError):
        Decoder([memoryview(bytes(4))]).value(tree)


FRAMES = {
    "too large": struct.pack(">QQ", 10, 2**50),
    "no JSON": struct.pack(">QQ", 4, 0) + b"nope",
    "deep": struct.pack(">QQ", 200_000, 0) + b"[" * 200_000,
    "sizes that do not add up": struct.pack(">QQ", 29, 0) + b'{"message": {}, "sizes": [-5]}'[:29],
    "no message": struct.pack(">QQ", 2, 0) + b"{}",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_malformed_frame_is_refused(frame):
    with pytest.raises(ProtocolError):
        Connection(io.BytesIO(frame), io.BytesIO(), largest=2**20).receive()


def test_a_frame_cut_short_is_the_end():
    with pytest.raises(EOFError):
        Connection(io.BytesIO(struct.pack(">QQ", 100, 0) + b"{}"), io.BytesIO()).receive()
