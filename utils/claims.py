"""Claims and records: what a notebook stands for, shown, checked, kept in a file, and read back.

`build/results/NN_slug.jsonl` holds one JSON object a line:
`{"kind": "claim", "notebook", "statement", "holds", "measured": {...}}`, with `"machine": true` if it is about this
machine; `{"kind": "prediction", "notebook", "question", "guess", "measured"}`; or
`{"kind": "record", "notebook", "technique", "model", "variant", "family", "accuracy", "parameters", "macs", "bytes",
"latency_s", "epochs", "training", ...}`, with `"data_set"` behind the variant if that is not MNIST.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path

from utils.environment import side_by_side
from utils.files import RESULTS_VARIABLE, replace_file, results_folder
from utils.input_validation import require_fraction, require_int, require_number
from utils.reference_runs import measured_elsewhere

UNITS = {
    "accuracy": "a fraction of the test split",
    "parameters": "a count",
    "macs": "a count for one input",
    "bytes": "of a file on disk",
    "latency_s": "a median in seconds, one thread, batch 1",
    "epochs": "of 55,000 images, beyond the network that it starts from",
}
"""The columns that every record has; a value that was not measured is None."""

FAMILIES = (
    "dense, trained from the start",
    "random control",
    "weights removed",
    "channels removed",
    "small, from scratch",
    "low rank",
    "fewer bits",
    "another runtime",
    "pruned, shared, coded",
    "data parallel",
)
"""What a record can be drawn as on the scoreboard's charts."""

DATA_SETS = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "imagenet": "ImageNet",
    "tiny_shakespeare": "Tiny Shakespeare",
    "own": "data of your own",
}
"""What a record can be about, and how a reader knows it. Each has a chart of its own on the scoreboard."""

MAIN_DATA_SET = "mnist"
"""The data set of a record that names none."""

EXAMPLE = "in this example "
"""How a claim begins that is about the network which a template comes with, and about no other."""

EXAMPLE_WAY_OUT = (
    ". It was written for the template's own network: with another one, change its sentence and its condition to what "
    "you can stand for, or delete it, and run this cell again; the cells above need not run again"
)

SHOWN_AT_MOST = 6
"""Values that a claim's line shows; the report has them all."""

_lines: dict[str, list[dict]] = {}
_notebook = ""


class ClaimError(AssertionError):
    """A claim does not hold; the message gives the statement and the measured values."""


class ResultsError(RuntimeError):
    """A results file cannot be read or written; the message says which and what to do."""


def begin(notebook: str) -> None:
    """Say which notebook's claims and records follow; what an earlier run of it left is forgotten.

    Outside of a notebook that began, claims are checked and printed but kept nowhere. Raises a ValueError if the name
    is not of the form NN_slug.
    """
    global _notebook
    if not (isinstance(notebook, str) and re.fullmatch(r"[0-9]{2}_[A-Za-z0-9_]+", notebook)):
        raise ValueError(f'notebook must be the name of a notebook such as "02_unstructured_pruning", got {notebook!r}')
    _notebook = notebook
    _lines[notebook] = []
    _write(notebook)


# --- claims -----------------------------------------------------------------------------------------------------------


def claim(
    statement: str, holds: bool, *, unit: str | Mapping[str, str] = "", null_result: str = "", **measured: float
) -> None:
    """Print `statement` with a tick and what was measured, or raise if it does not hold; keep it either way.

    For what is true on every machine; nbval compares the sentence and not the bracket behind it.

    Args:
        statement: a sentence that could be false.
        holds: a bool, or a NumPy or zero-dimensional torch bool.
        unit: of the values, for all of them or by name; see `format_measured`.
        null_result: if the sentence says that something brought nothing, the reason; the scoreboard cites it.
        measured: the values it rests on, at least one, by name.

    Raises `ClaimError` if it does not hold, and a TypeError if there is nothing measured or `holds` is no bool.

    >>> claim("two and two are four", 2 + 2 == 4, total=2 + 2)
    ✓ two and two are four  [total 4]
    >>> claim("half of it is gone", True, unit="%", left=0.5)
    ✓ half of it is gone  [left 50 %]
    """
    row = _claim_row(statement, holds, measured, unit, null_result)
    keep(row, ("kind", "statement"))
    if not row["holds"]:
        way_out = EXAMPLE_WAY_OUT if statement.startswith(EXAMPLE) else ""
        shown = _shown(measured, unit, at_most=len(measured))
        raise ClaimError(f"does not hold: {statement}. Measured: {shown}{way_out}")
    print(f"✓ {statement}  [{_shown(measured, unit)}]")


