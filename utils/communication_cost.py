"""What data parallelism costs: seconds of a message, of a ring all-reduce, of a training step; efficiency."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from utils.input_validation import require_fraction, require_int, require_positive


class Line(NamedTuple):
    """seconds = start + slope * amount: for messages, start is alpha and 1 / slope is the bandwidth beta."""

    start: float
    slope: float

    def seconds(self, amount: float) -> float:
        """Return the seconds that the line predicts for an amount: of bytes, of images."""
        return self.start + self.slope * amount


def fit_line(amounts: Sequence[float], seconds: Sequence[float]) -> Line:
    """Fit `Line` to measured times by least squares of the *relative* errors; neither of its parts is below zero.

    Relative, because the times span decades: absolute errors would fit the largest amount and nothing else.

    Args:
        amounts: at least two different ones, not negative.
        seconds: measured for them, above 0.

    >>> line = fit_line([0, 1000, 2000], [0.5, 1.5, 2.5])
    >>> round(line.start, 6), round(line.slope, 6)
    (0.5, 0.001)
    """
    x = np.asarray(amounts, dtype=float)
    y = np.asarray(seconds, dtype=float)
    if len(np.unique(x)) < 2:
        raise ValueError(f"a line needs times for at least two different amounts, got {amounts!r}")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x >= 0).all() and (y > 0).all()):
        raise ValueError("amounts must be finite and at least 0, seconds finite and above 0")
    columns = np.stack([1 / y, x / y], axis=1)  # start / y + slope x / y is to be 1
    start, slope = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)[0]
    if start < 0:
        start = 0.0
        slope = columns[:, 1].sum() / (columns[:, 1] ** 2).sum()
    elif slope < 0:
        start = columns[:, 0].sum() / (columns[:, 0] ** 2).sum()
        slope = 0.0
    return Line(float(start), float(slope))


def ring_seconds(gradient_bytes: float, world_size: int, *, startup_s: float, bandwidth: float) -> float:
    """Return the seconds of a ring all-reduce: 2 (N - 1) messages of G / N bytes, one after another.

    It is 2 (N - 1) alpha + 2 (N - 1) / N G / beta (Thakur, Rabenseifner and Gropp, 2005, section 4).

    Args:
        gradient_bytes: G.
        world_size: N; for one worker the answer is 0.
        startup_s: alpha, seconds to start a message.
        bandwidth: beta, bytes per second that each worker sends; a network's Gbit/s times 1e9 / 8.

    >>> ring_seconds(1e9, 2, startup_s=0.0, bandwidth=1e9)
    1.0
    """
    n = require_int("world_size", world_size, minimum=1)
    return 2 * (n - 1) * (startup_s + gradient_bytes / n / require_positive("bandwidth", bandwidth))


def step_seconds(compute_s: float, exchange_s: float, *, overlap: float = 0.0) -> float:
    """Return the seconds of a training step: the computation, and the part of the exchange that it does not hide.

    Args:
        compute_s: forward and backward of one worker's share.
        exchange_s: the all-reduce alone.
        overlap: share of the computation, 0 to 1, during which the exchange can run; 2/3 is the backward pass.

    >>> step_seconds(0.3, 0.1), round(step_seconds(0.3, 0.1, overlap=0.2), 3), step_seconds(0.3, 0.1, overlap=0.5)
    (0.4, 0.34, 0.3)
    """
    hidden_s = require_fraction("overlap", overlap) * compute_s
    return compute_s + max(0.0, exchange_s - hidden_s)


def queue_exchanges(ready_s: Sequence[float], exchange_s: Sequence[float]) -> list[tuple[float, float]]:
    """Return when the exchange of each bucket begins and ends: when the bucket is full and the link is free.

    Args:
        ready_s: when each bucket's last gradient is there, in the order of the buckets.
        exchange_s: how long each exchange takes.

    >>> queue_exchanges([1.0, 2.0], [3.0, 3.0])
    [(1.0, 4.0), (4.0, 7.0)]
    """
    times: list[tuple[float, float]] = []
    for ready, seconds in zip(ready_s, exchange_s, strict=True):
        begin = max(ready, times[-1][1] if times else 0.0)
        times.append((begin, begin + seconds))
    return times


def efficiency(alone_s: float, together_s: float, world_size: int) -> float:
    """Return tau_1 / (N tau_N): the speed-up of N workers as a fraction of N, for the same work.

    Args:
        alone_s: tau_1, seconds of one worker.
        together_s: tau_N, seconds of all of them for the same work.
        world_size: N.

    >>> efficiency(10.0, 5.0, 2), efficiency(10.0, 8.0, 2)
    (1.0, 0.625)
    """
    return alone_s / (world_size * together_s)
