"""A server with one queue, simulated: requests arrive at random, wait their turn and are answered in batches.

The simulation needs no model, only the seconds that one call takes at each batch size, so that a measured latency curve
can be put under any load. Requests are answered in the order of their arrival.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.input_validation import require_int, require_number, require_positive, require_seed


@dataclass(frozen=True)
class Served:
    """What became of the requests: when each arrived, when its call began, when it was answered; and the calls.

    `arrivals`, `starts` and `ends` hold seconds, one number a request; `batch_sizes` one number a call.
    """

    arrivals: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    batch_sizes: np.ndarray

    @property
    def waits(self) -> np.ndarray:
        """Seconds from each arrival to the beginning of the call that answers it."""
        return self.starts - self.arrivals

    @property
    def latencies(self) -> np.ndarray:
        """Seconds from each arrival to its answer: the wait and the call."""
        return self.ends - self.arrivals

    def percentile(self, percent: float) -> float:
        """Return the latency, in seconds, that `percent` (0 to 100) per cent of the requests do not exceed."""
        return float(np.percentile(self.latencies, require_number("percent", percent, low=0, high=100)))


def poisson_arrivals(rate: float, count: int, *, seed: int) -> np.ndarray:
    """Draw the times at which independent requests arrive: a Poisson process.

    The gaps between them are exponentially distributed with a mean of 1 / `rate`.

    Args:
        rate: requests per second, above 0.
        count: how many.
        seed: of NumPy's generator, so that the times are the same on every machine.

    Returns:
        `count` times in seconds, in order.

    >>> poisson_arrivals(100.0, 3, seed=0).shape
    (3,)
    """
    generator = np.random.default_rng(require_seed(seed))
    return np.cumsum(generator.exponential(1 / require_positive("rate", rate), count))


def simulate(
    arrivals: Sequence[float] | np.ndarray, call_seconds: Callable[[int], float], *, max_batch: int = 1
) -> Served:
    """Serve requests in order: a free server takes all that wait, at most `max_batch`, and answers them in one call.

    It never waits for a batch to fill: a request that finds the server free is answered alone.

    Args:
        arrivals: times in seconds, in order, at least one.
        call_seconds: maps a batch size to the seconds, above 0, that one call takes.
        max_batch: the largest batch of one call.

    Returns:
        The times of every request and the size of every call.

    >>> served = simulate([0.0, 1.0, 2.0], lambda size: 1.5)
    >>> served.waits.tolist(), served.latencies.tolist()
    ([0.0, 0.5, 1.0], [1.5, 2.0, 2.5])
    >>> simulate([0.0, 1.0, 2.0], lambda size: 2.5, max_batch=2).batch_sizes.tolist()
    [1, 2]
    """
    arrivals = np.array(arrivals, dtype=np.float64)  # a copy: the caller's array stays as it is
    if arrivals.ndim != 1 or arrivals.size == 0 or not np.isfinite(arrivals).all() or (np.diff(arrivals) < 0).any():
        raise ValueError("arrivals must be a row of at least one finite time in seconds, the earliest first")
    require_int("max_batch", max_batch, minimum=1)
    starts = np.empty_like(arrivals)
    ends = np.empty_like(arrivals)
    sizes = []
    first = 0  # the first request that is not yet answered
    free_at = -math.inf
    while first < len(arrivals):
        start = max(arrivals[first], free_at)
        waiting = int(np.searchsorted(arrivals, start, side="right")) - first
        size = min(waiting, max_batch)
        free_at = start + require_positive(f"call_seconds({size})", call_seconds(size))
        starts[first : first + size] = start
        ends[first : first + size] = free_at
        sizes.append(size)
        first += size
    return Served(arrivals, starts, ends, np.array(sizes))


def fixed_service_wait(rate: float, seconds: float) -> float:
    """Return the mean wait before a server that takes the same `seconds` for every request, one at a time.

    wait = load seconds / (2 (1 - load)) with load = rate seconds: the Pollaczek-Khinchine formula for random arrivals
    and a fixed service time, called M/D/1 (Kleinrock, "Queueing Systems", volume 1, 1975, chapter 5).

    Args:
        rate: requests per second, above 0.
        seconds: that one request takes, above 0; the load must be below 1.

    Returns:
        Seconds; the call itself comes on top.

    >>> round(fixed_service_wait(rate=500.0, seconds=0.001), 6)
    0.0005
    """
    load = require_positive("rate", rate) * require_positive("seconds", seconds)
    if load >= 1:
        raise ValueError(f"rate x seconds must be below 1, or the queue grows without end; it is {load:g}")
    return load * seconds / (2 * (1 - load))
