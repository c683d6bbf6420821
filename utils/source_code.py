"""Showing code that lies in a file: the parts of a script that a notebook talks about, as they are run."""

import ast
from pathlib import Path

from IPython.display import display

from utils.files import ROOT


def source_of(path: str | Path, *names: str) -> str:
    """Return the source of a file, or of some of its functions and classes.

    Args:
        path: of the file, from the root of the course.
        names: functions, classes, or methods such as "Links.send"; the whole file if there is none.

    Raises a ValueError for a name that the file does not define.

    >>> print(source_of("utils/files.py", "results_folder").splitlines()[0])
    def results_folder() -> Path:
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    found = _definitions(ast.parse(text), "")
    if unknown := [name for name in names if name not in found]:
        raise ValueError(f"{Path(path).name} does not define {unknown[0]!r}; it has: {', '.join(found)}")
    lines = text.splitlines()
    parts = [lines[found[name].lineno - 1 : found[name].end_lineno] for name in names] or [lines]
    return "\n\n\n".join("\n".join(_to_the_left(part)) for part in parts)


def show_source(path: str | Path, *names: str) -> None:
    """Display what `source_of` returns, with the syntax highlighted wherever Markdown is rendered."""
    text = source_of(path, *names)
    display({"text/markdown": f"```python\n{text}\n```", "text/plain": text}, raw=True)


def _definitions(tree: ast.AST, prefix: str) -> dict[str, ast.FunctionDef | ast.ClassDef]:
    found = {}
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[prefix + node.name] = node
            found |= _definitions(node, f"{prefix}{node.name}.") if isinstance(node, ast.ClassDef) else {}
    return found


def _to_the_left(lines: list[str]) -> list[str]:
    deep = len(lines[0]) - len(lines[0].lstrip())
    return [line[deep:] for line in lines]
