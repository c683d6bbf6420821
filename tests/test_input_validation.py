"""What `require_*` lets through, and what it says of anything else."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from utils.input_validation import (
    require_fraction,
    require_int,
    require_int_pair,
    require_module,
    require_number,
    require_parameter,
    require_permanent,
    require_positive,
    require_seed,
    require_tensor,
)


def test_require_int():
    assert type(require_int("epochs", np.int64(3))) is int
    for value in (1.0, "3", None, True):  # True counts as 1 elsewhere, and is a slip here
        with pytest.raises(TypeError, match="epochs must be an integer, got"):
            require_int("epochs", value)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        require_int("epochs", 0, minimum=1)


def test_require_int_pair():
    assert require_int_pair("channels", [10, 20]) == (10, 20)
    for value in (10, "10", (10,), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"channels must be two integers, such as \(10, 20\)"):
            require_int_pair("channels", value)
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        require_int_pair("channels", (5, 0))


def test_require_seed():
    assert require_seed(2**32 - 1) == 2**32 - 1
    for value in (-1, 2**32):
        with pytest.raises(ValueError, match="seed must be"):
            require_seed(value)


def test_require_number():
    assert require_number("n", np.float32(0.5), low=0.0) == 0.5
    for value in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="n must be finite and at least 0, got"):
            require_number("n", value, low=0.0)
    with pytest.raises(TypeError, match="n must be a number, got '1' of type str"):
        require_number("n", "1", low=0.0)


def test_require_positive():
    assert require_positive("bandwidth", 1e-9) == 1e-9
    with pytest.raises(ValueError, match="bandwidth must be above 0"):
        require_positive("bandwidth", 0)


def test_require_fraction():
    assert [require_fraction("sparsity", value) for value in (0, 1)] == [0.0, 1.0]
    for value in (80, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"sparsity must be between 0 and 1, got .*; write 80 % as 0\.8"):
            require_fraction("sparsity", value)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.tensor([1.0, math.nan, math.inf]), ValueError, "holds 2 NaN or infinite values of 3"),
        (torch.empty(0, 3), ValueError, r"weight is empty: its shape is \(0, 3\)"),
        (torch.arange(3), TypeError, "floating-point dtype, got torch.int64"),
        ([1.0, 2.0], TypeError, r"must be a torch\.Tensor, got list"),
    ],
)
def test_require_tensor(value, error, message):
    with pytest.raises(error, match=message):
        require_tensor("weight", value)


def test_require_module():
    with pytest.raises(TypeError, match=r"model is the class Linear, not a network: call it, Linear\(\)"):
        require_module("model", nn.Linear)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        require_module("model", "LeNet5")


def test_require_parameter():
    layer = nn.Linear(4, 3)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"fc\.weight is computed from other parameters"):
        require_parameter("fc.weight", layer.weight)
    prune.remove(layer, "weight")
    assert require_parameter("fc.weight", layer.weight) is layer.weight


def test_require_permanent_tells_what_a_hook_computes():
    for computed in (
        prune.l1_unstructured(nn.Linear(4, 4), "bias", amount=1),
        prune.l1_unstructured(nn.GRU(4, 4), "weight_hh_l0", amount=1),
    ):
        with pytest.raises(ValueError, match=r"^1\.(bias|weight_hh_l0) is computed .* make it permanent first"):
            require_permanent("model", nn.Sequential(nn.ReLU(), computed))
    pruned = prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=1)
    assert require_permanent("model", prune.remove(pruned, "weight")) is pruned
    plain = nn.Linear(4, 4)
    plain.note = torch.zeros(3)  # a tensor that is nobody's parameter
    assert require_permanent("model", plain) is plain
    with pytest.raises(TypeError, match="model is the class Linear"):
        require_permanent("model", nn.Linear)
