"""Wrong answers to the exercises of notebook 02."""

import torch


def _rows(values, columns, starts, x):
    """The right product, for wrong answers that spoil it."""
    return torch.stack(
        [(values[a:b] * x[columns[a:b]]).sum() for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    )


WRONG_ANSWERS = {
    "02.1": [
        lambda: (20_000, 29_062, 63_750),  # the row starts forgotten
        lambda: (19_933, 29_063, 63_750),  # rounded up: no longer smaller
        lambda: (10_068, 938, 63_750),  # the weights that go, not those that stay
        lambda: (14_949, 29_062, 63_750),  # 32-bit columns
        lambda: (19_932, 29_062, 60_000),  # the positions inside the groups forgotten
        lambda: (19_932, 29_062, 510_000),  # bits, not bytes
        lambda: None,
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
        lambda values, columns, starts, x: _rows(values, columns, starts, torch.ones_like(x)),  # forgets the input
        lambda values, columns, starts, x: _rows(values, columns, starts, x)[:, None],  # another shape
        lambda values, columns, starts, x: torch.cat(
            [_rows(values, columns, starts, x), torch.zeros(1)]
        ),  # one too many
    ],
    "02.3": [
        lambda: {"B"},
        lambda: {"D"},
        lambda: {"A", "B", "D"},
        lambda: {"B", "C", "D"},
        lambda: {"B", "D", "F"},
        lambda: "BD",
        lambda: None,
    ],
}
