"""Imports flow one way: the library imports neither course nor recipes; and who loads which framework."""

import ast
import graphlib
import re
import subprocess
import sys

import pytest

from utils.files import ROOT

# What each folder of `utils` may import from; the library, "", lies flat in `utils` itself.
MAY_IMPORT = {
    "": {""},
    "checks": {"", "checks"},
    "recipes": {"", "recipes"},
    "course": {"", "checks", "course"},  # grading calls the checks
    "__main__": {"", "course", "recipes"},
}


def _folder(module):
    """Return the part of `utils` that a module such as utils.recipes.dense belongs to."""
    first = module.split(".")[1]
    return first if first in MAY_IMPORT else ""


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "utils":
            yield from (f"utils.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "utils").rglob("*.py"))
}
IMPORTS = {
    module: sorted({name for name in _imports(path) if name.startswith("utils.")}) for module, path in SOURCES.items()
}


@pytest.mark.parametrize("module", [module for module in IMPORTS if "." in module])
def test_the_library_imports_neither_course_nor_recipes_nor_checks(module):
    for name in IMPORTS[module]:
        assert _folder(name) in MAY_IMPORT[_folder(module)], f"{module} imports {name}"


def test_no_imports_go_round_in_a_circle():
    graph = {module: [name for name in names if name in IMPORTS] for module, names in IMPORTS.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_only_keras_models_imports_tensorflow():
    for path in (ROOT / "utils").rglob("*.py"):
        if path.stem != "keras_models":
            assert not re.search(
                r"^\s*(import|from) (tensorflow|keras)", path.read_text(encoding="utf-8"), flags=re.MULTILINE
            )


def test_what_a_keras_notebook_imports_leaves_pytorch_alone():
    modules = ("dataset_files", "claims", "timing", "figures", "checks", "keras_models", "keras_data_parallel")
    lines = [f"import utils.{module}" for module in modules] + ["import sys", "sys.exit('torch' in sys.modules)"]
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False).returncode == 0
