"""Data parallelism: workers started by torchrun, all-reduce by hand, parts of a training step, and what they cost.

A notebook calls `launch`; a worker's script begins with ``with join() as worker:`` and hands back what it found with
`report`, through a JSON file. The functions in between are short on purpose: they are what a library does at scale.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from torch import distributed as dist
from torch import nn

from utils.files import ROOT, replace_file, results_folder
from utils.input_validation import require_fraction, require_int, require_module, require_number

FOLDER_VARIABLE = "WORKBOOK_WORKERS"
"""Names, to a worker, the folder that its report goes to."""

LAST_LINES = 12
"""Of what each worker wrote, shown when it fails."""

# --- starting workers ------------------------------------------------------------------------------------------------


class WorkerError(RuntimeError):
    """Workers failed or took too long; the message has the last lines they wrote. None of them is left running."""


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has.

    Physical ones where the system tells: two logical cores of one physical core share its arithmetic units.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(logical, psutil.cpu_count(logical=False) or logical)


def write_script(name: str, text: str) -> Path:
    """Write a worker's script to `workers/` beside the results, that is to `build/workers/`, and return its path.

    Args:
        name: of the file, such as "hello.py"; a notebook begins it with its number.
        text: the script.

    Raises:
        ValueError: the name is a path or does not end in .py.
        SyntaxError: the text is no Python; said here, before any worker starts.
    """
    if Path(name).name != name or not name.endswith(".py"):
        raise ValueError(f'name must be the name of a file such as "hello.py", got {name!r}')
    compile(text, name, "exec")
    path = results_folder().parent / "workers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
    return path


def launch(
    script: str | Path, *arguments: object, world_size: int, timeout_s: float = 120.0, max_restarts: int = 0
) -> list[Any]:
    """Run a script in `world_size` processes under torchrun, wait for them, and return what each reported.

    The workers compute with one thread each and talk over the loopback interface, on a port that torchrun finds free.
    Whatever happens, success, failure, time-out or an interrupt, no process is left behind.

    Args:
        script: the path of a Python file that uses `join` and `report`.
        arguments: what the script finds in `sys.argv`, as text.
        world_size: number of workers.
        timeout_s: seconds until they must have finished, the start (some seconds) included.
        max_restarts: how often torchrun starts all workers again after one failed.

    Returns:
        A list with the report of each worker in the order of their process ranks, None where one reported nothing.

    Raises:
        WorkerError: a worker failed for good, or time is up; the message has the last lines they wrote.
        FileNotFoundError: there is no such script.
        TypeError, ValueError: a number is of the wrong type or out of range.
    """
    world_size = require_int("world_size", world_size, minimum=1)
    max_restarts = require_int("max_restarts", max_restarts)
    if require_number("timeout_s", timeout_s, low=0.0) == 0.0:
        raise ValueError("timeout_s must be above 0")
    if not Path(script).is_file():
        raise FileNotFoundError(f"there is no script {Path(script).name}; write it with write_script")
    options = ["--standalone", "--local-addr", "127.0.0.1", "--max-restarts", str(max_restarts)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options += ["--nproc-per-node", str(world_size), "--log-dir", str(folder / "logs"), "--redirects", "3"]
        command = [sys.executable, "-m", "torch.distributed.run", *options, str(script), *map(str, arguments)]
        with (folder / "torchrun.log").open("wb") as log:
            agent = subprocess.Popen(
                command,
                env=worker_environment(folder),
                stdin=subprocess.PIPE,  # its end tells the workers that this process is gone; see _end_with_launcher
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = agent.wait(timeout_s)
            except subprocess.TimeoutExpired:
                last = _last_lines(folder)
                raise WorkerError(f"{world_size} workers did not finish within {timeout_s:g} s{last}") from None
            finally:
                _end(agent)
        if status != 0:
            raise WorkerError(f"the workers failed, torchrun's exit status is {status}{_last_lines(folder)}")
        return read_reports(folder, world_size)


def worker_environment(folder: Path) -> dict[str, str]:
    """Return the environment variables for torchrun and its workers; `folder` is where they report to."""
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",  # a worker a core; otherwise each would start a thread for every core
        # a new store for each attempt: in the old one gloo finds the addresses of the workers that died
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        FOLDER_VARIABLE: str(folder),
        **({"GLOO_SOCKET_IFNAME": loopback} if loopback else {}),
    }


def read_reports(folder: Path, world_size: int) -> list[Any]:
    """Return what each of `world_size` workers reported, None where one reported nothing."""
    paths = [folder / f"worker{process_rank}.json" for process_rank in range(world_size)]
    return [json.loads(path.read_text(encoding="utf-8")) if path.exists() else None for path in paths]


def _end(agent: subprocess.Popen) -> None:
    """End torchrun and its workers, which lead sessions of their own: ending its process group would not reach them."""
    if agent.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(agent.pid)
            process.suspend()  # so that it cannot start workers while we look for them
            for worker in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            process.terminate()
            process.resume()  # torchrun acts on the signal: it waits for its dead workers, then ends
        try:
            agent.wait(10)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()
    agent.stdin.close()


def _last_lines(folder: Path) -> str:
    """Return the last lines of each worker of the last attempt, or torchrun's own if no worker wrote any."""
    found = {}
    for log in sorted(folder.glob("logs/*/attempt_*/*/std*.log")):  # attempts in order: a later one replaces
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LAST_LINES:]
        if lines:
            found[f"worker {log.parent.name}, {log.stem}"] = lines
    if not found:
        text = (folder / "torchrun.log").read_text(encoding="utf-8", errors="replace")
        found["torchrun"] = text.strip().splitlines()[-LAST_LINES:]
    return "".join(f"\n{who}:\n  " + "\n  ".join(lines) for who, lines in found.items() if lines)


