"""The scoreboard: the rows of a run beside each other, what is missing from the reference run, and README's table.

A row is a record of `utils.claims` with one more entry, "source": "this run" or "reference". The reference run is kept
in git as `data/records.jsonl`: a first line about machine, date and notebooks, then records and cited claims, in the
form of a results file. `python -m utils scoreboard` writes it and README's table from the last complete run.
"""

import datetime
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display

from utils.claims import ResultsError, read_results
from utils.course.notebook_runner import code_cells, find_notebooks, fingerprint_of, finished
from utils.environment import environment, progress_wanted
from utils.files import ROOT, replace_file
from utils.input_validation import require_fraction, require_int, require_number

REFERENCE = ROOT / "data" / "records.jsonl"
"""The reference run, from which a run is filled that lacks rows."""

COMMAND = "make run && make scoreboard (or: python -m utils run && python -m utils scoreboard)"
"""What brings the reference run and README's table up to date."""

TEST_DIGITS = 10_000
"""Images of the test split, on which every accuracy of the course is measured."""

BEGIN, END = "<!-- scoreboard: written by `make scoreboard`, not by hand -->", "<!-- scoreboard: end -->"
"""The comments in README.md between which the table stands."""

Row = Mapping[str, object]


def key_of(row: Row) -> tuple[object, ...]:
    """Return what tells a record or a claim from all others.

    >>> key_of({"kind": "claim", "notebook": "01_x", "statement": "it holds", "holds": True})
    ('claim', '01_x', 'it holds')
    """
    names = ("statement",) if row["kind"] == "claim" else ("technique", "model", "variant")
    return (row["kind"], row["notebook"], *(row[name] for name in names))


def read_reference(path: Path = REFERENCE) -> tuple[dict, list[dict]]:
    """Return what the first line of the reference run says about it, and its records and claims.

    Raises:
        ResultsError: the file is missing or damaged; the message names the line and the remedy.
    """
    remedy = f"restore it with `git checkout -- data/{path.name}`, or write it anew: {COMMAND}"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ResultsError(f"the reference run {path.name} cannot be read ({error.strerror}); {remedy}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if (row["kind"] == "run") != (number == 1):
                raise ValueError("the first line, and no other, is about the run")
            if number > 1:
                key_of(row)
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"line {number} of {path.name} is damaged ({error}); {remedy}") from None
        rows.append(row)
    if not rows:
        raise ResultsError(f"{path.name} is empty; {remedy}")
    return rows[0], rows[1:]


def collect(run: Iterable[Row], reference: Iterable[Row]) -> list[dict]:
    """Return the rows of a run, and of the reference those that the run lacks; each says under "source" which it is.

    Args:
        run: records and claims as `claims.read_results` gives them; may be empty.
        reference: the same of the reference run.

    Returns:
        New rows in the order of the notebooks.

    >>> first = {"kind": "claim", "notebook": "01_x", "statement": "a"}
    >>> [row["source"] for row in collect([first], [first, {**first, "statement": "b"}])]
    ['this run', 'reference']
    """
    rows = [{**row, "source": "this run"} for row in run]
    measured = {key_of(row) for row in rows}
    rows += [{**row, "source": "reference"} for row in reference if key_of(row) not in measured]
    return sorted(rows, key=lambda row: row["notebook"])


def missing(rows: Iterable[Row]) -> dict[str, int]:
    """Return how many rows had to come from the reference, for each notebook that would measure them here.

    >>> missing([{"notebook": "01_x", "source": "reference"}, {"notebook": "02_y", "source": "this run"}])
    {'01_x': 1}
    """
    counts: dict[str, int] = {}
    for row in rows:
        if row["source"] == "reference":
            counts[row["notebook"]] = counts.get(row["notebook"], 0) + 1
    return counts


def say_missing(rows: Iterable[Row]) -> str:
    """Say which notebooks to run so that every row is measured here."""
    counts = missing(rows)
    if not counts:
        return "Every row was measured in this run."
    lines = [f"{name}: {count} row{'s' * (count > 1)} from the reference" for name, count in counts.items()]
    return "\n".join([*lines, f"To measure them here: python -m utils run {' '.join(name[:2] for name in counts)}"])


