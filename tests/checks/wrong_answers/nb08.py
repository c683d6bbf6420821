"""Wrong answers to the exercises of notebook 08."""

import torch

from utils import quantization


def _grid(low, high, steps, rounded=round):
    scale = (high - low) / steps
    zero_point = rounded(-low / scale)
    return scale, zero_point, scale * (steps - zero_point)


def _four_terms(x, zero_x, w, zero_w):
    return (x @ w.T, zero_w * x.sum(dim=1, keepdim=True), zero_x * w.sum(dim=1), x.shape[1] * zero_x * zero_w)


def _without_the_last(codes_x, zero_x, codes_w, zero_w):
    product, of_x, of_w, _ = _four_terms(codes_x.int(), zero_x, codes_w.int(), zero_w)
    return (product - of_x - of_w).int()


def _zero_points_swapped(codes_x, zero_x, codes_w, zero_w):
    product, of_x, of_w, constant = _four_terms(codes_x.int(), zero_w, codes_w.int(), zero_x)
    return (product - of_x - of_w + constant).int()


def _once_instead_of_n_times(codes_x, zero_x, codes_w, zero_w):
    product, of_x, of_w, _ = _four_terms(codes_x.int(), zero_x, codes_w.int(), zero_w)
    return (product - of_x - of_w + zero_x * zero_w).int()


def _in_float32(codes_x, zero_x, codes_w, zero_w):
    return (codes_x.float() - zero_x) @ (codes_w.float() - zero_w).T


def _rounded(weights, bits, size, clip=True):
    result = {}
    for name, weight in weights.items():
        groups = quantization.in_groups(weight, min(size, weight.shape[1]))
        choose = (
            quantization.clipped_half_grid
            if clip
            else lambda g, bits: quantization.parameters_for(g, bits=bits, axis=0)
        )
        grid = choose(groups, bits=bits)
        result[name] = quantization.quantize(groups, grid), grid.scale.half(), grid.zero_point
    return result


WRONG_ANSWERS = {
    "08.1": [
        lambda minimum, maximum, bits: _grid(minimum, maximum, 2**bits - 1),  # 0 not included
        lambda minimum, maximum, bits: _grid(min(minimum, 0), max(maximum, 0), 2**bits),  # one step too many
        lambda minimum, maximum, bits: (*_grid(min(minimum, 0), max(maximum, 0), 2**bits - 1)[:2], maximum),
        lambda minimum, maximum, bits: _grid(min(minimum, 0), max(maximum, 0), 2**bits - 1, rounded=int),  # cut off
        lambda minimum, maximum, bits: _grid(min(minimum, 0), max(maximum, 0), 2**bits - 1, rounded=float),
        lambda minimum, maximum, bits: _grid(
            min(minimum, 0), max(maximum, 0), 2**bits - 1, rounded=lambda z: int(z + 1)
        ),
        lambda minimum, maximum, bits: None,
    ],
    "08.2": [
        lambda x, zx, w, zw: (x - zx).int() @ (w.int() - zw).T,  # int8 minus the zero point wraps
        lambda x, zx, w, zw: x.int() @ w.int().T,  # no zero points
        lambda x, zx, w, zw: (x.float() - zx) @ (w.float() - zw).T,  # right values in the wrong type
        lambda x, zx, w, zw: (x @ w.to(torch.int8).T).int(),  # the product itself wraps
        _in_float32,
        lambda x, zx, w, zw: _in_float32(x, zx, w, zw).int(),  # right type, rounded above 2^24
        lambda x, zx, w, zw: (x.double() - zx) @ (w.double() - zw).T,  # right values in the wrong type
        _without_the_last,
        _zero_points_swapped,
        _once_instead_of_n_times,
    ],
    "08.3": [
        lambda weights: _rounded(weights, 2, 784),  # a grid for each row: 3.1 % error
        lambda weights: _rounded(weights, 3, 128),  # 107,055 bytes
        lambda weights: _rounded(weights, 2, 64),  # 2.1 % error
        lambda weights: _rounded(weights, 2, 16),  # scales cost more than they save
        lambda weights: _rounded(weights, 2, 64, clip=False),
        lambda weights: {name: (w, torch.ones(len(w)), torch.zeros(len(w)).int()) for name, w in weights.items()},
        lambda weights: {"fc1": _rounded(weights, 2, 64)["fc1"]},  # a layer forgotten
        lambda weights: {n: (c, s.double(), z) for n, (c, s, z) in _rounded(weights, 2, 128).items()},
        lambda weights: {n: (c, s[:1], z[:1]) for n, (c, s, z) in _rounded(weights, 2, 128).items()},
        lambda weights: {n: (c * 0, s, z) for n, (c, s, z) in _rounded(weights, 2, 128).items()},
        lambda weights: {n: (w.flatten()[: w.numel() // 64 * 64].view(-1, 64).char(),) * 3 for n, w in weights.items()},
    ],
}
