"""Wrong answers to the exercises of notebook 02."""

import torch

from utils import pruning


def _break_even(rows, columns, value_bytes, *, starts=1, index_bytes=2, places=4, strictly=1, per_byte=8):
    """The right answer, for wrong answers that spoil one part of it."""
    weights = rows * columns
    dense = weights * value_bytes
    return (
        (dense - 4 * (rows + 1) * starts - strictly) // (value_bytes + index_bytes),
        (dense - -(-weights // per_byte) - strictly) // value_bytes,
        -(-(weights // 4 * (16 * value_bytes + places)) // 8),
    )


def _rows(values, columns, starts, x):
    """The right product, for wrong answers that spoil it."""
    return torch.stack(
        [(values[a:b] * x[columns[a:b]]).sum() for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    )


def _filled(values, columns, starts, x):
    """The matrix with its zeros."""
    matrix = torch.zeros(len(starts) - 1, len(x))
    for row, (a, b) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        matrix[row, columns[a:b]] = values[a:b]
    return matrix


def _zeros_written(network):
    """Prunes the network that it gets, and returns masks that keep all."""
    pruning.apply_masks(network, pruning.global_magnitude_masks(network, 0.95))
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in pruning.prunable(network).items()}


PLAN = {"conv1.weight": 0.52, "conv2.weight": 0.81, "fc1.weight": 0.96, "fc2.weight": 0.91}
"""What the scan of the notebook suggests, rounded."""

LAMP = {"conv1.weight": 0.13, "conv2.weight": 0.73, "fc1.weight": 0.9712, "fc2.weight": 0.45}
"""The shares that LAMP gives, rounded."""

SMALL_CONVOLUTIONS = {"conv1.weight": 0.6, "conv2.weight": 0.75, "fc1.weight": 0.97, "fc2.weight": 0.5}

WRONG_ANSWERS = {
    "02.1": [
        lambda *case: _break_even(*case, starts=0),  # the row starts forgotten
        lambda *case: _break_even(*case, strictly=0),  # as large, which is not smaller
        lambda *case: _break_even(*case, index_bytes=4),  # 32-bit columns
        lambda *case: _break_even(*case, places=0),  # the places inside the groups forgotten
        lambda *case: _break_even(*case, per_byte=1),  # a byte for each bit of the bitmap
        lambda rows, columns, value_bytes: _break_even(rows - 1, columns, value_bytes),  # a row too few
        lambda rows, columns, value_bytes: _break_even(rows, columns, 4),  # float32 whatever is asked
        lambda rows, columns, value_bytes: tuple(
            rows * columns - kept for kept in _break_even(rows, columns, value_bytes)
        ),  # the weights that go, not those that stay
        lambda *case: (19_932, 29_062, 63_750),  # one layer's answer for all
        lambda *case: None,
    ],
    "02.2": [
        # takes the input of the row's number, not of the column
        lambda values, columns, starts, x: torch.stack(
            [
                (values[a:b] * x[min(row, len(x) - 1)]).sum()
                for row, (a, b) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
            ]
        ),
        # leaves the empty rows out
        lambda values, columns, starts, x: torch.stack(
            [
                (values[a:b] * x[columns[a:b]]).sum()
                for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
                if b > a
            ]
            or [torch.tensor(0.0)]
        ),
        # forgets the last value of each row
        lambda values, columns, starts, x: torch.stack(
            [
                (values[a : max(a, b - 1)] * x[columns[a : max(a, b - 1)]]).sum()
                for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
            ]
        ),
        lambda values, columns, starts, x: _filled(values, columns, starts, x) @ x,  # a dense product
        # dense, a row at a time
        lambda values, columns, starts, x: torch.stack(
            [(row * x).sum() for row in _filled(values, columns, starts, x)]
        ),
        lambda values, columns, starts, x: _rows(values, columns, starts, torch.ones_like(x)),  # forgets the input
        lambda values, columns, starts, x: _rows(values, columns, starts, x)[:, None],  # another shape
        lambda values, columns, starts, x: torch.cat(
            [_rows(values, columns, starts, x), torch.zeros(1)]
        ),  # one too many
    ],
    "02.3": [
        lambda network: pruning.layerwise_magnitude_masks(network, 0.95),  # the same in every layer
        lambda network: pruning.global_magnitude_masks(network, 0.95),  # one threshold
        lambda network: pruning.global_magnitude_masks(network, 0.9),  # good enough, with too few zeros
        lambda network: pruning.layerwise_magnitude_masks(network, PLAN),  # the scan as it comes
        lambda network: pruning.layerwise_magnitude_masks(network, LAMP),  # accurate, with too many MACs
        lambda network: pruning.layerwise_magnitude_masks(network, SMALL_CONVOLUTIONS),  # MACs met, too many errors
        lambda network: pruning.layerwise_magnitude_masks(network, {"fc1.weight": 1.0}),  # three layers without a mask
        lambda network: {
            name: mask.float() for name, mask in pruning.global_magnitude_masks(network, 0.95).items()
        },  # numbers in place of a mask
        lambda network: {
            name: ~mask for name, mask in pruning.global_magnitude_masks(network, 0.05).items()
        },  # keeps the smallest
        _zeros_written,
        lambda network: {"fc1.weight": 0.95},  # sparsities in place of masks
        lambda network: network.no_such_layer,
    ],
}
