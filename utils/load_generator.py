"""Asks a server over HTTP at times that were fixed beforehand, whether it keeps up or not, and measures the answers.

A client that waits for an answer before it asks again slows down together with the server and never sees the queue: its
load is closed, and the times that it reports omit the requests it would have sent meanwhile ("coordinated omission").
Here the load is open (Schroeder, Wierman and Harchol-Balter, "Open Versus Closed: A Cautionary Tale", 2006): every
request has its time, and its latency counts from that time, not from when it was sent, so that a client which is late
itself makes the numbers worse and not better.
"""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from utils.files import ROOT
from utils.input_validation import require_number

POOLS, CONNECTIONS = 32, 4
"""Pools that the requests are spread over in turn, since httpx looks through all connections of a pool each time, and
the connections of each pool. A request for which none is free waits here, and its wait counts."""

LEAD = 0.2
"""Seconds from the start of the event loop to time 0, in which all requests are prepared."""


class LoadError(RuntimeError):
    """The process that asks failed; the message has its last words."""


@dataclass(frozen=True)
class Asked:
    """What became of the requests, one entry each.

    `planned`, `sent`, `firsts` and `ends` are seconds from the common start: when it was to be sent, when it was, when
    the answer began and when it was all there (NaN if none came); `statuses` are those of HTTP, 0 if no answer came;
    `answers` what the server said, or why not; `retry_after` the seconds of that header, NaN without it.
    """

    planned: np.ndarray
    sent: np.ndarray
    firsts: np.ndarray
    ends: np.ndarray
    statuses: np.ndarray
    answers: list[Any]
    retry_after: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """Which requests got an answer with status 200, as bools."""
        return self.statuses == 200

    @property
    def latencies(self) -> np.ndarray:
        """Seconds from the planned time to the answer, of those that were answered."""
        return (self.ends - self.planned)[self.answered]

    def percentile(self, percent: float) -> float:
        """Return the latency, in seconds, that `percent` (0 to 100) per cent of the answered requests do not exceed."""
        return float(np.percentile(self.latencies, require_number("percent", percent, low=0, high=100)))


def ask(url: str, bodies: Sequence[bytes], arrivals: Sequence[float], *, patience: float = 10.0) -> Asked:
    """Ask a server once for each arrival, from a process of its own, and return what became of each request.

    Args:
        url: where to POST.
        bodies: request i sends number i, from the start again when they run out; at least one.
        arrivals: seconds, in order: when to send.
        patience: seconds after the last arrival; what is not answered by then counts as lost.

    Raises:
        LoadError: the process failed.
    """
    if not len(bodies) or not len(arrivals):
        raise ValueError(f"ask needs at least one body and one arrival, got {len(bodies)} and {len(arrivals)}")
    require_number("patience", patience, low=0.0)
    order = {
        "url": url,
        "bodies": [base64.b64encode(body).decode() for body in bodies],
        "arrivals": [float(arrival) for arrival in arrivals],
        "patience": patience,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "utils.load_generator"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:  # waits for its end
        try:
            said, complained = process.communicate(json.dumps(order), timeout=order["arrivals"][-1] + patience + 60)
        except BaseException as error:  # time is up, or an interrupt: it must not go on asking
            process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise LoadError("the process that asks did not end in time") from None
            raise
    if process.returncode:
        raise LoadError(f"the process that asks failed: {complained.strip()[-500:]}")
    found = json.loads(said)
    numbers = {name: np.array(found[name], dtype=float) for name in ("sent", "firsts", "ends", "retry_after")}
    return Asked(
        planned=np.array(order["arrivals"]), statuses=np.array(found["statuses"]), answers=found["answers"], **numbers
    )


async def _ask_all(url: str, bodies: Sequence[bytes], arrivals: Sequence[float], patience: float) -> dict[str, list]:
    loop = asyncio.get_running_loop()
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    clients = [httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) for _ in range(POOLS)]
    requests = [clients[0].build_request("POST", url, content=body) for body in bodies]
    count, nothing = len(arrivals), float("nan")
    found = {
        "sent": [nothing] * count,
        "firsts": [nothing] * count,
        "ends": [nothing] * count,
        "statuses": [0] * count,
        "answers": ["no answer in time"] * count,
        "retry_after": [nothing] * count,
    }
    start = loop.time() + LEAD

    async def read(response: httpx.Response, index: int) -> dict:
        content = b""
        async for piece in response.aiter_bytes():
            if not content:
                found["firsts"][index] = loop.time() - start
            content += piece
        if response.headers.get("Content-Type", "").startswith("text/plain"):  # a streamed text
            return {"answer": content.decode()}
        return json.loads(content)

    async def ask_one(index: int) -> None:
        await asyncio.sleep(start + arrivals[index] - loop.time())
        found["sent"][index] = loop.time() - start
        try:
            response = await clients[index % POOLS].send(requests[index % len(requests)], stream=True)
            said = await read(response, index)
        except (httpx.HTTPError, ValueError) as error:
            found["answers"][index] = f"{type(error).__name__}: {error}"
            return
        found["ends"][index] = loop.time() - start
        found["statuses"][index] = response.status_code
        found["answers"][index] = said.get("answer", said.get("error"))
        found["retry_after"][index] = float(response.headers.get("Retry-After", nothing))

    tasks = [asyncio.create_task(ask_one(index)) for index in range(count)]
    _, late = await asyncio.wait(tasks, timeout=LEAD + arrivals[-1] + patience)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()  # raises what should not have happened
    for client in clients:
        await client.aclose()
    return found


def main() -> None:
    """Read an order from standard input, carry it out, and write what was found, both as JSON."""
    order = json.load(sys.stdin)
    order["bodies"] = [base64.b64decode(body) for body in order["bodies"]]
    json.dump(asyncio.run(_ask_all(**order)), sys.stdout)


if __name__ == "__main__":
    main()
