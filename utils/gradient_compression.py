"""Fewer bytes for the same gradient: its largest values (top-k), or a product of two thin matrices (PowerSGD).

Workers are many processes, or rows of one tensor: whatever is exchanged comes stacked, with an axis of the workers that
*this* process computes in front. In a run of four processes that axis is 1 long; four workers tried out in one process
are four rows. The code is the same.
"""

from collections.abc import Sequence

import torch
from torch import distributed as dist

from utils.input_validation import require_fraction, require_int


class Exchange:
    """What workers do with one another, and the bytes that each of them sends for it if they stand in a ring."""

    def __init__(self, workers_here: int = 1) -> None:
        """Begin with no byte sent.

        Args:
            workers_here: rows of what is exchanged that belong to this process.
        """
        self.workers_here = require_int("workers_here", workers_here, minimum=1)
        self.world_size = workers_here * (dist.get_world_size() if dist.is_initialized() else 1)
        self.bytes_sent = 0.0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean over all workers of values of shape (workers here, ...): 2 (N - 1) / N of them are sent."""
        total = values.sum(dim=0)
        if dist.is_initialized():
            dist.all_reduce(total)
        self.bytes_sent += 2 * (self.world_size - 1) / self.world_size * total.nbytes
        return total / self.world_size

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values of all workers, shape (N, ...): each worker passes on those of N - 1."""
        self.bytes_sent += (self.world_size - 1) * values[0].nbytes
        if not dist.is_initialized():
            return values
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)


class Plain:
    """The control: whole gradients, averaged."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def average(self, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the mean over all workers of each gradient; each has the shape (workers here, ...)."""
        return _split(self.exchange.mean(_joined(gradients)), gradients)


class TopK:
    """The k largest values of the whole gradient by magnitude, each with its place (Aji and Heafield, 2017).

    What is not sent is kept, and added to the next gradient: *error feedback* (Stich and others, 2018). Workers choose
    different places, so that their messages cannot be added up on the way: everybody gets everybody's.
    """

    def __init__(
        self, exchange: Exchange, share: float, *, feedback: bool = True, by_chance: torch.Generator | None = None
    ) -> None:
        """Say what is sent.

        Args:
            exchange: with the other workers.
            share: of the values that is sent, above 0, at most 1; one value at least.
            feedback: whether what is not sent is kept for the next step.
            by_chance: draws the places in the place of the largest: the control at equal bytes.
        """
        self.exchange, self.share = exchange, require_fraction("share", share)
        self.feedback, self.by_chance = feedback, by_chance
        self.held_back: torch.Tensor | None = None

    def average(self, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the mean of what all workers sent of their gradients; each has the shape (workers here, ...)."""
        whole = _joined(gradients)  # (workers here, parameters)
        if self.held_back is not None:
            whole = whole + self.held_back
        count = whole.shape[1]
        k = max(1, round(self.share * count))
        if self.by_chance is None:
            places = whole.abs().topk(k, dim=1).indices
        else:
            places = torch.stack([torch.randperm(count, generator=self.by_chance)[:k] for _ in whole]).to(whole.device)
        values = whole.gather(1, places)
        if self.feedback:
            self.held_back = whole.scatter(1, places, 0.0)
        everyone = self.exchange.gather(values), self.exchange.gather(places.int())  # (N, k) each
        mean = torch.zeros(count, dtype=whole.dtype, device=whole.device).index_add_(
            0, everyone[1].flatten().long(), everyone[0].flatten() / self.exchange.world_size
        )
        return _split(mean, gradients)


class PowerSGD:
    """A product P Q^T of rank r for each matrix of gradients (Vogels, Karimireddy and Jaggi, 2019, algorithm 1).

    One step of power iteration from the Q of the step before: P is the mean of M Q over the workers, made orthonormal,
    and Q the mean of M^T P. Both are means, so an all-reduce adds them up on the way. Vectors, such as biases, are sent
    whole. Of a convolution the filters are the rows.
    """

    def __init__(
        self, exchange: Exchange, rank: int, *, feedback: bool = True, generator: torch.Generator | None = None
    ) -> None:
        """Say what is sent.

        Args:
            exchange: with the other workers.
            rank: of each product; where a matrix has fewer rows or columns, as many as it has.
            feedback: whether what the product leaves out is kept for the next step.
            generator: draws the first Q, which must be the same on all workers; seeded with 0 by default.
        """
        self.exchange, self.rank, self.feedback = exchange, require_int("rank", rank, minimum=1), feedback
        self._generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self._q: dict[int, torch.Tensor] = {}
        self.held_back: dict[int, torch.Tensor] = {}

    def average(self, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the mean product for each matrix, the mean for each vector; each gradient is (workers here, ...)."""
        matrices = {i: g.flatten(2) for i, g in enumerate(gradients) if g.ndim > 2}  # (workers here, rows, columns)
        vectors = {i: g for i, g in enumerate(gradients) if g.ndim <= 2}
        if self.held_back:
            matrices = {i: m + self.held_back[i] for i, m in matrices.items()}
        for i, m in matrices.items():
            if i not in self._q:
                r = min(self.rank, *m.shape[1:])
                self._q[i] = torch.randn(m.shape[2], r, dtype=m.dtype, generator=self._generator).to(m.device)
        # one message for all P with the vectors, one for all Q: a start of a message costs as much as many bytes
        first = self._mean([*(m @ self._q[i] for i, m in matrices.items()), *vectors.values()])
        p = {i: torch.linalg.qr(each).Q for i, each in zip(matrices, first, strict=False)}  # (rows, r)
        second = self._mean([m.mT @ p[i] for i, m in matrices.items()])  # (columns, r)
        self._q = dict(zip(matrices, second, strict=True))
        means = {i: p[i] @ self._q[i].T for i in matrices}
        if self.feedback:
            self.held_back = {i: m - means[i] for i, m in matrices.items()}
        means |= dict(zip(vectors, first[len(matrices) :], strict=True))
        return [means[i].reshape(g.shape[1:]) for i, g in enumerate(gradients)]

    def _mean(self, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return _split(self.exchange.mean(_joined(values)), values) if values else []


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([each.reshape(len(each), -1) for each in tensors], dim=1)


def _split(values: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    parts = values.split([each[0].numel() for each in like])
    return [part.view(each.shape[1:]) for part, each in zip(parts, like, strict=True)]
