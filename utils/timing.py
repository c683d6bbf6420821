"""What a network costs by the clock: warmed up, repeated, interleaved, one thread by default.

A comparison is made in one call of `compare`, which takes the candidates in turn, so that a machine that slows down
slows all of them. `torch.utils.benchmark.Timer` does the timing: it warms up, sets and restores the thread count and
waits for the GPU. Where TensorFlow computes, `timeit` does it: the candidates return what must be waited for, and the
number of threads is the one that TensorFlow was started with.
"""

import functools
import logging
import statistics
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.environment import computes_with_tensorflow, side_by_side
from utils.input_validation import require_int, require_module

if TYPE_CHECKING:
    import torch

SHORTEST_BLOCK = 2e-3
"""Seconds. A call shorter than this is repeated until a block of calls takes about as long."""


@dataclass(frozen=True)
class Timing:
    """Seconds a call takes, one sample per repeat, measured with `threads` threads."""

    samples: tuple[float, ...]
    threads: int

    @property
    def median(self) -> float:
        """Seconds, the figure to quote."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds below which a quarter and three quarters of the samples lie: the spread to quote beside it."""
        if len(self.samples) == 1:
            return self.samples[0], self.samples[0]
        lower, _, upper = statistics.quantiles(self.samples, n=4, method="inclusive")
        return lower, upper

    def __str__(self) -> str:
        lower, upper = self.quartiles
        spread = f"quartiles {lower * 1e6:,.0f} to {upper * 1e6:,.0f}"
        return f"{self.median * 1e6:,.0f} us ({spread}, threads: {self.threads})"


def compare(
    candidates: Mapping[str, Callable[[], object]], *, repeats: int = 15, threads: int = 1
) -> dict[str, Timing]:
    """Time several functions in turn, `repeats` times each, so that all of them meet the same machine.

    Args:
        candidates: a function without arguments for each name.
        repeats: samples for each candidate, at least 1; three at most where notebooks run side by side.
        threads: PyTorch threads during the measurement; the earlier number is restored.
    """
    require_int("repeats", repeats, minimum=1)
    stopwatches = {name: _stopwatch(function, threads) for name, function in candidates.items()}
    calls = {name: _calls_a_block(stopwatch) for name, stopwatch in stopwatches.items()}
    samples: dict[str, list[float]] = {name: [] for name in stopwatches}
    for _ in range(min(repeats, 3) if side_by_side() else repeats):
        for name, stopwatch in stopwatches.items():
            samples[name].append(stopwatch(calls[name]))
    return {name: Timing(tuple(values), threads) for name, values in samples.items()}


def time_call(function: Callable[[], object], *, repeats: int = 15, threads: int = 1) -> Timing:
    """Time one function without arguments; see `compare`.

    >>> time_call(lambda: sum(range(100)), repeats=3).median > 0
    True
    """
    return compare({"only": function}, repeats=repeats, threads=threads)["only"]


def latencies(
    models: Mapping[str, "torch.nn.Module"], batch: "torch.Tensor", *, repeats: int = 15, threads: int = 1
) -> dict[str, Timing]:
    """Time the forward pass of several networks over one batch, in evaluation and inference mode, in turn."""
    import torch

    from utils.models import evaluating

    candidates = {
        name: functools.partial(require_module(f"models[{name!r}]", model), batch) for name, model in models.items()
    }
    with evaluating(*models.values()), torch.inference_mode():
        return compare(candidates, repeats=repeats, threads=threads)


def paired_speedup(slow: Timing, fast: Timing) -> tuple[float, float, float]:
    """Return how many times as fast `fast` is, round by round of one `compare`: lower quartile, median, upper quartile.

    What disturbs a whole round disturbs both sides of its ratio, so that ratios spread less than times do.

    >>> paired_speedup(Timing((2.0, 8.0, 3.0), threads=1), Timing((1.0, 4.0, 1.0), threads=1))
    (2.0, 2.0, 2.5)
    """
    ratios = Timing(tuple(one / other for one, other in zip(slow.samples, fast.samples, strict=True)), slow.threads)
    lower, upper = ratios.quartiles
    return lower, ratios.median, upper


def throughput(timing: Timing, batch_size: int) -> float:
    """Return inputs per second: batch size over median seconds a batch.

    >>> throughput(Timing((0.5,), threads=1), 64)
    128.0
    """
    return batch_size / timing.median


def _stopwatch(function: Callable[[], object], threads: int) -> Callable[[int], float]:
    """Return a function that makes a number of calls and returns the seconds that one of them took."""
    if computes_with_tensorflow():
        return lambda calls: timeit.timeit(function, number=calls) / calls
    # the import warns where a CUDA toolkit is installed without a GPU; the environment stamp says that more clearly
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    timer = Timer("function()", globals={"function": function}, num_threads=threads)
    return lambda calls: timer.timeit(calls).median


def _calls_a_block(stopwatch: Callable[[int], float]) -> int:
    """Return how many calls fill `SHORTEST_BLOCK`, after a warm-up; for a long call the stopwatch's own is enough."""
    if stopwatch(1) > 5 * SHORTEST_BLOCK > 0:
        return 1
    stopwatch(3)
    return max(1, round(SHORTEST_BLOCK / stopwatch(3)))
