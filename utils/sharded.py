"""What DDP and ZeRO do, built by hand: buckets that leave during the backward pass, an optimizer that is shared out.

Both want a process group (`utils.data_parallel.join`), and both are short on purpose.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import distributed as dist
from torch import nn

from utils.input_validation import require_int


def fill_buckets(sizes: Sequence[int], cap_bytes: int) -> list[list[int]]:
    """Return which parameters share a bucket, by their numbers, in the order in which their gradients come.

    The backward pass finishes the last layer first, so the buckets are filled from the last parameter on. A bucket is
    closed as soon as it holds `cap_bytes` or more.

    Args:
        sizes: bytes of each parameter's gradient, in the order of the forward pass.
        cap_bytes: at least 1.

    >>> fill_buckets([4, 4, 40, 8], 10)
    [[3, 2], [1, 0]]
    """
    require_int("cap_bytes", cap_bytes, minimum=1)
    buckets: list[list[int]] = [[]]
    for number in reversed(range(len(sizes))):
        buckets[-1].append(number)
        if sum(sizes[i] for i in buckets[-1]) >= cap_bytes:
            buckets.append([])
    return [bucket for bucket in buckets if bucket]


class BucketedAverage:
    """Average gradients over all workers while the backward pass still runs; call `finish` after `backward`.

    A hook on each parameter tells when its gradient is there. When a bucket's last one is, the bucket is copied into
    one vector, whose all-reduce begins at once and goes on in the background. `events` notes what happened in which
    order: ("ready", a parameter's name, seconds), ("sent", bytes, seconds), ("back", bytes, seconds).
    """

    def __init__(self, model: nn.Module, *, cap_bytes: int = 2**20) -> None:
        """Put the hooks on; all workers' models must have the same weights already."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names, self.parameters = [name for name, _ in named], [p for _, p in named]
        self.buckets = fill_buckets([p.nbytes for p in self.parameters], cap_bytes)
        self.events: list[tuple[str, str | int, float]] = []
        self._bucket_of = {number: b for b, numbers in enumerate(self.buckets) for number in numbers}
        self._hooks = [
            p.register_post_accumulate_grad_hook(lambda _, number=number: self._ready(number))
            for number, p in enumerate(self.parameters)
        ]
        self._begin()

    def _begin(self) -> None:
        self._missing = [set(numbers) for numbers in self.buckets]
        self._sent: list[tuple[torch.Tensor, dist.Work]] = []

    def _ready(self, number: int) -> None:
        self._note("ready", self.names[number])
        self._missing[self._bucket_of[number]].discard(number)
        # in the order of the buckets on every worker: exchanges that cross would add up the wrong vectors
        while len(self._sent) < len(self.buckets) and not self._missing[len(self._sent)]:
            numbers = self.buckets[len(self._sent)]
            vector = torch.cat([self.parameters[i].grad.flatten() for i in numbers])
            self._note("sent", vector.nbytes)
            self._sent.append((vector, dist.all_reduce(vector, async_op=True)))

    def finish(self) -> None:
        """Wait for all buckets and put the means in the place of the gradients."""
        if missing := [self.names[i] for numbers in self._missing for i in sorted(numbers)]:
            raise RuntimeError(f"{missing[0]} got no gradient, so its bucket was never sent")
        for (vector, work), numbers in zip(self._sent, self.buckets, strict=True):
            work.wait()
            self._note("back", vector.nbytes)
            parts = (vector / dist.get_world_size()).split([self.parameters[i].numel() for i in numbers])
            for i, part in zip(numbers, parts, strict=True):
                self.parameters[i].grad.copy_(part.view_as(self.parameters[i]))
        self._begin()

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _note(self, what: str, about: str | int) -> None:
        self.events.append((what, about, time.perf_counter()))


class ShardedOptimizer:
    """An optimizer of whose averages each worker keeps one N-th: ZeRO, stage 1 (Rajbhandari and others, 2020).

    All parameters lie in one vector, cut into N shards. A step is a *reduce-scatter*, which gives each worker the sum
    of the gradients of its shard, the optimizer's step on that shard, and an *all-gather*, which gives all workers all
    shards. Together they send what an all-reduce sends. The optimizer must treat each number alone, as SGD and Adam do.
    """

    def __init__(self, model: nn.Module, make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> None:
        """Move the model's parameters into one vector, of which they become views.

        Args:
            model: with the same weights on all workers; its gradients are *not* averaged before `step`.
            make_optimizer: makes the optimizer of a list of parameters, such as ``torch.optim.Adam``.
        """
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        n, i = dist.get_world_size(), dist.get_rank()
        count = sum(p.numel() for p in self.parameters)
        length = -(-count // n)  # of a shard, rounded up: all shards must be equally long
        first = self.parameters[0]
        self._values = torch.zeros(n * length, dtype=first.dtype, device=first.device)
        self._gradient = torch.zeros_like(self._values)
        for p, values in self._pieces(self._values):
            values.copy_(p.detach())
            p.data = values
        self.shard = nn.Parameter(self._values[i * length : (i + 1) * length].clone())
        self.optimizer = make_optimizer([self.shard])

    def _pieces(self, vector: torch.Tensor) -> list[tuple[nn.Parameter, torch.Tensor]]:
        counts = [p.numel() for p in self.parameters]
        parts = vector[: sum(counts)].split(counts)
        return [(p, part.view(p.shape)) for p, part in zip(self.parameters, parts, strict=True)]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Average the gradients of this worker's shard, make its step, and fetch the other shards."""
        for p, gradient in self._pieces(self._gradient):
            gradient.copy_(p.grad) if p.grad is not None else gradient.zero_()
        self.shard.grad = torch.empty_like(self.shard)
        dist.reduce_scatter_single(self.shard.grad, self._gradient)
        self.shard.grad /= dist.get_world_size()
        self.optimizer.step()
        dist.all_gather_single(self._values, self.shard.detach())


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the averages that an optimizer keeps on this worker; counters of steps are left out."""
    values = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor) and value.ndim > 0)
