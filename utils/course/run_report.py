"""The report of a run: every claim with what was measured for it, every record, times and memory."""

import statistics
from pathlib import Path

import pandas as pd

from utils.claims import UNITS, format_measured, read_results, unit_of
from utils.course.notebook_runner import find_notebooks, read_summary, writing_to
from utils.environment import environment_stamp
from utils.files import replace_file
from utils.predictions import off_by
from utils.reference_runs import machine_class, measured_elsewhere

MOST_MINUTES = {"x86-64 avx512-vnni": 13}
"""What all notebooks may take together on two idle cores, by class of machine."""

MOST_MINUTES_ELSEWHERE = 17

MOST_MEMORY_MB = 2000
"""What a kernel may hold at most; the workers that two notebooks start stand for other machines."""

_KEYS = ("kind", "notebook", "technique", "model", "variant", "family", "training")


def write_report(output: Path) -> str:
    """Write `report.md` into `output` from the results below it, and return its text.

    Raises `utils.claims.ResultsError` if a results file is damaged, and an OSError that says what to do if `output`
    cannot be written to.
    """
    rows, summary = read_results(output / "results"), read_summary(output)
    claims = [row for row in rows if row["kind"] == "claim"]
    records = [row for row in rows if row["kind"] == "record"]
    predictions = [row for row in rows if row["kind"] == "prediction"]
    parts = ["# Report of the run", _totals(claims, records, summary), _goals(summary)]
    parts += ["## What this machine does differently", _differences(claims)]
    parts += ["## Your predictions", _predictions(predictions)]
    parts += ["## Claims", *_claims_by_notebook(claims)]
    parts += ["## Records", _records_table(records), "## Times", _times_table(summary)]
    parts += ["## Machine", f"```\nclass            {machine_class()}\n{environment_stamp()}\n```"]
    text = "\n\n".join(parts) + "\n"
    with writing_to(output):
        output.mkdir(parents=True, exist_ok=True)
        replace_file(output / "report.md", text.encode())
    return text


def _totals(claims: list[dict], records: list[dict], summary: dict) -> str:
    always = [row["holds"] for row in claims if not row.get("machine")]
    here = [row["holds"] for row in claims if row.get("machine")]
    missing = [path.stem for path in find_notebooks() if path.stem not in summary["notebooks"]]
    text = (
        f"{len(summary['notebooks'])} notebooks in {summary['total_seconds']:.0f} s; {sum(always)} of {len(always)} "
        f"claims hold, and {sum(here)} of {len(here)} about this machine; {len(records)} records."
    )
    return text + (f" Not run, or failed: {', '.join(missing)}." if missing else "")


def _differences(claims: list[dict]) -> str:
    """List the claims about this machine that do not hold here, with what the reference machines measured."""
    lines = []
    for row in claims:
        if row.get("machine") and not row["holds"]:
            elsewhere = measured_elsewhere(row["notebook"], row["statement"]).items()
            references = "".join(f"\n  - {name}: {_measured(row | {'measured': values})}" for name, values in elsewhere)
            lines.append(f"- {row['notebook'][:2]}: not here: {row['statement']} ({_measured(row)}){references}")
    return "\n".join(lines) or "Nothing: every claim about the machine holds here, too."


def _predictions(rows: list[dict]) -> str:
    guessed = [row for row in rows if row["guess"] is not None and row["measured"] is not None]
    waiting = sum(row["guess"] is not None and row["measured"] is None for row in rows)
    if not guessed and not waiting:
        return f"No guess was written down ({len(rows)} questions were asked)."
    by_factor = [off for off in (off_by(row) for row in guessed) if "factor" in off]
    factors = [float(off.rsplit(" ", 1)[1]) for off in by_factor]
    median = f" Your median guess was off by a factor of {statistics.median(factors):.2g}." if factors else ""
    lines = [
        f"- {row['notebook'][:2]}: {row['question']} You guessed {row['guess']:g}, measured {row['measured']:.4g} "
        f"{row['unit']}: {off_by(row)}"
        for row in guessed
    ]
    left = f" {waiting} more were not measured: the notebook stopped before." if waiting else ""
    return "\n".join([f"{len(guessed)} guesses for {len(rows)} questions.{median}{left}", "", *lines])


def _measured(row: dict) -> str:
    unit = row.get("unit", "")
    return ", ".join(f"{name} = {format_measured(v, unit_of(name, unit))}" for name, v in row["measured"].items())


def _claims_by_notebook(claims: list[dict]) -> list[str]:
    parts = []
    for notebook in dict.fromkeys(row["notebook"] for row in claims):
        lines = [f"### {notebook}"]
        for row in (row for row in claims if row["notebook"] == notebook):
            miss = "✗ not on this machine:" if row.get("machine") else "✗ DOES NOT HOLD:"
            lines.append(f"- {'✓' if row['holds'] else miss} {row['statement']} ({_measured(row)})")
        parts.append("\n".join(lines))
    return parts or ["None."]


def _records_table(records: list[dict]) -> str:
    if not records:
        return "None."
    table = pd.DataFrame(
        {
            "technique": row["technique"] + (f" ({row['variant']})" if row["variant"] else ""),
            "model": row["model"],
            **{name: "" if row[name] is None else format_measured(row[name]) for name in UNITS},
            "more": ", ".join(
                f"{k} = {format_measured(v)}" for k, v in row.items() if k not in UNITS and k not in _KEYS
            ),
        }
        for row in records
    )
    units = "; ".join(f"{name}: {unit}" for name, unit in UNITS.items())
    return f"```\n{table.to_string(index=False)}\n```\n\n{units}."


def _times_table(summary: dict) -> str:
    lines = [
        "| notebook | seconds | peak memory of the kernel, MB | with the processes it started |",
        "|---|---|---|---|",
    ]
    for name, each in summary["notebooks"].items():
        alone, together = each["peak_memory_mb"], each["with_workers_mb"]
        lines.append(f"| {name} | {each['seconds']:.0f} | {alone:,.0f} | {together:,.0f} |")
    lines.append(f"| all | {summary['total_seconds']:.0f} | | |")
    lines.append(f"| at most | {_most_minutes() * 60} | {MOST_MEMORY_MB:,} | |")
    return "\n".join(lines)


def _most_minutes() -> int:
    return MOST_MINUTES.get(machine_class(), MOST_MINUTES_ELSEWHERE)


def _goals(summary: dict) -> str:
    """Say in one line whether this run kept to the course's limits of time and memory."""
    memory = {name: each["peak_memory_mb"] for name, each in summary["notebooks"].items()}
    if not memory:
        return "Goals: nothing was run."
    minutes, most = summary["total_seconds"] / 60, _most_minutes()
    largest = max(memory, key=memory.get)
    measured = {
        f"{minutes:.1f} of {most} minutes": minutes <= most,
        f"{memory[largest]:,.0f} of {MOST_MEMORY_MB:,} MB for a kernel, in {largest}": memory[largest]
        <= MOST_MEMORY_MB,
    }
    said = "; ".join(f"{text} ({'holds' if holds else 'MISSED'})" for text, holds in measured.items())
    return f"Goals: {'both hold' if all(measured.values()) else 'NOT BOTH HOLD'} on this run: {said}."
