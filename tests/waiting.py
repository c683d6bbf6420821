"""Waiting in tests for what is meant, and not for a time."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until a condition holds; a busy machine may take its time. An AssertionError tells that it never did."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def run_apart(coroutine: Coroutine) -> object:
    """Run a coroutine to its end in a thread of its own, since in this one a browser's event loop may be running."""
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(asyncio.run, coroutine).result()
