"""Reading the course's notebooks for the tests: plain JSON, so that nothing is mended on the way."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from utils.files import ROOT

COURSE = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("[0-9][0-9]_*.ipynb"))


@dataclass(frozen=True)
class Cell:
    """One cell, its outputs as they are stored."""

    kind: str
    source: str
    identity: str
    tags: tuple[str, ...]
    outputs: tuple[dict, ...]
    execution_count: int | None


@cache
def cells(path: Path) -> tuple[Cell, ...]:
    """Return the cells of a notebook."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        Cell(
            kind=cell["cell_type"],
            source="".join(cell["source"]),
            identity=cell.get("id", ""),
            tags=tuple(cell["metadata"].get("tags", ())),
            outputs=tuple(cell.get("outputs", ())),
            execution_count=cell.get("execution_count"),
        )
        for cell in content["cells"]
    )


def code(path: Path) -> list[Cell]:
    """Return the code cells of a notebook."""
    return [cell for cell in cells(path) if cell.kind == "code"]


def prose(path: Path) -> str:
    """Return the text of a notebook's Markdown cells."""
    return "\n\n".join(cell.source for cell in cells(path) if cell.kind == "markdown")