# --- inside a worker -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worker:
    """What a worker knows of itself: its number, how many there are, where it computes, how often it was restarted."""

    process_rank: int
    world_size: int
    device: torch.device
    backend: str
    restarts: int


@contextlib.contextmanager
def join(*, gpus: bool = True, timeout_s: float = 100.0) -> Iterator[Worker]:
    """Join the group of workers that torchrun started: NCCL where each has a GPU of its own, else gloo on the CPU.

    Args:
        gpus: False to compute on the CPU in any case.
        timeout_s: seconds that one exchange may take; a worker whose partner hangs fails after them.

    Raises:
        RuntimeError: the script was not started by torchrun.
    """
    if "LOCAL_RANK" not in os.environ:
        raise RuntimeError("this script is for workers: start it with torchrun, or with utils.data_parallel.launch")
    if FOLDER_VARIABLE in os.environ:
        threading.Thread(target=_end_with_launcher, daemon=True).start()
    torch.set_num_threads(1)
    local_rank, local_workers = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    device, backend = torch.device("cpu"), "gloo"
    if gpus and torch.cuda.device_count() >= local_workers:
        device, backend = torch.device("cuda", local_rank), "nccl"
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    yield Worker(dist.get_rank(), dist.get_world_size(), device, backend, restarts)
    dist.destroy_process_group()  # only after success: a failed worker must not wait for the others here


def report(value: Any) -> None:
    """Hand `value` to whoever launched this worker; what is reported last counts.

    Args:
        value: anything that JSON has a form for: numbers, texts, lists, dicts with text as keys.

    Raises:
        TypeError: JSON has no form for it, a tensor for instance.
        RuntimeError: the worker was not started by `launch`.
    """
    if FOLDER_VARIABLE not in os.environ:
        raise RuntimeError("nobody waits for this report: start the worker with utils.data_parallel.launch")
    path = Path(os.environ[FOLDER_VARIABLE]) / f"worker{os.environ['RANK']}.json"
    replace_file(path, json.dumps(value).encode())


def _end_with_launcher() -> None:
    """End this worker when the other end of its standard input closes: the launching process was killed."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(1)


# --- sharing a batch -------------------------------------------------------------------------------------------------


def shard(values: torch.Tensor, process_rank: int, world_size: int) -> torch.Tensor:
    """Return one worker's share of a batch, a view: consecutive examples, the first shares one longer if need be.

    Raises:
        TypeError, ValueError: a number is no integer, or there is no such worker, or `values` has no dimension.

    >>> [shard(torch.arange(5), i, 2).tolist() for i in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    world_size = require_int("world_size", world_size, minimum=1)
    process_rank = require_int("process_rank", process_rank)
    if process_rank >= world_size:
        raise ValueError(f"process_rank must be below world_size, {world_size}, got {process_rank}: it counts from 0")
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"values must be a torch.Tensor, got {type(values).__name__}")
    if values.ndim == 0:
        raise ValueError("values must have a first dimension to share out, got a single number")
    return values.tensor_split(world_size)[process_rank]


