"""The answers are found in notebooks that something happened to, and nothing else of them is executed."""

import ast
import json

import pytest

from tests.course.synthetic_class import ASSIGNMENT, AWKWARD, FULL, NOTHING
from utils.course.classroom_answers import Answers, NotANotebookError, code_cells, is_blank_function, parse
from utils.course.classroom_judge import course_cells, exercises

NAMES = {identity: exercise.function for identity, exercise in exercises(ASSIGNMENT).items()}
READABLE = [name for name, student in AWKWARD.items() if student.points != NOTHING]


def _answers(*sources, names=None, course=()):
    return Answers(list(sources), list(course), names or {"13.1": "f"})


def _built(*sources, exercise="13.1", **others):
    answers = _answers(*sources, **others)
    return answers.build(answers.find(exercise))


@pytest.mark.parametrize("name", READABLE)
def test_awkward_notebooks_hold_their_answers(name):
    student = AWKWARD[name]
    sources = [source for content in student.files.values() for source in code_cells(content)]
    answers = Answers(sources, course_cells(ASSIGNMENT), NAMES)
    for exercise, points in FULL.items():
        found = answers.find(exercise)
        if student.points[exercise] < points:
            assert found.expression is None
            assert found.notes == ["neither the function nor its check is in the notebook"]
        else:
            assert callable(answers.build(found))


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"[]", b'{"cells": []}', b'{"worksheets": 3}', b"[" * 10**6])
def test_what_is_no_notebook_is_named(content):
    with pytest.raises(NotANotebookError):
        code_cells(content)


def test_what_the_answer_names_is_executed_and_the_rest_is_not(tmp_path):
    touched = tmp_path / "touched"
    function = _built(
        f"open({str(touched)!r}, 'w')",
        f"SCALE = 3\nEFFECT = open({str(touched)!r}, 'w')",
        "import math",
        "def helper(x):\n    return math.floor(x) * SCALE",
        'def f(x):\n    return helper(x)\n\n\ncheck("13.1", f)',
    )
    assert function(2.5) == 6
    assert not touched.exists()


def test_imports_that_the_submission_lost_come_from_the_course():
    assert _built("def f(x):\n    return math.floor(x)", course=["import math"])(1.5) == 1


FORMS = {
    "a lambda": 'f = lambda x: x + 1\ncheck("13.1", f)',
    "a lambda in the check": 'check("13.1", lambda x: x + 1)',
    "another name": 'def mine(x):\n    return x + 1\ncheck("13.1", mine)',
    "a partial": 'import functools\nf = functools.partial(lambda a, x: a + x, 1)\ncheck("13.1", f)',
    "no check": "def f(x):\n    return x + 1",
    "magics": '%timeit -n 1 2\n!ls\ndef f(x):\n    return x + 1\ncheck("13.1", f)',
    "a cell magic": '%%time\ndef f(x):\n    return x + 1\ncheck("13.1", f)',
    "an error before": 'print(undefined)\ndef f(x):\n    return x + 1\ncheck("13.1", f)',
}


@pytest.mark.parametrize("source", FORMS.values(), ids=FORMS)
def test_an_answer_of_any_form_is_found(source):
    assert _built(source)(1) == 2


BLANK = 'def f(x):\n    """What."""\n    raise NotImplementedError\n\n\ncheck("13.1", f)'


def test_a_star_import_brings_its_names():
    assert _built("from math import *", "def f(x):\n    return floor(x)")(2.5) == 2


def test_a_blank_is_blank_and_does_not_undo_an_answer():
    answers = _answers(BLANK)
    assert answers.is_blank(answers.find("13.1"))
    assert _built("def f(x):\n    return x", BLANK)(1) == 1


def test_of_several_answers_the_last_counts_and_it_is_said():
    answers = _answers("def f(x):\n    return 1", "def f(x):\n    return 2")
    found = answers.find("13.1")
    assert answers.build(found)(0) == 2
    assert found.notes == ["f is defined 2 times; the last one counts"]


def test_a_cell_that_is_no_python_is_named():
    assert _answers("def f(x)\n    return 1").find("13.1").notes == ["its cell is no valid Python"]


def test_what_a_stub_may_raise():
    for text, blank in (("raise NotImplementedError", True), ("raise NotImplementedError()", True), ("raise E", False)):
        assert is_blank_function(ast.parse(f"def f():\n    {text}").body[0]) is blank


def test_a_cell_as_a_list_of_lines_is_one_cell():
    cells = [{"cell_type": "code", "source": ["a = 1\n", "b = 2"]}, {"cell_type": "markdown", "source": "x"}]
    assert [len(parse(source)) for source in code_cells(json.dumps({"cells": cells}).encode())] == [2]
