"""An event loop for asyncio whose clock jumps: what waits an hour is done at once, and the same every time."""

import asyncio
import math
import selectors
from concurrent.futures import ThreadPoolExecutor


class _JumpingSelector(selectors.SelectSelector):
    """Instead of sleeping until the next timer, it sets the loop's clock to it.

    Each look at the clock finds it a little later, as with a real one: who waits for less than a float can tell would
    wait for ever.
    """

    now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("it waits for something that never comes")
        self.now = math.nextafter(self.now + max(timeout, 0.0), math.inf)
        return super().select(0)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at 0 and moves only when all wait for a timer. No threads, no network."""

    def __init__(self):
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


def run_on_virtual_clock(function):
    """Run a coroutine function without arguments on a `VirtualClockLoop` and return its result.

    The loop runs in a thread of its own: in the caller's another may be running, as Playwright's does in the tests.

    >>> async def an_hour():
    ...     await asyncio.sleep(3600)
    ...     return round(asyncio.get_running_loop().time(), 6)
    >>> run_on_virtual_clock(an_hour)
    3600.0
    """

    def run():
        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            return runner.run(function())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
