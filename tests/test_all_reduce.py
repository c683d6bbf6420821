"""Three all-reduces against a plain sum. Workers are threads and links are queues, so that many shapes can be tried."""

import queue
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils import all_reduce


class QueueLinks(all_reduce.Links):
    def __init__(self, process_rank, queues):
        self.process_rank, self.world_size, self.bytes_sent = process_rank, len(queues), 0
        self.queues = queues  # queues[to][source]

    def send(self, values, to):
        self.queues[to][self.process_rank].put(values.clone())
        self.bytes_sent += values.nbytes

    def receive(self, like, source):
        values = self.queues[self.process_rank][source].get(timeout=10)
        assert values.shape == like.shape
        return values

    def pass_on(self, values, like):
        self.send(values, (self.process_rank + 1) % self.world_size)
        return self.receive(like, (self.process_rank - 1) % self.world_size)


def reduce_in_threads(function, shares):
    n = len(shares)
    queues = [[queue.Queue() for _ in range(n)] for _ in range(n)]
    links = [QueueLinks(i, queues) for i in range(n)]
    totals = [None] * n

    def run(i):
        totals[i] = function(shares[i], links[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return totals, [link.bytes_sent for link in links]


def numbers(n, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randint(-50, 51, (n, count), generator=generator).float())


every_all_reduce = pytest.mark.parametrize("name", all_reduce.ALL_REDUCES)


@every_all_reduce
@given(n=st.integers(1, 9), count=st.integers(1, 30), seed=st.integers(0, 99))
def test_all_reduce_is_the_sum_on_every_worker_and_changes_no_input(name, n, count, seed):
    shares = numbers(n, count, seed)
    before = [share.clone() for share in shares]
    totals, sent = reduce_in_threads(all_reduce.ALL_REDUCES[name], shares)
    assert all(torch.equal(total, torch.stack(before).sum(dim=0)) for total in totals)
    assert all(torch.equal(share, old) for share, old in zip(shares, before, strict=True))
    assert sum(sent) == 2 * (n - 1) * 4 * count  # bytes: the same in all, however they are spread


@given(n=st.integers(2, 8), piece=st.integers(1, 5))
def test_a_ring_sends_two_times_n_minus_one_pieces(n, piece):
    _, sent = reduce_in_threads(all_reduce.ring_all_reduce, numbers(n, n * piece))
    assert sent == [2 * (n - 1) * piece * 4] * n


@given(n=st.integers(1, 20))
def test_nobody_in_a_tree_sends_more_than_three_vectors(n):
    _, sent = reduce_in_threads(all_reduce.tree_all_reduce, numbers(n, 2))
    assert max(sent) <= 3 * 8


@every_all_reduce
def test_all_reduce_keeps_shape_and_dtype_and_gives_all_workers_the_same_bits(name):
    shares = [torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(5)]
    totals, _ = reduce_in_threads(all_reduce.ALL_REDUCES[name], shares)
    assert totals[0].dtype == torch.float64
    assert all(torch.equal(total, totals[0]) for total in totals)
    torch.testing.assert_close(totals[0], sum(shares))
