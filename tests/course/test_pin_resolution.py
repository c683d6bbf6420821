"""What is said before anything is installed, and README's table of platforms."""

import ast
import subprocess
import sys
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

from utils.course import check_before_install, pin_resolution
from utils.course.check_before_install import Machine, this_machine, what_is_missing
from utils.files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

LINUX = Machine((3, 11, 2), 64, "Linux", "x86_64", (2, 36), True)
MACOS = Machine((3, 13, 0), 64, "Darwin", "arm64", (14, 5), True)
WINDOWS = Machine((3, 12, 1), 64, "Windows", "amd64", (), True)


@pytest.mark.parametrize(
    "machine",
    [this_machine(), LINUX, LINUX._replace(processor="aarch64", release=(2, 28)), MACOS, WINDOWS],
    ids=["here", "Debian 12", "Linux aarch64", "macOS", "Windows"],
)
def test_nothing_is_missing_on_what_is_supported(machine):
    assert what_is_missing(machine) == ""


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        (
            LINUX._replace(python=(3, 10, 13)),
            "Python 3.11, 3.12 or 3.13 is needed, and this is 3.10.13; try: make PYTHON=python3.12 ...",
        ),
        (
            MACOS._replace(python=(3, 14, 0)),
            "Python 3.11, 3.12 or 3.13 is needed, and this is 3.14.0; try: make PYTHON=python3.12 ...",
        ),
        (
            WINDOWS._replace(bits=32, processor="win32"),
            "A 64-bit Python is needed, and this one has 32 bits: PyTorch has no wheel for it; "
            "install a 64-bit Python, or use a 64-bit machine.",
        ),
        (
            MACOS._replace(processor="x86_64"),
            "A Mac with Apple silicon is needed, and this Python is for Intel: PyTorch has no wheel for it; "
            "on Apple silicon install the arm64 Python, on an Intel Mac use another machine.",
        ),
        (
            MACOS._replace(release=(13, 6, 1)),
            "macOS 14 or newer is needed, and this is macOS 13.6.1: PyTorch has no wheel for it; "
            "update macOS, or use another machine.",
        ),
        (
            WINDOWS._replace(processor="arm64"),
            "Linux on x86-64 or aarch64, macOS on Apple silicon or Windows on x86-64 is needed, and this is "
            "Windows on arm64: PyTorch has no wheel for it; use another machine.",
        ),
        (
            LINUX._replace(processor="ppc64le"),
            "Linux on x86-64 or aarch64, macOS on Apple silicon or Windows on x86-64 is needed, and this is "
            "Linux on ppc64le: PyTorch has no wheel for it; use another machine.",
        ),
        (
            LINUX._replace(release=(2, 17)),
            "glibc 2.28 or newer is needed, and this system has glibc 2.17: the wheels do not run on it; "
            "use a newer Linux, such as Debian 12 or Ubuntu 22.04, or a container of one.",
        ),
        (
            LINUX._replace(release=()),
            "glibc 2.28 or newer is needed, and this system has none: the wheels do not run on it; "
            "use a newer Linux, such as Debian 12 or Ubuntu 22.04, or a container of one.",
        ),
        (
            LINUX._replace(has_ensurepip=False),
            "The package python3-venv is needed, and Debian's Python 3.11.2 came without it; "
            "install it: sudo apt-get install python3-venv",
        ),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(machine, sentence):
    assert what_is_missing(machine) == sentence


def test_the_check_runs_from_python_3_6_on_without_the_environment():
    source = (ROOT / "utils" / "course" / "check_before_install.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


def test_the_check_as_make_calls_it_says_nothing_here():
    called = [sys.executable, "-I", ROOT / "utils" / "course" / "check_before_install.py"]
    done = subprocess.run(called, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_check_and_pyproject_name_the_same_pythons():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = SpecifierSet(project["requires-python"])
    named = [minor for minor in range(6, 30) if supported.contains(f"3.{minor}")]
    oldest, newest = check_before_install.OLDEST, check_before_install.NEWEST
    assert (named[0], named[-1]) == (oldest[1], newest[1])


def every_reason(reason):
    return {
        (platform, python): reason(platform)
        for platform in pin_resolution.PLATFORMS
        for python in pin_resolution.PYTHONS
    }


def test_the_table_in_readme_was_measured_for_these_pins():
    rendered = pin_resolution.render_table(every_reason(lambda platform: "" if platform.supported else "no wheel"))
    assert pin_resolution.put_table(README, rendered, pin_resolution.digest_of_pins()) == README, (
        "the pins changed, or the rows: python -m utils platforms"
    )


@pytest.mark.parametrize("readme", ["no comments", pin_resolution.BEGIN.format(digest="0a"), pin_resolution.END])
def test_a_readme_without_its_comments_is_refused(readme):
    with pytest.raises(ValueError, match="once each, in this order"):
        pin_resolution.put_table(readme, "table", "0a")


def test_the_table_goes_between_the_comments():
    begin, end = pin_resolution.BEGIN, pin_resolution.END
    written = pin_resolution.put_table(f"a\n{begin.format(digest='0a')}\nold\n{end}\nb", "new \\1", "9f")
    assert written == f"a\n{begin.format(digest='9f')}\n\nnew \\1\n\n{end}\nb"


def test_a_change_of_a_pin_changes_the_digest_and_a_comment_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(pin_resolution, "ROOT", tmp_path)

    def digest(requirements):
        (tmp_path / "requirements.txt").write_text(requirements)
        (tmp_path / "constraints.txt").write_text("numpy==2.4.6\n")
        return pin_resolution.digest_of_pins()

    assert digest("numpy==2.4.6\n") == digest("# why\nnumpy==2.4.6  # the tested one\n\n") != digest("numpy==2.4.5\n")


def test_without_uv_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(pin_resolution.shutil, "which", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="pip install uv"):
        pin_resolution.resolve(pin_resolution.PLATFORMS[0], "3.12")


@pytest.mark.parametrize(
    ("status", "output", "reason"),
    [(0, "numpy==2.4.6\n", ""), (0, "numpy==2.4.6\nnewcomer==1.0\n", "newcomer==1.0"), (1, "", "no wheels")],
)
def test_a_platform_resolves_only_if_every_version_is_pinned(monkeypatch, status, output, reason):
    answer = subprocess.CompletedProcess([], status, output, "Because torch has no wheels\n")
    monkeypatch.setattr(pin_resolution, "uv_compile", lambda *_, **__: answer)
    found = pin_resolution.resolve(pin_resolution.PLATFORMS[0], "3.12")
    assert reason in found
    assert bool(found) == bool(reason)
