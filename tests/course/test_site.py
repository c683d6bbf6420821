"""The website's sources are whole: every notebook, lesson and page is gathered, and the landing pages keep up."""

import hashlib
import json
import re
import tomllib

import pytest

from tests.notebooks.read_notebooks import COURSE
from utils.course import site
from utils.files import ROOT


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    site.gather(folder)
    return folder


def test_every_notebook_its_solutions_and_its_lesson_are_there(gathered):
    for path in COURSE:
        assert (gathered / "downloads" / path.name).read_bytes() == path.read_bytes()
        shown, stored = (json.loads(p.read_text(encoding="utf-8")) for p in (gathered / "notebooks" / path.name, path))
        assert f"</downloads/{path.name}>" in shown["cells"][0]["source"]
        for cell in shown["cells"]:
            cell["metadata"].pop("mystnb", None)
        assert shown["cells"][1:] == stored["cells"][1:]
        assert (gathered / "notebooks" / "solutions" / path.name).is_file()
        assert (gathered / "lessons" / f"{path.stem}.md").is_file()


def test_the_takeaway_of_a_figure_is_its_alternative_text(gathered):
    figures = 0
    for path in COURSE:
        for cell in json.loads((gathered / "notebooks" / path.name).read_text(encoding="utf-8"))["cells"]:
            drawn = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
            figures += len(drawn)
            for output in drawn:
                said = cell["metadata"]["mystnb"]["image"]["alt"]
                assert output["metadata"]["image/png"]["alt"] == said
                assert said.endswith((".", "!", "?"))
    assert figures > 50


def test_the_table_of_notebooks_is_the_readmes(gathered):
    assert [stem for stem, _, _ in site.course_rows()] == [path.stem for path in COURSE]
    for page in ("index.md", "de.md", "zh.md"):
        text = (gathered / page).read_text(encoding="utf-8")
        assert all(f"(notebooks/{path.name})" in text for path in COURSE)


def test_links_between_the_pages_lead_somewhere(gathered):
    for page in gathered.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith(("https://", "http://")) or (page.parent / target).exists(), (page.name, target)


def test_solutions_are_folded_and_nothing_else_of_them_changes(gathered):
    name = COURSE[2].name
    shown = json.loads((gathered / "notebooks" / "solutions" / name).read_text(encoding="utf-8"))
    stored = json.loads((ROOT / "notebooks" / "solutions" / name).read_text(encoding="utf-8"))
    folded = [cell for cell in shown["cells"] if "hide-input" in cell["metadata"].get("tags", [])]
    assert folded
    assert all("solution" in cell["metadata"]["tags"] for cell in folded)
    for cell in folded:
        cell["metadata"]["tags"].remove("hide-input")
    assert shown == stored


def test_what_is_gone_is_removed_and_what_is_the_same_is_left_alone(tmp_path):
    site.gather(tmp_path)
    page = tmp_path / "index.md"
    before = page.stat().st_mtime_ns
    (tmp_path / "notebooks" / "99_gone.ipynb").write_text("{}", encoding="utf-8")
    site.gather(tmp_path)
    assert not (tmp_path / "notebooks" / "99_gone.ipynb").exists()
    assert page.stat().st_mtime_ns == before


VENDORED = {"katex", "plotly"}


def test_the_pages_load_nothing_from_elsewhere():
    for path in (ROOT / "site").rglob("*"):
        if path.suffix in (".js", ".css", ".py", ".html") and not VENDORED & set(path.parts):
            assert not re.search(r"https?://", path.read_text(encoding="utf-8")), path
    styles = (ROOT / "site" / "static" / "katex" / "katex.min.css").read_text(encoding="utf-8")
    fonts = set(re.findall(r"url\(([^)]+)\)", styles))
    assert len(fonts) >= 20
    assert all((ROOT / "site" / "static" / "katex" / font).is_file() for font in fonts)


@pytest.mark.parametrize("page", ["de.md", "zh.md"])
def test_a_translation_is_of_the_present_landing_page(page):
    text = (ROOT / "site" / page).read_text(encoding="utf-8")
    english = hashlib.sha256((ROOT / "site" / "index.md").read_bytes()).hexdigest()[:12]
    assert f"<!-- of index.md {english} -->" in text, f"index.md has changed: look through {page}, then write {english}"


def test_launch_links_come_from_the_address_of_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(site, "repository", lambda: "https://github.com/someone/course")
    site.gather(tmp_path)
    first = json.loads((tmp_path / "notebooks" / COURSE[0].name).read_text(encoding="utf-8"))["cells"][0]["source"]
    assert f"someone/course/blob/main/notebooks/{COURSE[0].name}" in first
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    assert set(urls) <= {"Repository"}
