"""Where the project's files are, and how a file is written whole or not at all."""

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds `notebooks/`, `data/` and `build/`."""

RESULTS_VARIABLE = "WORKBOOK_RESULTS"
"""Names another folder than `build/results` for the results: the tests must not touch a learner's."""


PROJECT_CARD = "project.json"
"""The file that makes a folder one of a project of the learner's own (`python -m utils project`)."""


def results_folder() -> Path:
    """Return where results are kept: the folder that the environment names, a project's own, or `build/results`."""
    if named := os.environ.get(RESULTS_VARIABLE):
        return Path(named)
    return (Path.cwd() if Path(PROJECT_CARD).is_file() else ROOT) / "build" / "results"


def temporary_folder() -> Path:
    """Make an empty folder that is removed, with all that is in it, when this process ends.

    >>> folder = temporary_folder()
    >>> folder.is_dir(), list(folder.iterdir())
    (True, [])
    """
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all: to a file beside it first, which then takes its place."""
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except BaseException:  # the disk is full, or an interrupt: the half file would only take up space
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
