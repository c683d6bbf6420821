"""Everything in the repository has a licence, and the pages that say so agree."""

import re
import tomllib

import yaml

from utils.files import ROOT

NOTICE = (ROOT / "NOTICE.md").read_text(encoding="utf-8")
DATA_PAGE = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _rows(table_after):
    """Return the cells of the first table of NOTICE.md after a text."""
    rows = re.search(r"(?:^\|.*\n)+", NOTICE[NOTICE.index(table_after) :], flags=re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_each_folder_of_data_has_a_licence():
    named = set(re.findall(r"`(data/[a-z_/]+)`", NOTICE))
    folders = {path for path in (ROOT / "data").iterdir() if path.is_dir()} | {
        ROOT / "data" / "checkpoints" / "imagenet"
    }
    assert {f"{path.relative_to(ROOT).as_posix()}/" for path in folders} == named


def test_each_licence_of_others_stands_on_the_page_of_the_data_too():
    others = _rows("## What others made")
    assert len(others) >= 5
    for _, where, _, licences in others:
        folder = re.search(r"`data/(?:checkpoints/)?([a-z_]+)/`", where)[1]
        start = re.search(rf"^(?:## {folder}/|`{folder}/)", DATA_PAGE, flags=re.MULTILINE).start()
        said = re.split(r"^## ", DATA_PAGE[start + 3 :], flags=re.MULTILINE)[0]
        for licence in re.sub(r"\[.*", "", licences).split(","):
            assert not licence.strip() or licence.strip() in said, (folder, licence)


def test_each_library_of_the_website_is_named_and_brings_its_licence():
    own = {"draw", "networks", "scoreboard", "write"}
    folders = [path for path in (ROOT / "site" / "static").iterdir() if path.is_dir() and path.name not in own]
    assert {f"site/static/{folder.name}/" for folder in folders} == set(re.findall(r"`(site/static/[a-z]+/)`", NOTICE))
    for folder in folders:
        assert "Permission is hereby granted, free of charge" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_the_licences_are_whole_and_the_package_names_them():
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n\nCopyright (c) ")
    text = (ROOT / "LICENSE-text").read_text(encoding="utf-8")
    sections = re.findall(r"^Section (\d) ", text, flags=re.MULTILINE)
    assert text.startswith("Creative Commons Attribution 4.0 International\n")
    assert sections == list("12345678")
    assert PROJECT["license"] == "MIT AND CC-BY-4.0"
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == PROJECT["version"]
    assert f"# {citation['title']}" == (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0]
