"""Training on two hosts for which the gradients travel through a link of a given bandwidth, and the step of each way.

`train` is what each worker runs; in a process group it is one of two, and without one it computes both workers' shares
itself, which takes longer and finds the same losses. `utils/recipes/experiment_11_two_hosts.py` starts it on two hosts.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import distributed as dist
from torch.nn import functional as F

from utils.gradient_compression import Exchange, Plain, PowerSGD, TopK
from utils.models import LeNet5

WORKERS = 2

BATCH = 64
"""Images of each worker in a step."""

STEPS = 20

WAYS: dict[str, Callable[[Exchange], object]] = {
    "whole": Plain,
    "top 1 %": lambda exchange: TopK(exchange, 0.01),
    "PowerSGD, rank 2": lambda exchange: PowerSGD(exchange, 2),
}
"""How the gradients are exchanged, by name."""


def train(
    images: torch.Tensor, labels: torch.Tensor, way: str, *, steps: int = STEPS, silent: bool = False
) -> dict[str, float]:
    """Train LeNet5 by plain SGD from one start, and return the loss, the bytes and the median seconds of a step.

    Args:
        images, labels: from which each step takes the next `WORKERS` shares of `BATCH`.
        way: a name in `WAYS`.
        steps: the first quarter of which is not timed.
        silent: compute and compress, but exchange nothing: what a step takes without a link.

    Returns "loss" (mean over the workers, of the last step), "bytes" that a worker sends in a step,
    and "seconds" of a step.
    """
    here = 1 if dist.is_initialized() else WORKERS
    first = dist.get_rank() if dist.is_initialized() else 0
    torch.manual_seed(0)
    network = LeNet5()
    parameters = list(network.parameters())
    exchange = _Silent(here) if silent else Exchange(here)
    average = WAYS[way](exchange)
    seconds, losses = [], []
    for step in range(steps):
        began = time.perf_counter()
        shares, losses = [], []
        for worker in range(first, first + here):
            start = (step * WORKERS + worker) * BATCH
            loss = F.cross_entropy(network(images[start : start + BATCH]), labels[start : start + BATCH])
            shares.append(torch.autograd.grad(loss, parameters))
            losses.append(loss.item())
        means = average.average([torch.stack(gradients) for gradients in zip(*shares, strict=True)])
        with torch.no_grad():
            for parameter, mean in zip(parameters, means, strict=True):
                parameter -= 0.1 * mean
        seconds.append(time.perf_counter() - began)
    loss = torch.tensor(statistics.mean(losses))
    if dist.is_initialized():
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
    return {
        "loss": loss.item(),
        "bytes": exchange.bytes_sent / steps,
        "seconds": statistics.median(seconds[steps // 4 :]),
    }


class _Silent(Exchange):
    """An exchange that sends nothing: each worker keeps what it has."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values.mean(dim=0)

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        return values
