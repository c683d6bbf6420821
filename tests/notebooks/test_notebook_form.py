"""The form of every notebook: what a reader, nbval and papermill rely on, and what the house style asks."""

import ast
import re
import statistics

import pytest

from tests.notebooks.read_notebooks import COURSE, SOLUTIONS, cells, code, prose
from utils.files import ROOT

every_notebook = pytest.mark.parametrize("path", [*COURSE, *SOLUTIONS], ids=lambda p: f"{p.parent.name}/{p.stem}")
every_course_notebook = pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)

IGNORED = "nbval-ignore-output"


def test_there_are_notebooks_and_their_numbers_are_unique():
    numbers = [path.stem[:2] for path in COURSE]
    assert numbers
    assert len(set(numbers)) == len(numbers)


@every_notebook
def test_one_title_first(path):
    titles = re.findall(r"^# .+", prose(path), flags=re.MULTILINE)
    assert len(titles) == 1
    assert cells(path)[0].source.startswith(titles[0])
    assert titles[0].startswith(f"# {path.stem[:2]} ")


@every_notebook
def test_identities_are_there_and_unique(path):
    identities = [cell.identity for cell in cells(path)]
    assert all(identities)
    assert len(set(identities)) == len(identities)


@every_notebook
def test_imports_then_parameters(path):
    first, second = code(path)[:2]
    assert {type(node) for node in ast.parse(first.source).body} <= {ast.Import, ast.ImportFrom}
    assert second.tags == ("parameters",)
    assert re.search(r"^SEED = 0\b", second.source, flags=re.MULTILINE)
    assert sum("parameters" in cell.tags for cell in code(path)) == 1


@every_notebook
def test_all_cells_were_executed_in_order(path):
    """A cell with neither outputs nor a count is never compared, so a stripped notebook would pass vacuously."""
    assert [cell.execution_count for cell in code(path)] == list(range(1, len(code(path)) + 1))


@every_notebook
def test_no_errors_warnings_or_machine_paths_in_outputs(path):
    for cell in code(path):
        for output in cell.outputs:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
            assert not re.search(r"^(INFO|WARNING|ERROR):", "".join(output.get("text", "")), flags=re.MULTILINE)
            text = str({k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}) + str(
                output.get("text")
            )
            assert not re.search(r"(/home/|/root/|/work/|/tmp/|/Users/|[A-Z]:\\\\)", text), text
        assert not re.search(r"['\"](/|[A-Z]:\\)[a-z]+/", cell.source), "an absolute path"


@every_notebook
def test_one_framework_in_a_kernel(path):
    imported = {
        name.split(".")[0]
        for cell in code(path)
        for node in ast.walk(ast.parse(cell.source))
        for name in _imported(node)
    }
    assert not {"torch", "tensorflow"} <= imported
    assert not {"torch", "keras"} <= imported


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


@every_notebook
def test_links_resolve(path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose(path)):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


@every_course_notebook
def test_opening(path):
    first = cells(path)[0].source
    assert "**The question.**" in first
    assert len(re.findall(r"^- ", first, flags=re.MULTILINE)) == 3, "three things the reader will be able to do"
    assert re.search(r"\b(minutes?|seconds)\b", first)
    assert f"(../lessons/{path.stem}.md)" in first


@every_course_notebook
def test_there_is_a_lesson_and_a_solutions_notebook(path):
    lesson = (ROOT / "lessons" / f"{path.stem}.md").read_text(encoding="utf-8")
    assert f"(../notebooks/{path.name})" in lesson
    assert (path.parent / "solutions" / path.name).exists()
    assert f"(solutions/{path.name})" in prose(path)


@every_course_notebook
def test_an_early_first_result(path):
    assert any(cell.outputs for cell in code(path)[:5])


@every_course_notebook
def test_cells_are_short(path):
    lengths = [len(cell.source.strip().splitlines()) for cell in code(path)]
    assert statistics.median(lengths) < 10
    assert max(lengths) <= 25


@every_course_notebook
def test_a_claim_follows_every_ignored_output(path):
    ignored = [index for index, cell in enumerate(code(path)) if IGNORED in cell.tags]
    for index in ignored:
        following = code(path)[index + 1 : index + 3]
        assert any(re.search(r"\bclaim(_about_this_machine)?\(", cell.source) for cell in following), (
            f"nothing is claimed after the cell that begins {code(path)[index].source.splitlines()[0]!r}"
        )


@every_course_notebook
def test_every_claim_shows_a_number(path):
    for cell in code(path):
        printed = "".join("".join(output.get("text", ())) for output in cell.outputs)
        for line in printed.splitlines():
            if re.match("✓|⏱", line):
                assert re.search(r"  \[.*\d.*\]$", line), line


@every_course_notebook
def test_two_predictions_are_asked_for_and_compared(path):
    source = "\n".join(cell.source for cell in code(path))
    asked = set(re.findall(r"^(\w+) = predict\(", source, flags=re.MULTILINE))
    compared = set(re.findall(r"\b(\w+)\.compare\(", source))
    assert len(asked) >= 2
    assert asked == compared


@every_course_notebook
def test_nbval_compares_at_least_half_of_the_cells(path):
    compared = [cell for cell in code(path) if IGNORED not in cell.tags and "nbval-skip" not in cell.tags]
    assert len(compared) >= len(code(path)) / 2


@every_course_notebook
def test_figures_have_a_takeaway_as_alternative_text(path):
    for cell in code(path):
        figures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(figures) <= 1, "the website has one alternative text for a cell: show the second figure in another"
        for output in figures:
            assert output["metadata"]["image/png"]["alt"].endswith((".", "!", "?")), "show it with figures.show"


@every_course_notebook
def test_nothing_hides_or_escapes(path):
    source = "\n".join(cell.source for cell in code(path))
    for banned in ("filterwarnings(", "import *", "sys.path", "urlopen", "pip install", "pickle"):
        assert banned not in source


@every_course_notebook
def test_three_references_and_what_comes_next(path):
    last = cells(path)[-1].source
    assert len(re.findall(r"^- .+\b(19|20)\d\d\b", last, flags=re.MULTILINE)) >= 3
    assert "Next: " in last


@every_course_notebook
def test_a_lesson_has_questions_with_answers_and_notes_for_the_teacher(path):
    lesson = (ROOT / "lessons" / f"{path.stem}.md").read_text(encoding="utf-8")
    assert lesson.count("<details>") == lesson.count("</details>") == 3
    notes = re.search(r"^## Notes for the teacher\n(.+?)^## ", lesson, flags=re.MULTILINE | re.DOTALL)[1]
    assert re.search(r"[A-Z][a-z]+(-five)? minutes\b", notes), "how long it takes"
    assert re.search(r"\bask\b", notes, flags=re.IGNORECASE), "what to ask"
    assert "misconception" in notes


def test_lessons_links_resolve():
    for page in (ROOT / "lessons").glob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
