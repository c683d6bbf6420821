"""What comes of the verdicts: a page for each student, tables for gradebooks, a page for the teacher.

Everything that came from a submission is escaped. A student's page has the case that failed, as the notebook's own
check shows it, and the exercise's hint; of the class's other cases it says nothing.
"""

import collections
import csv
import html
import io
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils.course.classroom_folder import read_card
from utils.course.classroom_grading import points_of, tables, unknown_folders
from utils.course.classroom_judge import Graded, Verdict, exercises
from utils.files import replace_file

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
table { border-collapse: collapse; margin: 1rem 0 } td, th { border: 1px solid #bbb; padding: .3rem .6rem;
text-align: left; vertical-align: top } pre { white-space: pre-wrap; background: #f3f3f3; padding: .5rem;
overflow-wrap: anywhere; margin: 0 } caption { text-align: left; font-weight: bold }
"""

_WORDS = {
    "right": "right",
    "partial": "nearly: half of the points",
    "wrong": "not yet right",
    "blank": "not attempted",
    "missing": "no answer found",
    "stopped": "stopped",
    "unsent": "your teacher will look at it",
}
_COMMON = 12  # wrong answers that the teacher's page lists for an exercise

Table = list[tuple[dict[str, Any], Graded]]


def write_reports(folder: Path) -> Path:
    """Write feedback, tables and the teacher's page from the verdicts below a class's folder.

    Returns the teacher's page.
    """
    folder = Path(folder)
    rows = tables(folder)
    grades, feedback = folder / "grades", folder / "grades" / "feedback"
    feedback.mkdir(parents=True, exist_ok=True)
    by_student = collections.defaultdict(list)
    for row, graded in rows:
        by_student[row["student"]].append((row, graded))
    for student, own in by_student.items():
        replace_file(feedback / f"{student}.html", student_page(student, own).encode())
    card = read_card(folder)
    assignments = card.assignments
    replace_file(grades / "grades.csv", grades_csv(assignments, rows).encode())
    replace_file(grades / "grades_canvas.csv", canvas_csv(assignments, rows).encode())
    page = grades / "class.html"
    replace_file(page, class_page(rows, unknown_folders(folder, card)).encode())
    return page


def _page(title: str, *parts: str) -> str:
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>\n' + (
        "\n".join(parts) + "\n</body></html>\n"
    )


def _table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; its cells are HTML already."""
    lines = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    if not lines:
        return f"<p>{html.escape(caption)}: none.</p>"
    head = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in heads)
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>\n" + "\n".join(lines) + "</table>"


