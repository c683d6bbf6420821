"""The scoreboard: the rows of a run beside each other, what the reference run fills in, and what can be told apart.

A row is a record or a claim, as `utils.claims.read_results` gives it, with one more entry, "source": "this run" or
"reference".
"""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display
from scipy import stats

from utils.checkpoint_files import CHECKPOINTS, COMPRESSED, checkpoint_card
from utils.claims import DATA_SETS, MAIN_DATA_SET
from utils.environment import progress_wanted
from utils.input_validation import require_fraction, require_int, require_number

TEST_DIGITS = 10_000
"""Images of the test split of MNIST, and of Fashion-MNIST: every accuracy of the course is measured on so many."""

VALIDATION_DIGITS = 5_000
"""Images of the validation split of MNIST: what the cards of notebook 15's files were measured on."""

TEXT_SPREAD = 7.0
"""How many characters of Tiny Shakespeare tell as much about an error as one independent character would.

Right and wrong predictions come in runs: a stretch is easy or hard. Notebook 23 measures how much more the errors of
stretches of 5,120 characters vary than those of independent characters would: 6.5 times with the draft network of
notebook 17, 8 times with its transformer, each over 21 stretches.
"""

Row = Mapping[str, object]


def key_of(row: Row) -> tuple[object, ...]:
    """Return what tells a record or a claim from all others.

    >>> key_of({"kind": "claim", "notebook": "01_x", "statement": "it holds", "holds": True})
    ('claim', '01_x', 'it holds')
    """
    names = {"claim": ("statement",), "prediction": ("question",), "record": ("technique", "model", "variant")}
    key = (row["kind"], row["notebook"], *(row[name] for name in names[row["kind"]]))
    return (*key, data_set_of(row)) if row["kind"] == "record" else key


def data_set_of(row: Row) -> str:
    """Return the name of the data set that a record is about: MNIST's if it says nothing."""
    return row.get("data_set", MAIN_DATA_SET)