def claim_about_this_machine(
    statement: str,
    measure: Callable[[], Mapping[str, float]] | Mapping[str, float],
    holds: Callable[[Mapping[str, float]], bool],
    *,
    unit: str | Mapping[str, str] = "",
    null_result: str = "",
    tries: int = 3,
) -> Mapping[str, float]:
    """Make a claim about the clock, the cache or the instruction set, which never stops a notebook.

    Where it does not hold, the line says so, with what was measured here and on the reference machines. It is measured
    again if it fails, up to `tries` times, since a machine may be busy; only once where notebooks run side by side and
    disturb each other's clocks.

    Args:
        statement, unit, null_result: as in `claim`.
        measure: times everything that is compared, in one go, and returns the values by name. For a further claim about
            what was measured already, those values themselves: then there is one try.
        holds: tells from those values whether the claim holds.
        tries: how often to measure at most.

    Returns the values of the last try, and under "tries" how many it took. Raises a TypeError if `measure` returns no
    values by name.

    >>> values = claim_about_this_machine("b is larger", lambda: {"a": 1.0, "b": 2.0}, lambda m: m["a"] < m["b"])
    ⏱ ✓ b is larger  [a 1, b 2]
    >>> _ = claim_about_this_machine("three times as large", values, lambda m: m["b"] > 3 * m["a"])
    ⏱ ✗ not on this machine: three times as large  [a 1, b 2]
    """
    measured: Mapping[str, float] = {}
    held = False
    tries = require_int("tries", tries, minimum=1)
    for attempt in range(1, (tries if callable(measure) and not side_by_side() else 1) + 1):
        values = measure() if callable(measure) else measure
        if not isinstance(values, Mapping) or not values:
            raise TypeError(f'measure must return at least one value by name, such as {{"ratio": 2.0}}, got {values!r}')
        measured = {**values, "tries": values.get("tries", attempt)}
        held = _as_bool(holds({name: value for name, value in values.items() if name != "tries"}))
        if held:
            break
    row = _claim_row(statement, held, measured, unit, null_result) | {"machine": True}
    keep(row, ("kind", "statement"))
    here = _shown(measured, unit)
    if row["holds"]:
        print(f"⏱ ✓ {statement}  [{here}]")
    else:
        elsewhere = [f"{name}: {_shown(m, unit)}" for name, m in measured_elsewhere(_notebook, statement).items()]
        print(f"⏱ ✗ not on this machine: {statement}  [{'; '.join([here, *elsewhere])}]")
    return measured


def _claim_row(
    statement: str, holds: bool, measured: Mapping[str, float], unit: str | Mapping[str, str], null_result: str
) -> dict:
    if not isinstance(statement, str):
        raise TypeError(f"statement must be a sentence, got {statement!r} of type {type(statement).__name__}")
    if not measured:
        raise TypeError(f"claim({statement!r}) needs at least one measured value, such as drop=0.003")
    if isinstance(unit, Mapping) and (unknown := unit.keys() - measured.keys()):
        raise TypeError(f"claim({statement!r}) has a unit for {', '.join(sorted(unknown))}, which it does not measure")
    values = {name: _plain(name, value) for name, value in measured.items()}
    row = {"kind": "claim", "statement": statement, "holds": _as_bool(holds), "measured": values}
    if unit:
        row["unit"] = unit if isinstance(unit, str) else dict(unit)
    return row | ({"null_result": null_result} if null_result else {})


