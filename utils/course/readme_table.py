"""README's table of results: selected rows of the reference runs, the machines side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from utils.claims import MAIN_DATA_SET
from utils.scoreboard import by_data_set, dense_of, error_of, smallest_file

BEGIN, END = "<!-- table: written by `make reference`, not by hand -->", "<!-- table: end -->"
"""The comments in README.md between which the table stands."""

Row = Mapping[str, object]


@dataclass(frozen=True)
class Selected:
    """A row of README's table: which record, and what was done, in a few words.

    `named` is what README's picture calls it; nothing for a dense network, which has its own name. `choose` takes one
    of several records whose variant begins so; without it the first is taken.
    """

    notebook: str
    technique: str
    model: str
    variant: str
    done: str
    named: str = ""
    choose: Callable[[Sequence[Row]], Row] = field(default=itemgetter(0), repr=False)


SELECTED = tuple(
    Selected(*each)
    for each in (
        ("01", "dense", "LeNet5", "", "dense, float32"),
        (
            "23",
            "trained from scratch",
            "LeNet5",
            "3-12-64",
            "control: 3-12-64 trained from scratch",
            "small from scratch",
        ),
        (
            "12",
            "inference",
            "LeNet5",
            "3-12-64, ONNX Runtime",
            "channels removed, 3-12-64, exported",
            "channels removed",
        ),
        (
            "15",
            "deep compression",
            "LeNet5",
            "",
            "narrowed, pruned, few levels, coded",
            "pruned, shared, coded",
            smallest_file,
        ),
        ("01", "dense", "LeNet300100", "", "dense, float32"),
        ("06", "svd", "LeNet300100", "rank 21, long", "first layer cut to rank 21, trained on", "low rank"),
        ("09", "post-training quantization", "LeNet300100", "ONNX Runtime int8", "int8 after training", "int8"),
        (
            "05",
            "iterative pruning",
            "LeNet300100",
            "2 %",
            "2 % of the weights left, pruned gradually",
            "2 % of the weights",
        ),
    )
)
"""Rows of README's table, at most eight; `variant` is how the record's begins. What never ran is left out."""

NETWORK_NAMES = {
    "LeNet5": "LeNet-5 (20-50-500)",
    "LeNet300100": "LeNet-300-100",
    "NormedMLP": "MLP 784-512-512-512-10",
    "MobileNetV2": "MobileNetV2 (0.35), Keras",
}
"""How README calls a network whose class has another name."""


Run = tuple[Mapping, Sequence[Row]]
"""A reference run: what its first line says, and its rows."""


def render_table(runs: Sequence[Run]) -> str:
    """Return README's table in Markdown, of MNIST: error and file from the first run, every run's clock side by side.

    Raises a ValueError if a notebook of `SELECTED` has records, but not that one.
    """
    clocks = [f"on the clock, {about['class'].split(maxsplit=1)[1].upper()}" for about, _ in runs]
    header = ["network, on MNIST", "what was done", "test error", "file", *clocks, ""]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    records = [by_data_set(row for row in rows if row["kind"] == "record")[MAIN_DATA_SET] for _, rows in runs]
    previous = ""
    for selected in SELECTED:
        row = _selected_row(selected, records[0])
        if row is None:
            continue
        name = "" if row["model"] == previous else NETWORK_NAMES.get(row["model"], row["model"])
        previous = row["model"]
        error = "" if row["accuracy"] is None else f"{100 * error_of(row):.2f} %"
        times = [_clock(find_record(selected, each)) for each in records]
        link = f"[{selected.notebook}](notebooks/{row['notebook']}.ipynb)"
        lines.append("| " + " | ".join([name, selected.done, error, _file(row, records[0]), *times, link]) + " |")
    machines = "; ".join(
        f"{about['class']}: {about['machine']['processor']}, "
        f"{about['machine']['cores'].split()[0]} cores, {about['date']}"
        for about, _ in runs
    )
    lines += [
        "",
        f"Machines: {machines}. Errors and files are of the first. Times with one thread; x is over the float32 "
        "network in eager PyTorch at the same batch size. On 10,000 digits two errors near 1 % that differ by less "
        "than 0.3 points are not told apart. All rows, with the training spent on each, are in "
        "[23 scoreboard](notebooks/23_scoreboard.ipynb), and on the website that `make site` builds.",
    ]
    return "\n".join(lines)


def find_record(selected: Selected, records: Sequence[Row]) -> Row | None:
    """Return the record of some that a row of the table shows, if it is there."""
    found = [
        row
        for row in records
        if (row["technique"], row["model"]) == (selected.technique, selected.model)
        and row["notebook"].startswith(selected.notebook)
        and row["variant"].startswith(selected.variant)
    ]
    return selected.choose(found) if found else None


def _selected_row(selected: Selected, records: Sequence[Row]) -> Row | None:
    """Return the selected row of the first run; only a notebook that did not run at all may lack it."""
    row = find_record(selected, records)
    if row is None and any(other["notebook"].startswith(selected.notebook) for other in records):
        raise ValueError(
            f"notebook {selected.notebook} has no record like {selected}; see SELECTED in utils/course/readme_table.py"
        )
    return row


def _file(row: Row, records: Sequence[Row]) -> str:
    size, dense = row["bytes"], dense_of(row, records)
    if size is None:
        return ""
    smaller = f", {_times(dense['bytes'] / size)} smaller" if dense and dense["bytes"] > 1.1 * size else ""
    return f"{size / 1000:,.{1 if size < 10_000 else 0}f} kB{smaller}"


def _clock(row: Row | None) -> str:
    if row is None:
        return ""
    if row["technique"] == "dense":
        return "" if row["latency_s"] is None else f"{1000 * row['latency_s']:.2f} ms a digit"
    places = {"speedup": "at batch 1", "speedup_64": "at 64", "speedup_256": "at 256"}
    said = [f"{_times(row[name])} {place}" for name, place in places.items() if row.get(name) is not None]
    runtime = " in ONNX Runtime" if said and str(row.get("runtime", "")).lower().startswith("onnx") else ""
    return ", ".join(said) + runtime


def _times(factor: float) -> str:
    return f"{factor:,.{0 if factor >= 10 else 1}f}x"


def put_table(readme: str, rendered: str) -> str:
    """Return the text of README with the table between the two comments replaced.

    Raises a ValueError if the comments do not stand there once each, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(END) < readme.index(BEGIN):
        raise ValueError(f"README.md must hold the lines {BEGIN!r} and {END!r} once each, in this order")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n{rendered}\n\n{END}{rest.split(END)[1]}"
