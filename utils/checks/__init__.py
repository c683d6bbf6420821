"""Checks of the exercises: each compares an answer with a slow, plain specification on small cases first.

A notebook calls ``check("01.2", function)``. Not attempted yet, the check says so and the notebook goes on; right, it
says so; wrong, it raises with the smallest failing case. The checks of notebook NN stand in ``utils.checks.nbNN``.
"""

import contextlib
import copy
import importlib
import math
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Case = tuple[tuple[Any, ...], Any]
"""The arguments of one call, and what must come back."""

FLOAT32_TOLERANCE = 2e-6
"""How far a right answer may be off that was computed in float32: sixteen of its rounding errors."""

_exercises: dict[str, Callable[[Callable], None]] = {}


class WrongAnswerError(AssertionError):
    """An exercise's answer is wrong; the message has the smallest failing case."""


def check(exercise: str, answer: Callable) -> None:
    """Check the answer to one exercise and print the verdict.

    Args:
        exercise: its id, such as "01.2".
        answer: the learner's function.

    Raises:
        WrongAnswerError: the smallest failing case: input, expected, received.
        ValueError: there is no such exercise.
        TypeError: `answer` is not a function; its result was passed, perhaps.

    >>> def blank(count, bits): raise NotImplementedError
    >>> check("00.1", blank)
    Exercise 00.1: not attempted yet. Write your answer above and run the cell again.
    """
    if not callable(answer):
        raise TypeError(f"pass the function itself, not its result: check({exercise!r}, function)")
    try:
        checker(exercise)(answer)
    except NotImplementedError as error:
        if not is_blank(error):
            raise WrongAnswerError(f"not yet right: the answer raised NotImplementedError: {error}") from error
        print(f"Exercise {exercise}: not attempted yet. Write your answer above and run the cell again.")
    else:
        print(f"Exercise {exercise}: right.")


def is_blank(error: NotImplementedError) -> bool:
    """Tell the `raise NotImplementedError` of a blank exercise from a library's, which says what is not implemented."""
    return not str(error)


def checker(exercise: str) -> Callable[[Callable], None]:
    """Return the function that checks one exercise.

    Raises:
        ValueError: there is no such exercise.
    """
    if re.fullmatch(r"\d\d\.\d", exercise):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"utils.checks.nb{exercise[:2]}")
    if exercise not in _exercises:
        raise ValueError(f"there is no exercise {exercise!r}")
    return _exercises[exercise]


def exercise(identity: str) -> Callable[[Callable], Callable]:
    """Register the decorated function as the checker of an exercise; it raises WrongAnswerError on a wrong answer."""

    def register(function: Callable) -> Callable:
        _exercises[identity] = function
        return function

    return register


def check_cases(answer: Callable, cases: Iterable[Case], *, tolerance: float = 0.0) -> None:
    """Call `answer` on each case, the smallest first, and compare what comes back.

    Args:
        answer: the learner's function; it gets copies, so it cannot change the next case.
        cases: arguments and expected result; numbers, texts, bools, tensors, or tuples and lists of them.
        tolerance: how far numbers may be off, relative to the larger of 1 and the expected value.

    Raises:
        WrongAnswerError: for the first case that fails.
        NotImplementedError: the exercise is still blank.
    """
    for arguments, expected in cases:
        try:
            received = answer(*copy.deepcopy(arguments))
        except Exception as error:  # whatever the learner's code raises is a wrong answer, told as one
            if isinstance(error, NotImplementedError) and is_blank(error):
                raise
            raise wrong(arguments, expected, f"{type(error).__name__}: {error}") from error
        if not same(received, expected, tolerance=tolerance):
            raise wrong(arguments, expected, received)


