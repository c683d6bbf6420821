"""Fixtures that every test file shares."""

import contextlib
import datetime
import os
from collections import defaultdict

import pytest
import torch
from hypothesis import settings
from matplotlib import pyplot

from tests.order_of_tests import dealt
from utils.datasets import Splits, load

# Triton, which PyTorch loads for some features, and TensorFlow each bring an LLVM; in one process, as under pytest,
# Triton must come first: the other order ends in a segmentation fault. (A notebook loads only one of the two.)
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# The same examples in every run, and no limit on the time of one: a busy machine is no failure.
settings.register_profile("workbook", deadline=None, derandomize=True)
settings.load_profile("workbook")

# The tensors are small: a second thread would mostly wait, and a busy machine would slow it down a hundredfold.
torch.set_num_threads(1)


TODAY = datetime.datetime.now(datetime.UTC).toordinal()
ALL_VARIABLE = "WORKBOOK_ALL_TESTS"
"""Set to 1, it runs the tests marked `in_turn` whatever the day."""


APART = ("test_claims_can_fail.py", "browser")
"""Where each test is long by itself and shares little with the next: they need not stay together."""


@pytest.hookimpl(trylast=True)  # behind what leaves the slow tests out
def pytest_collection_modifyitems(items):
    """Begin with the notebooks that are broken, minutes each, then the other modules with slow tests, each whole."""
    _leave_out_what_is_not_due(items)
    items.sort(key=lambda item: "test_claims_can_fail" not in item.nodeid)  # stable: the others keep their order
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    apart = {path for path in slow if path.name in APART or path.parent.name in APART}

    def unit(item):
        if item.path in apart:
            return item.nodeid if item.get_closest_marker("slow") else None
        return item.path if item.path in slow else None

    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = dealt(items, [unit(item) for item in items], processes)


def _leave_out_what_is_not_due(items):
    """Skip the tests marked `in_turn(days)` but for each day's own: of `days` neighbours one."""
    if os.environ.get(ALL_VARIABLE) == "1":
        return
    in_turn = defaultdict(list)
    for item in items:
        if mark := item.get_closest_marker("in_turn"):
            in_turn[mark.args[0]].append(item)
    for days, marked in in_turn.items():
        skip = pytest.mark.skip(reason=f"it is due every {days} days; {ALL_VARIABLE}=1 runs all")
        for number, item in enumerate(marked):
            if number % days != TODAY % days:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _quiet_and_private(tmp_path_factory, monkeypatch):
    """Keep a learner's results untouched and the output free of progress bars."""
    monkeypatch.setenv("WORKBOOK_RESULTS", str(tmp_path_factory.mktemp("results")))
    monkeypatch.setenv("WORKBOOK_QUIET", "1")
    monkeypatch.delenv("WORKBOOK_SIDE_BY_SIDE", raising=False)  # set where the tests run in two processes


@pytest.fixture(scope="session")
def mnist() -> Splits:
    """MNIST, read once; no test may write to it."""
    return load("mnist")


@pytest.fixture
def closed_figures():
    """Close what a test draws."""
    yield
    pyplot.close("all")
