"""Projects of the learner's own: what is started, what is refused, and the page about it."""

import json
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from utils import claims
from utils.__main__ import main
from utils.budget import Budget
from utils.course import projects
from utils.course.project_report import cannot_fail, report_page, write_project_report
from utils.course.projects import ProjectError, find_project, start_project
from utils.files import RESULTS_VARIABLE, ROOT, results_folder
from utils.predictions import predict


def cell(kind, source, *tags):
    return {"cell_type": kind, "id": source[:8], "metadata": {"tags": list(tags)}, "source": [source]} | (
        {"outputs": [{"output_type": "stream", "text": ["old"]}], "execution_count": 3} if kind == "code" else {}
    )


@pytest.fixture
def template(tmp_path, monkeypatch):
    path = tmp_path / "course" / "22_your_own_network.ipynb"
    path.parent.mkdir()
    cells = [
        cell("markdown", "# 22 Your own network"),
        cell("code", "from utils.checks import check\nfrom utils.claims import begin"),
        cell("code", 'begin("22_your_own_network")'),
        cell("markdown", "See [lesson 22](../lessons/22_x.md) and [a paper](https://example.org/a)."),
        cell("code", "raise NotImplementedError", "exercise", "course"),
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    monkeypatch.setattr(projects, "TEMPLATE", path)
    monkeypatch.setattr(projects, "PROJECTS", tmp_path / "projects")
    return path


@pytest.fixture
def results(monkeypatch):
    """Let results go where a notebook's would, and forget what began."""
    monkeypatch.delenv(RESULTS_VARIABLE)
    monkeypatch.setattr(claims, "_notebook", "")
    monkeypatch.setattr(claims, "_lines", {})


# --- started ----------------------------------------------------------------------------------------------------------


def test_a_project_is_the_template_without_outputs_exercises_and_links_into_the_course(template):
    notebook = start_project("bird_calls")
    assert notebook == projects.PROJECTS.resolve() / "bird_calls" / "bird_calls.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(each["source"]) for each in cells]
    assert sources[0].startswith("# bird_calls\n")
    assert sources[1:] == [
        "from utils.claims import begin",
        'begin("22_bird_calls")',
        "See lesson 22 and [a paper](https://example.org/a).",
    ]
    assert all(each["outputs"] == [] and each["execution_count"] is None for each in cells if "outputs" in each)
    assert find_project("bird_calls") == (notebook.parent, {"name": "bird_calls", "notebook": "22_bird_calls"})
    assert find_project(notebook.parent) == find_project("bird_calls")


def test_an_empty_folder_can_be_named_and_a_full_one_not(template, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert start_project("a", folder).parent == folder.resolve()
    with pytest.raises(ProjectError, match="is not an empty folder; name another one with --folder"):
        start_project("b", folder)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ProjectError, match="is not an empty folder"):
        start_project("b", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"
    assert not (folder / "b.ipynb").exists()


def test_a_name_that_exists_is_refused_and_what_is_there_stays(template):
    notebook = start_project("twice")
    notebook.write_text("my work", encoding="utf-8")
    with pytest.raises(ProjectError, match="there is a project 'twice' already"):
        start_project("twice")
    assert notebook.read_text(encoding="utf-8") == "my work"


@pytest.mark.parametrize("name", ["", "Birds", "bird calls", "../birds", "1st", "a" * 41, "vögel"])
def test_names_that_could_be_no_file_or_results_are_refused(template, name):
    with pytest.raises(ProjectError, match="such as bird_calls"):
        start_project(name)
    assert not projects.PROJECTS.exists()


def test_a_missing_or_changed_template_is_named(template):
    template.write_text(template.read_text().replace("begin(", "begins("))
    with pytest.raises(ProjectError, match=r'must say begin\("22_your_own_network"\) once, and says it 0 times'):
        start_project("a")
    template.write_text("{")
    with pytest.raises(ProjectError, match="is no notebook"):
        start_project("a")
    template.unlink()
    with pytest.raises(ProjectError, match=r"22_your_own_network\.ipynb is missing"):
        start_project("a")
    assert not projects.PROJECTS.exists()


def test_what_is_no_project_is_refused_with_those_there_are(template, tmp_path):
    with pytest.raises(ProjectError, match="start one: python -m utils project NAME"):
        find_project("a")
    start_project("known")
    with pytest.raises(ProjectError, match="there are: known"):
        find_project(tmp_path)
    (projects.PROJECTS / "known" / "project.json").write_text("[]")
    with pytest.raises(ProjectError, match="is damaged"):
        find_project("known")


def test_the_courses_own_template_starts_a_project_with_its_five_places_and_no_exercise(tmp_path):
    cells = json.loads(start_project("own", tmp_path / "own").read_text(encoding="utf-8"))["cells"]
    text = ["".join(each["source"]) for each in cells]
    assert [line[5:6] for each in text for line in each.splitlines() if line.startswith("## ✎")] == list("12345")
    assert not any("exercise" in each["metadata"].get("tags", ()) for each in cells)
    code = "\n".join(each for each, cell in zip(text, cells, strict=True) if cell["cell_type"] == "code")
    compile(code, "own", "exec")
    assert 'begin("22_own")' in code
    assert "check(" not in code


# --- claims of its own ------------------------------------------------------------------------------------------------


def test_claims_made_in_a_project_stay_in_it(template, results, monkeypatch, capsys):
    folder = start_project("own_claims").parent
    monkeypatch.chdir(folder)
    assert results_folder() == folder / "build" / "results"
    claims.begin("22_own_claims")
    claims.claim("half is gone", True, left=0.5)
    assert [row["statement"] for row in claims.read_results(folder / "build" / "results")] == ["half is gone"]
    monkeypatch.chdir(folder.parent)
    assert results_folder() == ROOT / "build" / "results"


def a_run(folder, monkeypatch):
    """Claim and record as a notebook in a project would."""
    monkeypatch.chdir(folder)
    claims.begin(f"22_{folder.name}")
    claims.keep(
        {"kind": "prediction", "question": "bytes?", "guess": None, "measured": 5.0, "unit": "B"}, ("question",)
    )
    common = {"model": "Net", "epochs": 0, "data_set": "own", "examples": 1000}
    budget = Budget(bytes=60_000, points=1.0)
    claims.record(
        "dense", family=claims.FAMILIES[0], accuracy=0.92, bytes=90_000, latency_s=1e-4, **common, **budget.extras()
    )
    row = {"family": "channels removed", "bytes": 50_000, **common}
    claims.record("narrowed <i>", accuracy=0.915, latency_s=5e-5, **row)
    claims.record("at random", accuracy=0.80, latency_s=5e-5, control_of="narrowed <i>", **row)
    claims.record("alone", accuracy=0.5, **row)
    claims.claim("narrowing beats chance & luck", True, unit="%", error=0.085, control_error=0.2)
    claims.claim("it is smaller", True, ratio=1.8)
    claims.claim_about_this_machine("it is faster", {"ratio": 0.5}, lambda values: values["ratio"] > 1)


def test_a_project_that_stopped_keeps_its_guesses_and_says_so_in_one_line(template, results, monkeypatch, capsys):
    folder = start_project("stopped").parent
    monkeypatch.chdir(folder)
    claims.begin("22_stopped")
    predict("how many times smaller?", 4, unit="x")
    assert main(["report", "--project", str(folder)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("The notebook did not run to its end: 1 of its questions are not measured, and there is no")
    page = (folder / "build" / "report.html").read_text(encoding="utf-8")
    assert "4x" in page
    assert "not measured" in page
    assert "Nothing was predicted" not in page


class Wellformed(HTMLParser):
    """Sees that tags close in order, and keeps what the page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.loads = [], []

    def handle_starttag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name == "src"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_claims_controls_the_frontier_and_the_decision(template, results, monkeypatch, capsys):
    folder = start_project("birds").parent
    a_run(folder, monkeypatch)
    page = write_project_report("birds")
    assert page == folder / "build" / "report.html"
    text = page.read_text(encoding="utf-8")
    parser = Wellformed()
    parser.feed(text)
    assert parser.open == []
    assert parser.loads == []  # self-contained
    assert "<script" not in text
    for shown in (
        "Ship &#x27;narrowed &lt;i&gt;&#x27;.",
        "at most 60,000 B, 1.0 points more errors than dense",
        "<td>narrowing beats chance &amp; luck</td><td>error 8.5 %</td><td>control error 20 %</td>",
        '<td>it is smaller</td><td>ratio 1.8x</td><td><span class="missing">none</span></td>',
        "<td>✗ not on this machine</td><td>it is faster</td>",
        "2 of 3 hold; 1 of 3 have a control beside them.",
        "Without a control: alone.",
        "<td>control of narrowed &lt;i&gt;</td><td>20 % ± 2.5</td>",
        "<td>breaks it: 90,000 B, 60,000 allowed</td>",
        '<span class="missing">no guess</span>',
        "On the frontier: narrowed &lt;i&gt;; dense.",
    ):
        assert shown in text, shown
    assert text.count("<svg") == 2  # bytes and microseconds
    assert text.index("narrowed &lt;i&gt;</td><td>candidate") < text.index("at random</td><td>control of")
    for part in text.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part[: part.index("</svg>")] + "</svg>")


def test_claims_that_cannot_fail_stand_on_the_page(template, results, monkeypatch):
    folder = start_project("surely").parent
    a_run(folder, monkeypatch)
    notebook = json.loads((folder / "surely.ipynb").read_text(encoding="utf-8"))
    source = """
claim("always", True, ratio=1.8)
claim("itself", ratio <= ratio, ratio=ratio)
claim("or else", ratio < 1 or True, ratio=ratio)
claim("by name", holds=2 > 1, ratio=ratio)
claim("measured", ratio > 1 and len(found) == 2, ratio=ratio)
claim("a flag", decided, ratio=ratio)
"""
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "id": "own"}
    notebook["cells"] += [cell | {"source": source}, cell | {"source": "%time claim('magic', True, a=1)"}]
    (folder / "surely.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    assert cannot_fail(folder / "surely.ipynb") == ["always", "itself", "or else", "by name"]
    text = write_project_report("surely").read_text(encoding="utf-8")
    assert "could not fail, whatever was measured: always; itself; or else; by name." in text
    assert cannot_fail(folder / "none.ipynb") == []


def test_the_templates_claims_can_fail():
    assert cannot_fail(ROOT / "notebooks" / "22_your_own_network.ipynb") == []


def test_a_project_that_was_never_run_or_stopped_early_says_so(template, results, monkeypatch, capsys):
    folder = start_project("early").parent
    with pytest.raises(ProjectError, match=r"early was never run.*run all cells of early\.ipynb"):
        write_project_report("early")
    monkeypatch.chdir(folder)
    claims.begin("22_early")
    with pytest.raises(ProjectError, match="was never run, or claimed and recorded nothing"):
        write_project_report("early")
    with pytest.raises(claims.ClaimError):
        claims.claim("it stops here", False, ratio=0.1)
    text = write_project_report("early").read_text(encoding="utf-8")
    assert "✗ does not hold" in text
    assert "No decision: there is no record &#x27;dense&#x27; with a budget." in text
    assert "No network was recorded" in text
    assert "Nothing was predicted." in text
    (folder / "build" / "results" / "22_early.jsonl").write_text("{")
    with pytest.raises(claims.ResultsError, match=r"line 1 of 22_early\.jsonl is damaged"):
        write_project_report("early")


def test_a_control_of_nothing_is_said_on_the_page():
    row = {"kind": "record", "model": "", "variant": "", "latency_s": None, "epochs": 0, "training": "none", "bytes": 5}
    rows = [
        row | {"technique": "dense", "accuracy": 0.9, "budget_bytes": 9},
        row | {"technique": "twin", "accuracy": 0.9, "control_of": "gone"},
    ]
    text = report_page("a", rows)
    assert "No decision: &#x27;twin&#x27; is a control of &#x27;gone&#x27;, and there is no such candidate." in text
    assert "<td>twin</td>" in text


# --- the commands -----------------------------------------------------------------------------------------------------


def test_the_commands(template, results, monkeypatch, capsys, tmp_path):
    assert main(["project", "birds", "--folder", str(tmp_path / "mine")]) == 0
    assert f"python -m utils report --project {tmp_path / 'mine'}" in capsys.readouterr().out
    assert main(["report", "--project", str(tmp_path / "mine")]) == 2
    assert "was never run" in capsys.readouterr().err
    assert main(["project", "birds", "--folder", str(tmp_path / "mine")]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert main(["project", "calls"]) == 0
    a_run(projects.PROJECTS / "calls", monkeypatch)
    assert main(["report", "--project", "calls"]) == 0
    assert (projects.PROJECTS / "calls" / "build" / "report.html").is_file()
