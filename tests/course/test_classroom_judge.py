"""The checks grade answers in a sandbox as they do in a notebook; cases are the class's, bars give half the points."""

import importlib
import json
import re
from dataclasses import asdict
from unittest import mock

import pytest

from tests.checks.test_exercises import ANSWERS, _define
from tests.course.synthetic_class import notebook, right_answers
from tests.course.test_classroom_sandbox import WORKING
from utils.checks import nb02
from utils.course import classroom_judge
from utils.course.classroom_judge import Job, Judge, Verdict, exercises, points_for
from utils.course.classroom_sandbox import Limits
from utils.files import ROOT

SEED = 20261129
needs_sandbox = pytest.mark.skipif(not WORKING, reason="no sandbox works on this machine")


@pytest.fixture(scope="module")
def judge():
    """Return a process that grades."""
    with Judge() as process:
        yield process


def _graded(judge, assignment, answers, **limits):
    job = Job(assignment, ["x.ipynb"], SEED, WORKING[0], asdict(Limits(**limits)))
    content = json.dumps(notebook(answers, assignment)).encode()
    return {verdict.exercise: verdict for verdict in judge.grade(job, [content]).verdicts}


def _cases(exercise, seed):
    """Return what a check of this class hands to an answer, and the right answers; with these all cases are drawn."""
    name, source = ANSWERS[exercise]
    right, seen = _define(f"import math\nimport numpy as np\n{source}", name), []

    def answer(*arguments):
        shown = re.sub(r" at 0x[0-9a-f]+", "", repr(arguments))  # of a function or a generator
        answered = right(*arguments)
        seen.append((shown, repr(answered)))
        return answered

    (path,) = (ROOT / "notebooks").glob(f"{exercise[:2]}_*.ipynb")
    assert points_for(exercises(path.stem)[exercise], answer, seed)[0] == "right"
    return seen


@pytest.mark.parametrize("exercise", ["00.1", "02.1", "04.2", "09.2", "10.1", "11.2", "12.2", "14.1", "15.1", "23.1"])
def test_cases_are_those_of_the_seed(exercise):
    assert _cases(exercise, 1) == _cases(exercise, 1)
    assert _cases(exercise, 1) != _cases(exercise, 2)


def test_every_bar_that_is_lowered_is_one_of_a_challenge():
    challenges = {
        exercise.identity
        for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")
        for exercise in exercises(path.stem).values()
        if exercise.kind == "challenge"
    }
    assert classroom_judge._NEARLY.keys() <= challenges
    for exercise, (name, nearer) in classroom_judge._NEARLY.items():
        bar = getattr(importlib.import_module(f"utils.checks.nb{exercise[:2]}"), name)
        assert nearer(bar) != bar


@pytest.mark.slow
@pytest.mark.parametrize(("error", "state", "points"), [(7.0, "right", 4), (3.0, "partial", 2), (2.0, "wrong", 0)])
def test_a_challenge_that_nearly_meets_its_bar_gets_half_its_points(error, state, points):
    """The solution's error lies between 3 and 4.5 per cent."""
    answer = _define(f"from utils import pruning\n{ANSWERS['02.3'][1]}", "choose_masks")
    with mock.patch.object(nb02, "CHALLENGE", nb02.CHALLENGE | {"error": error}):
        assert points_for(exercises("02_unstructured_pruning")["02.3"], answer, SEED)[:2] == (state, points)


def test_a_budget_that_is_not_kept_is_not_nearly_kept():
    answer = _define("from utils import pruning\nf = lambda n: pruning.global_magnitude_masks(n, 0.9)", "f")
    assert points_for(exercises("02_unstructured_pruning")["02.3"], answer, SEED)[:2] == ("wrong", 0)


@pytest.mark.slow
@needs_sandbox
def test_tensors_networks_and_masks_make_the_journey(judge):
    verdicts = _graded(judge, "02_unstructured_pruning", right_answers("02_unstructured_pruning"))
    assert {key: (v.state, v.points) for key, v in verdicts.items()} == {
        "02.1": ("right", 2.0),
        "02.2": ("right", 3.0),
        "02.3": ("right", 4.0),
    }
    assert "95% of the weights removed" in verdicts["02.3"].message


@needs_sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    "assignment",
    ["03_structured_pruning", "05_iterative_pruning", "06_svd_compression", "07_pca_compression"],
    ids=["a function as an argument", "a function as a result", "a network as a result", "images as an argument"],
)
def test_the_solutions_are_right_in_the_sandbox(judge, assignment):
    verdicts = _graded(judge, assignment, right_answers(assignment))
    assert {key: verdict.state for key, verdict in verdicts.items()} == dict.fromkeys(exercises(assignment), "right")


CHANGED = 'def drop_and_grow(mask, *_):\n    mask ^= True\n    return mask\n\n\ncheck("05.2", drop_and_grow)'
IN_PLACE = 'def compress(dense):\n    dense.fc1.weight.data.zero_()\n    return dense\n\n\ncheck("06.3", compress)'
TOO_LARGE = (
    "class Large(torch.nn.Module):\n    def forward(self, x):\n"
    "        return torch.ones(10**12)[:10].repeat(len(x), 1)\n\n\n"
    'def compress(dense):\n    return Large()\n\n\ncheck("06.3", compress)'
)


@pytest.mark.slow
@needs_sandbox
def test_what_an_answer_changes_in_its_arguments_is_seen(judge):
    verdict = _graded(judge, "05_iterative_pruning", {"05.2": CHANGED})["05.2"]
    assert (verdict.state, verdict.points) == ("wrong", 0)
    assert "`mask` itself was changed" in verdict.message
    verdict = _graded(judge, "06_svd_compression", {"06.3": IN_PLACE})["06.3"]
    assert "has other weights now" in verdict.message


@pytest.mark.slow
@needs_sandbox
def test_a_network_too_large_to_measure_costs_its_points_and_nothing_else(judge):
    right = right_answers("06_svd_compression")
    verdicts = _graded(judge, "06_svd_compression", {"06.1": right["06.1"], "06.3": TOO_LARGE})
    assert verdicts["06.1"].state == "right"
    assert (verdicts["06.3"].points, verdicts["06.3"].state in ("wrong", "stopped", "unsent")) == (0, True)
    assert _graded(judge, "06_svd_compression", {"06.1": right["06.1"]})["06.1"].state == "right"


@needs_sandbox
def test_predictions_of_the_class_come_with_the_verdicts(judge):
    content = notebook({}, "00_start_here")
    line = "→ how many times smaller?  [your guess 4x, measured 6x: off by a factor of 1.5]\n"
    content["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [line]}]
    job = Job("00_start_here", ["x.ipynb"], SEED, WORKING[0], asdict(Limits()))
    graded = judge.grade(job, [json.dumps(content).encode()])
    assert graded.predictions == [["how many times smaller?", "4x", "6x"]]
    assert graded.verdicts == [Verdict("00.1", "blank", 0.0, 2, "not attempted", [], graded.verdicts[0].seconds)]


def test_there_is_no_such_assignment():
    for name in ("99_nothing", "../data"):
        with pytest.raises(ValueError, match="there is no notebook"):
            exercises(name)