def of_one_machine(rows: Iterable[Row], reference: Iterable[Row]) -> list[Row]:
    """Return rows whose times may stand beside each other: those of this run if it lacks none, else the reference's.

    Times of two machines on one chart would compare the machines. Rows without a time are left out.

    Args:
        rows: from `collect`.
        reference: what was collected from, complete.
    """
    timed = [row for row in rows if row.get("latency_s") is not None]
    return collect([], (row for row in reference if row.get("latency_s") is not None)) if missing(timed) else timed


def error_of(row: Row) -> float:
    """Return the share of the test digits that were read wrongly."""
    return 1 - require_fraction("accuracy", row["accuracy"])


def size_of(row: Row) -> int | None:
    """Return the bytes of the smallest file that the row tells of, or None.

    A network of few bits has two: packed to its bits, and as its runtime wants it.
    """
    sizes = [row[name] for name in ("bytes", "packed_bytes") if row.get(name) is not None]
    return min(sizes) if sizes else None


FAMILIES = {
    "dense": "dense, trained from the start",
    "random pruning": "random control",
    "prune and round to 8 bits": "weights removed",
    "unstructured pruning": "weights removed",
    "iterative pruning": "weights removed",
    "structured pruning": "channels removed",
    "trained from scratch": "small, from scratch",
    "svd": "low rank",
    "pca": "low rank",
    "post-training quantization": "fewer bits",
    "quantization-aware training": "fewer bits",
    "inference": "another runtime",
    "deep compression": "pruned, shared, coded",
    "data parallel": "data parallel",
}
"""What a technique is drawn as."""


def family_of(row: Row) -> str:
    """Return what a row is drawn as; a random control and a network in float32 are none of their technique's.

    >>> family_of({"technique": "unstructured pruning", "variant": "90 % random control"})
    'random control'

    Raises:
        ValueError: the technique has no family; the message says where to add it.
    """
    if "random" in row["variant"]:
        return "random control"
    if row["technique"] == "post-training quantization" and row.get("bits") == 32:
        return "another runtime"
    if row["technique"] not in FAMILIES:
        raise ValueError(f"technique {row['technique']!r} has no family; add one to scoreboard.FAMILIES")
    return FAMILIES[row["technique"]]


# (number of the notebook, part of "technique model variant", epochs, what they were); the first that fits
BUDGETS = (
    ("00", "dense", 30, "its own training"),
    ("00", "", 0, "none"),
    ("01", "LiteNetMLP", 30, "its own training"),
    ("01", "LiteNetCNN", 25, "its own training"),
    ("01", "LeNet300100", 40, "its own training"),
    ("01", "LeNet5", 20, "its own training"),
    ("01", "SmallResNet", 8, "its own training"),
    ("01", "SmallDepthwiseNet", 8, "its own training"),
    ("02", "", 3, "fine-tuned"),
    ("03", "", 30, "fine-tuned, with a teacher"),
    ("04", "", 0.18, "two epochs of 5,000 images"),
    ("05", "5 %", 30, "while pruned, then fine-tuned"),
    ("05", "2 %", 45, "while pruned, then fine-tuned"),
    ("06", "short", 0.73, "two epochs of 20,000 images"),
    ("06", "long", 300, "fine-tuned, with a teacher"),
    ("06", "", 0, "none"),
    ("07", "", 0, "none"),
    ("08", "", 0, "none"),
    ("09", "", 0, "none; calibrated on 256 images"),
    ("10", "LiteNetCNN 4-bit", 6, "through the rounding, with a teacher"),
    ("10", "LiteNetCNN ternary", 15, "through the rounding, with a teacher"),
    ("10", "LiteNetCNN int8", 0.05, "one epoch of 3,000 images"),
    ("10", "LeNet300100 ternary", 25, "through the rounding, with a teacher"),
    ("10", "NormedMLP", 50, "its own training, with a teacher"),
    ("11", "", 0, "timed only"),
    ("12", "3-12-64", 30, "fine-tuned, on labels"),
    ("12", "", 0, "none"),
    ("13", "dense", 18, "its own training"),
    ("13", "", 0, "none"),
    ("14", "", 0.09, "its own training, 5,120 images"),
    ("16", "", 30, "its own training, with a teacher"),
)
"""Training spent on a row, in epochs of 55,000 images: beyond the dense network that it starts from, or its own."""


