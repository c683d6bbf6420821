"""Writing the reference run of this class of machine, and README's table; which claims about machines to enforce.

`python -m utils reference` makes the last complete run the reference run of the machine at hand.
"""

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utils.claims import read_results
from utils.course import frontier_picture
from utils.course.notebook_runner import code_cells, find_notebooks, fingerprint_of, finished, read_summary
from utils.course.readme_table import put_table, render_table
from utils.environment import environment
from utils.files import ROOT, replace_file
from utils.reference_runs import FOLDER, machine_class, path_of, read_reference

Row = Mapping[str, object]


def digest_of(path: Path) -> str:
    """Return a digest of the code cells of a notebook; its prose and its outputs may change without changing it."""
    return hashlib.sha256(json.dumps(code_cells(path)).encode()).hexdigest()[:16]


def changed_notebooks(about: Mapping, paths: Sequence[Path] | None = None) -> list[str]:
    """Return the notebooks whose code is not that of a reference run, those that came or went included."""
    now = {path.stem: digest_of(path) for path in (find_notebooks() if paths is None else paths)}
    then = {name: each["digest"] for name, each in about["notebooks"].items()}
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))


def unfit_notebooks(output: Path) -> list[str]:
    """Return the notebooks whose last run into `output`, if there was one, cannot be the reference."""
    found = {path.stem: fingerprint_of(path, {}, results=output / "results") for path in find_notebooks()}
    return [name for name, fingerprint in found.items() if not finished(output, name, fingerprint)]


def reference_lines(output: Path, notebooks: Sequence[Path], *, now: datetime.datetime) -> list[dict]:
    """Return the lines of a reference run: about it, then every claim and record of a run."""
    rows = [row for row in read_results(output / "results") if row["kind"] != "prediction"]
    measured = read_summary(output)["notebooks"]
    about = {path.stem: {"digest": digest_of(path), **measured.get(path.stem, {})} for path in notebooks}
    machine = environment()
    when = {"date": now.date().isoformat(), "time": f"{now:%H:%M}"}
    return [{"kind": "run", "class": machine_class(), **when, "machine": machine, "notebooks": about}, *rows]


def write_reference(
    output: Path, *, folder: Path = FOLDER, readme: Path = ROOT / "README.md", picture: Path = frontier_picture.PATH
) -> str:
    """Make the last complete run the reference run of this class, write README's table and picture, say what was done.

    Raises a ValueError if a notebook was not run, failed or was changed since: all of them are named, and nothing is
    written.
    """
    if unfit := unfit_notebooks(output):
        raise ValueError(
            "the reference run must be complete; nothing was written. Not run, failed, changed since, or run with "
            f"other parameters: {', '.join(unfit)}. First: make run"
        )
    lines = reference_lines(output, find_notebooks(), now=datetime.datetime.now(datetime.UTC))
    path = path_of(lines[0]["class"], folder=folder)
    others = [read_reference(other) for other in sorted(folder.glob("*.jsonl")) if other != path]
    text = put_table(readme.read_text(encoding="utf-8"), render_table([(lines[0], lines[1:]), *others]))
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    replace_file(readme, text.encode())
    replace_file(picture, frontier_picture.picture(lines[1:]))
    count = f"{len(lines) - 1} claims and records of {len(lines[0]['notebooks'])} notebooks"
    return f"{path.name}: {count}; README's table and picture"


def broken_promises(run: Iterable[Row], reference: Iterable[Row]) -> tuple[list[Row], int]:
    """Return the claims about this machine that a run missed and its reference run holds, and the number promised.

    The number counts the run's own claims among the promises, missed or not. Only what the reference run
    met at the first try is a promise: what needed a second one there is too close to call.

    >>> claim = {"kind": "claim", "machine": True, "notebook": "01_x", "statement": "s", "measured": {"tries": 1}}
    >>> missed, promised = broken_promises([{**claim, "holds": False}], [{**claim, "holds": True}])
    >>> missed[0]["statement"], promised
    ('s', 1)
    >>> broken_promises([{**claim, "holds": False}], [{**claim, "holds": False}])
    ([], 0)
    """
    promises = {
        (row["notebook"], row["statement"])
        for row in reference
        if row.get("machine") and row["holds"] and row["measured"].get("tries", 1) == 1
    }
    promised = [row for row in run if row.get("machine") and (row["notebook"], row["statement"]) in promises]
    return [row for row in promised if not row["holds"]], len(promised)
