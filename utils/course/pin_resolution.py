"""Which platforms the pins resolve for: the table of README's "Where it runs", a maintainers' tool.

pip resolves for the machine it runs on. The resolver here, uv, knows the wheels of other platforms; only this command
needs it, so it is in no list of requirements.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from utils.files import ROOT, replace_file

BEGIN = "<!-- platforms: written by `python -m utils platforms`, not by hand; pins {digest} -->"
END = "<!-- platforms: end -->"
"""The comments in README.md between which the table stands; the first names the pins that it was measured for."""

PYTHONS = ("3.11.0", "3.11.2", "3.12", "3.13")
"""The columns: the oldest Python of all, Debian 12's, and the later ones."""


@dataclass(frozen=True)
class Platform:
    """A row of the table: what uv calls the platform, the version of macOS, and what was run there."""

    name: str
    uv_name: str
    macos: str = ""
    run_here: str = "nothing: only resolved"
    supported: bool = True


def _unsupported(*names: str) -> Platform:
    return Platform(*names, run_here="not supported", supported=False)


PLATFORMS = (
    Platform(
        "Linux x86-64, glibc 2.28",
        "x86_64-manylinux_2_28",
        run_here="3.11.7: the whole course; 3.11.2: the set-up and the quick tests",
    ),
    Platform("Linux aarch64, glibc 2.28", "aarch64-manylinux_2_28"),
    Platform("macOS 14, Apple silicon", "aarch64-apple-darwin", "14.0"),
    Platform("Windows x86-64", "x86_64-pc-windows-msvc"),
    _unsupported("macOS 13, Apple silicon", "aarch64-apple-darwin", "13.0"),
    _unsupported("macOS 14, Intel", "x86_64-apple-darwin", "14.0"),
    _unsupported("Windows ARM64", "aarch64-pc-windows-msvc"),
)

Reasons = Mapping[tuple[Platform, str], str]
"""Why the pins do not resolve, for each platform and Python; "" where they do."""


def pins(name: str) -> list[str]:
    """Return the lines of a file of pins without comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in (line.split("#")[0].strip() for line in lines) if line]


def digest_of_pins() -> str:
    """Return twelve digits that change when a pin does."""
    text = "\n".join([*pins("requirements.txt"), "", *pins("constraints.txt")])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def uv_compile(*options: str, macos: str = "") -> subprocess.CompletedProcess[str]:
    """Let uv resolve requirements.txt, wheels only.

    Raises a RuntimeError if uv is not installed.
    """
    beside = str(Path(sys.executable).parent)
    uv = shutil.which("uv", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if uv is None:
        raise RuntimeError("this maintainers' command needs uv, which the course does not: pip install uv")
    command = [uv, "pip", "compile", "--quiet", "--no-config", "--no-build", "--no-annotate", *options]
    environment = os.environ | ({"MACOSX_DEPLOYMENT_TARGET": macos} if macos else {})
    return subprocess.run(
        [*command, "requirements.txt"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def write_constraints() -> None:
    """Write constraints.txt for every platform and Python at once; a pin stays as it is where it still can.

    Raises a RuntimeError with uv's message if there is no such resolution.
    """
    everywhere = ("--universal", "--fork-strategy", "fewest", "--python-version", PYTHONS[0])
    header = ("--custom-compile-command", "make constraints")
    done = uv_compile(*everywhere, *header, "--output-file", "constraints.txt")
    if done.returncode:
        raise RuntimeError(f"requirements.txt does not resolve:\n{done.stderr.strip()}")


def resolve(platform: Platform, python: str) -> str:
    """Return why the pins do not resolve for a platform and a Python, "" where they do and leave no version open."""
    where = ("--python-platform", platform.uv_name, "--python-version", python)
    done = uv_compile(*where, "--no-header", "--constraints", "constraints.txt", macos=platform.macos)
    if done.returncode:
        return done.stderr.strip()
    pinned = {line.split(";")[0].strip() for line in pins("constraints.txt")}
    unpinned = sorted(set(done.stdout.split()) - pinned)
    return f"constraints.txt does not pin {', '.join(unpinned)}: make constraints" if unpinned else ""


def resolve_everywhere() -> Reasons:
    """Resolve for every platform and Python, four minutes in all, and print each answer as it comes."""
    reasons = {}
    for platform in PLATFORMS:
        for python in PYTHONS:
            reason = reasons[platform, python] = resolve(platform, python)
            print(f"{platform.name}, Python {python}: {reason or 'resolves'}", flush=True)
    return reasons


def render_table(reasons: Reasons) -> str:
    """Return the table in Markdown."""
    lines = ["| platform | Python " + " | ".join(PYTHONS) + " | run here |", "|---" * (len(PYTHONS) + 2) + "|"]
    for platform in PLATFORMS:
        cells = ["no" if reasons[platform, python] else "yes" for python in PYTHONS]
        lines.append("| " + " | ".join([platform.name, *cells, platform.run_here]) + " |")
    return "\n".join(lines)


def put_table(readme: str, rendered: str, digest: str) -> str:
    """Return the text of README with the table between the two comments replaced.

    Raises a ValueError if the comments do not stand there once each, in order.
    """
    first = re.escape(BEGIN).replace(re.escape("{digest}"), "[0-9a-f]*")
    between = re.compile(f"{first}.*?{re.escape(END)}", flags=re.DOTALL)
    if len(between.findall(readme)) != 1:
        raise ValueError(f"README.md must hold the lines {BEGIN!r} and {END!r} once each, in this order")
    block = f"{BEGIN.format(digest=digest)}\n\n{rendered}\n\n{END}"
    return between.sub(lambda _: block, readme)


def write_table() -> tuple[str, bool]:
    """Resolve everywhere and put the table into README; return it, and whether every supported platform resolves."""
    reasons = resolve_everywhere()
    readme, rendered = ROOT / "README.md", render_table(reasons)
    text = put_table(readme.read_text(encoding="utf-8"), rendered, digest_of_pins())
    replace_file(readme, text.encode())
    return rendered, not any(reason for (platform, _), reason in reasons.items() if platform.supported)