# --- records ----------------------------------------------------------------------------------------------------------


def record(
    technique: str,
    model: str,
    *,
    family: str = "",
    epochs: float | None = None,
    training: str = "",
    variant: str = "",
    data_set: str = MAIN_DATA_SET,
    accuracy: float | None = None,
    parameters: int | None = None,
    macs: int | None = None,
    bytes: int | None = None,
    latency_s: float | None = None,
    **extras: float,
) -> None:
    """Keep one row for the scoreboard; a later one of the same technique, model, variant and data set replaces it.

    One row is one file: its bytes and its latency belong together.

    Args:
        technique: "dense", "unstructured pruning", "svd", ...
        model: the class of the network.
        family: what it is drawn as, one of `FAMILIES`.
        epochs: training spent on it, in epochs of 55,000 images (of data of your own: of its whole training split),
            beyond the network that it starts from; 0 for none.
        training: what those epochs were, in a few words.
        variant: tells rows of one technique and model apart, for instance "90 % by magnitude".
        data_set: what the network is made for and was measured on, one of `DATA_SETS`.
        accuracy, parameters, macs, bytes, latency_s: see `UNITS`.
        extras: named further values, such as `speedup` (over the dense float32 eager model in the same cell),
            `sparsity`, `bits`, `rank`.

    Raises a TypeError or ValueError that says what to write: a family or epochs missing, an unknown data set, a value
    out of range.
    """
    row = {"kind": "record", "technique": technique, "model": model, "variant": variant}
    for name, value in row.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, got {value!r} of type {type(value).__name__}")
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(map(repr, FAMILIES))} (utils.claims), got {family!r}")
    if data_set not in DATA_SETS:
        raise ValueError(f"data_set must be one of {', '.join(map(repr, DATA_SETS))} (utils.claims), got {data_set!r}")
    if epochs is None:
        raise TypeError("epochs must say how much training the row took, in epochs of 55,000 images; 0 for none")
    if taken := {"kind", "notebook"} & extras.keys():
        raise TypeError(f"{', '.join(sorted(taken))} cannot be the name of an extra value: every row has it already")
    if data_set != MAIN_DATA_SET:
        row["data_set"] = data_set
    row["family"] = family
    row["accuracy"] = None if accuracy is None else require_fraction("accuracy", as_scalar(accuracy))
    for name, value in {"parameters": parameters, "macs": macs, "bytes": bytes}.items():
        row[name] = None if value is None else require_int(name, as_scalar(value))
    row["latency_s"] = None if latency_s is None else require_number("latency_s", as_scalar(latency_s), low=0.0)
    row["epochs"] = require_number("epochs", as_scalar(epochs), low=0.0)
    row["training"] = training or ("none" if epochs == 0 else "see the notebook")
    row |= {name: _plain(name, value) for name, value in extras.items()}
    keep(row, ("kind", "technique", "model", "variant", "data_set"))


# --- results: kept and read back --------------------------------------------------------------------------------------


def read_results(folder: str | Path | None = None) -> list[dict]:
    """Read every claim, prediction and record of a folder, notebook by notebook in their order.

    Raises `ResultsError`, which names the line, if a file is not of the format.
    """
    rows = []
    for path in sorted(Path(folder or results_folder()).glob("[0-9][0-9]_*.jsonl")):
        # as bytes: a text's splitlines would also cut a statement at U+2028
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
                if row["kind"] not in ("claim", "prediction", "record") or row["notebook"] != path.stem:
                    raise ValueError("it is no claim, prediction or record of that notebook")
            except (ValueError, KeyError, TypeError) as error:
                raise ResultsError(
                    f"line {number} of {path.name} is damaged ({error}); delete the file and run the notebook again"
                ) from None
            rows.append(row)
    return rows


