"""Budgets and decisions: limits at their edge, controls that are judged and not shipped, what records give back."""

import pytest

from utils.budget import Budget, Candidate, broken_limits, decide, from_records

DENSE = Candidate(error=0.080, bytes=1_000_000, latency_s=300e-6, examples=10_000)
SMALL = Candidate(error=0.084, bytes=50_000, latency_s=60e-6, examples=10_000)
BUDGET = Budget(bytes=60_000, microseconds=100, points=0.5)


def candidates(**more):
    return {"dense": DENSE, "small": SMALL, **more}


def test_limits_hold_at_their_edge_and_break_beyond_it():
    exact = Candidate(error=0.085, bytes=60_000, latency_s=100e-6)
    assert broken_limits(BUDGET, exact, DENSE) == ()
    beyond = Candidate(error=0.0852, bytes=60_001, latency_s=101e-6)
    assert broken_limits(BUDGET, beyond, DENSE) == (
        "60,001 B, 60,000 allowed",
        "101 µs, 100 allowed",
        "0.52 points more errors, 0.5 allowed",
    )
    assert broken_limits(Budget(microseconds=1), Candidate(error=0, bytes=1), DENSE) == ("not timed",)
    assert broken_limits(Budget(bytes=2), Candidate(error=1, bytes=1), DENSE) == ()  # no other limit


def test_the_smallest_that_keeps_the_budget_is_chosen():
    smaller = Candidate(error=0.0845, bytes=40_000, latency_s=90e-6)
    wrong = Candidate(error=0.2, bytes=10, latency_s=1e-6)
    assert decide(BUDGET, candidates(smaller=smaller, wrong=wrong)).chosen == "smaller"
    assert decide(BUDGET, candidates(smaller=smaller, wrong=wrong), by="latency_s").chosen == "small"
    assert decide(Budget(points=0), {"dense": DENSE}).chosen == "dense"


def test_nothing_is_chosen_where_nothing_fits():
    decision = decide(Budget(bytes=40_000), candidates())
    assert decision.chosen == ""
    assert str(decision) == "Ship none of them: no candidate keeps the budget."
    assert decision.broken["small"] == ("50,000 B, 40,000 allowed",)


@pytest.mark.parametrize(
    ("budget", "doubt"),
    [
        (
            Budget(bytes=60, points=2),
            "The smallest file takes 50,000 B, 60 allowed: is the limit in bytes, and not in kB?",
        ),
        (Budget(microseconds=0.1), "The fastest takes 60 µs, 0.1 allowed: is the limit in microseconds?"),
        (Budget(bytes=60_000, points=0.005), "0.005 points are less than one of 10,000 examples: "),
        (Budget(bytes=600), ""),
        (Budget(bytes=600, points=0.01), ""),
    ],
)
def test_a_budget_in_another_unit_is_doubted(budget, doubt):
    decision = decide(budget, candidates())
    assert decision.chosen == ""
    assert bool(decision.doubt) == bool(doubt)
    assert doubt in str(decision)


def test_a_control_is_never_shipped_but_can_take_the_credit_away():
    control = {"control_of": "small", "latency_s": 60e-6, "examples": 10_000}
    better = Candidate(error=0.083, bytes=50_000, **control)
    alike = Candidate(error=0.0848, bytes=50_000, **control)  # 8 of 10,000 images: chance
    worse = Candidate(error=0.099, bytes=50_000, **control)
    smaller = Candidate(error=0.083, bytes=9, **control)
    decision = decide(Budget(points=5), candidates(better=better, alike=alike, worse=worse, smaller=smaller))
    assert decision.chosen == "small"
    assert decision.rivals == ("better", "alike", "smaller")
    assert str(decision).startswith("Ship 'small', but do not claim the method: it is not better than its controls ")
    assert decide(Budget(points=5), candidates(worse=worse)).rivals == ()
    too_large = Candidate(error=0.083, bytes=70_000, **control)
    assert decide(BUDGET, candidates(too_large=too_large)).rivals == ()


def test_without_a_number_of_examples_the_errors_are_compared_as_they_are():
    control = Candidate(error=0.0841, bytes=50_000, latency_s=60e-6, control_of="small")
    assert decide(BUDGET, candidates(control=control)).rivals == ()


def test_records_give_back_the_budget_and_the_candidates():
    rows = [
        {"kind": "claim", "statement": "it holds"},
        {"kind": "record", "technique": "not measured", "accuracy": None, "bytes": 5, "latency_s": None},
    ]
    for name, each in candidates().items():
        row = {"kind": "record", "technique": name, "accuracy": 1 - each.error, "bytes": each.bytes}
        extras = BUDGET.extras() if name == "dense" else {"control_of": "dense"}
        rows.append(row | {"latency_s": each.latency_s, "examples": each.examples} | extras)
    budget, found = from_records(rows)
    assert budget == BUDGET
    assert list(found) == ["dense", "small"]
    assert found["small"].control_of == "dense"
    assert found["dense"].error == pytest.approx(DENSE.error)
    assert from_records(rows[:2]) == (None, {})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Budget(), "at least one limit"),
        (lambda: Budget(bytes=0), "bytes must be at least 1"),
        (lambda: Candidate(error=8.4, bytes=1), "write 80 % as 0.8"),
        (lambda: decide(BUDGET, {"small": SMALL}), "a candidate named 'dense'"),
        (lambda: decide(BUDGET, candidates(), by="size"), '"bytes" or "latency_s"'),
        (
            lambda: decide(BUDGET, candidates(twin=Candidate(error=0, bytes=1, control_of="smal"))),
            "'twin' is a control of 'smal'",
        ),
    ],
)
def test_what_cannot_be_decided_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