def gradient_vector(model: nn.Module) -> torch.Tensor:
    """Return all gradients of a model one behind another as one vector, shape (parameters,).

    Raises:
        TypeError: `model` is no network.
        ValueError: a parameter that is trained has no gradient yet.
    """
    trained = {name: p for name, p in require_module("model", model).named_parameters() if p.requires_grad}
    if missing := [name for name, p in trained.items() if p.grad is None]:
        raise ValueError(f"{missing[0]} has no gradient; call backward first")
    return torch.cat([p.grad.flatten() for p in trained.values()])


def average_gradients(model: nn.Module) -> None:
    """Replace each gradient by its mean over all workers, one all-reduce a tensor: what DDP does, without its haste."""
    for parameter in require_module("model", model).parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


def distance(received: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the norm of the difference as a share of the norm of what was expected.

    Raises:
        ValueError: the shapes differ, or all expected values are zero.

    >>> distance(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]))
    0.1
    """
    if received.shape != expected.shape:
        raise ValueError(f"the shapes differ: {tuple(received.shape)} and {tuple(expected.shape)}")
    norm = expected.double().norm().item()
    if norm == 0.0:
        raise ValueError("expected holds only zeros, so no difference is a share of it")
    return (received.double() - expected.double()).norm().item() / norm


# --- all-reduce by hand ----------------------------------------------------------------------------------------------


class Links:
    """A worker's links to the others; counts the bytes that it sends."""

    def __init__(self) -> None:
        self.process_rank, self.world_size, self.bytes_sent = dist.get_rank(), dist.get_world_size(), 0

    def send(self, values: torch.Tensor, to: int) -> None:
        """Send a tensor to worker `to` and wait until it is on its way."""
        dist.send(values, to)
        self.bytes_sent += values.nbytes

    def receive(self, like: torch.Tensor, source: int) -> torch.Tensor:
        """Wait for a tensor of the shape and dtype of `like` from worker `source` and return it."""
        arrived = torch.empty_like(like)
        dist.recv(arrived, source)
        return arrived

    def pass_on(self, values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Send `values` to the next worker of the ring while receiving one like `like` from the one before."""
        arrived = torch.empty_like(like)
        after, before = (self.process_rank + 1) % self.world_size, (self.process_rank - 1) % self.world_size
        both = [dist.P2POp(dist.isend, values, after), dist.P2POp(dist.irecv, arrived, before)]
        wanted = [operation for operation in both if operation.tensor.numel()]  # a piece may be empty
        for request in dist.batch_isend_irecv(wanted) if wanted else []:
            request.wait()
        self.bytes_sent += values.nbytes
        return arrived


def gather_all_reduce(values: torch.Tensor, links: Links) -> torch.Tensor:
    """Return the sum over all workers: everybody sends to worker 0, which adds up and sends the sum back.

    Args:
        values: this worker's values, of one shape with all workers.
        links: to the others; `links.bytes_sent` grows by G, the bytes of `values`, and at worker 0 by (N - 1) G.
    """
    if links.process_rank != 0:
        links.send(values, 0)
        return links.receive(values, 0)
    total = values.clone()
    for other in range(1, links.world_size):
        total += links.receive(values, other)
    for other in range(1, links.world_size):
        links.send(total, other)
    return total


def tree_all_reduce(values: torch.Tensor, links: Links) -> torch.Tensor:
    """Return the sum over all workers: sums go up a binary tree to worker 0, and the total comes down again.

    Worker i has the children 2i + 1 and 2i + 2. It sends G upwards and G to each child, 3 G at most.
    """
    i = links.process_rank
    children = [child for child in (2 * i + 1, 2 * i + 2) if child < links.world_size]
    total = values.clone()
    for child in children:
        total += links.receive(values, child)
    if i > 0:
        links.send(total, (i - 1) // 2)
        total = links.receive(values, (i - 1) // 2)
    for child in children:
        links.send(total, child)
    return total


def ring_all_reduce(values: torch.Tensor, links: Links) -> torch.Tensor:
    """Return the sum over all workers: N pieces travel round a ring twice, first added up, then handed out.

    Each worker sends 2 (N - 1) pieces of G / N bytes (Patarasuk and Yuan, 2009). The sum of each piece is made in one
    place, so that all workers end with the same bits.
    """
    i, n = links.process_rank, links.world_size
    pieces = list(values.flatten().tensor_split(n))
    for step in range(n - 1):
        old, new = (i - step) % n, (i - step - 1) % n
        pieces[new] = pieces[new] + links.pass_on(pieces[old], pieces[new])
    for step in range(n - 1):  # worker i now holds the total of piece i + 1
        old, new = (i + 1 - step) % n, (i - step) % n
        pieces[new] = links.pass_on(pieces[old], pieces[new])
    return torch.cat(pieces).view(values.shape)


ALL_REDUCES: dict[str, Callable[[torch.Tensor, Links], torch.Tensor]] = {
    "gather and broadcast": gather_all_reduce,
    "tree": tree_all_reduce,
    "ring": ring_all_reduce,
}

# --- parts of a training step ----------------------------------------------------------------------------------------


def watch_exchanges(model: nn.parallel.DistributedDataParallel, *, bfloat16: bool = False) -> list[int]:
    """Let DDP tell of every bucket it exchanges: the returned list grows by the bytes sent into each all-reduce.

    Args:
        model: wrapped in DistributedDataParallel, before its first backward pass.
        bfloat16: exchange the gradients with 16 bits each, as PyTorch's `bf16_compress_hook`.

    Raises:
        TypeError: `model` is not wrapped.
    """
    if not isinstance(model, nn.parallel.DistributedDataParallel):
        raise TypeError(f"model must be wrapped in DistributedDataParallel, got {type(model).__name__}")
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    exchanged: list[int] = []
    exchange = default_hooks.bf16_compress_hook if bfloat16 else default_hooks.allreduce_hook

    def hook(state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        exchanged.append(bucket.buffer().numel() * (2 if bfloat16 else bucket.buffer().element_size()))
        return exchange(state, bucket)

    model.register_comm_hook(None, hook)
    return exchanged


def bytes_held(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the parameters, gradients and averages of the optimizer that lie on *this* worker.

    Of a sharded parameter only its own shard counts.
    """
    from torch.distributed.tensor import DTensor  # half a second to import, and only sharding needs it

    parameters = list(require_module("model", model).parameters())
    averages = [value for state in optimizer.state.values() for value in state.values() if value.ndim > 0]
    held = [*parameters, *(p.grad for p in parameters if p.grad is not None), *averages]
    return sum((t.to_local() if isinstance(t, DTensor) else t).nbytes for t in held)


class _SumOverWorkers(torch.autograd.Function):
    """The sum over all workers. Everybody's output depends on everybody's input, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with mean and variance over the batches of all workers, which must be equally large.

    PyTorch's own `SyncBatchNorm` needs GPUs; this one runs anywhere. In evaluation mode it is a plain batch norm.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise images of shape (N, channels, height, width)."""
        if not self.training:
            return super().forward(x)
        workers, over = dist.get_world_size(), (0, 2, 3)
        mean = _SumOverWorkers.apply(x.mean(dim=over)) / workers  # (channels,)
        deviation = x - mean[:, None, None]
        variance = _SumOverWorkers.apply(deviation.square().mean(dim=over)) / workers
        count = workers * x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)  # (channels,)
        return deviation * scale[:, None, None] + self.bias[:, None, None]


