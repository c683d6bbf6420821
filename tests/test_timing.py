"""Clocks, against sleeps of known length; the bounds leave room for a busy machine."""

import gc
import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from utils import timing
from utils.timing import Timing, compare, latencies, paired_speedup, time_call


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


def test_candidates_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "SHORTEST_BLOCK", 0.0)
    calls = []
    compare({name: lambda name=name: calls.append(name) for name in "abc"}, repeats=4)
    assert "".join(name for name, _ in itertools.groupby(calls)) == "abc" * 5  # once to warm up, then four repeats


def test_threads_are_set_while_timing_and_restored():
    before, seen = torch.get_num_threads(), set()
    result = compare({name: lambda: seen.add(torch.get_num_threads()) for name in "ab"}, repeats=3, threads=before + 1)
    assert [(len(t.samples), t.threads) for t in result.values()] == [(3, before + 1)] * 2
    assert seen == {before + 1}
    assert torch.get_num_threads() == before


def test_threads_and_garbage_collection_are_restored_after_an_exception():
    before = torch.get_num_threads()
    with pytest.raises(KeyError, match="on purpose"):
        time_call(failing, threads=before + 1)
    assert torch.get_num_threads() == before
    assert gc.isenabled()


def test_latencies_measures_in_evaluation_and_inference_mode():
    model = Spy()
    assert latencies({"spy": model}, torch.ones(1), repeats=2)["spy"].median > 0
    assert model.seen == {(False, 1, True)}
    assert not torch.is_inference_mode_enabled()


def test_latencies_restores_every_mode_after_an_exception():
    good = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3).eval())  # its batch norm frozen on purpose
    bad = nn.Linear(3, 3).eval()
    with pytest.raises(RuntimeError, match="shapes"):
        latencies({"good": good, "bad": bad}, torch.ones(1, 2))
    assert (good.training, good[0].training, good[1].training, bad.training) == (True, True, False, False)


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=40))
def test_median_and_quartiles_against_numpy(samples):
    result = Timing(tuple(samples), threads=1)
    lower, middle, upper = np.percentile(samples, [25, 50, 75])
    assert result.median == pytest.approx(middle)
    assert result.quartiles == pytest.approx((lower, upper))


def test_a_timing_reads_as_microseconds():
    assert str(Timing((0.001, 0.002, 0.003), threads=1)) == "2,000 us (quartiles 1,500 to 2,500, threads: 1)"


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: compare({"a": list}, repeats=0), ValueError, "repeats must be at least 1"),
        (
            lambda: latencies({"a": nn.ReLU}, torch.ones(1)),
            TypeError,
            r"models\['a'\] is the class ReLU, not a network",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_side_by_side_three_samples_are_enough(monkeypatch):
    monkeypatch.setenv("WORKBOOK_SIDE_BY_SIDE", "1")
    assert len(time_call(list, repeats=15).samples) == 3
    assert len(time_call(list, repeats=2).samples) == 2


def test_a_round_that_disturbs_both_sides_does_not_move_their_paired_speedup():
    times = (0.002, 0.002, 0.02, 0.002)
    halves = tuple(each / 2 for each in times)
    assert paired_speedup(Timing(times, 1), Timing(halves, 1)) == (2.0, 2.0, 2.0)


def test_a_paired_speedup_wants_as_many_rounds_on_both_sides():
    with pytest.raises(ValueError, match="shorter"):
        paired_speedup(Timing((1.0, 2.0), 1), Timing((1.0,), 1))
