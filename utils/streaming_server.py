"""A server that streams texts over HTTP while it writes them, several at once: the scheduler of `continuous_batching`.

`Streamer` lets a `TextBatcher` step in a thread of its own and hands each character to whoever waits for it;
`application` puts it behind HTTP; `streaming` serves that on the loopback interface, as `batching_server.serving` does.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from utils.batching_server import CLIENT_GONE, QueueFullError, beside, read_body, serving_application
from utils.characters import Vocabulary
from utils.continuous_batching import Request, TextBatcher
from utils.input_validation import require_int
from utils.load_generator import Asked, ask
from utils.serving import poisson_arrivals

END = None
"""What a stream's queue holds behind its last character; a `RuntimeError` in its place says that the model failed."""


class Stream:
    """A request on its way: its characters come out of `characters`, one by one, and `END` behind the last."""

    def __init__(self, request: Request):
        self.request = request
        self.characters: asyncio.Queue = asyncio.Queue()


class Streamer:
    """Writes texts for whoever asks, a character of each at a time.

    All of it but the model's steps runs on the event loop: what arrives or is cancelled during a step is told to the
    scheduler behind it, so that there is nothing to lock.

    Args:
        batcher: the scheduler.
        max_waiting: requests that may wait for a slot; a further one is refused.
    """

    def __init__(self, batcher: TextBatcher, *, max_waiting: int = 32):
        self.batcher = batcher
        self.max_waiting = require_int("max_waiting", max_waiting, minimum=1)
        self.streams: dict[Request, Stream] = {}
        """Those that are not at their ends."""
        self.cancelled = self.refused = 0
        self._arrived: list[Request] = []
        self._gone: list[Request] = []
        self._something = asyncio.Event()
        self._step_seconds = 0.0

    def submit(self, request: Request) -> Stream:
        """Let a request wait for a slot, and return its stream.

        Raises:
            QueueFullError: too many wait already.
            ValueError: the text would not fit a slot.
        """
        self.batcher.require_fit(request)
        free = self.batcher.slots - len(self.batcher.active)
        waiting = max(0, len(self.batcher.waiting) + len(self._arrived) - free)
        if waiting >= self.max_waiting:
            self.refused += 1
            raise QueueFullError(waiting, self.retry_after())
        stream = self.streams[request] = Stream(request)
        self._arrived.append(request)
        self._something.set()
        return stream

    def cancel(self, request: Request) -> None:
        """Take a request back; behind the step under way its slot is free. One that is complete stays so."""
        if self.streams.pop(request, None) is not None:
            self.cancelled += 1
            self._gone.append(request)
            self._something.set()

    def retry_after(self) -> int:
        """Return in how many seconds those that wait would have a slot, if all texts take as long as the first 32."""
        left = sum(each.count for each in [*self.batcher.waiting, *self._arrived][:32])
        return max(1, round(left / self.batcher.slots * self._step_seconds))

    async def run(self) -> None:
        """Write until this is cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="model") as worker:
            while True:
                self._tell()
                if not self.batcher.busy:
                    self._something.clear()
                    await self._something.wait()
                    continue
                began = loop.time()
                try:
                    events = await loop.run_in_executor(worker, self.batcher.step)
                except Exception as error:  # one bad step must not end the server
                    self._fail(error)
                    continue
                self._step_seconds = loop.time() - began
                for request, character, last in events:
                    if (stream := self.streams.get(request)) is not None:
                        stream.characters.put_nowait(character)
                        if last:
                            stream.characters.put_nowait(END)
                            del self.streams[request]

    def _tell(self) -> None:
        """Tell the scheduler, between two steps, what arrived and what went away."""
        for request in self._arrived:
            self.batcher.add(request)
        for request in self._gone:
            self.batcher.cancel(request)
        self._arrived, self._gone = [], []

    def _fail(self, error: Exception) -> None:
        for request in [*self.batcher.active, *self.batcher.waiting]:
            self.batcher.cancel(request)
            if (stream := self.streams.pop(request, None)) is not None:
                stream.characters.put_nowait(RuntimeError(f"the model failed: {type(error).__name__}: {error}"))


def decoder(vocabulary: Vocabulary) -> Callable[[bytes], Request]:
    """Return what makes a request of a body such as `{"prompt": "KING:", "count": 40}`, or raises a ValueError."""

    def decode(body: bytes) -> Request:
        wanted = json.loads(body)
        if not isinstance(wanted, dict) or not isinstance(wanted.get("prompt"), str):
            raise ValueError('the body must be a JSON object with a "prompt" and a "count"')
        count = require_int("count", wanted.get("count"), minimum=1)
        return Request(vocabulary.encode(wanted["prompt"]), count, float(wanted.get("temperature", 0.0)))

    return decode


def application(streamer: Streamer, vocabulary: Vocabulary) -> Starlette:
    """Return an ASGI application: POST / with a prompt answers with what follows it, as it is written.

    200: the text, in pieces. 413, 422: the body is too long, or asks for what is not possible. 503: too many wait; the
    header Retry-After says when to come back. A client that goes away is taken out of its slot.
    """
    decode = decoder(vocabulary)

    async def answer(http: HttpRequest) -> Response:
        try:
            body = await read_body(http)
            if body is None:
                return JSONResponse({"error": "the body is too long"}, status_code=413)
            stream = streamer.submit(decode(body))
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        except QueueFullError as error:
            headers = {"Retry-After": str(error.retry_after)}
            return JSONResponse({"error": str(error)}, status_code=503, headers=headers)
        return StreamingResponse(pieces(stream), media_type="text/plain")

    async def pieces(stream: Stream) -> AsyncIterator[str]:
        try:
            while (character := await stream.characters.get()) is not END:
                if isinstance(character, Exception):
                    raise character
                yield vocabulary.characters[character]
        finally:
            streamer.cancel(stream.request)  # nothing, if it is at its end

    return beside(streamer.run, answer)


def streaming(streamer: Streamer, vocabulary: Vocabulary) -> AbstractContextManager[str]:
    """Serve inside a `with` block and yield the URL; see `batching_server.serving`. A streamer serves once."""
    return serving_application(application(streamer, vocabulary))


def ask_for_texts(
    url: str, prompts: Sequence[str], count: int | Sequence[int], requests: int, *, rate: float, seed: int
) -> Asked:
    """Ask a streaming server from another process at random times fixed beforehand; see `load_generator.ask`.

    Args:
        url: of the server.
        prompts: request i sends number i, from the start again when they run out.
        count: characters that each request asks for, or a number for each prompt.
        requests: how many.
        rate: requests a second, on average.
        seed: of the times.
    """
    counts = [count] * len(prompts) if isinstance(count, int) else count
    asked = [{"prompt": prompt, "count": each} for prompt, each in zip(prompts, counts, strict=True)]
    bodies = [json.dumps(each).encode() for each in asked]
    return ask(url, bodies, poisson_arrivals(rate, requests, seed=seed), patience=120.0)


def ask_and_leave(url: str, prompt: str, count: int) -> str:
    """Ask for a text, read its first piece, close the connection, and return that piece.

    Args:
        url: of the server.
        prompt: what is to be continued.
        count: characters that are asked for.
    """
    asked = {"prompt": prompt, "count": count}
    with httpx.stream("POST", url, json=asked, trust_env=False, timeout=60) as response:
        return next(response.iter_text())
