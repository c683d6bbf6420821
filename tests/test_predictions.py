"""Predictions: what is printed before and after the measurement, and what is kept."""

import json

import pytest
import torch

from utils import claims
from utils.files import results_folder
from utils.predictions import off_by, predict

NOTEBOOK = "02_unstructured_pruning"


@pytest.fixture
def kept(monkeypatch):
    """Return a function that reads the rows which the notebook has kept."""
    monkeypatch.setattr(claims, "_notebook", "")
    monkeypatch.setattr(claims, "_lines", {})
    claims.begin(NOTEBOOK)
    file = results_folder() / f"{NOTEBOOK}.jsonl"
    return lambda: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_guess_is_shown_beside_the_measurement_and_kept(kept, capsys):
    guess = predict("how many times smaller?", 4, unit="x")
    guess.compare(torch.tensor(6.0))
    asked, compared = capsys.readouterr().out.splitlines()
    assert asked == "? how many times smaller?  [your guess 4x]"
    assert compared == "→ how many times smaller?  [your guess 4x, measured 6x: off by a factor of 1.5]"
    row = {"kind": "prediction", "notebook": NOTEBOOK, "question": "how many times smaller?"}
    assert kept() == [row | {"guess": 4.0, "measured": 6.0, "unit": "x"}]


def test_a_guess_is_kept_before_anything_is_measured(kept):
    predict("how many times smaller?", 4, unit="x")
    assert [(row["guess"], row["measured"]) for row in kept()] == [(4.0, None)]
    assert off_by(kept()[0]) == "not measured"


def test_no_guess_is_always_allowed(kept, capsys):
    predict("what accuracy is left?", None, unit="%").compare(0.5)
    asked, compared = capsys.readouterr().out.splitlines()
    assert asked.startswith("? what accuracy is left?  [to guess, write a number (in per cent) in place of None")
    assert compared == "→ what accuracy is left?  [measured 50 %; no guess]"
    assert kept()[0]["guess"] is None


@pytest.mark.parametrize(
    ("guess", "measured", "unit", "off"),
    [
        (90, 98.7, "%", "off by 8.7 points"),
        (0.5, 0.1, "points", "off by 0.4 points"),
        (10, 5, "x", "off by a factor of 2"),
        (5, 10, "", "off by a factor of 2"),
        (0, 3, "", "off by 3"),
    ],
)
def test_how_far_off(guess, measured, unit, off):
    assert off_by({"guess": guess, "measured": measured, "unit": unit}) == off


@pytest.mark.parametrize("guess", ["6x", True, [1]])
def test_a_guess_is_a_number_or_none(guess):
    with pytest.raises(TypeError, match="a guess is a number, without its unit"):
        predict("how many?", guess)
