"""What a network may cost, which candidates keep to it beside their controls, and which of them to ship."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from utils.claims import format_measured
from utils.input_validation import require_fraction, require_int, require_number
from utils.scoreboard import told_apart

DENSE = "dense"
"""The name of the candidate that all others are compared with: the network as it came."""

_LIMITS = ("bytes", "microseconds", "points")

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits; None is no limit.

    Args:
        bytes: of the file.
        microseconds: for one input.
        points: of error more than the dense network makes, in per cent of the test split.

    >>> Budget(bytes=20_000, points=0.5)
    Budget(bytes=20000, microseconds=None, points=0.5)
    """

    bytes: int | None = None
    microseconds: float | None = None
    points: float | None = None

    def __post_init__(self) -> None:
        if self.bytes is not None:
            require_int("bytes", self.bytes, minimum=1)
        for name in ("microseconds", "points"):
            if getattr(self, name) is not None:
                require_number(name, getattr(self, name), low=0.0)
        if all(getattr(self, name) is None for name in _LIMITS):
            raise ValueError("a budget needs at least one limit: bytes, microseconds or points")

    def extras(self) -> dict[str, float]:
        """Return the limits by the names under which the dense network's record keeps them.

        >>> Budget(points=0.5).extras()
        {'budget_points': 0.5}
        """
        return {f"budget_{name}": getattr(self, name) for name in _LIMITS if getattr(self, name) is not None}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that could be shipped, or the control of one.

    Args:
        error: the share of test examples that it gets wrong, 0 to 1.
        bytes: of its file.
        latency_s: seconds for one input; None if it was not timed.
        control_of: of a control, the name of the candidate that it stands beside; a control is not shipped.
        examples: in the test split, from which follows which errors can be told apart; 0 compares the numbers alone.
    """

    error: float
    bytes: int
    latency_s: float | None = None
    control_of: str = ""
    examples: int = 0

    def __post_init__(self) -> None:
        require_fraction("error", self.error)
        require_int("bytes", self.bytes, minimum=1)
        require_int("examples", self.examples)

    def __str__(self) -> str:
        time = "not timed" if self.latency_s is None else format_measured(self.latency_s, "s")
        return f"{format_measured(self.error, '%')} errors, {self.bytes:,} B, {time}"


@dataclass(frozen=True)
class Decision:
    """What `decide` found.

    Args:
        chosen: the name of the candidate to ship; nothing if none keeps the budget.
        broken: for each name the limits that it breaks, in words; none if it keeps them all.
        rivals: controls of the chosen candidate that keep the budget and make no more errors, as far as the test split
            can tell.
        doubt: a sentence, if a limit looks as if it were in another unit.
    """

    chosen: str
    broken: Mapping[str, tuple[str, ...]]
    rivals: tuple[str, ...]
    doubt: str = ""

    def __str__(self) -> str:
        if not self.chosen:
            return "Ship none of them: no candidate keeps the budget." + f" {self.doubt}".rstrip()
        if not self.rivals:
            return f"Ship {self.chosen!r}."
        names = ", ".join(map(repr, self.rivals))
        return (
            f"Ship {self.chosen!r}, but do not claim the method: it is not better than its "
            f"control{'s' * (len(self.rivals) > 1)} {names}, which would do as well."
        )


def broken_limits(budget: Budget, candidate: Candidate, dense: Candidate) -> tuple[str, ...]:
    """Say which limits of a budget a candidate breaks, and by what.

    >>> dense = Candidate(error=0.08, bytes=1_700_000)
    >>> broken_limits(Budget(bytes=20_000, points=0.5), Candidate(error=0.09, bytes=15_000), dense)
    ('1 points more errors, 0.5 allowed',)
    """
    found = []
    if budget.bytes is not None and candidate.bytes > budget.bytes:
        found.append(f"{candidate.bytes:,} B, {budget.bytes:,} allowed")
    if budget.microseconds is not None:
        if candidate.latency_s is None:
            found.append("not timed")
        elif candidate.latency_s * 1e6 > budget.microseconds:
            found.append(f"{candidate.latency_s * 1e6:.3g} µs, {budget.microseconds:g} allowed")
    lost = 100 * (candidate.error - dense.error)
    if budget.points is not None and round(lost, 9) > budget.points:  # 9 digits: 0.0850 - 0.0800 is not 0.0050
        found.append(f"{lost:.3g} points more errors, {budget.points:g} allowed")
    return tuple(found)


def decide(budget: Budget, candidates: Mapping[str, Candidate], *, by: str = "bytes") -> Decision:
    """Choose of the candidates that keep the budget the one that takes least; controls are judged and not chosen.

    Args:
        budget: the limits.
        candidates: by name; one of them, "dense", is what the others are compared with, and may itself be chosen.
        by: what is to be least, "bytes" or "latency_s".

    Raises a ValueError if there is no "dense", or a control is of no candidate.

    >>> found = {"dense": Candidate(error=0.08, bytes=900), "int8": Candidate(error=0.08, bytes=250)}
    >>> decide(Budget(bytes=300), found | {"twin": Candidate(error=0.3, bytes=250, control_of="int8")}).chosen
    'int8'
    """
    if by not in ("bytes", "latency_s"):
        raise ValueError(f'by must be "bytes" or "latency_s", got {by!r}')
    if DENSE not in candidates:
        raise ValueError(f"there must be a candidate named {DENSE!r}, the network as it came; got {list(candidates)}")
    for name, candidate in candidates.items():
        if candidate.control_of and candidate.control_of not in candidates:
            raise ValueError(f"{name!r} is a control of {candidate.control_of!r}, and there is no such candidate")
    broken = {name: broken_limits(budget, each, candidates[DENSE]) for name, each in candidates.items()}
    fitting = [
        name
        for name, each in candidates.items()
        if not broken[name] and not each.control_of and getattr(each, by) is not None
    ]
    if not fitting:
        return Decision("", broken, (), _doubt(budget, candidates))
    chosen = min(fitting, key=lambda name: (getattr(candidates[name], by), candidates[name].error))
    rivals = [
        name
        for name, each in candidates.items()
        if each.control_of == chosen and not broken[name] and not _worse(each, candidates[chosen])
    ]
    return Decision(chosen, broken, tuple(rivals))


def _doubt(budget: Budget, candidates: Mapping[str, Candidate]) -> str:
    """Say of a budget that nothing keeps if one of its limits looks as if it were in another unit."""
    smallest = min(each.bytes for each in candidates.values())
    if budget.bytes is not None and smallest > 100 * budget.bytes:
        return (
            f"The smallest file takes {smallest:,} B, {budget.bytes:,} allowed: is the limit in bytes, and not in kB?"
        )
    fastest = min((each.latency_s for each in candidates.values() if each.latency_s is not None), default=0.0)
    if budget.microseconds is not None and 1e6 * fastest > 100 * budget.microseconds:
        return (
            f"The fastest takes {1e6 * fastest:.3g} µs, {budget.microseconds:g} allowed: is the limit in microseconds?"
        )
    examples = candidates[DENSE].examples
    if budget.points and examples and budget.points < 100 / examples:
        return (
            f"{budget.points:g} points are less than one of {examples:,} examples: is the limit in points, of which "
            "an error of 2 % has 2?"
        )
    return ""


def _worse(control: Candidate, candidate: Candidate) -> bool:
    """Tell whether a control makes more errors than its candidate, as far as the test split can tell."""
    if control.error <= candidate.error:
        return False
    examples = min(control.examples, candidate.examples)
    return not examples or told_apart(1 - control.error, 1 - candidate.error, examples)


def from_records(rows: Iterable[Row]) -> tuple[Budget | None, dict[str, Candidate]]:
    """Return the budget and the candidates of a project's records, by technique; rows without error or bytes are none.

    >>> row = {"kind": "record", "technique": "dense", "accuracy": 0.9, "bytes": 9, "latency_s": None}
    >>> from_records([row | {"budget_bytes": 5}])[0]
    Budget(bytes=5, microseconds=None, points=None)
    """
    budget, candidates = None, {}
    for row in rows:
        if row["kind"] != "record" or row["accuracy"] is None or row["bytes"] is None:
            continue
        candidates[row["technique"]] = Candidate(
            error=1 - row["accuracy"],
            bytes=row["bytes"],
            latency_s=row["latency_s"],
            control_of=row.get("control_of", ""),
            examples=int(row.get("examples", 0)),
        )
        limits = {name: row.get(f"budget_{name}") for name in _LIMITS}
        if row["technique"] == DENSE and any(limit is not None for limit in limits.values()):
            budget = Budget(**limits)
    return budget, candidates
