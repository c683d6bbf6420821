"""The page about a project: what is claimed, the control beside each claim, the frontier, and the decision.

The page is one file that needs nothing else. All that came from the notebook is escaped.
"""

import ast
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from utils import figures
from utils.budget import DENSE, Budget, Candidate, Decision, decide, from_records
from utils.claims import format_measured, read_results, unit_of
from utils.course.projects import ProjectError, find_project
from utils.environment import environment_stamp
from utils.files import replace_file
from utils.predictions import off_by
from utils.reference_runs import machine_class
from utils.scoreboard import frontier, interval

CONTROL = "control"
"""How the name of a claim's measured value begins if it is what the control measured."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto } caption { text-align: left;
font-weight: bold } td, th { border: 1px solid #bbb; padding: .3rem .6rem; text-align: left; vertical-align: top }
.decision { border-left: .4rem solid #0072B2; padding: .5rem 1rem; background: #f3f6f9 } .missing { color: #a33b00 }
.control td:first-child { padding-left: 1.8rem } svg { max-width: 100%; height: auto } figure { margin: 1rem 0 }
"""

Row = Mapping[str, object]


def write_project_report(project: str | Path) -> Path:
    """Write `build/report.html` into a project's folder from its claims, predictions and records; return its path.

    Args:
        project: its name or its folder.

    Raises `ProjectError` if there is no such project, it was never run, or cannot be written to, and
    `utils.claims.ResultsError` if its results are damaged.
    """
    folder, card = find_project(project)
    rows = _rows(folder, card)
    if not rows:
        raise ProjectError(
            f"{card['name']} was never run, or claimed and recorded nothing: run all cells of {card['name']}.ipynb in "
            f"JupyterLab, or: jupyter nbconvert --to notebook --execute --inplace {folder / card['name']}.ipynb"
        )
    path = folder / "build" / "report.html"
    content = report_page(card["name"], rows, cannot_fail(folder / f"{card['name']}.ipynb")).encode()
    try:
        replace_file(path, content)
    except OSError as error:
        raise ProjectError(
            f"cannot write {path} ({error.strerror or error}); free some space, or make the folder writable"
        ) from error
    return path


def what_is_missing(project: str | Path) -> str:
    """Return a line that says that a project's notebook did not run to its end, or an empty one if it did."""
    return _unfinished(_rows(*find_project(project)))