def budget_of(row: Row) -> tuple[float | None, str]:
    """Return the epochs of training that a row took and what they were; what the record itself says comes first.

    >>> budget_of({"notebook": "02_x", "technique": "unstructured pruning", "model": "LeNet300100", "variant": ""})
    (3, 'fine-tuned')
    """
    if row.get("epochs") is not None:
        return row["epochs"], str(row.get("training", "see the notebook"))
    name = f"{row['technique']} {row['model']} {row['variant']}"
    for number, part, epochs, what in BUDGETS:
        if row["notebook"].startswith(number) and part in name:
            return epochs, what
    return None, "see the notebook"


def dense_of(row: Row, rows: Iterable[Row]) -> Row | None:
    """Return the dense float32 network that a row was made of, or None if there is none among the rows.

    A row with more parameters than the dense network of that class is of another size, not made of it.
    """
    found = [other for other in rows if other["technique"] == "dense" and other["model"] == row["model"]]
    known = found and found[-1]["parameters"] is not None and row["parameters"] is not None
    return found[-1] if known and row["parameters"] <= found[-1]["parameters"] else None


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the scoreboard, a line for each record.

    "error, %" and "±" (half of its 95 % interval) are on the test split; "kB" is the smallest file and "smaller" how
    many times smaller it is than the dense network's; "ms" is the median time for one input with one thread; "faster"
    is over the network in eager PyTorch (or Keras) at the batch size that the variant names, 1 if it names none;
    "epochs" is the training spent on the row.
    """
    lines = []
    for row in rows:
        dense, size = dense_of(row, rows), size_of(row)
        known, latency = row["accuracy"] is not None, row["latency_s"]
        low, high = interval(row["accuracy"]) if known else (math.nan, math.nan)
        lines.append(
            {
                "notebook": row["notebook"][:2],
                "technique": row["technique"],
                "network": row["model"],
                "variant": row["variant"],
                "error, %": 100 * error_of(row) if known else math.nan,
                "±": 50 * (high - low),
                "kB": size / 1000 if size else math.nan,
                "smaller": dense["bytes"] / size if dense and size else math.nan,
                "ms": 1000 * latency if latency is not None else math.nan,
                "faster": row.get("speedup", math.nan),
                "epochs": budget_of(row)[0],
                "from": row["source"],
            }
        )
    return pd.DataFrame(lines)


def show_sortable(board: pd.DataFrame, *, by: str) -> object | None:
    """Show a table with a menu of the columns to sort by; where no person looks on, plain and sorted by `by`.

    The menu is a widget of `ipywidgets`: it works without a network as long as the kernel runs. Outputs that are stored
    or compared hold the plain table instead.

    Returns:
        The widget, or None.

    Raises:
        ValueError: there is no column `by`.
    """
    if by not in board.columns:
        raise ValueError(f"by must be a column of the table, one of {', '.join(board.columns)}; got {by!r}")

    def show(by: str, descending: bool, network: str) -> pd.DataFrame:
        chosen = board if network == "all" else board[board["network"] == network]
        chosen = chosen.sort_values(by, ascending=not descending, kind="stable")
        display(HTML(chosen.to_html(index=False, na_rep="", float_format=_three_digits)))
        return chosen

    if not progress_wanted():
        show(by, False, "all")
        return None
    import ipywidgets

    networks = ["all", *dict.fromkeys(board["network"])] if "network" in board else ["all"]
    menu = {"by": list(board.columns), "descending": False, "network": networks}
    widget = ipywidgets.interactive(show, **menu)
    widget.children[0].value = by
    display(widget)
    return widget


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def interval(accuracy: float, count: int = TEST_DIGITS, *, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval for the true accuracy of a network that read this share of `count` random digits.

    (a + z^2/2n -+ z sqrt(a (1 - a)/n + z^2/4n^2)) / (1 + z^2/n); with z = 1.96 it covers the truth in about 95 % of
    cases, also near 0 and 1, where the interval a -+ z sqrt(a (1 - a)/n) fails.

    Raises:
        TypeError, ValueError: `accuracy` is no fraction, `count` not positive, or `z` negative.

    >>> [round(bound, 4) for bound in interval(0.99)]
    [0.9879, 0.9918]
    """
    a, n, z = require_fraction("accuracy", accuracy), require_int("count", count, minimum=1), _z(z)
    middle = a + z**2 / (2 * n)
    half = z * math.sqrt(a * (1 - a) / n + z**2 / (4 * n**2))
    low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    return max(0.0, min(low, a)), min(1.0, max(high, a))  # rounding must not leave the fraction outside


