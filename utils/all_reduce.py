"""Three all-reduces by hand: every worker has a tensor, and afterwards every worker has the sum.

G is the size of the tensor in bytes and N the number of workers. The functions are short on purpose: they are what
`torch.distributed.all_reduce` does at scale.
"""

from collections.abc import Callable

import torch
from torch import distributed as dist


class Links:
    """A worker's links to the others; counts the bytes that it sends."""

    def __init__(self) -> None:
        self.process_rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self.bytes_sent = 0

    def send(self, values: torch.Tensor, to: int) -> None:
        """Send a tensor to worker `to` and wait until it is on its way."""
        dist.send(values, to)
        self.bytes_sent += values.nbytes

    def receive(self, like: torch.Tensor, source: int) -> torch.Tensor:
        """Wait for a tensor of the shape and dtype of `like` from worker `source` and return it."""
        received = torch.empty_like(like)
        dist.recv(received, source)
        return received

    def pass_on(self, values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Send `values` to the next worker of the ring while receiving a tensor like `like` from the one before."""
        received = torch.empty_like(like)
        after = (self.process_rank + 1) % self.world_size
        before = (self.process_rank - 1) % self.world_size
        both = [dist.P2POp(dist.isend, values, after), dist.P2POp(dist.irecv, received, before)]
        # with fewer values than workers some pieces of the ring are empty, and an empty message cannot be sent
        wanted = [operation for operation in both if operation.tensor.numel()]
        for request in dist.batch_isend_irecv(wanted) if wanted else []:
            request.wait()
        self.bytes_sent += values.nbytes
        return received


def gather_all_reduce(values: torch.Tensor, links: Links) -> torch.Tensor:
    """Return the sum over all workers: everybody sends to worker 0, which adds up and sends the sum back.

    Every worker sends G, worker 0 sends (N - 1) G. All workers' values have one shape.
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
