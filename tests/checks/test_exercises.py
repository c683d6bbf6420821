"""Every exercise has a solution that passes; a blank stays calm; wrong answers are refused with the failing case."""

import re

import pytest

from tests.checks.wrong_answers import WRONG_ANSWERS
from tests.notebooks.read_notebooks import COURSE, SOLUTIONS, code
from utils.checks import WrongAnswerError, below, check, checker

CHECK = re.compile(r'^check\("(\d\d\.\d)", (\w+)\)$', flags=re.MULTILINE)

BOUND = re.compile(r"below [\d.]+ %")
"""What `utils.checks.below` prints: in which quarter of a per cent a trained network lands is one processor's."""


def _exercises(paths, tag):
    return {
        match[1]: (match[2], cell.source)
        for path in paths
        for cell in code(path)
        if tag in cell.tags
        for match in [CHECK.search(cell.source)]
    }


STUBS, ANSWERS = _exercises(COURSE, "exercise"), _exercises(SOLUTIONS, "solution")


def _define(source, name):
    """Run an exercise cell without its check and return the function it defines, with the notebook's usual imports."""
    import torch

    namespace = {"torch": torch}
    exec(CHECK.sub("", source), namespace)
    return namespace[name]


def test_every_exercise_has_a_solution_and_wrong_answers():
    assert STUBS
    assert STUBS.keys() == ANSWERS.keys() == WRONG_ANSWERS.keys()


@pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)
def test_number_of_exercises(path):
    here = [identity for identity in STUBS if identity.startswith(path.stem[:2] + ".")]
    assert len(here) == (1 if path.stem.startswith("00") else 3)


@pytest.mark.parametrize("identity", STUBS)
def test_the_stub_is_blank_and_says_what_is_wanted(identity, capsys):
    name, source = STUBS[identity]
    blank = _define(source, name)
    assert "Expected length:" in blank.__doc__
    assert "raise NotImplementedError" in source
    check(identity, blank)
    assert "not attempted yet" in capsys.readouterr().out


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: p.stem)
def test_the_solutions_pass_and_say_what_is_stored(path, capsys):
    """What nbval would do with the notebook, in a hundredth of the time: its cells need no kernel of their own."""
    namespace = {}
    for cell in code(path):
        exec(cell.source, namespace)
        stored = "".join(text for output in cell.outputs for text in output["text"])
        assert BOUND.sub("below", capsys.readouterr().out) == BOUND.sub("below", stored)
        if "solution" in cell.tags:
            assert "".join(cell.outputs[0]["text"]).endswith(f"Exercise {CHECK.search(cell.source)[1]}: right.\n")


@pytest.mark.parametrize(("identity", "number"), [(i, n) for i in STUBS for n in range(len(WRONG_ANSWERS[i]))])
def test_a_wrong_answer_is_refused(identity, number):
    with pytest.raises(WrongAnswerError):
        checker(identity)(WRONG_ANSWERS[identity][number])


@pytest.mark.parametrize("identity", STUBS)
def test_there_are_three_wrong_answers_and_a_pass_is_one_more(identity):
    assert len(WRONG_ANSWERS[identity]) >= 3

    def forgotten(*_):
        """What a learner leaves who deletes the `raise` and writes nothing."""

    with pytest.raises(WrongAnswerError):
        checker(identity)(forgotten)


def test_the_bound_of_a_challenge_is_left_out_of_the_comparison():
    assert BOUND.sub("below", f"error {below(5.7)}, right") == "error below, right"


def test_the_failing_case_is_shown():
    with pytest.raises(WrongAnswerError) as caught:
        check("00.1", lambda count, bits: count * bits // 8)
    assert "input:    1, 1\n  expected: 1\n  received: 0" in str(caught.value)


def test_an_exception_in_the_answer_is_shown_as_received():
    with pytest.raises(WrongAnswerError, match="received: ZeroDivisionError"):
        check("00.1", lambda count, bits: 1 // 0)


def test_what_a_library_does_not_implement_is_a_wrong_answer_and_no_blank():
    def answer(count, bits):
        raise NotImplementedError("dense_to_nested is not implemented for Half")

    with pytest.raises(WrongAnswerError, match="received: NotImplementedError: dense_to_nested"):
        check("00.1", answer)


def test_misuse_is_a_clear_error():
    with pytest.raises(TypeError, match="pass the function itself"):
        check("00.1", 5)
    with pytest.raises(ValueError, match=r"no exercise '99\.9'"):
        check("99.9", len)
    with pytest.raises(ValueError, match="no exercise"):
        check("../x", len)
