"""Wrong answers to the exercises of notebook 08."""

import torch


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


WRONG_ANSWERS = {
    "08.1": [
        lambda minimum, maximum, bits: _grid(minimum, maximum, 2**bits - 1),  # 0 not included
        lambda minimum, maximum, bits: _grid(min(minimum, 0), max(maximum, 0), 2**bits),  # one step too many
        lambda minimum, maximum, bits: (*_grid(min(minimum, 0), max(maximum, 0), 2**bits - 1)[:2], maximum),
        lambda minimum, maximum, bits: _grid(min(minimum, 0), max(maximum, 0), 2**bits - 1, rounded=int),  # cut off
        lambda minimum, maximum, bits: _grid(min(minimum, 0), max(maximum, 0), 2**bits - 1, rounded=float),
        lambda minimum, maximum, bits: None,
    ],
    "08.2": [
        lambda x, zx, w, zw: (x - zx).int() @ (w.int() - zw).T,  # int8 minus the zero point wraps
        lambda x, zx, w, zw: x.int() @ w.int().T,  # no zero points
        lambda x, zx, w, zw: (x.float() - zx) @ (w.float() - zw).T,  # right values in the wrong type
        lambda x, zx, w, zw: (x @ w.to(torch.int8).T).int(),  # the product itself wraps
        _without_the_last,
        _zero_points_swapped,
        _once_instead_of_n_times,
    ],
    "08.3": [
        lambda: {"A"},
        lambda: {"A", "C"},
        lambda: {"A", "B", "C", "E"},
        lambda: {"A", "C", "D", "E"},
        lambda: "ACE",
        lambda: None,
    ],
}
