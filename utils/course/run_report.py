"""The report of a run: every claim with what was measured for it, every record, times and memory."""

from pathlib import Path

import pandas as pd

from utils.claims import UNITS, format_measured, read_results
from utils.course.notebook_runner import find_notebooks, read_summary, writing_to
from utils.environment import environment_stamp
from utils.files import replace_file

MOST_MINUTES = 15
"""What all notebooks may take together, on two idle cores."""

MOST_MEMORY_MB = 2000
"""What a kernel may hold at most; the workers that two notebooks start stand for other machines."""

_KEYS = ("kind", "notebook", "technique", "model", "variant")


def write_report(output: Path) -> str:
    """Write `report.md` into `output` from the results below it, and return its text.

    Raises:
        utils.claims.ResultsError: a results file is damaged.
        OSError: `output` cannot be written to; the message says what to do.
    """
    rows, summary = read_results(output / "results"), read_summary(output)
    claims = [row for row in rows if row["kind"] == "claim"]
    records = [row for row in rows if row["kind"] == "record"]
    parts = ["# Report of the run", _totals(claims, records, summary), _goals(summary)]
    parts += ["## Claims", *_claims_by_notebook(claims)]
    parts += ["## Records", _records_table(records), "## Times", _times_table(summary)]
    parts += ["## Machine", f"```\n{environment_stamp()}\n```"]
    text = "\n\n".join(parts) + "\n"
    with writing_to(output):
        output.mkdir(parents=True, exist_ok=True)
        replace_file(output / "report.md", text.encode())
    return text


def _totals(claims: list[dict], records: list[dict], summary: dict) -> str:
    held = sum(row["holds"] for row in claims)
    missing = [path.stem for path in find_notebooks() if path.stem not in summary["notebooks"]]
    text = (
        f"{len(summary['notebooks'])} notebooks in {summary['total_seconds']:.0f} s; "
        f"{held} of {len(claims)} claims hold; {len(records)} records."
    )
    return text + (f" Not run, or failed: {', '.join(missing)}." if missing else "")


def _claims_by_notebook(claims: list[dict]) -> list[str]:
    parts = []
    for notebook in dict.fromkeys(row["notebook"] for row in claims):
        lines = [f"### {notebook}"]
        for row in (row for row in claims if row["notebook"] == notebook):
            measured = ", ".join(f"{name} = {format_measured(value)}" for name, value in row["measured"].items())
            lines.append(f"- {'✓' if row['holds'] else '✗ DOES NOT HOLD:'} {row['statement']} ({measured})")
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
    lines.append(f"| at most | {MOST_MINUTES * 60} | {MOST_MEMORY_MB:,} | |")
    return "\n".join(lines)


def _goals(summary: dict) -> str:
    """Say in one line whether this run kept to the course's limits of time and memory."""
    memory = {name: each["peak_memory_mb"] for name, each in summary["notebooks"].items()}
    if not memory:
        return "Goals: nothing was run."
    minutes, largest = summary["total_seconds"] / 60, max(memory, key=memory.get)
    measured = {
        f"{minutes:.1f} of {MOST_MINUTES} minutes": minutes <= MOST_MINUTES,
        f"{memory[largest]:,.0f} of {MOST_MEMORY_MB:,} MB for a kernel, in {largest}": memory[largest]
        <= MOST_MEMORY_MB,
    }
    said = "; ".join(f"{text} ({'holds' if holds else 'MISSED'})" for text, holds in measured.items())
    return f"Goals: {'both hold' if all(measured.values()) else 'NOT BOTH HOLD'} on this run: {said}."
