"""A server with one queue, simulated: requests arrive at random, wait their turn and are answered in batches.

The simulation needs no model, only the seconds that one call takes at each batch size, so that a measured latency curve
can be put under any load. Requests are answered in the order of their arrival.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.input_validation import require_int, require_number, require_seed


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
        """Return the latency, in seconds, that `percent` per cent of the requests do not exceed.

        Raises:
            TypeError, ValueError: `percent` is no number from 0 to 100.
        """
        return float(np.percentile(self.latencies, require_number("percent", percent, low=0, high=100)))


def poisson_arrivals(rate: float, count: int, *, seed: int) -> np.ndarray:
    """Draw the times at which requests arrive that know nothing of each other: a Poisson process.

    The gaps between them are exponentially distributed with a mean of 1 / `rate`.

    Args:
        rate: requests per second, more than 0.
        count: how many, at least 1.
        seed: of NumPy's generator, so that the times are the same on every machine.

    Returns:
        `count` times in seconds, in order.

    Raises:
        TypeError, ValueError: a rate that is not positive, or a count that is no positive integer.

    >>> poisson_arrivals(100.0, 3, seed=0).shape
    (3,)
    """
    rate = _require_positive("rate", rate)
    gaps = np.random.default_rng(require_seed(seed)).exponential(1 / rate, require_int("count", count, minimum=1))
    return np.cumsum(gaps)


def simulate(
    arrivals: Sequence[float] | np.ndarray, call_seconds: Callable[[int], float], *, max_batch: int = 1
) -> Served:
    """Serve requests in order: a free server takes all that wait, at most `max_batch`, and answers them in one call.

    It never waits for a batch to fill: a request that finds the server free is answered alone.

    Args:
        arrivals: times in seconds, in order.
        call_seconds: gives the seconds that a call with so many inputs takes.
        max_batch: the largest batch of one call.

    Returns:
        The times of every request and the size of every call.

    Raises:
        TypeError: `call_seconds` is no function, or something is no number.
        ValueError: no arrivals, arrivals out of order or not finite, or a call that takes no time.

    >>> served = simulate([0.0, 1.0, 2.0], lambda size: 1.5)
    >>> served.waits.tolist(), served.latencies.tolist()
    ([0.0, 0.5, 1.0], [1.5, 2.0, 2.5])
    >>> simulate([0.0, 1.0, 2.0], lambda size: 2.5, max_batch=2).batch_sizes.tolist()
    [1, 2]
    """
    arrivals = _require_times(arrivals)
    if not callable(call_seconds):
        raise TypeError(f"call_seconds must be a function of the batch size, got {type(call_seconds).__name__}")
    max_batch = require_int("max_batch", max_batch, minimum=1)
    starts, ends, sizes = np.empty_like(arrivals), np.empty_like(arrivals), []
    first, free_at = 0, -math.inf
    while first < len(arrivals):
        start = max(arrivals[first], free_at)
        waiting = int(np.searchsorted(arrivals, start, side="right")) - first
        size = min(waiting, max_batch)
        free_at = start + _require_positive(f"call_seconds({size})", call_seconds(size))
        starts[first : first + size], ends[first : first + size] = start, free_at
        sizes.append(size)
        first += size
    return Served(arrivals, starts, ends, np.array(sizes))


def fixed_service_wait(rate: float, seconds: float) -> float:
    """Return the mean wait before a server that takes the same `seconds` for every request, one at a time.

    wait = load seconds / (2 (1 - load)) with load = rate seconds: the Pollaczek-Khinchine formula for random arrivals
    and a fixed service time, called M/D/1 (Kleinrock, "Queueing Systems", volume 1, 1975, chapter 5).

    Args:
        rate: requests per second, more than 0.
        seconds: that one request takes, more than 0.

    Returns:
        Seconds; the call itself comes on top.

    Raises:
        TypeError, ValueError: not positive, or a load of 1 or more, under which the queue grows without end.

    >>> round(fixed_service_wait(rate=500.0, seconds=0.001), 6)
    0.0005
    """
    load = _require_positive("rate", rate) * _require_positive("seconds", seconds)
    if load >= 1:
        raise ValueError(f"rate x seconds must be below 1, or the queue grows without end; it is {load:g}")
    return load * seconds / (2 * (1 - load))


def _require_positive(name: str, value: float) -> float:
    number = require_number(name, value, low=0)
    if number == 0:
        raise ValueError(f"{name} must be more than 0, got {value}")
    return number


def _require_times(arrivals: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the arrivals as a one-dimensional array of float64, a copy."""
    try:
        times = np.array(arrivals, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"arrivals must be numbers, got {type(arrivals).__name__}") from None
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"arrivals must be a row of at least one time, got the shape {times.shape}")
    if not np.isfinite(times).all():
        raise ValueError("arrivals must be finite, got NaN or infinity")
    if (np.diff(times) < 0).any():
        raise ValueError("arrivals must be in order, the earliest first; sort them")
    return times
