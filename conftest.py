"""For every run of pytest, nbval's too: no progress bars, and results that leave a learner's own alone."""

import os
from pathlib import Path

os.environ["WORKBOOK_QUIET"] = "1"
os.environ["WORKBOOK_RESULTS"] = str(Path(__file__).parent / "build" / "test" / "results")
