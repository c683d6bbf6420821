"""A server that answers single HTTP requests in batches: a bounded queue, one worker, an answer or a refusal for each.

`Batcher` holds the queue and calls the model; `application` puts it behind HTTP, with Starlette; `serving` runs that on
the loopback interface, with uvicorn, until its block ends.

The server runs in a thread of this process. So it starts at once, uses a network that is loaded already, and can be
given any function, one that a notebook defines too, which a process of its own could not. What must not share this
process is the client that measures: `load_generator` runs in a process of its own, since both would wait for the one
lock of the interpreter.
"""

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from utils.input_validation import require_int, require_number

LARGEST_BODY = 10_000_000
"""Bytes of a request; a longer one is refused before it is read to its end."""

GRACE = 5.0
"""Seconds that requests in progress have to end when the server stops."""

CLIENT_GONE = 499
"""The status for a client that no longer listens: it is only seen in a log."""


class QueueFullError(RuntimeError):
    """The queue holds as much as it may; `retry_after` says in how many seconds it will have been worked off."""

    def __init__(self, waiting: int, retry_after: int):
        super().__init__(f"{waiting} requests are waiting already; try again in {retry_after} s")
        self.retry_after = retry_after


class ModelError(RuntimeError):
    """The model failed on a batch, gave another number of answers than there were inputs, or no batch was chosen."""


@dataclass(frozen=True)
class Waiting:
    """A request in the queue: its input, when it arrived on the event loop's clock, and where its answer is put."""

    value: Any
    arrived: float
    answer: asyncio.Future


@dataclass(frozen=True)
class Call:
    """One call of the model: how many inputs it answered, and the seconds it took."""

    size: int
    seconds: float


Choose = Callable[[list[float], int, float], tuple[int, float]]
"""What decides when the next call begins and how many share it; see `next_batch`."""


def next_batch(waited: list[float], max_batch: int, max_wait: float) -> tuple[int, float]:
    """Decide what a free server does: take the oldest requests now, or wait for company.

    It takes what waits as soon as that fills a batch or the oldest has waited long enough. With a `max_wait` of 0 it
    never waits: a batch is whatever has gathered during the call before.

    Args:
        waited: for each request in the queue how many seconds it has waited, the oldest first; at least one.
        max_batch: the largest batch.
        max_wait: seconds that a request may wait for others to fill its batch.

    Returns:
        How many to take, the oldest first, and 0 seconds; or 0 and the seconds after which to decide again. A request
        that arrives in between is a reason to decide again, too.

    >>> next_batch([0.3, 0.1], 4, 0.25), next_batch([0.25, 0.125], 4, 1.0)
    ((2, 0.0), (0, 0.75))
    """
    if len(waited) >= max_batch or waited[0] >= max_wait:
        return min(len(waited), max_batch), 0.0
    return 0, max_wait - waited[0]


