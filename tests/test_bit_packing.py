"""`utils.bit_packing`: what is packed comes back, in as few bytes as possible."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.random_inputs import seeded
from utils.bit_packing import pack, unpack


@settings(max_examples=60)
@given(st.integers(1, 8), st.booleans(), st.integers(0, 50), st.integers(0, 1000))
def test_pack_and_unpack_are_inverse(bits, signed, count, seed):
    low = -(2 ** (bits - 1)) if signed else 0
    codes = torch.randint(low, low + 2**bits, (count,), generator=seeded(seed))
    packed = pack(codes, bits)
    assert len(packed) == -(-count * bits // 8)
    assert torch.equal(unpack(packed, bits, (count,), signed=signed).long(), codes)


def test_the_bytes_are_those_of_one_long_binary_number():
    codes = [5, 0, 7, 2, 6, 1, 3]
    number = sum(code << (3 * place) for place, code in enumerate(codes))
    assert bytes(pack(torch.tensor(codes), 3).tolist()) == number.to_bytes(3, "little")


@pytest.mark.parametrize("codes", [[4], [-3], [-1, 3], [65_537], [-65_535], [2**40]])
def test_packing_refuses_what_does_not_fit(codes):
    with pytest.raises(ValueError, match="do not fit into 2 bits"):
        pack(torch.tensor(codes), 2)


def test_unpacking_refuses_a_file_of_another_length():
    with pytest.raises(ValueError, match="take 2 bytes, but there are 1"):
        unpack(torch.zeros(1, dtype=torch.uint8), 3, (5,))
