"""Drawings of rounding with repair: which weights are settled, and which have moved; in the style of `drawings`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from utils.drawings import REMOVED, box, canvas
from utils.figures import COLOURS


def repair_step_by_step(steps: np.ndarray, nearest: Sequence[float], *, prices: tuple[float, float]) -> Figure:
    """Draw a row of weights as GPTQ changes it, a line for each step, and below it the row rounded to nearest.

    What is rounded is blue; of the weights still to come, those that moved in the step are green, the others grey.

    Args:
        steps: shape (n + 1, n); line k is the row after k of its weights were rounded, line 0 the row as it was.
        nearest: the row rounded to nearest, n numbers.
        prices: mean squared change of the output, with repair and to nearest.
    """
    steps = np.asarray(steps)
    count = steps.shape[1]
    if steps.shape != (count + 1, count) or len(nearest) != count:
        raise ValueError(f"{count} weights have {count + 1} lines and {count} nearest values, got {steps.shape}")
    wide = 1.5
    figure, axis = canvas(wide * count + 10.5, 1.2 * (count + 2) + 1.4)
    titles = ["as trained", *(f"{k} rounded" for k in range(1, count + 1))]
    for line, row in enumerate([*steps, np.asarray(nearest)]):
        top = 0.5 + 1.2 * line + (0.5 if line > count else 0)
        axis.text(4.6, top + 0.5, titles[line] if line <= count else "to nearest", ha="right", va="center")
        for column, value in enumerate(row):
            moved = 0 < line <= count and not np.isclose(value, steps[line - 1, column])
            settled = column < line
            colour = COLOURS[5] if settled else COLOURS[2] if moved else REMOVED
            box(axis, 5.0 + wide * column, top, wide, 1, f"{value:.3g}", colour)
        if line >= count:
            price = prices[0] if line == count else prices[1]
            axis.text(5.4 + wide * count, top + 0.5, f"price {price:.3g}", ha="left", va="center")
    return figure
