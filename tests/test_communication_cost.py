"""The cost model: fitted lines are sound, a ring costs what its messages cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.communication_cost import fit_line, queue_exchanges, ring_seconds, step_seconds


@given(start=st.floats(1e-6, 1e-2), slope=st.floats(1e-12, 1e-6))
def test_a_line_without_noise_is_found(start, slope):
    amounts = [0, 1e3, 1e5, 1e6]
    line = fit_line(amounts, [start + slope * a for a in amounts])
    assert line.start == pytest.approx(start, rel=1e-6)
    assert line.slope == pytest.approx(slope, rel=1e-3, abs=1e-15)


@given(seconds=st.lists(st.floats(1e-6, 10), min_size=2, max_size=6))
def test_a_fitted_line_has_no_negative_part(seconds):
    line = fit_line(range(1, len(seconds) + 1), seconds)
    assert line.start >= 0
    assert line.slope >= 0


@pytest.mark.parametrize(
    ("amounts", "seconds"), [([1, 1], [1, 2]), ([1, 2], [0, 1]), ([1, 2], [1, float("nan")]), ([-1, 2], [1, 1])]
)
def test_a_line_needs_sound_measurements(amounts, seconds):
    with pytest.raises(ValueError, match="amounts"):
        fit_line(amounts, seconds)


@given(n=st.integers(1, 2000))
def test_a_ring_takes_less_than_twice_the_bytes_and_time_for_every_message(n):
    free = ring_seconds(1e6, n, startup_s=0.0, bandwidth=1e6)
    assert free == pytest.approx(2 * (n - 1) / n)
    started = ring_seconds(1e6, n, startup_s=1e-3, bandwidth=1e6)
    assert started == pytest.approx(free + 2 * (n - 1) * 1e-3)


def test_an_overlap_in_per_cent_is_refused():
    with pytest.raises(ValueError, match=r"overlap must be between 0 and 1.*write 80 % as 0\.8"):
        step_seconds(1.0, 1.0, overlap=67)


@given(exchanges=st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 9)), min_size=1, max_size=8))
def test_a_queue_of_exchanges_never_overlaps_and_never_idles_without_need(exchanges):
    ready, seconds = zip(*sorted(exchanges), strict=True)
    times = queue_exchanges(ready, seconds)
    free = 0.0
    for (begin, end), r, s in zip(times, ready, seconds, strict=True):
        assert begin == max(r, free)
        assert end == begin + s
        free = end
