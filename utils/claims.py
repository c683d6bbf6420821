"""Claims and records: the numbers a notebook stands for, checked, kept in a file per notebook, and read back.

`build/results/NN_slug.jsonl` holds one JSON object a line:
`{"kind": "claim", "notebook", "statement", "holds", "measured": {...}}`, with `"machine": true` if it is about time, or
`{"kind": "record", "notebook", "technique", "model", "variant", "accuracy", "parameters", "macs", "bytes",
"latency_s", ...}`.
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

UNITS = {
    "accuracy": "a fraction of the test split",
    "parameters": "a count",
    "macs": "a count for one input",
    "bytes": "of a file on disk",
    "latency_s": "a median in seconds, one thread, batch 1",
}
"""The columns that every record has; a value that was not measured is None."""

_lines: dict[str, list[dict]] = {}
_current: list[str] = []


class ClaimError(AssertionError):
    """A claim does not hold; the message gives the statement and the measured values."""


class ResultsError(RuntimeError):
    """A results file cannot be read or written; the message says which and what to do."""


def begin(notebook: str) -> None:
    """Say which notebook's claims and records follow; what an earlier run of it left is forgotten.

    Outside of a notebook that began, claims are checked and printed but kept nowhere.

    Raises:
        ValueError: the name is not of the form NN_slug.
    """
    if not (isinstance(notebook, str) and re.fullmatch(r"[0-9]{2}_[A-Za-z0-9_]+", notebook)):
        raise ValueError(f'notebook must be the name of a notebook such as "02_unstructured_pruning", got {notebook!r}')
    _current[:] = [notebook]
    _lines[notebook] = []
    _write(notebook)


def claim(statement: str, holds: bool, **measured: float) -> None:
    """Print `statement` with a tick if it holds, else raise; keep it with the measured values either way.

    Only the statement is printed, so that the output of the cell is the same on every machine.

    Args:
        statement: a sentence that could be false.
        holds: a bool, or a NumPy or zero-dimensional torch bool.
        measured: the values it rests on, at least one, by name.

    Raises:
        ClaimError: it does not hold.
        TypeError: `statement` is not text, `holds` not a bool, or a measured value not a number, text or bool; or
            there is none.

    >>> claim("two and two are four", 2 + 2 == 4, total=2 + 2)
    ✓ two and two are four
    """
    _claim(statement, holds, measured, about_time=False)


def _claim(statement: str, holds: bool, measured: Mapping[str, float], about_time: bool) -> None:
    if not isinstance(statement, str):
        raise TypeError(f"statement must be a sentence, got {statement!r} of type {type(statement).__name__}")
    if not measured:
        raise TypeError(f"claim({statement!r}) needs at least one measured value, such as drop=0.003")
    holds, values = _as_bool(holds), {name: _plain(name, value) for name, value in measured.items()}
    row = {"kind": "claim", "statement": statement, "holds": holds, "measured": values}
    _keep(row | {"machine": True} if about_time else row, ("kind", "statement"))
    if holds:
        print(f"✓ {statement}")
        return
    shown = ", ".join(f"{name} = {format_measured(value)}" for name, value in values.items())
    if not about_time:
        raise ClaimError(f"does not hold: {statement}. Measured: {shown}")
    print(f"✗ not on this machine: {statement}")


def claim_about_time(
    statement: str,
    measure: Callable[[], Mapping[str, float]] | Mapping[str, float],
    holds: Callable[[Mapping[str, float]], bool],
    *,
    tries: int = 3,
) -> Mapping[str, float]:
    """Make a claim about measured times: it holds on some machines and not on others, and never stops a notebook.

    Measured again if it fails, up to `tries` times: a machine may be busy. Where notebooks run side by side (see
    `environment.side_by_side`) nothing can be said about time, and it is measured once.

    Args:
        statement: as in `claim`.
        measure: times everything that is compared, in one go, and returns the values by name. For a further claim about
            what was measured already, those values themselves: then there is one try.
        holds: tells from those values whether the claim holds.
        tries: how often to measure at most.

    Returns:
        The measured values of the last try, and under "tries" how many it took.

    Raises:
        TypeError: `measure` returns no values by name, or `holds` no bool.

    >>> values = claim_about_time("b is larger", lambda: {"a": 1.0, "b": 2.0}, lambda m: m["a"] < m["b"])
    ✓ b is larger
    >>> _ = claim_about_time("three times as large", values, lambda m: m["b"] > 3 * m["a"])
    ✗ not on this machine: three times as large
    """
    measured: Mapping[str, float] = {}
    tries = require_int("tries", tries, minimum=1)
    for attempt in range(1, (tries if callable(measure) and not side_by_side() else 1) + 1):
        values = measure() if callable(measure) else measure
        if not isinstance(values, Mapping) or not values:
            raise TypeError(f'measure must return at least one value by name, such as {{"ratio": 2.0}}, got {values!r}')
        measured = {**values, "tries": values.get("tries", attempt)}
        if _as_bool(holds(measured)):
            break
    _claim(statement, holds(measured), measured, about_time=True)
    return measured


def record(
    technique: str,
    model: str,
    *,
    variant: str = "",
    accuracy: float | None = None,
    parameters: int | None = None,
    macs: int | None = None,
    bytes: int | None = None,
    latency_s: float | None = None,
    **extras: float,
) -> None:
    """Keep one row for the scoreboard; a later row of the same technique, model and variant replaces it.

    Args:
        technique: "dense", "unstructured pruning", "svd", ...
        model: the class of the network.
        variant: tells rows of one technique and model apart, for instance "90 % by magnitude".
        accuracy, parameters, macs, bytes, latency_s: see `UNITS`.
        extras: named further values, such as `speedup` (over the dense float32 eager model in the same cell),
            `sparsity`, `bits`, `rank`.

    Raises:
        TypeError, ValueError: an accuracy outside [0, 1], a negative, infinite or NaN value, a fractional count, or a
            value that is no number.
    """
    row = {"kind": "record", "technique": technique, "model": model, "variant": variant}
    for name, value in row.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, got {value!r} of type {type(value).__name__}")
    if taken := {"kind", "notebook"} & extras.keys():
        raise TypeError(f"{', '.join(sorted(taken))} cannot be the name of an extra value: every row has it already")
    row["accuracy"] = None if accuracy is None else require_fraction("accuracy", _scalar(accuracy))
    for name, value in {"parameters": parameters, "macs": macs, "bytes": bytes}.items():
        row[name] = None if value is None else require_int(name, _scalar(value))
    row["latency_s"] = None if latency_s is None else require_number("latency_s", _scalar(latency_s), low=0.0)
    row |= {name: _plain(name, value) for name, value in extras.items()}
    _keep(row, ("kind", "technique", "model", "variant"))


def read_results(folder: str | Path | None = None) -> list[dict]:
    """Read every claim and record of a folder, notebook by notebook in their order.

    Raises:
        ResultsError: a file is not of the format; it is named with the line.
    """
    rows = []
    for path in sorted(Path(folder or results_folder()).glob("[0-9][0-9]_*.jsonl")):
        # as bytes: a text's splitlines would also cut a statement at U+2028
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
                if row["kind"] not in ("claim", "record") or row["notebook"] != path.stem:
                    raise ValueError("it is neither a claim nor a record of that notebook")
            except (ValueError, KeyError, TypeError) as error:
                raise ResultsError(
                    f"line {number} of {path.name} is damaged ({error}); delete the file and run the notebook again"
                ) from None
            rows.append(row)
    return rows


def format_measured(value: bool | float | str) -> str:
    """Write a measured value for a reader: six significant digits.

    >>> format_measured(1 / 3), format_measured(203530)
    ('0.333333', '203,530')
    """
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _keep(row: dict, key: tuple[str, ...]) -> None:
    if not _current:
        return
    notebook = _current[0]
    row = {"kind": row["kind"], "notebook": notebook, **row}
    lines = _lines[notebook]
    same = [i for i, other in enumerate(lines) if all(other.get(k) == row[k] for k in key)]
    if same:
        lines[same[0]] = row
    else:
        lines.append(row)
    _write(notebook)


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


def _scalar(value: object) -> object:
    """Turn a NumPy scalar or a zero-dimensional tensor into the Python value it holds; leave anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _as_bool(value: object) -> bool:
    """Turn a Python, NumPy or zero-dimensional torch bool into a bool; anything else would pass by being truthy."""
    value = _scalar(value)
    if not isinstance(value, bool):
        raise TypeError(f"holds must be a bool, got {value!r} of type {type(value).__name__}")
    return value


def _plain(name: str, value: object) -> bool | int | float | str:
    """Turn a measured value into what JSON holds; NaN and infinity become text, which JSON has no number for."""
    value = _scalar(value)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else str(float(value))
    raise TypeError(f"{name} must be a number, text or bool, got {type(value).__name__}")
