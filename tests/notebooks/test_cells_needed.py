"""Which cells a claim needs: those that bind or change what it reads, and no others."""

import builtins

import pytest

from tests.notebooks.break_in_turn import breaks_of, may_fork, needed_for
from tests.notebooks.cells_needed import cells_that_claim, needed_cells, read_and_bound
from tests.notebooks.read_notebooks import COURSE, code


def test_what_a_function_reads_is_needed_and_its_own_names_are_not():
    cells = ["scale = 2", "own = 3", "def double(x):\n    own = scale\n    return own * x", "double(1)"]
    assert needed_cells(cells, [3]) == [0, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        "model.fit(1)",
        "model.weights[0] = 1",
        "model.rate = 1",
        "for each in (model, 2):\n    each.fit()",
        "def train(x):\n    x.fit()\ntrain(model)",
        "model = model.wider()",
    ],
)
def test_a_cell_that_may_change_what_is_read_is_needed(change):
    assert needed_cells(["model = make()", change, "claim('it is good', model.good)"], [2]) == [0, 1, 2]


@pytest.mark.parametrize("harmless", ["print(model)", "len(model.values())", "claim('it is', model)", "other = 1"])
def test_a_cell_that_only_looks_is_not_needed(harmless):
    assert needed_cells(["model = make()", harmless, "claim('it is good', model.good)"], [2]) == [0, 2]


def test_a_later_cell_that_makes_an_earlier_one_needed_brings_it():
    assert needed_cells(["a = 1", "b = a", "c = b", "print(c)", "d = 1"], [3]) == [0, 1, 2, 3]


def test_a_claim_is_found_by_its_words_over_two_lines():
    assert cells_that_claim(["x = 1", 'claim(\n    "x is "\n    "one", x == 1)'], "x is one") == [1]


@pytest.mark.parametrize("path", [path for path in COURSE if not may_fork(path.stem)], ids=lambda path: path.stem)
def test_the_cells_of_each_break_bind_all_that_they_read(path):
    sources = [cell.source for cell in code(path)]
    for each in breaks_of(path.stem):
        read, bound = read_and_bound(needed_for(each, sources))
        assert read <= bound | set(dir(builtins)), f"{each} lacks {read - bound - set(dir(builtins))}"
