"""The scoreboard as a page of the site: every record of the reference runs in one table, the machines side by side."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from utils.claims import DATA_SETS
from utils.course.readme_table import NETWORK_NAMES
from utils.reference_runs import newest_first, reference_runs
from utils.scoreboard import data_set_of, error_of, key_of

Row = Mapping[str, object]
Run = tuple[Mapping, Sequence[Row]]

Cell = tuple[str, object]
"""What a cell shows, and what it is sorted by."""

BLANK: Cell = ("", "")


def scoreboard_table(runs: Mapping[str, Run] | None = None) -> str:
    """Return the table as HTML; each cell carries the value that a script sorts and draws by.

    Args:
        runs: reference runs by class of machine, those of the course by default. What does not hang on the clock is
            shown as the newest run has it; a record that it lacks comes from the others.
    """
    runs = reference_runs() if runs is None else runs
    merged: dict[tuple, dict[str, Row]] = {}
    for name, (_, rows) in newest_first(runs).items():
        for row in rows:
            if row["kind"] == "record":
                merged.setdefault(key_of(row), {})[name] = row
    machines = sorted(runs)
    heads = "".join(
        f'<th scope="col" data-column="{column}"{_data(machine=machine)}>{escape(title)}</th>'
        for column, title, machine in _columns(machines)
    )
    lines = [_line(merged[key], machines) for key in sorted(merged, key=lambda key: key[1:])]
    return (
        '<div class="table-wrapper"><table id="rows">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def _columns(machines: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, title, machine or nothing) of each column."""
    for column in ("data set", "network", "technique", "variant", "family"):
        yield column.replace(" ", "-"), column, ""
    yield "error", "test error, %", ""
    yield "size", "file, kB", ""
    for machine in machines:
        yield "time", f"ms an image, {_short(machine)}", machine
    for machine in machines:
        yield "speedup", f"times faster, {_short(machine)}", machine
    yield "epochs", "epochs of training", ""
    yield "notebook", "notebook", ""


def _short(machine: str) -> str:
    """Return what tells a class of machine from others of its architecture, as README's table heads its columns."""
    return machine.split(maxsplit=1)[-1].upper()


def _line(found: Mapping[str, Row], machines: Sequence[str]) -> str:
    row = next(iter(found.values()))
    number = row["notebook"][:2]
    texts = DATA_SETS[data_set_of(row)], NETWORK_NAMES.get(row["model"], row["model"])
    cells: list[Cell] = [(text, text) for text in (*texts, row["technique"], row["variant"], row["family"])]
    cells.append(_number(None if row["accuracy"] is None else 100 * error_of(row), "{:.2f}"))
    cells.append(_number(None if row["bytes"] is None else row["bytes"] / 1000))
    for name in machines:
        latency = found[name]["latency_s"] if name in found else None
        cells.append(_number(None if latency is None else 1000 * latency))
    cells += [_number(found[name].get("speedup") if name in found else None) for name in machines]
    cells.append(_number(row["epochs"]))
    shown = "".join(f"<td{_data(value=value)}>{escape(text)}</td>" for text, value in cells)
    link = f'<td data-value="{number}"><a href="notebooks/{row["notebook"]}.html">{number}</a></td>'
    return f"<tr>{shown}{link}</tr>"


def _number(value: float | None, form: str | None = None) -> Cell:
    """Show a number with three digits, or as `form` says; sort it by its value."""
    if value is None:
        return BLANK
    form = form or ("{:,.0f}" if value >= 100 else "{:.3g}")
    return form.format(value), value


def _data(**values: object) -> str:
    return "".join(f' data-{name}="{escape(str(value))}"' for name, value in values.items() if value != "")