def by_data_set(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each data set, in their order. An error on one says nothing about an error on another.

    >>> {name: len(found) for name, found in by_data_set([{}, {"data_set": "fashion_mnist"}, {}]).items()}
    {'mnist': 2, 'fashion_mnist': 1}
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(data_set_of(row), []).append(row)
    return found


def is_control(row: Row) -> bool:
    """Tell whether a row is there to be compared with another, and not to be chosen.

    >>> is_control({"family": "fewer bits", "control_of": "2-kB"}), is_control({"family": "random control"})
    (True, True)
    """
    return row.get("family") == "random control" or bool(row.get("control_of"))


def label_of(row: Row) -> str:
    """Return a short name for a chart: notebook, network, and the beginning of the variant or else the technique.

    A variant that only says the network's name again is left out.

    >>> label_of({"notebook": "03_x", "technique": "pruning", "model": "LeNet5", "variant": "3-12-64, exported"})
    '03 LeNet5 3-12-64'
    >>> label_of({"notebook": "17_x", "technique": "language model", "model": "CharacterLSTM", "variant": "LSTM"})
    '17 CharacterLSTM'
    >>> label_of({"notebook": "16_x", "technique": "tiny", "model": "TinyNet", "variant": "at most 5,000, seed 0"})
    '16 TinyNet at most 5,000'
    """
    words = [row["notebook"][:2], row["model"]]
    beginning = row["variant"].split(", ")[0] or row["technique"]
    if beginning.lower() not in row["model"].lower():
        words.append(beginning)
    return " ".join(words)


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
    """Return the share of the test images that were classified wrongly."""
    return 1 - require_fraction("accuracy", row["accuracy"])


def examples_of(row: Row) -> float | None:
    """Return how many independent examples an accuracy was measured on, or None if the row does not say.

    Images are independent; of the characters of a text only one in `TEXT_SPREAD` counts.

    >>> examples_of({"accuracy": 0.99}), examples_of({"data_set": "tiny_shakespeare", "examples": 25_600}) < 4_000
    (10000, True)
    """
    if data_set_of(row) == "tiny_shakespeare":
        return row["examples"] / TEXT_SPREAD if row.get("examples") else None
    return row.get("examples") or TEST_DIGITS


def error_bounds(row: Row, *, among: int = 1) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval of a row's error, or None if it has no error or its examples are unknown.

    It is about the choice of test examples alone, and not about the seed of the training. If the row is the best of
    many, say `among` how many: then the interval is so wide that in 95 % of cases all of theirs cover the truth, and
    with them that of whichever is chosen (Bonferroni).

    >>> [round(bound, 4) for bound in error_bounds({"accuracy": 0.99})]
    [0.0082, 0.0121]
    >>> [round(bound, 4) for bound in error_bounds({"accuracy": 0.99}, among=20)]
    [0.0074, 0.0135]
    """
    count = examples_of(row)
    if row["accuracy"] is None or count is None:
        return None
    sure = 1 - 0.05 / require_int("among", among, minimum=1)
    low, high = interval(row["accuracy"], max(1, round(count)), confidence=sure)
    return 1 - high, 1 - low


def error_at_most(row: Row, *, among: int = 1) -> float:
    """Return the upper end of the interval of a row's error, see `error_bounds`: what we dare to promise of it."""
    bounds = error_bounds(row, among=among)
    return 1.0 if bounds is None else bounds[1]


def validation_error(row: Row) -> float:
    """Return the share of the validation images that a row's shipped files classify wrongly, the mean over its seeds.

    The cards say it: of notebook 15's files, of notebook 16's ladder, and of the dense networks on MNIST. A row without
    such files has 1.0, which no limit allows.

    >>> row = {"technique": "deep compression", "model": "LeNet5", "variant": "2-kB"}
    >>> round(validation_error(row), 4), validation_error({**row, "technique": "svd"})
    (0.0105, 1.0)
    """
    cards = [checkpoint_card(path.stem, folder=path.parent) for path in _cards_of(row)]
    return 1 - statistics.fmean(card["validation_accuracy"] for card in cards) if cards else 1.0


def _cards_of(row: Row) -> list[Path]:
    """Return the cards of the shipped files that a row is about, one for each seed."""
    if data_set_of(row) != MAIN_DATA_SET:
        return []
    if row["technique"] == "deep compression":
        return list(COMPRESSED.glob(f"{row['model']}-{row['variant']}-seed*.json"))
    if row["technique"] == "tiny network" and (found := re.search(r"([\d,]+) parameters, seed (\d+)", row["variant"])):
        return list((CHECKPOINTS / "ladder").glob(f"TinyNet-{found[1].replace(',', '')}-seed{found[2]}.json"))
    return list(CHECKPOINTS.glob(f"{row['model']}.json")) if row["technique"] == "dense" else []


def validation_error_at_most(row: Row) -> float:
    """Return the upper end of the 95 % interval of a row's `validation_error`; 1.0 where there is none.

    >>> row = {"technique": "deep compression", "model": "LeNet5", "variant": "2-kB"}
    >>> round(validation_error_at_most(row), 4), validation_error_at_most({**row, "technique": "svd"})
    (0.0136, 1.0)
    """
    return 1 - interval(1 - validation_error(row), VALIDATION_DIGITS)[0]


def dense_of(row: Row, rows: Iterable[Row]) -> Row | None:
    """Return the dense float32 network of its data set that a row was made of, or None if the rows have none.

    A row with more parameters than the dense network of that class is of another size, not made of it.
    """
    made_of = ("dense", row["model"], data_set_of(row))
    found = [other for other in rows if (other["technique"], other["model"], data_set_of(other)) == made_of]
    known = found and found[-1]["parameters"] is not None and row["parameters"] is not None
    return found[-1] if known and row["parameters"] <= found[-1]["parameters"] else None


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the scoreboard, a line for each record.

    "error, %" and "±" (half of its 95 % interval, see `error_bounds`) are on the test split; "kB" is the file and
    "smaller" how many times smaller it is than the dense network's; "ms" is the median time for one input with one
    thread; "faster" is over the network in eager PyTorch (or Keras) at the batch size that the variant names, 1 if it
    names none; "epochs" is the training spent on the row.
    """
    lines = []
    for row in rows:
        dense, size = dense_of(row, rows), row["bytes"]
        known, latency = row["accuracy"] is not None, row["latency_s"]
        low, high = error_bounds(row) or (math.nan, math.nan)
        lines.append(
            {
                "notebook": row["notebook"][:2],
                "technique": row["technique"],
                "network": row["model"],
                "variant": row["variant"],
                "data": DATA_SETS[data_set_of(row)],
                "error, %": 100 * error_of(row) if known else math.nan,
                "±": 50 * (high - low),
                "kB": size / 1000 if size else math.nan,
                "smaller": dense["bytes"] / size if dense and size else math.nan,
                "ms": 1000 * latency if latency is not None else math.nan,
                "faster": row.get("speedup", math.nan),
                "epochs": row["epochs"],
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


def interval(accuracy: float, count: int = TEST_DIGITS, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval for the true accuracy of a network that classified this share of `count` digits rightly.

    It covers the truth in about `confidence` of cases, also near 0 and 1, where a -+ z sqrt(a (1 - a)/n) fails. SciPy
    computes it; notebook 23 derives it.

    >>> [round(bound, 4) for bound in interval(0.99)]
    [0.9879, 0.9918]
    """
    right = round(require_fraction("accuracy", accuracy) * require_int("count", count, minimum=1))
    low, high = stats.binomtest(right, count).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def told_apart(first: float, second: float, count: int = TEST_DIGITS, *, z: float = 1.96) -> bool:
    """Tell whether two accuracies, each on `count` digits, differ by more than z standard errors of their difference.

    The digits are taken as two independent draws. Two networks that read the same digits agree on most of their
    mistakes, so that their difference is known better than this: the test is careful, it misses rather than invents.

    >>> told_apart(0.9900, 0.9910), told_apart(0.9900, 0.9950)
    (False, True)
    """
    a, b = require_fraction("first", first), require_fraction("second", second)
    variance = (a * (1 - a) + b * (1 - b)) / require_int("count", count, minimum=1)
    return abs(a - b) > z * math.sqrt(variance)


def frontier(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell for each point whether it lies on the Pareto frontier, where less is better in both.

    One point dominates another if it is nowhere worse and somewhere better. Equal points do not dominate each other.

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


def best(
    rows: Iterable[Row],
    value: Callable[[Row], float | None],
    *,
    max_error: float = 1.0,
    error: Callable[[Row], float] = error_of,
) -> Row:
    """Return the row with the least value among those with at most `max_error`, and no control.

    Rows without a value do not count. With `error=error_at_most` the whole interval of the error must be allowed.

    Raises:
        ValueError: no row is left.

    >>> rows = [{"accuracy": 0.9, "bytes": 5}, {"accuracy": 0.99, "bytes": 7}]
    >>> best(rows, lambda row: row["bytes"], max_error=0.02)["bytes"]
    7
    """
    fitting = [row for row in rows if row["accuracy"] is not None and error(row) <= max_error]
    fitting = [row for row in fitting if not is_control(row)]
    fitting = [row for row in fitting if value(row) is not None]
    if not fitting:
        raise ValueError(f"no row has that value and at most {max_error:.2%} errors; allow more, or run more notebooks")
    return min(fitting, key=value)


def smallest_file(rows: Iterable[Row], *, max_error: float = 0.01) -> Row:
    """Return the row with the smallest file of which the validation digits promise at most `max_error`, and no control.

    The upper end of the interval must keep the limit (`validation_error_at_most`). It is what notebook 23 recommends
    and what README's table shows. The test digits have no part in the choice, so that its error on them is not
    flattered.
    """
    return best(rows, lambda row: row["bytes"], max_error=max_error, error=validation_error_at_most)


def slowness(name: str = "speedup") -> Callable[[Row], float | None]:
    """Return the function that gives minus the speed-up of that name: what is least for the fastest."""
    return lambda row: -row[name] if row.get(name) is not None else None


def null_results(rows: Iterable[Row]) -> list[Row]:
    """Return the claims that something brought nothing, each with the reason that its notebook gives."""
    return [row for row in rows if row["kind"] == "claim" and row.get("null_result")]


@dataclass(frozen=True)
class Published:
    """A published point: error in %, size in kB, where we read it; `verified` if that was the authors' own number."""

    method: str
    network: str
    error: float
    kilobytes: float
    source: str
    verified: bool = True


PUBLISHED = (
    Published("Deep Compression, Han 2016", "LeNet-300-100", 1.58, 27, "table 1"),
    Published("Deep Compression, Han 2016", "LeNet-5", 0.74, 44, "table 1"),
    Published("Bayesian Compression, Louizos 2017", "LeNet-5", 1.0, 1722 / 361, "361x of 1,722 kB; authors' tutorial"),
    Published(
        "Bayesian Compression, Louizos 2017", "LeNet-5", 1.0, 1722 / 419, "419x, another prior; the same tutorial"
    ),
    Published("Louizos 2017, shared and coded", "LeNet-5", 1.0, 2.3, "771x; Havasi 2019, table 1", verified=False),
    Published("MIRACLE, Havasi 2019", "LeNet-5", 0.69, 3.03, "table 1"),
    Published("MIRACLE, Havasi 2019", "LeNet-5", 0.96, 1.52, "table 1"),
    Published("Oktay 2020", "LeNet-300-100", 1.9, 8.56, "tutorial of the authors' library"),
    Published("Oktay 2020", "LeNet-5", 1.0, 2.84, "tutorial of the authors' library"),
)
"""Results of others with a size in bytes."""
