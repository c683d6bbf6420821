"""The queue: against queueing theory, the recursion for single service, and what any queue must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.serving import Served, fixed_service_wait, poisson_arrivals, simulate

GAPS = st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=40)
COSTS = st.tuples(st.floats(0.01, 2), st.floats(0, 1))  # seconds a call, seconds an input


def served_one_by_one(arrivals, seconds):
    """An independent oracle: Lindley's recursion, solved with a running maximum."""
    turn = np.arange(len(arrivals))
    return seconds * (turn + 1) + np.maximum.accumulate(arrivals - seconds * turn)


@pytest.mark.parametrize("load", [0.2, 0.5, 0.8, 0.9])
def test_the_mean_wait_is_that_of_queueing_theory(load):
    """M/D/1: the mean over many requests comes to load seconds / (2 (1 - load))."""
    served = simulate(poisson_arrivals(load, 200_000, seed=7), lambda size: 1.0)
    assert served.waits.mean() == pytest.approx(fixed_service_wait(load, 1.0), rel=0.05)


def test_the_share_that_need_not_wait_is_one_minus_the_load():
    served = simulate(poisson_arrivals(0.7, 200_000, seed=3), lambda size: 1.0)
    assert (served.waits == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_littles_law():
    """Requests in the system, averaged over time, equal rate times mean latency (Little, 1961)."""
    served = simulate(poisson_arrivals(50.0, 20_000, seed=1), lambda size: 0.01 + 0.002 * size, max_batch=8)
    moments = np.linspace(served.arrivals[1000], served.arrivals[-1000], 40_001)
    inside = np.searchsorted(served.arrivals, moments, side="right") - np.searchsorted(served.ends, moments, "right")
    assert inside.mean() == pytest.approx(50.0 * served.latencies.mean(), rel=0.03)


@given(GAPS, st.floats(0.01, 2))
def test_single_service_equals_the_recursion(gaps, seconds):
    arrivals = np.cumsum(gaps)
    served = simulate(arrivals, lambda size: seconds)
    np.testing.assert_allclose(served.ends, served_one_by_one(arrivals, seconds), rtol=1e-9)
    assert served.batch_sizes.tolist() == [1] * len(arrivals)


@given(GAPS, COSTS, st.integers(1, 9))
def test_what_every_queue_keeps(gaps, costs, max_batch):
    arrivals, (a_call, an_input) = np.cumsum(gaps), costs
    served = simulate(arrivals, lambda size: a_call + an_input * size, max_batch=max_batch)
    assert served.batch_sizes.sum() == len(arrivals)
    assert 1 <= served.batch_sizes.min() <= served.batch_sizes.max() <= max_batch
    assert (served.waits >= 0).all()
    assert (np.diff(served.ends) >= 0).all(), "answers come in the order of arrival"
    assert (served.latencies >= a_call + an_input - 1e-9).all()
    starts, ends = np.unique(served.starts), np.unique(served.ends)
    assert (starts[1:] >= ends[:-1]).all(), "one call at a time"
    idle = starts[1:] > ends[:-1]
    assert np.isin(starts[1:][idle], arrivals).all(), "a free server starts as soon as a request arrives"


@given(GAPS, st.floats(0.01, 2), st.integers(1, 9))
def test_batches_at_the_price_of_one_input_let_nobody_wait_longer(gaps, seconds, max_batch):
    """Than single calls do. Between two batch sizes above 1 it is not so: a smaller one may leave at a better time."""
    arrivals = np.cumsum(gaps)
    alone, batched = (simulate(arrivals, lambda size: seconds, max_batch=size) for size in (1, max_batch))
    assert (batched.ends <= alone.ends + 1e-9).all()


def test_edges():
    assert simulate([3.0], lambda size: 0.5).ends.tolist() == [3.5]
    assert simulate([0.0] * 5, lambda size: 1.0, max_batch=2).batch_sizes.tolist() == [2, 2, 1]
    assert simulate([0.0, 1.0], lambda size: 1.0).waits.tolist() == [0.0, 0.0]  # answered in the very moment
    served = Served(np.zeros(3), np.zeros(3), np.array([1.0, 2.0, 3.0]), np.array([3]))
    assert (served.percentile(0), served.percentile(50), served.percentile(100)) == (1.0, 2.0, 3.0)
    given_times = np.array([0.0, 0.5])
    simulate(given_times, lambda size: 1.0).arrivals[0] = 9.0
    assert given_times[0] == 0.0, "the caller's array is left alone"


def test_arrivals_are_the_same_for_a_seed_and_have_their_rate():
    assert poisson_arrivals(10.0, 5, seed=1).tolist() == poisson_arrivals(10.0, 5, seed=1).tolist()
    assert poisson_arrivals(10.0, 5, seed=1).tolist() != poisson_arrivals(10.0, 5, seed=2).tolist()
    gaps = np.diff(poisson_arrivals(10.0, 100_000, seed=0))
    assert gaps.mean() == pytest.approx(0.1, rel=0.02)
    assert gaps.std() == pytest.approx(0.1, rel=0.02), "exponential: the deviation equals the mean"


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: simulate([], lambda size: 1.0), "at least one finite time"),
        (lambda: simulate([1.0, 0.0], lambda size: 1.0), "the earliest first"),
        (lambda: simulate([0.0, float("nan")], lambda size: 1.0), "finite time"),
        (lambda: simulate([0.0], lambda size: 0.0), r"call_seconds\(1\) must be above 0"),
        (lambda: simulate([0.0], lambda size: 1.0, max_batch=0), "max_batch must be at least 1"),
        (lambda: poisson_arrivals(0.0, 5, seed=0), "rate must be above 0"),
        (lambda: fixed_service_wait(10.0, 0.1), "grows without end"),
        (lambda: simulate([0.0], lambda size: 1.0).percentile(101), "percent must be between 0 and 100"),
    ],
)
def test_bad_input_is_a_clear_error(call, match):
    with pytest.raises(ValueError, match=match):
        call()
