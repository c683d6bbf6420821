"""What a network costs by the clock and in memory at its peak: warmed up, repeated, interleaved, one thread by default.

A comparison is made in one call of `compare`, which takes the candidates in turn, so that a machine that slows down
slows all of them. `torch.utils.benchmark.Timer` does the timing: it warms up, sets and restores the thread count and
waits for the GPU. Where TensorFlow computes, `timeit` does it: the candidates return what must be waited for, and the
number of threads is the one that TensorFlow was started with.
"""

import functools
import logging
import os
import statistics
import sys
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

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

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError("samples is empty: a Timing needs the seconds of at least one call")

    @property
    def median(self) -> float:
        """Seconds, the figure to quote."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds below which a quarter and three quarters of the samples lie."""
        if len(self.samples) == 1:
            return self.samples[0], self.samples[0]
        lower, _, upper = statistics.quantiles(self.samples, n=4, method="inclusive")
        return lower, upper

    @property
    def interquartile_range(self) -> float:
        """Seconds between the quartiles: the spread to quote beside the median."""
        lower, upper = self.quartiles
        return upper - lower

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

    Returns:
        A `Timing` for each name.

    Raises:
        TypeError, ValueError: no candidates, or a count that is not a positive integer.
    """
    _require_mapping("candidates", candidates)
    repeats = require_int("repeats", repeats, minimum=1)
    threads = require_int("threads", threads, minimum=1)
    stopwatches = {}
    for name, function in candidates.items():
        if not callable(function):
            raise TypeError(f"candidate {name!r} must be a function without arguments, got {type(function).__name__}")
        stopwatches[name] = _stopwatch(function, threads)
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
    """Time the forward pass of several networks over one batch, in evaluation and inference mode, in turn.

    Raises:
        TypeError: a model is no network, or `models` no mapping of names to networks.
        ValueError: `models` or `batch` is empty.
    """
    import torch

    _require_mapping("models", models)
    if not isinstance(batch, torch.Tensor):
        raise TypeError(f"batch must be a torch.Tensor, got {type(batch).__name__}")
    if batch.numel() == 0:
        raise ValueError(f"batch is empty: its shape is {tuple(batch.shape)}")
    modes = {name: require_module(f"models[{name!r}]", model).training for name, model in models.items()}
    try:
        with torch.inference_mode():
            candidates = {name: functools.partial(model.eval(), batch) for name, model in models.items()}
            return compare(candidates, repeats=repeats, threads=threads)
    finally:
        for name, model in models.items():
            model.train(modes[name])


def latency(model: "torch.nn.Module", batch: "torch.Tensor", *, repeats: int = 15, threads: int = 1) -> Timing:
    """Time the forward pass of one network over one batch; see `latencies`."""
    return latencies({"model": model}, batch, repeats=repeats, threads=threads)["model"]


def throughput(timing: Timing, batch_size: int) -> float:
    """Return inputs per second: batch size over median seconds a batch.

    Raises:
        TypeError, ValueError: `timing` is no Timing, or `batch_size` not a positive integer.

    >>> throughput(Timing((0.5,), threads=1), 64)
    128.0
    """
    if not isinstance(timing, Timing):
        raise TypeError(f"timing must be a Timing, as time_call returns it, got {type(timing).__name__}")
    return require_int("batch_size", batch_size, minimum=1) / timing.median


def peak_memory_mb() -> float:
    """Return the most memory this process has held so far, in MB (10**6 bytes); on a CUDA GPU see torch.cuda."""
    if sys.platform == "win32":
        return psutil.Process(os.getpid()).memory_info().peak_wset / 1e6
    import resource  # POSIX only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _require_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must map names to what is timed, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} is empty: give at least one to time")


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
    """Return how many calls fill `SHORTEST_BLOCK`, after a warm-up."""
    stopwatch(3)
    return max(1, round(SHORTEST_BLOCK / stopwatch(3)))
