"""Data parallelism: workers started by torchrun, shares of a batch, gradients averaged, and what DDP does besides.

A notebook calls `launch`; a worker's script begins with ``with join() as worker:`` and hands back what it found with
`report`, through a JSON file. How the workers add up their gradients is in `all_reduce`, what that costs in
`communication_cost`.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import distributed as dist
from torch import nn

from utils.files import ROOT, replace_file
from utils.input_validation import require_int, require_module

FOLDER_VARIABLE = "WORKBOOK_WORKERS"
"""Names, to a worker, the folder that its report goes to."""

LAST_LINES = 12
"""Of what each worker wrote, shown when it fails."""

# --- starting workers ------------------------------------------------------------------------------------------------


class WorkerError(RuntimeError):
    """Workers failed or took too long; the message has the last lines they wrote. None of them is left running."""


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has.

    Physical cores where the system tells: two logical cores of one physical core share its arithmetic units.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(logical, psutil.cpu_count(logical=False) or logical)


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
        The report of each worker in the order of their process ranks, None where one reported nothing.

    Raises:
        WorkerError: a worker failed for good, or time is up; the message has the last lines they wrote.
    """
    require_int("world_size", world_size, minimum=1)
    if not Path(script).is_file():
        raise FileNotFoundError(f"there is no script {Path(script).name}")
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
                end(agent)
        if status != 0:
            raise WorkerError(f"the workers failed, torchrun's exit status is {status}{_last_lines(folder)}")
        return read_reports(folder, world_size)


def worker_environment(folder: Path) -> dict[str, str]:
    """Return the environment variables for torchrun and its workers; `folder` is where they report to."""
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",  # one core for each worker; otherwise each would start a thread for every core
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


def end(agent: subprocess.Popen) -> None:
    """End torchrun and its workers. Each leads a session of its own, so ending torchrun's does not reach them."""
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
    """What a worker knows about itself: its number, how many there are, its device, how often it was restarted."""

    process_rank: int
    world_size: int
    device: torch.device
    backend: str
    restarts: int


@contextlib.contextmanager
def join(*, gpus: bool = True, timeout_s: float = 100.0) -> Iterator[Worker]:
    """Join the group of workers that torchrun started: NCCL where each has a GPU of its own, else gloo on the CPU.

    The block's end is the worker's end, with the exit status 0: nothing behind it is run. A network wrapped in
    DistributedDataParallel keeps the process group's threads alive, and the interpreter's own end may abort while they
    are (PyTorch issue 190489).

    Args:
        gpus: False to compute on the CPU in any case.
        timeout_s: seconds that one exchange may take; a worker whose partner hangs fails after them.
    """
    if "LOCAL_RANK" not in os.environ:
        raise RuntimeError("this script is for workers: start it with torchrun, or with utils.data_parallel.launch")
    if FOLDER_VARIABLE in os.environ:
        threading.Thread(target=_end_with_launcher, daemon=True).start()
    torch.set_num_threads(1)
    local_rank, local_workers = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    device, backend = device_and_backend(local_rank, local_workers, gpus=gpus)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    yield Worker(dist.get_rank(), dist.get_world_size(), device, backend, restarts)
    dist.destroy_process_group()  # only after success: a failed worker must not wait for the others here
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def device_and_backend(local_rank: int, local_workers: int, *, gpus: bool = True) -> tuple[torch.device, str]:
    """Return where a worker computes and through what it talks, which is what a record of its run must name.

    Args:
        local_rank: its number among the workers of this machine.
        local_workers: how many they are: each must have a GPU of its own, or all compute on the CPU.
        gpus: False to compute on the CPU in any case.

    >>> device_and_backend(1, 2, gpus=False)
    (device(type='cpu'), 'gloo')
    """
    if gpus and torch.cuda.device_count() >= local_workers:
        return torch.device("cuda", local_rank), "nccl"
    return torch.device("cpu"), "gloo"