def _pre(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>" if text else ""


def _earned(graded: Graded) -> float:
    return sum(verdict.points for verdict in graded.verdicts)


def _notes(row: dict[str, Any], graded: Graded) -> list[str]:
    """Return what there is to say about the files, each sentence once, with the exercises that it is about."""
    about: dict[str, list[str]] = {}
    for verdict in graded.verdicts:
        for note in verdict.notes:
            about.setdefault(note, []).append(verdict.exercise)
    everywhere = len(graded.verdicts)
    own = [note if len(each) == everywhere else f"{', '.join(each)}: {note}" for note, each in about.items()]
    return [*row["notes"], *own]


def student_page(student: str, rows: Table) -> str:
    """Return the page that goes back to a student."""
    parts = []
    for row, graded in rows:
        assignment = row["assignment"]
        parts.append(f"<h2>{assignment}: {_earned(graded):g} of {points_of(assignment)} points</h2>")
        lines = []
        for verdict in graded.verdicts:
            hint = exercises(assignment)[verdict.exercise].hint if verdict.state in ("wrong", "partial") else ""
            said = _pre(verdict.message) + (f"<p>Hint: {html.escape(hint)}</p>" if hint else "")
            lines.append([verdict.exercise, _WORDS[verdict.state], f"{verdict.points:g} of {verdict.of}", said])
        parts.append(_table("Exercises", ("exercise", "verdict", "points", "what was found"), lines))
        if notes := _notes(row, graded):
            items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
            parts.append(f"<p>About the file:</p><ul>{items}</ul>")
    return _page(f"Feedback for {student}", *parts)


# --- gradebooks -------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Keep a spreadsheet from taking a name for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _points(assignments: Iterable[str], rows: Table) -> tuple[list[str], dict[str, dict[str, float]]]:
    earned: dict[str, dict[str, float]] = collections.defaultdict(dict)
    for row, graded in rows:
        earned[row["student"]][row["assignment"]] = _earned(graded)
    handed_in = {assignment for of_student in earned.values() for assignment in of_student}
    return [each for each in assignments if each in handed_in], earned


def _written(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def grades_csv(assignments: Iterable[str], rows: Table) -> str:
    """Return a line for each student: points by assignment, their sum, and of how many; not handed in is empty."""
    shown, earned = _points(assignments, rows)
    most = sum(map(points_of, shown))
    lines = [
        [_plain(student), *(of.get(each, "") for each in shown), sum(of.values()), most]
        for student, of in sorted(earned.items())
    ]
    return _written([["student", *shown, "total", "of"], *lines])


def canvas_csv(assignments: Iterable[str], rows: Table) -> str:
    """Return the table in the form that Canvas imports; a folder's name counts as the student's login."""
    shown, earned = _points(assignments, rows)
    lines = [
        [_plain(student), "", "", _plain(student), "", *(of.get(each, "") for each in shown)]
        for student, of in sorted(earned.items())
    ]
    possible = ["    Points Possible", "", "", "", "", *map(points_of, shown)]
    return _written([["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *shown], possible, *lines])


def write_gradebook(folder: Path) -> bool:
    """Write the points into nbgrader's `gradebook.db`, so that `nbgrader export` and its form show them.

    Returns whether there was one: `nbgrader generate_assignment` makes it. Assignments not generated are left out.
    """
    path = Path(folder).resolve() / "gradebook.db"
    if not path.exists():
        return False
    try:
        from nbgrader.api import Gradebook, MissingEntry
    except ModuleNotFoundError:
        return False
    with Gradebook(f"sqlite:///{path}") as book:
        for row, graded in tables(folder):
            student, assignment = row["student"], row["assignment"]
            try:
                book.find_assignment(assignment)
            except MissingEntry:
                continue
            book.update_or_create_student(student)
            book.update_or_create_submission(assignment, student)
            for verdict in graded.verdicts:
                cell = f"points-{verdict.exercise.replace('.', '-')}"
                grade = book.find_grade(cell, assignment, assignment, student)
                grade.auto_score, grade.needs_manual_grade = verdict.points, verdict.state == "unsent"
            book.db.commit()
    return True


# --- for the teacher --------------------------------------------------------------------------------------------------


def class_page(rows: Table, unknown: list[str]) -> str:
    """Return the teacher's page: by exercise how it went, which wrong answers are common, what needs a look."""
    verdicts: dict[tuple[str, str], list[tuple[str, Verdict]]] = collections.defaultdict(list)
    for row, graded in rows:
        for verdict in graded.verdicts:
            verdicts[row["assignment"], verdict.exercise].append((row["student"], verdict))
    verdicts = dict(sorted(verdicts.items()))
    students = len({row["student"] for row, _ in rows})
    return _page(
        "The class",
        f"<p>{students} students, {len(rows)} submissions.</p>",
        _how_it_went(verdicts),
        _common(verdicts),
        _predictions(rows),
        _to_look_at(rows, verdicts, unknown),
    )


def _how_it_went(verdicts: dict) -> str:
    lines = []
    for (_, exercise), of_exercise in verdicts.items():
        states = collections.Counter(verdict.state for _, verdict in of_exercise)
        mean = statistics.fmean(verdict.points for _, verdict in of_exercise)
        seconds = statistics.median(verdict.seconds for _, verdict in of_exercise)
        counts = [states["right"], states["partial"], states["wrong"], states["blank"] + states["missing"]]
        rest = states["stopped"] + states["unsent"]
        lines.append(
            [exercise, *map(str, counts), str(rest), f"{mean:.2f} of {of_exercise[0][1].of}", f"{seconds:.1f}"]
        )
    heads = ("exercise", "right", "nearly", "wrong", "blank", "stopped", "mean points", "seconds to grade (median)")
    return _table("How it went", heads, lines)


def failing_case(message: str) -> tuple[str, str]:
    r"""Split a check's message into the case that failed and what the answer gave.

    >>> failing_case("not yet right\n  input:    1, 1\n  expected: 1\n  received: 0")
    ('1, 1', '0')
    """
    case = re.search(r"^  input: +(.*?)\n  expected: .*?\n  received: (.*)", message, flags=re.MULTILINE | re.DOTALL)
    if case:
        return case[1][:300], case[2][:300]
    return "", re.sub(r"\d+(?:[.,]\d+)*", "…", message)[:300]  # a measured number differs where the mistake is the same


def _common(verdicts: dict) -> str:
    lines = []
    for (_, exercise), of_exercise in verdicts.items():
        groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
        for student, verdict in of_exercise:
            if verdict.state in ("wrong", "partial"):
                groups[failing_case(verdict.message)].append(student)
        for (case, received), students in sorted(groups.items(), key=lambda item: -len(item[1]))[:_COMMON]:
            named = html.escape(", ".join(students[:8])) + (", …" if len(students) > 8 else "")
            lines.append([exercise, str(len(students)), _pre(case), _pre(received), named])
    return _table("Common wrong answers", ("exercise", "students", "failing case", "received", "who"), lines)


def _number(text: str) -> float | None:
    found = re.match(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", text)
    return float(found[0].replace(",", "")) if found else None


def _predictions(rows: Table) -> str:
    guesses: dict[str, list[tuple[str, str, str]]] = collections.defaultdict(list)
    for row, graded in rows:
        for question, guess, measured in graded.predictions:
            guesses[question].append((row["student"], guess, measured))
    lines = []
    for question, of_question in sorted(guesses.items()):
        numbers = [[_number(pair[column]) for pair in of_question] for column in (1, 2)]
        guessed, found = ([n for n in each if n is not None] for each in numbers)
        texts = [f"{statistics.median(each):,.4g}" if each else "" for each in (guessed, found)]
        reach = f"{min(guessed):,.4g} to {max(guessed):,.4g}" if guessed else ""
        unit = html.escape(re.sub(r"^[-\d.,e+]+", "", of_question[0][2]).strip())
        lines.append([html.escape(question), str(len(of_question)), texts[0], reach, texts[1], unit])
    heads = ("question", "guesses", "median guess", "from, to", "median measured", "unit")
    return _table("Predictions against measurements", heads, lines)


def _to_look_at(rows: Table, verdicts: dict, unknown: list[str]) -> str:
    lines = [
        [html.escape(student), exercise, _pre(verdict.message)]
        for (_, exercise), of_exercise in verdicts.items()
        for student, verdict in of_exercise
        if verdict.state in ("stopped", "unsent")  # of a missing answer the notes below speak
    ]
    for row, graded in rows:
        for note in _notes(row, graded):
            lines.append([html.escape(row["student"]), html.escape(row["assignment"]), _pre(note)])
    lines += [[html.escape(each), "", "its folder is named after no assignment"] for each in unknown]
    return _table("To look at", ("student", "where", "what"), lines)


def printed_summary(folder: Path) -> str:
    """Return the points of the class by assignment, a line each."""
    rows, lines = tables(folder), []
    for assignment in read_card(folder).assignments:
        earned = [_earned(graded) for row, graded in rows if row["assignment"] == assignment]
        if earned:
            mean = f"mean {statistics.fmean(earned):.2f} of {points_of(assignment)} points"
            lines.append(f"{assignment:<36}{len(earned):>5} graded, {mean}")
    return "\n".join(lines)
