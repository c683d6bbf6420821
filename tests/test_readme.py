"""What the README tells a newcomer to type exists and does what it says; what it lists is there."""

import re
import subprocess

import pytest

from tests.notebooks.read_notebooks import COURSE
from utils.__main__ import main
from utils.files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_make_targets_exist_and_are_explained():
    written = (README + CONTRIBUTING).replace("make,", "")
    named = set(re.findall(r"\bmake (?:-k )?([a-z]+)\b", written)) - {"networks", "trained"}
    targets = dict(re.findall(r"^([a-z]+):.*?## (.+)$", MAKEFILE, flags=re.MULTILINE))
    assert {"run", "test", "check", "lab"} <= named <= targets.keys()


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"python -m utils ([a-z]+)", README + CONTRIBUTING + MAKEFILE)))
)
def test_commands_of_the_portable_entry_exist(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m utils" in capsys.readouterr().out


def test_every_notebook_is_listed():
    for path in COURSE:
        assert f"(notebooks/{path.name})" in README


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "NOTICE.md", "data/README.md"])
def test_links_resolve(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_ci_calls_the_test_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_make_help_lists_every_target():
    listed = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for target in re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE):
        assert re.search(rf"^make {target}\b", listed, flags=re.MULTILINE), target