def cannot_fail(notebook: Path) -> list[str]:
    """Return the claims of a notebook whose condition no measurement can change: True, or a value beside itself.

    What is not there, is no notebook, or does not parse has none.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    found = []
    for source in sources:
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except SyntaxError:  # a line for the notebook alone, such as %time
            continue
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "claim":
                given = dict(zip(("statement", "holds"), node.args, strict=False))
                given |= {word.arg: word.value for word in node.keywords}
                if "holds" in given and _constant(given["holds"]):
                    statement = given.get("statement")
                    said = isinstance(statement, ast.Constant)
                    found.append(str(statement.value) if said else f"claim in {ast.unparse(node)[:60]!r}")
    return found


def _constant(condition: ast.expr) -> bool:
    """Tell whether a condition reads nothing, has True as an alternative, or compares something with itself."""
    if isinstance(condition, ast.BoolOp) and isinstance(condition.op, ast.Or):
        return any(_constant(each) for each in condition.values)
    if isinstance(condition, ast.Compare):
        sides = {ast.dump(each) for each in (condition.left, *condition.comparators)}
        return len(sides) == 1 or not any(isinstance(node, ast.Name) for node in ast.walk(condition))
    return not any(isinstance(node, ast.Name) for node in ast.walk(condition))


def _rows(folder: Path, card: Mapping[str, str]) -> list[dict]:
    return [row for row in read_results(folder / "build" / "results") if row["notebook"] == card["notebook"]]


def _unfinished(rows: Sequence[Row]) -> str:
    waiting = sum(row["kind"] == "prediction" and row["measured"] is None for row in rows)
    ways = [f"{waiting} of its questions are not measured"] if waiting else []
    if from_records(rows)[0] is None:
        ways.append(f"there is no record {DENSE!r} with a budget")
    return f"The notebook did not run to its end: {', and '.join(ways)}." if ways else ""


def report_page(name: str, rows: Sequence[Row], empty: Sequence[str] = ()) -> str:
    """Return the page about a project's rows as HTML; `empty` are claims that could not fail.

    >>> claimed = {"kind": "claim", "statement": "it holds", "holds": True, "measured": {"ratio": 2.0}}
    >>> page = report_page("bird_calls", [claimed])
    >>> "it holds" in page, "<script" in page
    (True, False)
    """
    budget, candidates = from_records(rows)
    unfinished = _unfinished(rows)
    parts = [f"<h1>{_text(name)}</h1>", _missing(unfinished) if unfinished else "", _decision(budget, candidates)]
    parts += [_chart(candidates, budget, by) for by in ("bytes", "latency_s")]
    parts += [_candidates_table(rows, candidates, budget), _claims_table(rows, empty), _predictions_table(rows)]
    stamp = f"class            {machine_class()}\n{environment_stamp()}"
    parts += [f"<h2>Written on</h2><pre>{_text(stamp)}</pre>"]
    head = f'<meta charset="utf-8"><title>{_text(name)}</title><style>{_STYLE}</style>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    body = "\n".join(part for part in parts if part)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>\n{body}\n</main></body></html>\n'


def _text(value: object) -> str:
    return html.escape(str(value))


def _missing(sentence: str) -> str:
    return f'<p class="missing">{_text(sentence)}</p>'


def _table(caption: str, heads: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a table; each row is its class and its cells, which are HTML already."""
    lines = [f'<tr class="{kind}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for kind, cells in rows]
    head = "".join(f'<th scope="col">{_text(each)}</th>' for each in heads)
    return f"<table><caption>{_text(caption)}</caption><tr>{head}</tr>\n" + "\n".join(lines) + "</table>"


# --- the decision -----------------------------------------------------------------------------------------------------


def _decided(budget: Budget | None, candidates: Mapping[str, Candidate]) -> Decision | str:
    """Return the decision, or why there is none."""
    if budget is None:
        return (
            f"No decision: there is no record {DENSE!r} with a budget. Did the notebook stop before it, or does the "
            "record lack **budget.extras()?"
        )
    try:
        return decide(budget, candidates)
    except ValueError as error:
        return f"No decision: {error}."


def _decision(budget: Budget | None, candidates: Mapping[str, Candidate]) -> str:
    decision = _decided(budget, candidates)
    if isinstance(decision, str):
        return f"<h2>Decision</h2>{_missing(decision)}"
    limits = [
        f"{value:,} {unit}"
        for value, unit in (
            (budget.bytes, "B"),
            (budget.microseconds, "µs"),
            (budget.points, "points more errors than dense"),
        )
        if value is not None
    ]
    said = f"<p><strong>{_text(decision)}</strong></p>"
    if decision.chosen:
        said += f"<p>{_text(decision.chosen)}: {_text(candidates[decision.chosen])}.</p>"
    said += f"<p>dense: {_text(candidates[DENSE])}. Budget: at most {_text(', '.join(limits))}.</p>"
    return f'<h2>Decision</h2><div class="decision">{said}</div>'


# --- the frontier -----------------------------------------------------------------------------------------------------


def _chart(candidates: Mapping[str, Candidate], budget: Budget | None, by: str) -> str:
    """Return the frontier of bytes or of seconds against error as an SVG with a sentence; nothing for one point."""
    scale, label = (1e-3, "file (kB)") if by == "bytes" else (1e6, "one input (µs)")
    points = {
        name: (getattr(each, by) * scale, 100 * each.error)
        for name, each in candidates.items()
        if getattr(each, by) is not None
    }
    if len(points) < 2:
        return ""
    best = [name for name, chosen in zip(points, frontier(list(points.values())), strict=True) if chosen]
    best.sort(key=points.__getitem__)
    limit = None if budget is None else budget.bytes if by == "bytes" else budget.microseconds
    limit = limit and limit * (1e-3 if by == "bytes" else 1.0)
    caption = f"{label} against errors. On the frontier: {'; '.join(best)}. Hollow squares are controls."
    if limit:
        caption += " The dashed line is the budget."
    drawing = _drawn(points, candidates, best, label, limit)
    return (
        f'<figure role="img" aria-label="{_text(caption)}">{drawing}<figcaption>{_text(caption)}</figcaption></figure>'
    )


def _drawn(
    points: Mapping[str, tuple[float, float]],
    candidates: Mapping[str, Candidate],
    best: Sequence[str],
    label: str,
    limit: float | None,
) -> str:
    figure, axes = figures.new()
    axis = axes[0, 0]
    axis.step(*zip(*(points[name] for name in best), strict=True), where="post", color="0.3", marker="", zorder=1)
    for name, (x, y) in points.items():
        control = bool(candidates[name].control_of)
        style = {"marker": "s", "markerfacecolor": "white"} if control else {"marker": "o"}
        axis.plot([x], [y], linestyle="", color=figures.COLOURS[int(control)], **style)
        axis.annotate(name, (x, y), (5, 4), textcoords="offset points", fontsize=7)
    if limit:
        axis.axvline(limit, color="0.3", linestyle="--", marker="")
    axis.set(xlabel=label, ylabel="errors (%)", xscale="log")
    axis.margins(0.15)
    content = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": label}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    plt.close(figure)
    return content.getvalue()[content.getvalue().index("<svg") :]


# --- tables -----------------------------------------------------------------------------------------------------------


def _candidates_table(rows: Sequence[Row], candidates: Mapping[str, Candidate], budget: Budget | None) -> str:
    if not candidates:
        return f"<h2>Networks</h2>{_missing('No network was recorded with its errors and its bytes.')}"
    decision = _decided(budget, candidates)
    spent = {row["technique"]: row for row in rows if row["kind"] == "record"}
    lines, alone = [], []
    for name in _beside(candidates):
        each = candidates[name]
        broken = () if isinstance(decision, str) else decision.broken[name]
        verdict = "" if isinstance(decision, str) else "breaks it: " + "; ".join(broken) if broken else "keeps it"
        kind = f"control of {each.control_of}" if each.control_of else "as it came" if name == DENSE else "candidate"
        if name != DENSE and not each.control_of and not any(other.control_of == name for other in candidates.values()):
            kind, _ = "no control beside it", alone.append(name)
        row = spent[name]
        cells = [
            name,
            kind,
            _error(each),
            f"{each.bytes:,}",
            _time(each.latency_s),
            row["epochs"],
            row["training"],
            verdict,
        ]
        lines.append(("control" if each.control_of else "", [_text(cell) for cell in cells]))
    heads = ("network", "", "errors", "bytes", "one input", "epochs", "training", "budget")
    found = "<h2>Networks</h2>" + _table("Each with its controls below it", heads, lines)
    return found + (_missing(f"Without a control: {', '.join(alone)}.") if alone else "")


def _beside(candidates: Mapping[str, Candidate]) -> list[str]:
    """Return the names with each control behind its candidate."""
    order = []
    for name, each in candidates.items():
        if not each.control_of or each.control_of not in candidates:
            order += [name, *(other for other, its in candidates.items() if its.control_of == name)]
    return order + [name for name in candidates if name not in order]


def _error(candidate: Candidate) -> str:
    shown = format_measured(candidate.error, "%")
    if not candidate.examples:
        return shown
    low, high = interval(1 - candidate.error, candidate.examples)
    return f"{shown} ± {50 * (high - low):.2g}"


def _time(seconds: float | None) -> str:
    return "not timed" if seconds is None else format_measured(seconds, "s")


def _claims_table(rows: Sequence[Row], empty: Sequence[str]) -> str:
    claims = [row for row in rows if row["kind"] == "claim"]
    if not claims:
        return f"<h2>Claims</h2>{_missing('Nothing was claimed.')}"
    lines = []
    for row in claims:
        controls = {name: value for name, value in row["measured"].items() if name.startswith(CONTROL)}
        measured = {name: value for name, value in row["measured"].items() if name not in controls}
        miss = "✗ not on this machine" if row.get("machine") else "✗ does not hold"
        beside = _text(_values(row, controls)) if controls else '<span class="missing">none</span>'
        tick = _text("✓" if row["holds"] else miss)
        lines.append(("", [tick, _text(row["statement"]), _text(_values(row, measured)), beside]))
    with_control = sum(any(name.startswith(CONTROL) for name in row["measured"]) for row in claims)
    held = sum(row["holds"] for row in claims)
    said = f"<p>{held} of {len(claims)} hold; {with_control} of {len(claims)} have a control beside them.</p>"
    if empty:
        said += _missing(f"Of these could not fail, whatever was measured: {'; '.join(empty)}.")
    return "<h2>Claims</h2>" + said + _table("Claims", ("", "claim", "measured", "control"), lines)


def _values(row: Row, values: Mapping[str, object]) -> str:
    unit = row.get("unit", "")
    shown = {name: value for name, value in values.items() if name != "tries" or value != 1}
    return ", ".join(f"{name.replace('_', ' ')} {format_measured(v, unit_of(name, unit))}" for name, v in shown.items())


def _predictions_table(rows: Sequence[Row]) -> str:
    lines = [
        ("", [_text(row["question"]), _guess(row, "guess"), _guess(row, "measured"), _off(row)])
        for row in rows
        if row["kind"] == "prediction"
    ]
    if not lines:
        return f"<h2>Predictions</h2>{_missing('Nothing was predicted.')}"
    heads = ("question", "guess", "measured", "")
    return "<h2>Predictions</h2>" + _table("Written down before the measurement", heads, lines)


def _guess(row: Row, name: str) -> str:
    if row[name] is None:
        return f'<span class="missing">{"no guess" if name == "guess" else "not measured"}</span>'
    unit = row.get("unit", "")
    return _text(f"{row[name]:.4g} %" if unit == "%" else format_measured(row[name], unit))


def _off(row: Row) -> str:
    return "" if row["guess"] is None or row["measured"] is None else _text(off_by(row))
