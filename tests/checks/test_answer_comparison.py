"""The comparison behind the exercise checks: what counts as the same answer."""

import numpy as np
import pytest
import torch

from utils.checks import WrongAnswerError, check_cases, check_choice, same


@pytest.mark.parametrize(
    ("received", "expected", "answer"),
    [
        (1, 1, True),
        (1.0, 1, True),
        (torch.tensor(1), 1, True),
        (True, 1, False),
        (None, 1, False),
        (float("nan"), 1.0, False),
        ("1", 1, False),
        (1, "1", False),
        ((1, 2), (1, 2), True),
        ([1, 2], (1, 2), True),
        ((1, 2, 3), (1, 2), False),
        (3, (1, 2), False),
        ({"A"}, {"A"}, True),
        (["A"], {"A"}, False),
        (torch.ones(2), torch.ones(2), True),
        (torch.ones(2, 1), torch.ones(2), False),
        (torch.ones(2) * float("nan"), torch.ones(2), False),
        (torch.ones(2), torch.ones(2, dtype=torch.bool), False),
        ([1.0, 1.0], torch.ones(2), True),
        ([1.0, [1.0]], torch.ones(2), False),
        (np.ones(2, dtype=np.float32), torch.ones(2), True),
        (np.ones((2, 1)), torch.ones(2), False),
        (np.array([True, False]), torch.tensor([True, False]), True),
        (np.array([1, 0]), torch.tensor([True, False]), False),
        (np.array([1, 2]), (1, 2), True),
        (torch.tensor([1, 2]), (1, 2), True),
        (np.int64(3), 3, True),
        (np.True_, True, True),
        (torch.tensor(1 / 3), 1 / 3, True),
        (np.float32(1 / 3), 1 / 3, True),
        (torch.tensor(1 / 3).item(), 1 / 3, True),
        (round(1 / 3, 6), 1 / 3, False),
        (torch.tensor([0.1]), torch.tensor([0.1], dtype=torch.float64), True),
        (torch.tensor([50_979_596.0]), torch.tensor([50_979_600]), False),
        (50_979_596.0, 50_979_600, False),
        (torch.ones(2), 1, False),
    ],
)
def test_same(received, expected, answer):
    assert same(received, expected) is answer


def test_tolerance_is_relative_for_large_and_absolute_for_small_numbers():
    assert same(1000.5, 1000.0, tolerance=1e-3)
    assert not same(1002.0, 1000.0, tolerance=1e-3)
    assert same(torch.tensor([1e-4]), torch.tensor([0.0]), tolerance=1e-3)
    assert not same(torch.tensor([1e-2]), torch.tensor([0.0]), tolerance=1e-3)


def test_an_answer_that_changes_its_input_does_not_change_the_next_case():
    weight = torch.ones(3)

    def answer(tensor):
        return tensor.zero_()

    check_cases(answer, [((weight,), torch.zeros(3))])
    assert weight.sum() == 3


def test_the_first_failing_case_is_the_one_shown():
    with pytest.raises(WrongAnswerError, match="input:    2"):
        check_cases(lambda n: min(n, 1), [((1,), 1), ((2,), 2), ((3,), 3)])


def test_a_blank_is_not_wrong():
    def blank(_):
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        check_cases(blank, [((1,), 1)])


def test_a_wrong_choice_is_met_without_naming_a_letter(capsys):
    explain = {"right": {"A"}, "why_wrong": {"B": "because b"}, "why_missing": {"A": "think of a"}}
    for not_right in ({"A", "B"}, {"B"}, set()):
        with pytest.raises(WrongAnswerError, match="not yet right: a false statement is among them or a true one") as e:
            check_choice(lambda answer=not_right: answer, **explain)
        assert "because b" not in str(e.value), "the reason would name the letter"
    for nonsense in ({"Z"}, "A", ["A"], None):
        with pytest.raises(WrongAnswerError, match="return a set of letters"):
            check_choice(lambda answer=nonsense: answer, **explain)
    assert capsys.readouterr().out == ""


def test_the_reasons_are_for_those_who_are_right(capsys):
    check_choice(lambda: {"A"}, right={"A"}, why_wrong={"B": "because b."}, why_missing={"A": "think of a."})
    assert capsys.readouterr().out == "B is not true: because b.\n"


@pytest.mark.parametrize("received", [(1, 3), (1, None), [1, 2.5], (7, 7), None, 5])
def test_an_answer_without_arguments_is_not_given_away(received):
    with pytest.raises(WrongAnswerError) as error:
        check_cases(lambda: received, [((), (1, 2.71828))])
    assert "2.71828" not in str(error.value)
    assert (
        "value 2" in str(error.value) or "2 values are asked for" in str(error.value) or "1 and 2" in str(error.value)
    )
