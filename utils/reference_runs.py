"""Reference runs of the whole course, one for each class of machine, as `data/reference/` holds them.

A class is an architecture and its instruction sets, such as "x86-64 avx2": what decides which claims about the clock
hold. `data/reference/<class>.jsonl` has a first line about the run (machine, date, versions, seconds) and then every
claim and record of it, in the form of a results file. `make reference` writes the file of the machine at hand.
"""

import functools
import json
import os
import platform
from collections.abc import Mapping, Set
from pathlib import Path

from utils.environment import processor
from utils.files import ROOT

FOLDER = ROOT / "data" / "reference"

CLASS_VARIABLE = "WORKBOOK_MACHINE_CLASS"
"""Names a class to take this machine for; the tests use it, to see how the course behaves elsewhere."""

COMMAND = "make run && make reference (or: python -m utils run && python -m utils reference)"
"""What writes the reference run of the machine at hand."""

# what a processor must have for a class, the best first; AVX-512 comes with AVX2, VNNI with one of the two
_X86_LEVELS = {
    "avx512-vnni": {"avx512f", "avx512_vnni"},
    "avx512": {"avx512f"},
    "avx2-vnni": {"avx2", "avx_vnni"},
    "avx2": {"avx2"},
}
_ARM_LEVELS = {"i8mm": {"i8mm"}, "dotprod": {"asimddp"}}


class ReferenceRunError(RuntimeError):
    """A reference run cannot be read; the message says which, what is wrong and what to do."""


@functools.cache
def machine_class() -> str:
    """Return the class of this machine, or the one that the environment names.

    >>> len(machine_class().split())
    2
    """
    if named := os.environ.get(CLASS_VARIABLE):
        return named
    return classify(platform.machine(), processor()[1])


def classify(architecture: str, flags: Set[str]) -> str:
    """Return the class of a machine by its architecture and the instruction sets of its processor.

    >>> classify("x86_64", {"avx2", "fma", "avx512f", "avx512_vnni"})
    'x86-64 avx512-vnni'
    >>> classify("aarch64", {"asimd", "asimddp"}), classify("riscv64", set())
    ('arm64 dotprod', 'riscv64 baseline')
    """
    architecture = architecture.lower()
    if architecture in ("x86_64", "amd64"):
        name, levels, otherwise = "x86-64", _X86_LEVELS, "sse"
        if "avx512vnni" in flags:  # another spelling of the same
            flags = flags | {"avx512_vnni"}
    elif architecture in ("aarch64", "arm64"):
        name, levels, otherwise = "arm64", _ARM_LEVELS, "neon"
    else:
        name, levels, otherwise = architecture, {}, "baseline"
    return f"{name} {next((level for level, needed in levels.items() if needed <= flags), otherwise)}"


def path_of(name: str, *, folder: Path | None = None) -> Path:
    """Return the file of a class's reference run; it need not be there.

    >>> path_of("x86-64 avx2").name
    'x86-64-avx2.jsonl'
    """
    return (folder or FOLDER) / f"{name.replace(' ', '-')}.jsonl"


def read_reference(path: Path) -> tuple[dict, list[dict]]:
    """Return what the first line of a reference run says about it, and its claims and records.

    Raises `ReferenceRunError`, which names the line and the remedy, if the file is missing or damaged.
    """
    remedy = f"restore it with `git checkout -- data/reference`, or write it anew: {COMMAND}"
    rows = []
    try:
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            row = json.loads(line)
            if (row["kind"] == "run") != (number == 1):
                raise ValueError(f"line {number}: the first line, and no other, is about the run")
            if number == 1 and not {"class", "date", "machine", "notebooks"} <= row.keys():
                raise ValueError("line 1 lacks the class, the date, the machine or the notebooks")
            rows.append(row)
        about = rows.pop(0)
    except OSError as error:
        raise ReferenceRunError(f"the reference run {path.name} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ReferenceRunError(f"the reference run {path.name} is damaged ({error}); {remedy}") from None
    return about, rows


@functools.cache
def reference_runs() -> Mapping[str, tuple[dict, list[dict]]]:
    """Return the reference runs that come with the course, by class: about the run, and its claims and records."""
    found = (read_reference(path) for path in sorted(FOLDER.glob("*.jsonl")))
    return {about["class"]: (about, rows) for about, rows in found}


def nearest_reference(name: str | None = None) -> tuple[dict, list[dict]]:
    """Return the reference run of a class (by default this machine's), or the newest one if that class has none."""
    runs = reference_runs()
    if not runs:
        raise ReferenceRunError(f"there is no reference run in data/reference; write one: {COMMAND}")
    return runs.get(name or machine_class()) or next(iter(newest_first(runs).values()))


def newest_first(runs: Mapping[str, tuple[dict, list[dict]]]) -> dict[str, tuple[dict, list[dict]]]:
    """Return reference runs in the order of their dates and, on one day, of their times; without a time comes last.

    >>> runs = {"a": ({"date": "2026-01-02"}, []), "b": ({"date": "2026-01-02", "time": "09:30"}, [])}
    >>> list(newest_first(runs))
    ['b', 'a']
    """
    return dict(sorted(runs.items(), key=lambda item: _when(*item[1]), reverse=True))


def _when(about: dict, _: list[dict]) -> tuple[str, str]:
    return about["date"], about.get("time", "")


def measured_elsewhere(notebook: str, statement: str) -> dict[str, Mapping[str, float]]:
    """Return by class what the reference runs measured for a claim; a run that does not have it is left out."""
    return {
        name: row["measured"]
        for name, (_, rows) in reference_runs().items()
        for row in rows
        if row["kind"] == "claim" and (row["notebook"], row["statement"]) == (notebook, statement)
    }