_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def format_measured(value: bool | float | str, unit: str = "") -> str:
    """Write a measured value for a reader, rounded, with its unit.

    "%" shows a fraction in per cent, "x" a factor, "B" a count of bytes; "s", "ms" and "us" say what the value is in,
    and show what reads best; any other unit stands behind the number.

    >>> format_measured(0.98712, "%"), format_measured(2.3099, "x"), format_measured(203530, "B")
    ('98.71 %', '2.31x', '203,530 B')
    >>> format_measured(0.00018, "s"), format_measured(0.32, "points"), format_measured(1 / 3)
    ('180 µs', '0.32 points', '0.333')
    """
    if isinstance(value, bool | str):
        return str(value)
    if unit in _SECONDS:
        seconds = value * _SECONDS[unit]
        scale, name = next((s for s in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if abs(seconds) >= s[0]), (1e-9, "ns"))
        return f"{seconds / scale:.3g} {name}"
    if unit == "%":
        return f"{100 * value:.4g} %"
    if unit == "x":
        return f"{_rounded(value)}x"
    return f"{_rounded(value)} {unit}".rstrip()


def unit_of(name: str, unit: str | Mapping[str, str] = "") -> str:
    """Return the unit of a measured value: the one given, or else what its name says.

    >>> unit_of("speedup"), unit_of("saved_bytes"), unit_of("drop", {"drop": "points"})
    ('x', 'B', 'points')
    """
    if name == "tries":
        return ""
    given = unit if isinstance(unit, str) else unit.get(name, "")
    if given:
        return given
    if name in ("accuracy", "sparsity"):
        return "%"
    if name.startswith("speedup") or name == "ratio":
        return "x"
    ending = name.rsplit("_", 1)[-1] if "_" in name else ""
    return {"bytes": "B", "s": "s", "ms": "ms", "us": "us", "kb": "kB", "mb": "MB"}.get(ending, "")


def _rounded(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"


def _shown(measured: Mapping[str, float], unit: str | Mapping[str, str], *, at_most: int = SHOWN_AT_MOST) -> str:
    """Return the measured values for a claim's line; "tries" only if there was more than one."""
    values = {name: _plain(name, value) for name, value in measured.items()}
    tries = values.pop("tries", 1)
    shown = [f"{name.replace('_', ' ')} {format_measured(v, unit_of(name, unit))}" for name, v in values.items()]
    more = [f"{len(shown) - at_most} more in the report"] if len(shown) > at_most else []
    return ", ".join([*shown[:at_most], *more, *([f"{tries} tries"] if tries != 1 else [])])


def keep(row: dict, key: tuple[str, ...]) -> None:
    """Keep a row of the notebook that began; it replaces an earlier row with the same values under `key`."""
    if not _notebook:
        return
    row = {"kind": row["kind"], "notebook": _notebook, **row}
    lines = _lines[_notebook]
    same = [i for i, other in enumerate(lines) if all(other.get(k) == row.get(k) for k in key)]
    if same:
        lines[same[0]] = row
    else:
        lines.append(row)
    _write(_notebook)


def _write(notebook: str) -> None:
    folder = results_folder()
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _lines[notebook])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{notebook}.jsonl", content.encode())
    except OSError as error:
        raise ResultsError(
            f"cannot write the results of {notebook} to {folder.name}/ ({error.strerror}); free some space, make it "
            f"writable, or name another folder in {RESULTS_VARIABLE}"
        ) from error


def as_scalar(value: object) -> object:
    """Turn a NumPy scalar or a zero-dimensional tensor into the Python value it holds; leave anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _as_bool(value: object) -> bool:
    """Turn a Python, NumPy or zero-dimensional torch bool into a bool; anything else would pass by being truthy."""
    value = as_scalar(value)
    if not isinstance(value, bool):
        raise TypeError(f"holds must be a bool, got {value!r} of type {type(value).__name__}")
    return value


def _plain(name: str, value: object) -> bool | int | float | str:
    """Turn a measured value into what JSON holds; NaN and infinity become text, which JSON has no number for."""
    value = as_scalar(value)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else str(float(value))
    raise TypeError(f"{name} must be a number, text or bool, got {type(value).__name__}")
