"""Predictions: the learner's guess before a measurement, shown beside it afterwards, and kept for the report."""

from collections.abc import Mapping
from numbers import Real

from utils.claims import as_scalar, format_measured, keep


class Prediction:
    """A question whose answer is about to be measured, and the learner's guess; see `predict`."""

    def __init__(self, question: str, guess: float | None, unit: str):
        self.question, self.guess, self.unit = question, guess, unit

    def compare(self, measured: float) -> None:
        """Show the guess beside what was measured, and keep both.

        With the unit "%" `measured` is a fraction, as everywhere, and the guess is in per cent.
        """
        value = as_scalar(measured)
        value = 100 * value if self.unit == "%" else value
        row = {"kind": "prediction", "question": self.question, "guess": self.guess, "measured": float(value)}
        keep(row | {"unit": self.unit}, ("kind", "question"))
        found = _guessed(value, self.unit)
        if self.guess is None:
            print(f"→ {self.question}  [measured {found}; no guess]")
        else:
            off = off_by(row | {"unit": self.unit})
            print(f"→ {self.question}  [your guess {_guessed(self.guess, self.unit)}, measured {found}: {off}]")


def predict(question: str, guess: float | None, *, unit: str = "") -> Prediction:
    """Write down a guess before the measurement; `compare` of what is returned shows both.

    It is kept at once, with None for what was measured, and so it is in the report even if the notebook stops.

    Args:
        question: what will be measured.
        guess: a number in the given unit ("%" means per cent: 90), or None for no guess.
        unit: see `format_measured`.

    >>> guess = predict("how many times smaller will the file be?", 4, unit="x")
    ? how many times smaller will the file be?  [your guess 4x]
    >>> guess.compare(6.0)
    → how many times smaller will the file be?  [your guess 4x, measured 6x: off by a factor of 1.5]
    """
    if isinstance(guess, bool) or not (guess is None or isinstance(guess, Real)):
        raise TypeError(f"a guess is a number, without its unit, or None for no guess; got {guess!r}")
    if guess is None:
        in_unit = f" (in {'per cent' if unit == '%' else unit})" if unit not in ("", "x") else ""
        print(f"? {question}  [to guess, write a number{in_unit} in place of None and run this cell again]")
    else:
        print(f"? {question}  [your guess {_guessed(guess, unit)}]")
    guess = None if guess is None else float(guess)
    row = {"kind": "prediction", "question": question, "guess": guess, "measured": None}  # yet
    keep(row | {"unit": unit}, ("kind", "question"))
    return Prediction(question, guess, unit)


def off_by(row: Mapping) -> str:
    """Say how far a prediction was off: by a factor, or by a difference where a factor says nothing.

    Of what was never measured, since the notebook stopped before, it says that.

    >>> off_by({"guess": 50.0, "measured": 98.7, "unit": "%"})
    'off by 48.7 points'
    """
    guess, measured, unit = row["guess"], row["measured"], row.get("unit", "")
    if measured is None:
        return "not measured"
    if unit in ("%", "points") or not (guess > 0 and measured > 0):
        return f"off by {abs(guess - measured):.3g}{' points' if unit in ('%', 'points') else ''}"
    return f"off by a factor of {max(guess / measured, measured / guess):.3g}"


def _guessed(value: float, unit: str) -> str:
    return f"{value:.4g} %" if unit == "%" else format_measured(value, unit)
