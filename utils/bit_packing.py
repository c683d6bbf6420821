"""Codes of 1 to 8 bits, packed one behind the other into bytes."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from utils.accounting import packed_bytes


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack codes of `bits` bits one behind the other into bytes, the lowest bit first; uint8, ceil(d b / 8) long.

    Args:
        codes: integers, unsigned from 0 to 2^b - 1 or signed from -2^(b-1) to 2^(b-1) - 1 (in two's complement).
        bits: from 1 to 8.

    >>> pack(torch.tensor([1, 0, 3, 2]), 2)  # 10 11 00 01, read from the right
    tensor([177], dtype=torch.uint8)
    """
    flat = codes.flatten().cpu().numpy()
    low = flat.min(initial=0)
    high = flat.max(initial=0)
    if low < -(2 ** (bits - 1)) or high >= 2**bits or (low < 0 and high >= 2 ** (bits - 1)):
        raise ValueError(f"codes from {low} to {high} do not fit into {bits} bits")
    flat = flat.astype(np.int16)  # only now: before, a large code would have wrapped around
    ones = (flat[:, None] >> np.arange(bits, dtype=np.int16)) & 1  # (codes, bits)
    return torch.from_numpy(np.packbits(ones.astype(np.uint8), bitorder="little"))


def unpack(packed: torch.Tensor, bits: int, shape: Sequence[int], *, signed: bool = True) -> torch.Tensor:
    """Return the codes that `pack` packed, int8 if `signed` else uint8.

    >>> unpack(torch.tensor([177], dtype=torch.uint8), 2, (2, 2), signed=False)
    tensor([[1, 0],
            [3, 2]], dtype=torch.uint8)
    """
    count = math.prod(shape)
    if packed.numel() != packed_bytes(count, bits):
        raise ValueError(
            f"{count} codes of {bits} bits take {packed_bytes(count, bits)} bytes, but there are {packed.numel()}"
        )
    ones = np.unpackbits(packed.cpu().numpy(), count=count * bits, bitorder="little").reshape(count, bits)
    codes = torch.from_numpy(ones @ (1 << np.arange(bits)))  # (codes,)
    if signed:
        codes = torch.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes)
    return codes.to(torch.int8 if signed else torch.uint8).view(*shape)
