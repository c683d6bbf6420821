"""How fast this processor has been seen to compute and to move bytes: routines that make the roof of a roofline plot.

One routine measures the library that computes it as much as the processor. On x86 PyTorch leaves float32 products to
MKL and most convolutions to oneDNN, and the two need not use the same instructions. So either part of the roof is the
best of several routines.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from utils.files import ROOT
from utils.timing import compare

SIDE = 384
"""Rows and columns of the matrices of the products. Larger ones are no faster, and calls of several milliseconds seldom
escape a busy machine."""

CHANNELS, KERNEL, PIXELS = 32, 5, 64
"""Channels in and out, side of the kernel and side of the image of the convolution."""

HELD_TO_AVX2 = {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""The switches of MKL, oneDNN and PyTorch; each is read once, when a process first computes."""


@dataclass(frozen=True)
class Yardstick:
    """A call that does `flops` floating-point operations, two for each multiply-accumulate, and little else."""

    call: Callable[[], torch.Tensor]
    flops: int


@dataclass(frozen=True)
class Reading:
    """A call that moves `nbytes`, what it reads and what it writes together, and computes next to nothing."""

    call: Callable[[], object]
    nbytes: int


def yardsticks() -> dict[str, Yardstick]:
    """Return three large routines: a product as PyTorch computes it, the same by oneDNN, and a convolution.

    >>> {name: f"{each.flops:,}" for name, each in yardsticks().items()}
    {'product': '113,246,208', 'product by oneDNN': '113,246,208', 'convolution': '209,715,200'}
    """
    square, other = torch.rand(2, SIDE, SIDE)
    layer = nn.Linear(SIDE, SIDE, bias=False)
    layer.weight.data = other.T.contiguous()
    convolution = nn.Conv2d(CHANNELS, CHANNELS, KERNEL, padding=KERNEL // 2, bias=False)
    image = torch.rand(1, CHANNELS, PIXELS, PIXELS)
    of_a_product = 2 * SIDE**3
    return {
        "product": Yardstick(lambda: square @ other, of_a_product),
        "product by oneDNN": Yardstick(linear_by_onednn(layer, square), of_a_product),
        "convolution": Yardstick(functools.partial(convolution, image), 2 * convolution.weight.numel() * PIXELS**2),
    }


def readings(rows: int, columns: int) -> dict[str, Reading]:
    """Return four ways to go through a float32 matrix once: its sum, a copy, and its product with a vector, twice.

    The copy writes one half of the rows over the other, so that it touches as many bytes as the rest. The product is
    computed by PyTorch and by oneDNN. The bytes are the matrix's; the vectors, which are short, are not counted.
    `rows` is even.

    >>> {name: f"{each.nbytes:,}" for name, each in readings(400, 500).items()}
    {'sum': '800,000', 'copy': '800,000', 'times a vector': '800,000', 'times a vector, oneDNN': '800,000'}
    """
    matrix, vector = torch.rand(rows, columns), torch.rand(columns)
    source, target = torch.rand(rows, columns).chunk(2)
    layer = nn.Linear(columns, rows, bias=False)
    layer.weight.data = matrix
    calls = {
        "sum": matrix.sum,
        "copy": functools.partial(target.copy_, source),
        "times a vector": functools.partial(torch.mv, matrix, vector),
        "times a vector, oneDNN": linear_by_onednn(layer, vector[None]),
    }
    return {name: Reading(call, matrix.nbytes) for name, call in calls.items()}


def linear_by_onednn(
    layer: nn.Linear, inputs: torch.Tensor, *, convert_inside: bool = False
) -> Callable[[], torch.Tensor]:
    """Return a call that computes `layer(inputs)` by oneDNN; what it reads is handed over to oneDNN beforehand.

    With `convert_inside` only the weights are, and the call converts the inputs and its result, as between other layers
    of PyTorch. Where PyTorch was built without oneDNN the call is the layer's own.

    >>> layer, inputs = nn.Linear(3, 2), torch.ones(4, 3)
    >>> torch.allclose(linear_by_onednn(layer, inputs)().to_dense(), layer(inputs), atol=1e-6)
    True
    """
    if not torch.backends.mkldnn.is_available():
        return functools.partial(layer, inputs)
    weight = layer.weight.detach().to_mkldnn()
    bias = None if layer.bias is None else layer.bias.detach().to_mkldnn()
    if convert_inside:
        return lambda: F.linear(inputs.to_mkldnn(), weight, bias).to_dense()
    return functools.partial(F.linear, inputs.to_mkldnn(), weight, bias)


def rates(*, repeats: int = 15) -> dict[str, float]:
    """Time the yardsticks in turn, with one thread; return FLOP per second of each, from its fastest sample.

    The fastest and not the median, since this is a limit: whatever disturbs a machine only slows it.
    """
    routines = yardsticks()
    with torch.inference_mode():
        times = compare({name: each.call for name, each in routines.items()}, repeats=repeats)
    return {name: each.flops / min(times[name].samples) for name, each in routines.items()}


def rates_held_to_avx2(*, repeats: int = 15) -> dict[str, float]:
    """Return `rates` of a process of its own, in which neither library may use instructions beyond AVX2.

    On processors that have no AVX2, such as ARM's, the switches change nothing.
    """
    code = f"import json; from utils import roofline; print('\\n' + json.dumps(roofline.rates(repeats={repeats})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | HELD_TO_AVX2,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
