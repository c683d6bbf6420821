"""A claim that cannot fail says nothing: each notebook is broken on purpose, and the claim about it must notice.

All of them take more than half an hour on two cores. So each day three of the notebooks are broken, and all within
eight days; `make breaks` breaks all at once.
"""

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.notebooks.break_in_turn import breaks_of, may_fork
from tests.notebooks.read_notebooks import COURSE, code
from utils.files import ROOT

ALONE = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A process with threads of its own, or with a GPU's context, cannot be forked."""


def broken_in_turn(name, words=""):
    """Break a notebook in a process of its own; return what each break said."""
    command = [sys.executable, "-m", "tests.notebooks.break_in_turn", name, words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | ALONE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.in_turn(8)
@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_each_break_of_a_notebook_breaks_its_claim(path):
    breaks = breaks_of(path.stem)
    if may_fork(path.stem):
        said = broken_in_turn(path.stem)
    else:
        said = {text: what for each in breaks for text, what in broken_in_turn(path.stem, str(each)).items()}
    unnoticed = {str(each): said[str(each)] for each in breaks if not each.told_by(said[str(each)])}
    assert not unnoticed, json.dumps(unnoticed, indent=1, ensure_ascii=False)


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_each_notebook_is_broken_in_its_cells_and_twice_in_the_library(path):
    library = [each.module is not None for each in breaks_of(path.stem)]
    assert library.count(False) >= 1
    assert library.count(True) >= 2


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_breaks_of_a_notebook_can_be_told_apart(path):
    texts = [str(each) for each in breaks_of(path.stem)]
    assert len(set(texts)) == len(texts)


def _texts(source):
    """Yield the texts of a cell, each as a list of what stands there, with None for a value between."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield [node.value]
        elif isinstance(node, ast.JoinedStr):
            yield [each.value if isinstance(each, ast.Constant) else None for each in node.values]


def _may_begin(text, words):
    """Tell whether a text can begin with these words.

    >>> _may_begin([None, " errs by ", None], "LeNet5 errs"), _may_begin(["it errs"], "errs")
    (True, False)
    """
    if not words or not text:
        return not words
    first, *rest = text
    if first is None:
        return any(_may_begin(rest, words[length:]) for length in range(1, len(words) + 1))
    return first.startswith(words) or (words.startswith(first) and _may_begin(rest, words[len(first) :]))


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_the_words_of_each_break_begin_a_text(path):
    """They are looked for behind "does not hold: "; words from a claim's middle are never found there."""
    texts = [text for cell in code(path) for text in _texts(cell.source) if text != [None]]
    lost = [str(each) for each in breaks_of(path.stem) if not any(_may_begin(text, each.claim) for text in texts)]
    assert not lost
