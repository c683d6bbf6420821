"""For every run of pytest, nbval's too: no progress bars, and results that leave a learner's own alone.

nbval compares outputs by `tests/nbval_sanitize.cfg`, however it is called. Where pytest-xdist runs two processes side
by side, each computes with one thread, and so do the kernels and workers it starts; what they claim about time is told
at the end. A notebook that fails is listed in `AGAIN`, for `make test` to run it alone.
"""

import json
import os
from pathlib import Path

ROOT = Path(__file__).parent
BUILD = ROOT / "build" / "test"
RESULTS, AGAIN = BUILD / "results", BUILD / "again.txt"

os.environ["WORKBOOK_QUIET"] = "1"
os.environ["WORKBOOK_RESULTS"] = str(RESULTS)
if "PYTEST_XDIST_WORKER" in os.environ:  # before PyTorch or TensorFlow is loaded
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    os.environ["WORKBOOK_SIDE_BY_SIDE"] = "1"


def _notebooks_side_by_side(config):
    return config.getoption("nbval", False) and config.getoption("numprocesses", None)


def pytest_configure(config):
    """Compare a claim's sentence and not its numbers, and forget what an earlier run left."""
    if getattr(config.option, "nbval", False) and not config.option.nbval_sanitize_with:
        config.option.nbval_sanitize_with = str(ROOT / "tests" / "nbval_sanitize.cfg")
    if _notebooks_side_by_side(config):
        AGAIN.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    """Say which claims about time did not hold while notebooks ran side by side, and list what is to be run alone."""
    if not _notebooks_side_by_side(config):
        return
    rows = [json.loads(line) for path in RESULTS.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    rows = [row for row in rows if row.get("machine")]
    missed = [row for row in rows if not row["holds"]]
    terminalreporter.section("claims about time, measured while notebooks ran side by side")
    terminalreporter.line(f"{len(rows)} measured, {len(missed)} did not hold")
    for row in missed:
        terminalreporter.line(f"  {row['notebook']}: {row['statement']} {row['measured']}")
    failed = {
        report.nodeid.split("::")[0] for kind in ("failed", "error") for report in terminalreporter.getreports(kind)
    }
    if exitstatus == 1 and failed:  # 1: tests failed, and nothing else went wrong
        AGAIN.write_text("\n".join(sorted(failed)) + "\n", encoding="utf-8")
