"""Docstrings are valid reStructuredText: what the website would stop at after a minute is found here in seconds."""

import ast
import re
from pathlib import Path

import pytest

docutils_core = pytest.importorskip("docutils.core", reason="docutils comes with requirements-site.txt")
napoleon = pytest.importorskip("sphinx.ext.napoleon", reason="Sphinx comes with requirements-site.txt")

MODULES = sorted(Path("utils").rglob("*.py"))
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
SPHINX_ALONE = ("Unknown interpreted text role", "Unknown directive type")  # what docutils does not know


def complaints(docstring: str) -> list[str]:
    """What docutils says of a docstring in Google's style."""
    bars = re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or r"\|", docstring)  # as site/conf.py does
    text = str(napoleon.GoogleDocstring(bars, napoleon.Config()))
    settings = {"report_level": 5, "halt_level": 5, "raw_enabled": False, "file_insertion_enabled": False}
    document = docutils_core.publish_doctree(text, settings_overrides=settings)
    document.reporter.report_level = 2
    return [node.astext() for node in document.parse_messages + document.transform_messages if node["level"] >= 2]


def test_a_formula_that_reads_as_a_link_is_found():
    assert complaints("The best weight is V = C_:S.")
    assert not complaints("The best weight is ``V = C_:S``.\n\nArgs:\n    x: a number.\n")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_docstrings_are_valid(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, DOCUMENTED) and (docstring := ast.get_docstring(node)):
            found = [one for one in complaints(docstring) if not any(known in one for known in SPHINX_ALONE)]
            assert not found, f"{path}, {getattr(node, 'name', 'the module')}: {found}"