@contextlib.contextmanager
def told_as_wrong(what: str = "") -> Iterator[None]:
    """Make whatever the learner's code raises in this block a wrong answer, told as one; a blank stays a blank.

    Args:
        what: the beginning of the sentence that ends with the error.

    >>> with told_as_wrong("compress raised "):
    ...     1 / 0
    Traceback (most recent call last):
    utils.checks.WrongAnswerError: not yet right: compress raised ZeroDivisionError: division by zero
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, NotImplementedError) and is_blank(error):
            raise
        raise WrongAnswerError(f"not yet right: {what}{type(error).__name__}: {error}") from error


def same(received: Any, expected: Any, *, tolerance: float = 0.0) -> bool:
    """Tell whether two values are the same: tensors by shape and value, numbers within the tolerance, sets as sets.

    What is right in PyTorch, in NumPy or as lists is right, and so is a real number that was computed in float32: it
    may be off by a few of its rounding errors. Counts and bools must be exact.

    >>> same(0.1 + 0.2, 0.3, tolerance=1e-9), same(True, 1), same([1, 2], (1, 2))
    (True, False, True)
    """
    received = _from_numpy(received)
    if _is_torch("Tensor", expected):
        return _same_tensor(received, expected, tolerance)
    if isinstance(expected, tuple | list):
        if _is_torch("Tensor", received):
            received = received.tolist()
        if not isinstance(received, tuple | list) or len(received) != len(expected):
            return False
        return all(same(r, e, tolerance=tolerance) for r, e in zip(received, expected, strict=True))
    if isinstance(expected, bool | str | set | frozenset | type(None)):
        if isinstance(expected, bool) and _is_torch("Tensor", received) and received.ndim == 0:
            received = received.item()
        return type(received) is type(expected) and received == expected
    if isinstance(received, bool | str):
        return False
    try:
        number = float(received)
    except (TypeError, ValueError, RuntimeError):
        return False
    if isinstance(expected, float) and _fits_float32(number):
        tolerance = max(tolerance, FLOAT32_TOLERANCE)
    return number == expected or math.isclose(number, expected, rel_tol=tolerance, abs_tol=tolerance)


def _same_tensor(received: Any, expected: Any, tolerance: float) -> bool:
    import torch

    if isinstance(received, list | tuple):
        try:
            received = torch.tensor(received)
        except (TypeError, ValueError, RuntimeError):
            return False
    if not isinstance(received, torch.Tensor) or received.shape != expected.shape:
        return False
    if (received.dtype == torch.bool) != (expected.dtype == torch.bool):
        return False
    if expected.is_floating_point() and received.dtype == torch.float32:
        tolerance = max(tolerance, FLOAT32_TOLERANCE)
    limit = tolerance * expected.double().abs().clamp(min=1.0)
    return bool(((received.double() - expected.double()).abs() <= limit).all())


def _from_numpy(value: Any) -> Any:
    """Turn a NumPy array into nested lists and a NumPy number into Python's; leave anything else as it is."""
    return value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value


def _fits_float32(number: float) -> bool:
    """Tell whether the number is one that float32 has, as every result of float32 arithmetic is."""
    try:
        return struct.unpack("f", struct.pack("f", number))[0] == number
    except OverflowError:
        return False


def check_choice(answer: Callable, *, right: set[str], why_wrong: dict[str, str], why_missing: dict[str, str]) -> None:
    """Check the answer to an "explain" exercise: the set of the true statements, each wrong one met with a reason.

    Args:
        answer: a function without arguments that returns a set of letters.
        right: the letters of the true statements.
        why_wrong: for each false statement a counterexample.
        why_missing: for each true statement a hint that does not give it away.

    Raises:
        WrongAnswerError: the set is not right; no letter is named. Right, the reasons are printed.
    """
    received = answer()
    letters = sorted(why_wrong | why_missing)
    if not isinstance(received, set) or not received <= set(letters):
        raise WrongAnswerError(
            f"return a set of letters out of {', '.join(letters)}, such as {{'A'}}; got {received!r}"
        )
    if received != right:
        raise WrongAnswerError(
            "not yet right: a false statement is among them or a true one is missing. The check does not say which: "
            "five tries would then do without a thought. Test the one that you are least sure of with numbers"
        )
    for letter, reason in sorted(why_wrong.items()):
        print(f"{letter} is not true: {reason}")


def below(percent: float) -> str:
    """Return an error as the quarter of a per cent that it lies below, on which most processors agree.

    >>> below(1.61), below(1.75)
    ('below 1.75 %', 'below 2 %')
    """
    return f"below {(math.floor(4 * percent) + 1) / 4:g} %"


def wrong(arguments: Any, expected: Any, received: Any) -> WrongAnswerError:
    """Make the error that shows one failing case; what an exercise without arguments expects is not given away."""
    if arguments == ():
        return WrongAnswerError(f"not yet right{_where(received, expected)}\n  received: {_short(received)}")
    shown = ", ".join(_short(a) for a in arguments) if isinstance(arguments, tuple) else _short(arguments)
    return WrongAnswerError(
        f"not yet right\n  input:    {shown}\n  expected: {_short(expected)}\n  received: {_short(received)}"
    )


def _where(received: Any, expected: Any) -> str:
    """Say which of several expected values are not right, or of what type the one must be."""
    if isinstance(expected, tuple | list):
        received = _from_numpy(received)
        if not isinstance(received, tuple | list) or len(received) != len(expected):
            return f": {len(expected)} values are asked for"
        wrong = [
            n for n, (r, e) in enumerate(zip(received, expected, strict=True), 1) if not same(r, e, tolerance=1e-4)
        ]
        return f": look at value {' and '.join(map(str, wrong))} of {len(expected)}" if wrong else ""
    return (
        "" if isinstance(received, int | float) or received is None else f": a {type(expected).__name__} is asked for"
    )


def _is_torch(name: str, value: Any) -> bool:
    """Tell whether `value` is a tensor ("Tensor") or a network ("Module"), without loading PyTorch for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor if name == "Tensor" else torch.nn.Module)


def _short(value: Any) -> str:
    if _is_torch("Tensor", value):
        text = str(value.tolist()) if value.numel() <= 32 else str(value)
        return f"{text} (shape {tuple(value.shape)})"
    if _is_torch("Module", value):
        return repr(value)
    return str(value) if isinstance(value, str) and ": " in value else repr(value)
