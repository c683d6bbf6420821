"""The files that say what is installed agree with each other and with what is installed."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from utils.course import pin_resolution
from utils.files import ROOT


def _pins(name):
    found = [Requirement(line) for line in pin_resolution.pins(name)]
    assert len({r.name for r in found}) == len(found), "two pins for one distribution"
    return {canonicalize_name(r.name): r for r in found}


def _needed_here(requirements):
    return {name for name, r in requirements.items() if r.marker is None or r.marker.evaluate()}


def _closure(names):
    """Return all distributions that the named ones need here, themselves included."""
    found, waiting = set(), {(canonicalize_name(name), frozenset()) for name in names}
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        for requirement in map(Requirement, needed):
            if any(requirement.marker is None or requirement.marker.evaluate({"extra": e}) for e in ("", *extras)):
                waiting.add((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


def test_direct_dependencies_are_pinned_exactly_and_constrained_alike():
    constraints = _pins("constraints.txt")
    for name, requirement in _pins("requirements.txt").items():
        assert [s.operator for s in requirement.specifier] == ["=="], name
        assert constraints[name].specifier == requirement.specifier, name


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_installed_versions_are_the_pinned_ones(name):
    wrong = {}
    for package, requirement in _pins(name).items():
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # a constraint for another system; what is needed here is checked below
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong[package] = (installed, str(requirement.specifier))
    assert not wrong


def test_everything_needed_is_installed_and_constrained():
    direct = _needed_here(_pins("requirements.txt"))
    needed = _closure(direct)
    assert direct <= needed
    assert needed <= _pins("constraints.txt").keys()


def test_everything_that_the_website_needs_is_pinned():
    website, constraints = _pins("requirements-site.txt"), _pins("constraints.txt")
    assert all([s.operator for s in requirement.specifier] == ["=="] for requirement in website.values())
    installed = [name for name in website if importlib.util.find_spec("sphinx")]  # `make check` does not install it
    assert _closure(installed) <= website.keys() | constraints.keys()


def test_conda_installs_the_same_files():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == ["-r requirements.txt", "-c constraints.txt", "-e ."]
    python = next(e for e in environment["dependencies"] if isinstance(e, str) and e.startswith("python="))
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert Requirement(f"python{supported}").specifier.contains(python.removeprefix("python="))
    assert (
        environment["name"] == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    )


def test_make_installs_the_same_files():
    assert "-r requirements.txt -c constraints.txt -e ." in (ROOT / "Makefile").read_text(encoding="utf-8")


def _make_ready(folder, setup):
    """Let make set up an environment in a folder whose Python is a script that does what `setup` says."""
    (folder / "utils" / "course").mkdir(parents=True)
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *--version) echo Python 3.12.1 ;; {setup} esac\n')
    python.chmod(0o755)
    command = ["make", "--no-print-directory", f"PYTHON={python}", ".venv/ready"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


MAKES_A_VENV = '*"-m venv "*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;'


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("finished", [True, False])
def test_pip_is_heard_only_where_it_fails_and_only_a_whole_set_up_is_ready(tmp_path, finished):
    pip = f'*"-m pip "*) echo "WARNING: a location is ignored" >&2; echo the reason; exit {0 if finished else 1} ;;'
    done = _make_ready(tmp_path, f"{MAKES_A_VENV} {pip}")
    assert done.stdout.startswith("Setting up .venv")
    assert done.stdout.count("\n") == 1
    assert ("the reason" in done.stderr, "log is .venv/pip.log" in done.stderr) == (not finished, not finished)
    assert "the reason" in (tmp_path / ".venv" / "pip.log").read_text()
    assert (done.returncode == 0, (tmp_path / ".venv" / "ready").exists()) == (finished, finished)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_nothing_is_set_up_where_something_is_missing(tmp_path):
    done = _make_ready(tmp_path, "*check_before_install.py) echo Python 3.11 is needed >&2; exit 1 ;;")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Python 3.11 is needed")
    assert not (tmp_path / ".venv").exists()