def told_apart(first: float, second: float, count: int = TEST_DIGITS, *, z: float = 1.96) -> bool:
    """Tell whether two accuracies, each on `count` digits, differ by more than z standard errors of their difference.

    The digits are taken as two independent draws. Two networks that read the same digits agree on most of their
    mistakes, so that their difference is known better than this: the test is careful, it misses rather than invents.

    Raises:
        TypeError, ValueError: see `interval`.

    >>> told_apart(0.9900, 0.9910), told_apart(0.9900, 0.9950)
    (False, True)
    """
    a, b = require_fraction("first", first), require_fraction("second", second)
    variance = (a * (1 - a) + b * (1 - b)) / require_int("count", count, minimum=1)
    return abs(a - b) > _z(z) * math.sqrt(variance)


def frontier(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell for each point whether it lies on the Pareto frontier, where less is better in both.

    One point dominates another if it is nowhere worse and somewhere better. Equal points do not dominate each other.

    Raises:
        TypeError, ValueError: a coordinate is not a finite number.

    >>> frontier([(1, 5), (2, 2), (3, 3), (2, 2)])
    [True, True, False, True]
    """
    checked = [tuple(require_number("a coordinate", v, low=-math.inf) for v in point) for point in points]
    chosen, last = [False] * len(checked), None
    for index in sorted(range(len(checked)), key=checked.__getitem__):  # by the first coordinate, then by the second
        chosen[index] = last is None or checked[index] == last or checked[index][1] < last[1]
        if chosen[index]:
            last = checked[index]
    return chosen


def best(rows: Iterable[Row], value: Callable[[Row], float | None], *, max_error: float = 1.0) -> Row:
    """Return the row with the least value among those with at most `max_error`; rows without a value do not count.

    Raises:
        ValueError: no row is left.

    >>> best([{"accuracy": 0.9, "bytes": 5}, {"accuracy": 0.99, "bytes": 7}], size_of, max_error=0.02)["bytes"]
    7
    """
    fitting = [row for row in rows if row["accuracy"] is not None and error_of(row) <= max_error]
    fitting = [row for row in fitting if value(row) is not None]
    if not fitting:
        raise ValueError(f"no row has that value and at most {max_error:.2%} errors; allow more, or run more notebooks")
    return min(fitting, key=value)


def slowness(name: str = "speedup") -> Callable[[Row], float | None]:
    """Return the function that gives minus the speed-up of that name: what is least for the fastest."""
    return lambda row: -row[name] if row.get(name) is not None else None


def _z(z: float) -> float:
    return require_number("z", z, low=0.0)


@dataclass(frozen=True)
class Published:
    """A published point: error in %, size in kB, where we read it; `verified` is False for what is from memory."""

    method: str
    network: str
    error: float
    kilobytes: float
    source: str
    verified: bool = True


PUBLISHED = (
    Published("Deep Compression, Han 2016", "LeNet-300-100", 1.58, 27, "third-party note"),
    Published("Deep Compression, Han 2016", "LeNet-5", 0.74, 44, "third-party note"),
    Published("Bayesian Compression, Louizos 2017", "LeNet-5", 1.0, 1722 / 361, "361x of 1,722 kB; authors' tutorial"),
    Published("MIRACLE, Havasi 2019", "LeNet-5", 0.69, 3.0, "read off a figure"),
    Published("MIRACLE, Havasi 2019", "LeNet-5", 0.96, 1.5, "read off a figure"),
    Published("Oktay 2020", "LeNet-300-100", 1.9, 8.56, "from memory", verified=False),
)
"""Results of others with a size in bytes."""


@dataclass(frozen=True)
class NullResult:
    """What brought nothing: the notebook, the sentence that it claims, word for word, and why it is so."""

    notebook: str
    statement: str
    why: str


NULL_RESULTS = tuple(
    NullResult(*each)
    for each in (
        (
            "00_start_here",
            "the small network is not faster: less than 1.3 times",
            "Its int8 weights are turned back into float32 before each product: fewer bytes in the file, more to do.",
        ),
        (
            "01_measuring_a_network",
            "the network with nine times fewer parameters is slower, at batch 1 and at batch 64",
            "A convolution uses each of its few parameters at hundreds of places.",
        ),
        (
            "02_unstructured_pruning",
            "after prune.remove it is exactly as large as before pruning",
            "A zero in a plain file takes four bytes like any other number.",
        ),
        (
            "02_unstructured_pruning",
            "at batch 1 neither zeros nor compressed rows make the network 1.5 times faster",
            "A dense product multiplies by zeros; a sparse one pays for positions and calls.",
        ),
        (
            "02_unstructured_pruning",
            "for a weight on the CPU the 2:4 format is refused: it needs CUDA",
            "The pattern pays where the hardware has units for it, and only there.",
        ),
        (
            "03_structured_pruning",
            "with half of the filters zeroed the network is less than 1.25 times as fast",
            "Filters that were only set to zero are computed all the same.",
        ),
        (
            "03_structured_pruning",
            "at a tenth of every width no batch size gets even half of what the count promises, and batch 1 gets least",
            "Calls, ReLU and pooling are not multiply-accumulates and stay.",
        ),
        (
            "04_random_and_norm_pruning",
            "activation and magnitude, over 10 points apart before, are within 1.5 points after",
            "Retraining mends most of what either criterion took: what is left learns what was lost.",
        ),
        (
            "05_iterative_pruning",
            "at 90 % ten rounds gain nothing over one cut: under half a point",
            "At 90 % one cut still leaves enough; patience pays at 98 %.",
        ),
        (
            "05_iterative_pruning",
            "with dense kernels 98 % zeros are not faster: less than 1.3 times",
            "As in notebook 02: nobody tells the kernel.",
        ),
        (
            "06_svd_compression",
            "split at full rank, the layer has a file over a third larger",
            "At full rank two factors hold more numbers than their product.",
        ),
        (
            "06_svd_compression",
            "one digit at a time, the whole LeNet300100 at rank 21 gains less than 2.5 times",
            "The first layer's weights are ten times fewer; one more call and the other layers remain.",
        ),
        (
            "07_pca_compression",
            "a null result: with the picking it is under 1.15 times as fast",
            "Picking the pixels that matter takes as long as multiplying those that do not.",
        ),
        (
            "07_pca_compression",
            "folded into one layer, 40 components save nothing",
            "One layer of rank 40 is as large as one of full rank; only as a pair is it smaller.",
        ),
        (
            "08_quantization_from_scratch",
            "at batch 64 the integers are slower than float32",
            "Speed is a property of a kernel: PyTorch's integer product on the CPU is not a fast one.",
        ),
        (
            "09_post_training_quantization",
            "SmallResNet's file shrinks less than LeNet300100's: 2.8 to 3.5 times",
            "Scales, zero points and names do not shrink; the smaller the layers, the more they count.",
        ),
        (
            "12_inference_efficiency",
            "optimizing this graph changed its time by less than half: a null result",
            "Four layers leave little to fuse; the gain came from leaving Python.",
        ),
        (
            "12_inference_efficiency",
            "8.4 times fewer multiply-accumulates are less than 7 times faster",
            "The depthwise step does two operations a byte: it waits for memory.",
        ),
        (
            "12_inference_efficiency",
            "compiling pays back after a thousand calls at the earliest",
            "Compiling takes seconds, a call saves microseconds.",
        ),
        (
            "13_keras_mobilenet_inference",
            ".keras ignores the option: less than 1 kB of difference",
            "The format stores the optimizer whatever it is told.",
        ),
        (
            "13_keras_mobilenet_inference",
            "the network from the small file is not faster, not by a quarter",
            "Left out was what training needs; an answer never used it.",
        ),
        (
            "14_keras_data_parallelism",
            "two replicas do not finish an epoch in half the time",
            "Two logical devices of one processor share its cores, and copies cost.",
        ),
        (
            "15_deep_compression",
            "LeNet5: with and without a teacher differ by less than 0.1 points",
            "Convolutions and shifted images leave the teacher little to add.",
        ),
        (
            "15_deep_compression",
            "full matrices gain nothing by their zeros: less than 1.3 times faster with 2 % of the weights",
            "Zeros in a full matrix are multiplied like any other number.",
        ),
    )
)
"""What did not get smaller, faster or better, each a claim of its notebook."""


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
        ("16", "trained from scratch", "LeNet5", "3-12-64", "control: 3-12-64 trained from scratch"),
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
        ("16", "trained from scratch", "LeNet300100", "80-40", "control: 80-40 trained from scratch"),
        ("06", "svd", "LeNet300100", "rank 21, long", "first layer cut to rank 21, trained on"),
        ("07", "pca", "LeNet300100", "outputs, not trained", "PCA of the activations, not trained"),
        ("09", "post-training quantization", "LeNet300100", "ONNX Runtime int8", "int8 after training"),
        ("10", "quantization-aware training", "LeNet300100", "ternary", "ternary weights, trained so"),
        ("15", "deep compression", "LeNet300100", "", "narrowed, pruned, few levels, coded"),
        ("01", "dense", "LiteNetCNN", "", "dense, float32"),
        ("10", "quantization-aware training", "LiteNetCNN", "4-bit", "4-bit weights and inputs, trained so"),
        ("01", "dense", "SmallResNet", "", "dense, float32"),
        ("09", "post-training quantization", "SmallResNet", "ONNX Runtime float32", "exported"),
        ("09", "post-training quantization", "SmallResNet", "ONNX Runtime int8 static", "int8 after training"),
        ("10", "quantization-aware training", "NormedMLP", "binary", "binary weights, trained so"),
        ("13", "inference", "MobileNetV2", "LiteRT int8, batch 1", "int8 in LiteRT", "over a direct call in Keras"),
        ("11", "data parallel", "LeNet5", "2 workers", "training by two workers of one thread", "an epoch"),
    )
)
"""Rows of README's table; `variant` is how the record's begins. Rows of notebooks that never ran are left out."""

NAMES = {
    "LeNet5": "LeNet-5 (20-50-500)",
    "LeNet300100": "LeNet-300-100",
    "NormedMLP": "MLP 784-512-512-512-10",
    "MobileNetV2": "MobileNetV2 (0.35), Keras",
}
"""How README calls a network whose class has another name."""


def render_table(about: Mapping, rows: Sequence[Row]) -> str:
    """Return README's table in Markdown, from the reference run.

    Raises:
        ValueError: a notebook of `SELECTED` has rows, but not that one.
    """
    lines = ["| network, on MNIST | what was done | test error | file | on the clock | |", "|---|---|---|---|---|---|"]
    records, previous = [row for row in rows if row["kind"] == "record"], ""
    for selected in SELECTED:
        row = _selected_row(selected, records)
        if row is None:
            continue
        name = "" if row["model"] == previous else NAMES.get(row["model"], row["model"])
        previous = row["model"]
        error = "" if row["accuracy"] is None else f"{100 * error_of(row):.2f} %"
        link = f"[{selected.notebook}](notebooks/{row['notebook']}.ipynb)"
        cells = (name, selected.done, error, _file(row, records), _clock(row, selected.clock), link)
        lines.append("| " + " | ".join(cells) + " |")
    machine = about["machine"]
    vector = " with AVX-512" if "avx512f" in machine["instruction_sets"] else ""
    lines += [
        "",
        f"Measured on {about['date']}: {machine['processor']}{vector}, {machine['cores'].split()[0]} cores, times with "
        "one thread; x is over the float32 network in eager PyTorch at the same batch size. On 10,000 digits two "
        "errors near 1 % that differ by less than 0.3 points are not told apart. Rows of 5 % and 2 % are means of "
        "three seeds. All rows, with the training spent on each, are in "
        "[16 scoreboard](notebooks/16_scoreboard.ipynb).",
    ]
    return "\n".join(lines)


def _selected_row(selected: Selected, records: Sequence[Row]) -> Row | None:
    there = [row for row in records if row["notebook"].startswith(selected.notebook)]
    for row in there:
        same = (row["technique"], row["model"]) == (selected.technique, selected.model)
        if same and row["variant"].startswith(selected.variant):
            return row
    if there:
        raise ValueError(f"notebook {selected.notebook} has no record like {selected}; mend scoreboard.SELECTED")
    return None


def _file(row: Row, records: Sequence[Row]) -> str:
    size, dense = size_of(row), dense_of(row, records)
    if size is None:
        return ""
    smaller = f", {_times(dense['bytes'] / size)} smaller" if dense and dense["bytes"] > 1.1 * size else ""
    return f"{size / 1000:,.{1 if size < 10_000 else 0}f} kB{smaller}"


def _clock(row: Row, what: str) -> str:
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

    Raises:
        ValueError: the comments do not stand there once each, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(END) < readme.index(BEGIN):
        raise ValueError(f"README.md must hold the lines {BEGIN!r} and {END!r} once each, in this order")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n{rendered}\n\n{END}{rest.split(END)[1]}"


def digest_of(path: Path) -> str:
    """Return a digest of the code cells of a notebook; its prose and its outputs may change without changing it."""
    return hashlib.sha256(json.dumps(code_cells(path)).encode()).hexdigest()[:16]


def changed_notebooks(about: Mapping, paths: Sequence[Path] | None = None) -> list[str]:
    """Return the notebooks whose code is not that of the reference run, those that came or went included."""
    now = {path.stem: digest_of(path) for path in (find_notebooks() if paths is None else paths)}
    then = about["notebooks"]
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))


def unfit_notebooks(output: Path) -> list[str]:
    """Return the notebooks whose last run into `output`, if there was one, cannot be the reference."""
    found = {path.stem: fingerprint_of(path, {}, results=output / "results") for path in find_notebooks()}
    return [name for name, fingerprint in found.items() if not finished(output, name, fingerprint)]


def reference_lines(results: Path, notebooks: Sequence[Path], *, date: str) -> list[dict]:
    """Return the lines of the reference run: about it, then the records and the cited claims of a folder of results."""
    cited = {("claim", each.notebook, each.statement) for each in NULL_RESULTS}
    rows = [row for row in read_results(results) if row["kind"] == "record" or key_of(row) in cited]
    digests = {path.stem: digest_of(path) for path in notebooks}
    return [{"kind": "run", "date": date, "machine": environment(), "notebooks": digests}, *rows]


def write_scoreboard(output: Path, *, reference: Path = REFERENCE, readme: Path = ROOT / "README.md") -> str:
    """Make the last complete run the reference run, and put its table into README; return what was done.

    Raises:
        ValueError: a notebook was not run, failed, or was changed since, or no longer claims what `NULL_RESULTS`
            cites; all of them are named, nothing is written.
        ResultsError: a results file is damaged.
    """
    if unfit := unfit_notebooks(output):
        raise ValueError(
            "the reference run must be complete; nothing was written. Not run, failed, changed since, or run with "
            f"other parameters: {', '.join(unfit)}. First: make run"
        )
    lines = reference_lines(output / "results", find_notebooks(), date=datetime.date.today().isoformat())
    claimed = {key_of(line) for line in lines if line["kind"] == "claim"}
    if gone := [each for each in NULL_RESULTS if ("claim", each.notebook, each.statement) not in claimed]:
        named = "\n".join(f"  {each.notebook}: {each.statement}" for each in gone)
        raise ValueError(f"scoreboard.NULL_RESULTS cites what is no longer claimed; nothing was written\n{named}")
    text = put_table(readme.read_text(encoding="utf-8"), render_table(lines[0], lines[1:]))
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    replace_file(reference, content.encode())
    replace_file(readme, text.encode())
    return (
        f"{reference.name}: {len(lines) - 1} rows of {len(lines[0]['notebooks'])} notebooks; README's table is theirs"
    )