def save_state(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int) -> None:
    """Write all that training needs to go on, whole or not at all; one worker calls it, since all hold the same.

    Args:
        path: the file.
        model: the network; one wrapped in DDP is saved without the wrapper.
        optimizer: with its running averages.
        steps: how many steps were done.
    """
    state = {"model": _unwrapped(model).state_dict(), "optimizer": optimizer.state_dict(), "steps": steps}
    content = io.BytesIO()
    torch.save(state, content)
    replace_file(Path(path), content.getvalue())


def load_state(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Fill model and optimizer from what `save_state` wrote and return the steps done; without a file, leave both, 0.

    Only tensors and plain values are read (`weights_only`), never code.
    """
    path = Path(path)
    if not path.exists():
        return 0
    model = _unwrapped(model)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    state = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["steps"]


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


# --- what it costs ---------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """seconds = start + slope * amount: for messages, start is alpha and 1 / slope is the bandwidth beta."""

    start: float
    slope: float

    def seconds(self, amount: float) -> float:
        """Return the seconds that the line predicts for an amount: of bytes, of images."""
        return self.start + self.slope * amount


def fit_line(amounts: Sequence[float], seconds: Sequence[float]) -> Line:
    """Fit `Line` to measured times by least squares of the *relative* errors; neither of its parts is below zero.

    Relative, because the times span decades: absolute errors would fit the largest amount and nothing else.

    Args:
        amounts: at least two different ones, not negative.
        seconds: measured for them, above 0.

    Raises:
        ValueError: fewer than two different amounts, lists of two lengths, or values that are negative or not finite.

    >>> line = fit_line([0, 1000, 2000], [0.5, 1.5, 2.5])
    >>> round(line.start, 6), round(line.slope, 6)
    (0.5, 0.001)
    """
    x, y = np.asarray(amounts, dtype=float), np.asarray(seconds, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or len(np.unique(x)) < 2:
        raise ValueError(f"a line needs times for two different amounts or more, got {amounts!r} and {seconds!r}")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x >= 0).all() and (y > 0).all()):
        raise ValueError("amounts must be finite and at least 0, seconds finite and above 0")
    columns = np.stack([1 / y, x / y], axis=1)  # start / y + slope x / y is to be 1
    start, slope = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)[0]
    if start < 0:
        start, slope = 0.0, float(columns[:, 1].sum() / (columns[:, 1] ** 2).sum())
    elif slope < 0:
        start, slope = float(columns[:, 0].sum() / (columns[:, 0] ** 2).sum()), 0.0
    return Line(float(start), float(slope))


def ring_seconds(gradient_bytes: float, world_size: int, *, startup_s: float, bandwidth: float) -> float:
    """Return the seconds of a ring all-reduce: 2 (N - 1) messages of G / N bytes, one behind another.

    It is 2 (N - 1) alpha + 2 (N - 1) / N G / beta (Thakur, Rabenseifner and Gropp, 2005, section 4).

    Args:
        gradient_bytes: G.
        world_size: N; for one worker the answer is 0.
        startup_s: alpha, seconds to start a message.
        bandwidth: beta, bytes per second that each worker sends.

    Raises:
        TypeError, ValueError: a value is out of range.

    >>> ring_seconds(1e9, 2, startup_s=0.0, bandwidth=1e9)
    1.0
    """
    n = require_int("world_size", world_size, minimum=1)
    require_number("gradient_bytes", gradient_bytes, low=0.0)
    require_number("startup_s", startup_s, low=0.0)
    if require_number("bandwidth", bandwidth, low=0.0) == 0.0:
        raise ValueError("bandwidth must be above 0 bytes per second")
    return 2 * (n - 1) * (startup_s + gradient_bytes / n / bandwidth)


def step_seconds(compute_s: float, exchange_s: float, *, overlap: float = 0.0) -> float:
    """Return the seconds of a training step: computing, and what is left of the exchange behind it.

    Args:
        compute_s: forward and backward of one worker's share.
        exchange_s: the all-reduce alone.
        overlap: share of the computing, 0 to 1, during which the exchange can run; 2/3 is the backward pass.

    >>> step_seconds(0.3, 0.1), round(step_seconds(0.3, 0.1, overlap=0.2), 3), step_seconds(0.3, 0.1, overlap=0.5)
    (0.4, 0.34, 0.3)
    """
    compute_s = require_number("compute_s", compute_s, low=0.0)
    hidden = require_fraction("overlap", overlap) * compute_s
    return compute_s + max(0.0, require_number("exchange_s", exchange_s, low=0.0) - hidden)


def efficiency(alone_s: float, together_s: float, world_size: int) -> float:
    """Return tau_1 / (N tau_N): the share of N workers that arrives, for the same work.

    Args:
        alone_s: seconds of one worker.
        together_s: seconds of all of them for the same work, above 0.
        world_size: N.

    >>> efficiency(10.0, 5.0, 2), efficiency(10.0, 8.0, 2)
    (1.0, 0.625)
    """
    world_size = require_int("world_size", world_size, minimum=1)
    if require_number("together_s", together_s, low=0.0) == 0.0:
        raise ValueError("together_s must be above 0")
    return require_number("alone_s", alone_s, low=0.0) / (world_size * together_s)
