"""Clocks and peak memory, against sleeps of known length; the bounds leave room for a busy machine."""

import gc
import itertools
import time

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from utils import timing
from utils.timing import Timing, compare, latencies, latency, peak_memory_mb, throughput, time_call


class Spy(nn.Module):
    """Notes in which mode, with how many threads and with or without gradients it is called."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen = set()

    def forward(self, x):
        self.seen.add((self.training, torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return x * self.weight


def failing():
    raise KeyError("on purpose")


TRIES = range(3)
"""As for a claim about time: while another process keeps this one waiting, a measurement is made again."""


def test_a_sleep_is_timed_in_seconds_a_call():
    results = [time_call(lambda: time.sleep(0.005), repeats=5) for _ in TRIES]
    assert all(len(result.samples) == 5 for result in results)
    assert all(min(result.samples) >= 0.005 for result in results)
    assert min(result.median for result in results) < 0.010


def test_a_short_call_is_timed_a_call_not_a_block():
    waste = list(range(20_000))
    started = time.perf_counter()
    for _ in range(50):
        sum(waste)
    by_hand = (time.perf_counter() - started) / 50
    assert 0.2 < time_call(lambda: sum(waste), repeats=5).median / by_hand < 5


def test_the_ratio_of_two_sleeps():
    sleeps = {"short": lambda: time.sleep(0.010), "long": lambda: time.sleep(0.030)}
    results = (compare(sleeps, repeats=7) for _ in TRIES)
    assert any(2 < result["long"].median / result["short"].median < 4 for result in results)


def test_candidates_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "SHORTEST_BLOCK", 0.0)
    calls = []
    compare({name: lambda name=name: calls.append(name) for name in "abc"}, repeats=4)
    assert "".join(name for name, _ in itertools.groupby(calls)) == "abc" * 5  # once to warm up, then four repeats


def test_each_candidate_gets_the_asked_number_of_samples():
    result = compare({"a": lambda: None, "b": lambda: None}, repeats=3, threads=2)
    assert {name: (len(t.samples), t.threads) for name, t in result.items()} == {"a": (3, 2), "b": (3, 2)}
    assert all(sample > 0 for t in result.values() for sample in t.samples)


@pytest.mark.parametrize("asked", [1, 3])
def test_threads_are_set_while_timing_and_restored(asked):
    before, seen = torch.get_num_threads(), set()
    time_call(lambda: seen.add(torch.get_num_threads()), repeats=2, threads=asked)
    assert seen == {asked}
    assert torch.get_num_threads() == before


def test_threads_and_garbage_collection_are_restored_after_an_exception():
    before = torch.get_num_threads()
    with pytest.raises(KeyError, match="on purpose"):
        time_call(failing, threads=before + 1)
    assert torch.get_num_threads() == before
    assert gc.isenabled()


@pytest.mark.parametrize("training", [True, False])
def test_latency_measures_in_evaluation_and_inference_mode_and_restores(training):
    model = Spy().train(training)
    assert latency(model, torch.ones(1), repeats=2).median > 0
    assert model.seen == {(False, 1, True)}
    assert model.training is training
    assert not torch.is_inference_mode_enabled()


def test_latencies_restores_every_mode_after_an_exception():
    good, bad = Spy().train(), nn.Linear(3, 3).eval()
    with pytest.raises(RuntimeError, match="shapes"):
        latencies({"good": good, "bad": bad}, torch.ones(1, 2))
    assert (good.training, bad.training) == (True, False)


def test_a_network_of_more_work_takes_longer():
    models = {"small": nn.Linear(8, 8), "large": nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(4)])}
    assert latency(models["large"], torch.ones(16, 1024)).median > 3 * latency(models["small"], torch.ones(1, 8)).median


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=40))
def test_median_and_quartiles_against_numpy(samples):
    result = Timing(tuple(samples), threads=1)
    lower, middle, upper = np.percentile(samples, [25, 50, 75])
    assert result.median == pytest.approx(middle)
    assert result.quartiles == pytest.approx((lower, upper))
    assert result.interquartile_range == pytest.approx(upper - lower, abs=1e-12 * max(samples))


def test_a_timing_reads_as_microseconds():
    assert str(Timing((0.001, 0.002, 0.003), threads=1)) == "2,000 us (quartiles 1,500 to 2,500, threads: 1)"


def test_throughput_is_inputs_a_second():
    assert throughput(Timing((0.1, 0.25, 9.0), threads=1), 50) == 200.0


def test_peak_memory_is_in_megabytes_and_never_falls():
    process = psutil.Process()
    ballast = np.ones(20_000_000 // 8)  # 20 MB that are really touched
    held, peak = process.memory_info().rss / 1e6, peak_memory_mb()
    assert held * 0.99 <= peak < psutil.virtual_memory().total / 1e6
    del ballast
    assert peak_memory_mb() >= peak


NOTHING = {"a": lambda: None}


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (({},), ValueError, "candidates is empty"),
        (([failing],), TypeError, "candidates must map names"),
        ((failing,), TypeError, "candidates must map names"),
        (({"a": 0.5},), TypeError, "'a' must be a function without arguments, got float"),
    ],
)
def test_compare_refuses_bad_candidates(arguments, error, match):
    with pytest.raises(error, match=match):
        compare(*arguments)


@pytest.mark.parametrize("name", ["repeats", "threads"])
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_compare_refuses_bad_counts(name, value, error):
    with pytest.raises(error, match=f"{name} must be"):
        compare(NOTHING, **{name: value})


@pytest.mark.parametrize(
    ("models", "batch", "error", "match"),
    [
        ({}, torch.ones(1), ValueError, "models is empty"),
        (nn.ReLU(), torch.ones(1), TypeError, "models must map names"),
        ({"a": torch.relu}, torch.ones(1), TypeError, r"models\['a'\] must be a torch.nn.Module"),
        ({"a": nn.ReLU}, torch.ones(1), TypeError, "is the class ReLU, not a network"),
        ({"a": nn.ReLU()}, torch.ones(0, 4), ValueError, "batch is empty"),
        ({"a": nn.ReLU()}, [1.0], TypeError, r"batch must be a torch\.Tensor, got list"),
    ],
)
def test_latencies_refuses_bad_arguments(models, batch, error, match):
    with pytest.raises(error, match=match):
        latencies(models, batch)


@pytest.mark.parametrize(
    ("timed", "batch_size", "error", "match"),
    [
        (0.5, 1, TypeError, "timing must be a Timing, .* got float"),
        (Timing((0.5,), threads=1), 0, ValueError, "batch_size must be at least 1"),
        (Timing((0.5,), threads=1), 1.5, TypeError, "batch_size must be an integer"),
    ],
)
def test_throughput_refuses_bad_arguments(timed, batch_size, error, match):
    with pytest.raises(error, match=match):
        throughput(timed, batch_size)


def test_a_timing_without_samples_is_refused():
    with pytest.raises(ValueError, match="samples is empty"):
        Timing((), threads=1)


def test_side_by_side_three_samples_are_enough(monkeypatch):
    monkeypatch.setenv("WORKBOOK_SIDE_BY_SIDE", "1")
    assert len(time_call(list, repeats=15).samples) == 3
    assert len(time_call(list, repeats=2).samples) == 2
