"""Drawings of pruning a transformer: a matrix while it is pruned, the branches that are left; as in `drawings`."""

from collections.abc import Collection

import numpy as np
from matplotlib.figure import Figure

from utils.drawings import REMOVED, arrow, box, canvas
from utils.figures import COLOURS


def half_way(mask: np.ndarray, *, passed: int, columns: int) -> Figure:
    """Draw a matrix while SparseGPT goes through it: what is settled, the columns in hand, and those still to come.

    Args:
        mask: bool, shape (m, n); True stays. What it says of the columns to come is not drawn.
        passed: columns that are settled.
        columns: that are chosen from together, next.
    """
    mask = np.asarray(mask)
    rows, width = mask.shape
    if not 0 <= passed < width:
        raise ValueError(f"passed must be from 0 to {width - 1}, one column at least to come, got {passed}")
    figure, axis = canvas(width + 2, rows + 3.4)
    end = min(passed + columns, width)
    for row in range(rows):
        for column in range(width):
            if column < passed:
                colour, text = (COLOURS[5], "") if mask[row, column] else (REMOVED, "0")
            elif column < end:
                colour, text = (COLOURS[4], "") if mask[row, column] else (REMOVED, "×")
            else:
                colour, text = COLOURS[2], ""
            box(axis, 1 + column, 1.4 + row, 1, 1, text, colour)
    for left, right, text in ((0, passed, "settled"), (passed, end, "chosen now"), (end, width, "may still move")):
        if right > left:
            axis.text(1 + (left + right) / 2, 1.1, text, ha="center", va="bottom")
    if end < width:
        arrow(axis, (1 + (passed + end) / 2, rows + 2.2), (1 + (end + width) / 2, rows + 2.2))
        axis.text(1 + (passed + width) / 2, rows + 2.9, "what removing costs is handed on", ha="center", va="center")
    return figure


def branches_left(blocks: int, gone: Collection[tuple[int, str]]) -> Figure:
    """Draw a transformer as the sum that runs through it, with a box for each branch; those that are gone are grey.

    Args:
        blocks: of the whole network.
        gone: (block, "attention") or (block, "feed_forward"), blocks counted from 0.
    """
    figure, axis = canvas(5.4 * blocks + 3, 5.4)
    arrow(axis, (0.4, 4.4), (5.4 * blocks + 2.6, 4.4))
    for number in range(blocks):
        left = 1 + 5.4 * number
        axis.text(left + 2.5, 0.5, f"block {number}", ha="center", va="center")
        for offset, branch, text, colour in (
            (0.0, "attention", "atten-\ntion", COLOURS[4]),
            (2.6, "feed_forward", "feed-\nforward", COLOURS[5]),
        ):
            absent = (number, branch) in gone
            box(axis, left + offset, 1.2, 2.4, 2.0, "" if absent else text, REMOVED if absent else colour)
            if not absent:
                arrow(axis, (left + offset + 1.2, 3.2), (left + offset + 1.2, 4.3))
    axis.text(0.4, 5.0, "the sum between the branches", ha="left", va="center")
    return figure
