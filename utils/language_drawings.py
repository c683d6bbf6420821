"""Drawings of a transformer: its block, who looks at whom, prefill and decode; in the style of `drawings`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from utils.drawings import REMOVED, arrow, box, canvas, matrix
from utils.figures import COLOURS, new


def transformer_block(width: int, hidden: int, heads: int) -> Figure:
    """Draw one pre-norm block: two branches that add to the sum that runs through, with their matrices' sizes."""
    figure, axis = canvas(30, 15.2)
    for top, name in ((4.6, "x"), (12.4, "")):
        axis.plot([1.0, 28.2], [top, top], color="0.3", marker="", linewidth=1.5)
        arrow(axis, (28.2, top), (29.4, top))
        axis.text(0.8, top, name, ha="right", va="center")
        box(axis, 25.6, top - 0.7, 1.4, 1.4, "+", "white")
    axis.plot([29.4, 29.4, 0.3, 0.3, 1.0], [4.6, 6.9, 6.9, 12.4, 12.4], color="0.3", marker="", linewidth=1.5)

    def branch(base: float, parts: Sequence[tuple[float, float, str, str]]) -> None:
        middle = base - 2.6
        axis.plot([1.8, 1.8], [base, middle], color="0.3", marker="", linewidth=1)
        ends = [1.8]
        for left, wide, text, colour in parts:
            arrow(axis, (ends[-1], middle), (left, middle))
            box(axis, left, middle - 1.5, wide, 3.0, text, colour)
            ends.append(left + wide)
        axis.plot([ends[-1], 26.3], [middle, middle], color="0.3", marker="", linewidth=1)
        arrow(axis, (26.3, middle), (26.3, base - 0.7))

    square, wide = f"{width} × {width}", f"{hidden} × {width}"
    branch(
        4.6,
        (
            (2.8, 3.2, "norm", REMOVED),
            (7.2, 5.2, f"query, key,\nvalue\n3 × {square}", COLOURS[5]),
            (13.6, 5.2, f"attention,\n{heads} heads\nof {width // heads}", COLOURS[4]),
            (20.0, 4.6, f"output\n{square}", COLOURS[5]),
        ),
    )
    branch(
        12.4,
        (
            (2.8, 3.2, "norm", REMOVED),
            (7.2, 5.2, f"gate, up\n2 × {wide}", COLOURS[5]),
            (13.6, 5.2, "silu(gate) · up", COLOURS[2]),
            (20.0, 4.6, f"down\n{width} × {hidden}", COLOURS[5]),
        ),
    )
    axis.text(15.0, 14.6, "blue: matrices that are learned; orange: the only place where characters meet", ha="center")
    return figure


def who_looks_at_whom(characters: str, weights: np.ndarray) -> Figure:
    """Draw the weights of causal attention: a row for the character that looks, a column for each that is looked at.

    Args:
        characters: of the text.
        weights: shape (characters, characters); what lies ahead is grey.
    """
    count = len(characters)
    weights = np.asarray(weights)
    if weights.shape != (count, count):
        raise ValueError(f"{count} characters have weights of shape ({count}, {count}), got {weights.shape}")
    figure, axis = canvas(count + 7, count + 1.6)
    texts = [[f"{value:.2f}" for value in row] for row in weights]
    matrix(axis, weights, left=4.0, top=1.3, kept=np.tri(count, dtype=bool), texts=texts)
    for place, character in enumerate(characters):
        axis.text(4.5 + place, 1.1, character, ha="center", va="bottom", weight="bold")
        axis.text(3.7, 1.8 + place, character, ha="right", va="center", weight="bold")
    axis.text(4.0 + count / 2, 0.1, "is looked at", ha="center", va="top")
    axis.text(3.0, 1.3 + count / 2, "looks", ha="right", va="center")
    axis.text(4.3 + count, 1.3 + count / 2, "rows add up to 1;\ngrey lies ahead", ha="left", va="center")
    return figure


def attention_pictures(characters: str, weights: np.ndarray, titles: Sequence[str]) -> Figure:
    """Show the attention of some heads on one text, dark where a character looks; a row for each that looks.

    Args:
        characters: of the text.
        weights: shape (heads, characters, characters).
        titles: one for each head.
    """
    weights = np.asarray(weights)
    figure, axes = new(columns=len(titles), height=2.6)
    shown = [character if character != "\n" else "¶" for character in characters]
    for axis, head, title in zip(axes[0], weights, titles, strict=True):
        axis.imshow(head, cmap="Blues", vmin=0, vmax=1)
        axis.set(xticks=range(len(shown)), yticks=range(len(shown)), title=title)
        axis.set_xticklabels(shown, fontsize=6)
        axis.set_yticklabels(shown, fontsize=6)
        axis.tick_params(length=0)
        axis.grid(visible=False)
    axes[0, 0].set_ylabel("the character that looks")
    return figure


def prefill_and_decode(held: int) -> Figure:
    """Draw what a pass computes: all rows of the triangle at once (prefill), or one more row below it (decode).

    Args:
        held: characters of the prompt, a few.
    """
    figure, axis = canvas(2 * held + 12, held + 3.2)
    for left, title, rows in ((0.5, "prefill: all rows at once", held), (held + 6.5, "decode: one row", held + 1)):
        axis.text(left, 0.9, title, ha="left", va="bottom")
        for row in range(rows):
            for column in range(row + 1):
                new_row = row == held or left < 1
                new_column = column == held or left < 1
                box(axis, left + column, 1.2 + row, 1, 1, "", COLOURS[4] if new_row else REMOVED)
                if new_row and new_column and row == column:
                    axis.text(left + column + 0.5, 1.7 + row, "k v", ha="center", va="center", fontsize=7)
    axis.text(
        2 * held + 8.0, 1.7 + held, "keys and values of\nthe others: the cache", ha="left", va="center", fontsize=8
    )
    return figure
