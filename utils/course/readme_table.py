"""README's table of results: selected rows of the reference runs, the machines side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utils.claims import MAIN_DATA_SET
from utils.scoreboard import by_data_set, dense_of, error_of

BEGIN, END = "<!-- table: written by `make reference`, not by hand -->", "<!-- table: end -->"
"""The comments in README.md between which the table stands."""

Row = Mapping[str, object]


@dataclass(frozen=True)
class Selected:
    """A row of README's table: which record, and what was done in a few words; `clock` is said before the speed-up."""

    notebook: str
    technique: str
    model: str
    variant: str
    done: str
    clock: str = ""


SELECTED = tuple(
    Selected(*each)
    for each in (
        ("01", "dense", "LeNet5", "", "dense, float32"),
        ("03", "structured pruning", "LeNet5", "3-12-64", "channels removed, 3-12-64, trained on"),
        ("23", "trained from scratch", "LeNet5", "3-12-64", "control: 3-12-64 trained from scratch"),
        ("12", "inference", "LeNet5", "3-12-64, ONNX Runtime", "3-12-64, exported"),
        ("06", "svd", "LeNet5", "conv2 spatial, rank 16", "second convolution split in space, not trained"),
        ("15", "deep compression", "LeNet5", "", "narrowed, pruned, few levels, coded"),
        ("01", "dense", "LeNet300100", "", "dense, float32"),
        (
            "02",
            "unstructured pruning",
            "LeNet300100",
            "90 % global, sparse file and product",
            "10 % of the weights left, one cut, fine-tuned",
        ),
        (
            "02",
            "unstructured pruning",
            "LeNet300100",
            "90 % random control, dense with zeros",
            "control: the same with a random mask",
        ),
        ("05", "iterative pruning", "LeNet300100", "5 %", "5 % of the weights left, pruned gradually"),
        ("05", "iterative pruning", "LeNet300100", "2 %", "2 % of the weights left, pruned gradually"),
        ("03", "structured pruning", "LeNet300100", "80-40", "narrowed to 80-40, trained on"),
        ("23", "trained from scratch", "LeNet300100", "80-40", "control: 80-40 trained from scratch"),
        ("06", "svd", "LeNet300100", "rank 21, long", "first layer cut to rank 21, trained on"),
        ("07", "pca", "LeNet300100", "outputs, not trained", "PCA of the activations, not trained"),
        ("09", "post-training quantization", "LeNet300100", "ONNX Runtime int8", "int8 after training"),
        ("10", "quantization-aware training", "LeNet300100", "ternary, packed", "ternary weights, trained so"),
        (
            "10",
            "quantization-aware training",
            "LeNet300100",
            "ternary, ONNX Runtime",
            "the same, a byte for each weight",
        ),
        ("15", "deep compression", "LeNet300100", "", "narrowed, pruned, few levels, coded"),
        ("01", "dense", "LiteNetCNN", "", "dense, float32"),
        ("10", "quantization-aware training", "LiteNetCNN", "4-bit, packed", "4-bit weights and inputs, trained so"),
        ("10", "quantization-aware training", "LiteNetCNN", "4-bit, ONNX Runtime", "the same, a byte for each weight"),
        ("01", "dense", "SmallResNet", "", "dense, float32"),
        ("09", "post-training quantization", "SmallResNet", "ONNX Runtime float32", "exported"),
        ("09", "post-training quantization", "SmallResNet", "ONNX Runtime int8 static", "int8 after training"),
        ("10", "quantization-aware training", "NormedMLP", "binary", "binary weights, trained so"),
        ("13", "inference", "MobileNetV2", "LiteRT int8, batch 1", "int8 in LiteRT", "over a direct call in Keras"),
        ("11", "data parallel", "LeNet5", "2 workers", "training by two workers of one thread", "an epoch"),
    )
)
"""Rows of README's table; `variant` is how the record's begins. Rows of notebooks that never ran are left out."""

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
        times = [_clock(_find(selected, each), selected.clock) for each in records]
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
        "[23 scoreboard](notebooks/23_scoreboard.ipynb).",
    ]
    return "\n".join(lines)


def _find(selected: Selected, records: Sequence[Row]) -> Row | None:
    for row in records:
        same = (row["technique"], row["model"]) == (selected.technique, selected.model)
        if same and row["notebook"].startswith(selected.notebook) and row["variant"].startswith(selected.variant):
            return row
    return None


def _selected_row(selected: Selected, records: Sequence[Row]) -> Row | None:
    """Return the selected row of the first run; only a notebook that did not run at all may lack it."""
    row = _find(selected, records)
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


def _clock(row: Row | None, what: str) -> str:
    if row is None:
        return ""
    if row["technique"] == "dense":
        return "" if row["latency_s"] is None else f"{1000 * row['latency_s']:.2f} ms a digit"
    places = {"speedup": "at batch 1", "speedup_64": "at 64", "speedup_256": "at 256"}
    said = [f"{_times(row[name])} {what or place}" for name, place in places.items() if row.get(name) is not None]
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
