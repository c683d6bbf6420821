"""The report of a run: every claim with what was measured for it, every record, times and memory."""

from pathlib import Path

import pandas as pd

from utils.results import UNITS, format_measured, read_results
from utils.runner import find_notebooks, read_summary
from utils.runtime import environment_stamp, replace_file

_KEYS = ("kind", "notebook", "technique", "model", "variant")


def write_report(output: Path) -> str:
    """Write `report.md` into `output` from the results below it, and return its text.

    Raises:
        utils.results.ResultsError: a results file is damaged.
    """
    rows, summary = read_results(output / "results"), read_summary(output)
    claims = [row for row in rows if row["kind"] == "claim"]
    records = [row for row in rows if row["kind"] == "record"]
    parts = ["# Report of the run", _totals(claims, records, summary), "## Claims", *_claims_by_notebook(claims)]
    parts += ["## Records", _records_table(records), "## Times", _times_table(summary)]
    parts += ["## Machine", f"```\n{environment_stamp()}\n```"]
    text = "\n\n".join(parts) + "\n"
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
    lines = ["| notebook | seconds | peak memory, MB |", "|---|---|---|"]
    lines += [f"| {n} | {t['seconds']:.0f} | {t['peak_memory_mb']:,.0f} |" for n, t in summary["notebooks"].items()]
    return "\n".join([*lines, f"| all | {summary['total_seconds']:.0f} | |"])
