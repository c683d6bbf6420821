"""Drawings of faster generation: slots, pages and their tables, a round of speculative decoding, points by seed."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from utils.drawings import REMOVED, arrow, box, canvas
from utils.figures import COLOURS, new


def slots_as_gantt(schedules: Mapping[str, Sequence[tuple[int, int, int]]], slots: int) -> Figure:
    """Draw which text has which slot, step by step: a panel for each schedule, a row for each slot.

    Args:
        schedules: by name, for each text in the order in which they begin: the step before which it gets a slot, the
            steps that it takes, and the step after which the slot is free. What lies between is grey: computed in vain.
        slots: how many.
    """
    figure, axes = new(rows=len(schedules), height=0.8 * len(schedules) + 0.32 * slots * len(schedules))
    last = max(end for texts in schedules.values() for *_, end in texts)
    for axis, (name, texts) in zip(axes[:, 0], schedules.items(), strict=True):
        free = [0] * slots
        for number, (start, steps, end) in enumerate(texts):
            slot = next(each for each in range(slots) if free[each] <= start)
            free[slot] = end
            colour = COLOURS[5] if number % 2 == 0 else COLOURS[4]
            axis.add_patch(Rectangle((start, slot - 0.4), steps, 0.8, facecolor=colour, edgecolor="0.3"))
            idle = Rectangle((start + steps, slot - 0.4), end - start - steps, 0.8, facecolor=REMOVED, edgecolor="0.3")
            axis.add_patch(idle)
            if steps > last / 50:  # else there is no room for it
                axis.text(start + steps / 2, slot, f"{number + 1}", ha="center", va="center", fontsize=7)
        axis.set(title=name, xlim=(0, 1.02 * last), ylim=(slots - 0.5, -0.5), ylabel="slot")
        axis.set_yticks(range(slots), [f"{slot + 1}" for slot in range(slots)])
        axis.grid(visible=False, axis="y")
    axes[-1, 0].set_xlabel("decoding step")
    return figure


def pages_and_tables(tables: Mapping[str, Sequence[int]], lengths: Mapping[str, int], pages: int, page: int) -> Figure:
    """Draw a pool of pages and the tables of texts that point into it; shared pages have two arrows.

    Args:
        tables: by the name of a text, the numbers of its pages in the order of the text.
        lengths: by the same names, characters.
        pages: of the pool.
        page: characters of a page.
    """
    wide = max(2.0 * pages, 9.0 * len(tables))
    figure, axis = canvas(wide + 1, 9.6)
    uses = [sum(number in table for table in tables.values()) for number in range(pages)]
    for number, count in enumerate(uses):
        colour = ("white", COLOURS[5], COLOURS[4])[min(count, 2)]
        box(axis, 0.5 + 2.0 * number, 6.6, 1.9, 1.9, f"{number}", colour)
    axis.text(0.5, 9.1, "the pool: white is free, blue has one text, orange two", ha="left", va="center")
    for place, (name, table) in enumerate(tables.items()):
        left = 0.5 + place * wide / len(tables)
        axis.text(left, 0.7, f"{name}: {lengths[name]} characters", ha="left", va="center")
        for index, number in enumerate(table):
            box(axis, left + 1.7 * index, 1.3, 1.6, 1.5, f"{number}", REMOVED)
            arrow(axis, (left + 1.7 * index + 0.8, 2.8), (1.45 + 2.0 * number, 6.6))
    axis.text(wide + 0.5, 9.1, f"a page holds {page} characters", ha="right", va="center", fontsize=7)
    return figure


def round_of_speculation(text: str, drafted: str, accepted: int, own: str) -> Figure:
    """Draw a round: what was there, what the draft wrote ahead, what of it was accepted, and the network's own.

    Args:
        text: the end of what was there.
        drafted: characters.
        accepted: how many of them.
        own: the network's character behind them.
    """
    shown = [character if character not in "\n " else "␣¶"[character == "\n"] for character in text + drafted]
    figure, axis = canvas(len(shown) + 12, 7.6)
    for place, character in enumerate(shown):
        ahead = place - len(text)
        colour = "white" if ahead < 0 else COLOURS[5]
        box(axis, 8.0 + place, 0.8, 1, 1.2, character, colour)
        if ahead < 0:
            box(axis, 8.0 + place, 5.4, 1, 1.2, character, "white")
        elif ahead <= accepted:
            kept = ahead < accepted
            last = own if own not in "\n " else "␣¶"[own == "\n"]
            box(axis, 8.0 + place, 5.4, 1, 1.2, character if kept else last, COLOURS[2] if kept else COLOURS[4])
    if accepted == len(drafted):
        box(axis, 8.0 + len(shown), 5.4, 1, 1.2, own if own not in "\n " else "␣¶"[own == "\n"], COLOURS[4])
    box(axis, 8.0 + len(text) - 1, 2.7, len(drafted) + 1, 1.6, "one pass", REMOVED)
    for row, name in ((1.4, "drafted"), (6.0, "written")):
        axis.text(7.6, row, name, ha="right", va="center")
    axis.text(8.0 + len(shown) + 1.4, 6.0, "green: accepted\norange: its own", ha="left", va="center", fontsize=7)
    return figure


def points_by_seed(
    found: Mapping[str, Sequence[float]], *, label: str, reference: tuple[str, float] | None = None
) -> Figure:
    """Draw what each seed gave as a point, a column for each name with its mean as a bar across.

    Args:
        found: by name, a value for each seed; they stand side by side in their order.
        label: of the y axis, with the unit.
        reference: name and height of a dashed line.
    """
    figure, axes = new()
    axis = axes[0, 0]
    for column, values in enumerate(found.values()):
        places = [column + 0.08 * (seed - (len(values) - 1) / 2) for seed in range(len(values))]
        (points,) = axis.plot(places, values, linestyle="")
        mean = sum(values) / len(values)
        axis.hlines(mean, column - 0.3, column + 0.3, color=points.get_color(), linewidth=1)
    if reference is not None:
        axis.axhline(reference[1], color="0.3", linestyle="--", marker="", label=reference[0])
        axis.legend()
    axis.set_xticks(range(len(found)), list(found))
    axis.set(ylabel=label, xlim=(-0.5, len(found) - 0.5))
    axis.grid(visible=False, axis="x")
    return figure