class Batcher:
    """Answers inputs that come one by one in calls of several.

    Args:
        model: takes a list of inputs and returns as many answers, in their order. It is called in a thread of its own,
            one call at a time, so that requests are received meanwhile.
        max_batch: the most inputs of one call; 1 answers one by one.
        max_wait: seconds that a request may wait for others to fill its batch.
        max_queue: the most requests that may wait; a further one is refused.
        choose: decides when a call begins and how many share it, as `next_batch` does.
    """

    def __init__(
        self,
        model: Callable[[list], Sequence],
        *,
        max_batch: int = 16,
        max_wait: float = 0.0,
        max_queue: int = 1024,
        choose: Choose = next_batch,
    ):
        self.max_batch = require_int("max_batch", max_batch, minimum=1)
        self.max_wait = require_number("max_wait", max_wait, low=0.0)
        self.max_queue = require_int("max_queue", max_queue, minimum=1)
        self.calls: list[Call] = []
        """All calls so far, in their order."""
        self._model = model
        self._choose = choose
        self._queue: deque[Waiting] = deque()
        self._arrived = asyncio.Event()

    def submit(self, value: Any) -> asyncio.Future:
        """Put an input into the queue; return the future that will hold its answer, or a `ModelError`.

        Whoever cancels the future takes the input back, unless its call has begun.

        Raises:
            QueueFullError: too many are waiting already.
        """
        if len(self._queue) >= self.max_queue:
            raise QueueFullError(len(self._queue), self.retry_after())
        loop = asyncio.get_running_loop()
        request = Waiting(value, loop.time(), loop.create_future())
        self._queue.append(request)
        self._arrived.set()
        return request.answer

    def retry_after(self) -> int:
        """Return in how many seconds those that wait will have been answered, in full batches; at least 1."""
        last = self.calls[-8:]
        a_call = sum(call.seconds for call in last) / len(last) if last else 0.0
        return max(1, math.ceil(len(self._queue) / self.max_batch * a_call))

    async def run(self) -> None:
        """Answer what is in the queue, batch by batch, until this is cancelled."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="model") as worker:
            while True:
                await self._answer(await self.take(), worker)

    async def take(self) -> list[Waiting]:
        """Wait until it is time for the next call, and take the requests that share it out of the queue."""
        while True:
            self._queue = deque(request for request in self._queue if not request.answer.done())  # some went away
            self._arrived.clear()
            count, wait = 0, None
            if self._queue:
                count, wait = self._decide()
            if count:
                return [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._arrived.wait()

    def _decide(self) -> tuple[int, float | None]:
        now = asyncio.get_running_loop().time()
        try:
            return self._choose([now - request.arrived for request in self._queue], self.max_batch, self.max_wait)
        except Exception as error:  # it may be a learner's
            failed = ModelError(f"the choice of a batch failed: {type(error).__name__}: {error}")
            self._settle(list(self._queue), [failed] * len(self._queue))
            self._queue.clear()
            return 0, None

    async def _answer(self, batch: list[Waiting], worker: ThreadPoolExecutor) -> None:
        begun = time.perf_counter()
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                worker, self._model, [request.value for request in batch]
            )
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers to {len(batch)} inputs")
        except Exception as error:  # one bad batch must not end the server
            self._settle(batch, [ModelError(f"the model failed: {type(error).__name__}: {error}")] * len(batch))
            return
        self.calls.append(Call(len(batch), time.perf_counter() - begun))
        self._settle(batch, answers)

    @staticmethod
    def _settle(batch: list[Waiting], answers: Sequence) -> None:
        for request, answer in zip(batch, answers, strict=True):
            if request.answer.done():  # its client went away during the call
                continue
            if isinstance(answer, ModelError):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)


def application(batcher: Batcher, decode: Callable[[bytes], Any]) -> Starlette:
    """Return an ASGI application: POST / with an input as its body answers `{"answer": ...}` or `{"error": "..."}`.

    200: the answer. 413, 422: the body is too long, or `decode` refuses it. 500: the model failed. 503: too many are
    waiting; the header Retry-After says when to come back.

    Args:
        batcher: answers; it runs as long as the application does.
        decode: makes an input of the bytes of a body, or raises a ValueError whose message the client gets.
    """

    async def answer(request: Request) -> Response:
        try:
            body = await read_body(request)
            if body is None:
                return _error(413, f"the body is longer than {LARGEST_BODY:,} bytes")
            future = batcher.submit(decode(body))
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        except ValueError as error:
            return _error(422, str(error))
        except QueueFullError as error:
            return _error(503, str(error), {"Retry-After": str(error.retry_after)})
        if not await _still_there(request, future):
            return Response(status_code=CLIENT_GONE)
        try:
            return JSONResponse({"answer": future.result()})
        except ModelError as error:
            return _error(500, str(error))

    return beside(batcher.run, answer)


def beside(run: Callable[[], Coroutine], answer: Callable[[Request], Awaitable[Response]]) -> Starlette:
    """Return an application that answers at "/" by POST while `run` runs; at its end `run` is cancelled."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(run())
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    return Starlette(routes=[Route("/", answer, methods=["POST"])], lifespan=lifespan)


async def read_body(request: Request) -> bytes | None:
    """Read a request's body; None if it is longer than `LARGEST_BODY`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


async def _still_there(request: Request, future: asyncio.Future) -> bool:
    """Wait for an answer; where the client goes away first, cancel it and return False."""
    gone = asyncio.ensure_future(request.receive())  # after the body, the next message is that of the end
    await asyncio.wait({future, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    return future.done() or not future.cancel()


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def serving(batcher: Batcher, decode: Callable[[bytes], Any]) -> contextlib.AbstractContextManager[str]:
    """Serve a batcher inside a `with` block; see `serving_application`, and `application` for the arguments.

    A batcher serves once.
    """
    return serving_application(application(batcher, decode))


@contextlib.contextmanager
def serving_application(served: Starlette) -> Iterator[str]:
    """Serve inside the block, on the loopback interface, on a port that the system finds free; yield the URL.

    At the end of the block, however it is left, no connection is accepted any more; what is in progress has five
    seconds to end; then thread and port are gone.

    Raises:
        RuntimeError: the server does not start, or does not stop because a call of the model does not return.
    """
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    settings = uvicorn.Config(
        served,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(GRACE),
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="batching server", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(2 * GRACE)
        listening.close()
        if thread.is_alive():
            raise RuntimeError(f"the server still runs after {2 * GRACE:g} s: a call of the model does not return")