def timed(worker: Worker, function: Callable[..., object], *arguments: object) -> float:
    """Return the seconds that `function(*arguments)` takes on this worker, from a moment at which all are ready.

    Every worker must call it. A call on a GPU returns before its work is done, so the clock starts and stops at an idle
    device.
    """
    dist.barrier()
    _wait_for(worker.device)
    started = time.perf_counter()
    function(*arguments)
    _wait_for(worker.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report(value: Any) -> None:
    """Hand `value` to whoever launched this worker; what is reported last counts.

    Args:
        value: what JSON can hold: numbers, texts, lists, dicts with text as keys. A tensor must become a list first.
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

    Where the shares differ the mean of their gradients is not the gradient of the batch, and DDP takes the mean; see
    `average_gradients`. A batch of fewer examples than workers is refused, as the mean loss of an empty share is NaN.

    >>> [shard(torch.arange(5), i, 2).tolist() for i in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    if not 0 <= process_rank < world_size:
        raise ValueError(f"process_rank must be below world_size, {world_size}, got {process_rank}: it counts from 0")
    if len(values) < world_size:
        raise ValueError(f"{len(values)} examples are too few for {world_size} workers: each needs one at least")
    return values.tensor_split(world_size)[process_rank]


def share_of(examples: Mapping[str, torch.Tensor], worker: Worker, start: int, stop: int) -> list[torch.Tensor]:
    """Return a worker's share of the examples from `start` to `stop`, on its device: the images and the labels.

    Args:
        examples: "images" and "labels", such as a safetensors file holds them.
        worker: whose share it is.
        start, stop: of the batch that all workers share.
    """
    both = examples["images"][start:stop], examples["labels"][start:stop]
    return [shard(part, worker.process_rank, worker.world_size).to(worker.device) for part in both]


def gradient_vector(model: nn.Module) -> torch.Tensor:
    """Return all gradients of a model, one after another, as one vector of shape (parameters,)."""
    trained = {name: p for name, p in require_module("model", model).named_parameters() if p.requires_grad}
    if missing := [name for name, p in trained.items() if p.grad is None]:
        raise ValueError(f"{missing[0]} has no gradient; call backward first")
    return torch.cat([p.grad.flatten() for p in trained.values()])


def average_gradients(model: nn.Module, *, examples: int = 1) -> None:
    """Replace each gradient by its mean over all workers, with one all-reduce for each tensor.

    Where a worker has no gradient, as its examples skipped the layer, it counts as zero; where none has, all keep none.
    DDP computes the same for equal shares, but sends large buckets while the backward pass still runs.

    Args:
        model: after the backward pass.
        examples: of this worker, by which its gradients are weighted; needed where shares differ.

    Raises a ValueError, on all workers, if one of them has no examples.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    has = [parameter.grad is not None for parameter in trained]
    total, empty, *somewhere = _sums_over_workers([examples, examples == 0, *has], like=next(model.parameters()))
    if empty:
        raise ValueError(f"{empty:g} workers have no examples: the mean over an empty share is NaN")
    for parameter, anywhere in zip(trained, somewhere, strict=True):
        if anywhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad *= examples / total
            dist.all_reduce(parameter.grad)


def _sums_over_workers(numbers: Sequence[float], *, like: torch.Tensor) -> list[float]:
    """Return the sum over all workers of each of the numbers; one all-reduce where `like` lies."""
    sums = torch.tensor(numbers, dtype=torch.float64, device=like.device)
    dist.all_reduce(sums)
    return sums.tolist()


def distance(received: torch.Tensor, expected: torch.Tensor) -> float:
    """Return ||received - expected|| / ||expected||, computed in float64; `expected` must not be all zeros.

    >>> distance(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]))
    0.1
    """
    if received.shape != expected.shape:
        raise ValueError(f"the shapes differ: {tuple(received.shape)} and {tuple(expected.shape)}")
    return (received.double() - expected.double()).norm().item() / expected.double().norm().item()


# --- parts of a training step ----------------------------------------------------------------------------------------


def watch_exchanges(model: nn.parallel.DistributedDataParallel, *, bfloat16: bool = False) -> list[int]:
    """Watch every bucket that DDP exchanges: the returned list grows by the bytes that go into each all-reduce.

    Args:
        model: wrapped in DistributedDataParallel, before its first backward pass.
        bfloat16: exchange the gradients with 16 bits each, by PyTorch's `bf16_compress_hook`.
    """
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

    parameters = list(model.parameters())
    averages = [value for state in optimizer.state.values() for value in state.values() if value.ndim > 0]
    held = [*parameters, *(p.grad for p in parameters if p.grad is not None), *averages]
    return sum((t.to_local() if isinstance(t, DTensor) else t).nbytes for t in held)


class _SumOverWorkers(torch.autograd.Function):
    """The sum over all workers. Everybody's output depends on everybody's input, so gradients are summed as well.

    It is `torch.distributed.nn.functional.all_reduce`, which PyTorch has deprecated without a public successor.
    """

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
    """Batch norm with mean and variance over the batches of all workers, each weighted by its size.

    PyTorch's own `SyncBatchNorm` needs GPUs; this one runs anywhere. In evaluation mode it is a plain batch norm.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise images of shape (N, channels, height, width)."""
        if not self.training:
            return super().forward(x)
        count, empty = _sums_over_workers([x.numel() // x.shape[1], x.numel() == 0], like=x)
        if empty:
            raise ValueError(f"{empty:g} workers have no examples: there is nothing to normalise")
        share = x.numel() // x.shape[1] / count
        over = (0, 2, 3)  # every dimension but the channels
        mean = _SumOverWorkers.apply(x.mean(dim=over) * share)  # (channels,)
        deviation = x - mean[:, None, None]
        variance = _SumOverWorkers.apply(deviation.square().mean(dim=over) * share)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)  # (channels,)
        return deviation * scale[:, None, None] + self.bias[:, None, None]


def save_state(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int) -> None:
    """Write all that training needs to go on after `steps` steps, whole or not at all; DDP's wrapper is left out.

    One worker calls it, since all hold the same state.
    """
    state = {"model": _unwrapped(model).state_dict(), "optimizer": optimizer.state_dict(), "steps": steps}
    content = io.BytesIO()
    torch.save(state, content)
    replace_file(Path(path), content.getvalue())


def load_state(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Fill model and optimizer from what `save_state` wrote and return the steps done.

    Without a file both stay as they are, and the answer is 0. Only tensors and plain values are read, never code.
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
