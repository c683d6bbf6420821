"""Buckets and shards by hand, against DDP, the unsharded optimizer and PyTorch's ZeroRedundancyOptimizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data_parallel import launch
from utils.sharded import fill_buckets


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=12), cap=st.integers(1, 120))
def test_buckets_hold_each_parameter_once_and_are_closed_when_full(sizes, cap):
    buckets = fill_buckets(sizes, cap)
    assert [i for bucket in buckets for i in bucket] == list(reversed(range(len(sizes))))
    for bucket in buckets[:-1]:
        assert sum(sizes[i] for i in bucket) >= cap
    for bucket in buckets:
        assert sum(sizes[i] for i in bucket[:-1]) < cap


def test_a_bucket_of_nothing_is_refused():
    with pytest.raises(ValueError, match="cap_bytes"):
        fill_buckets([4], 0)


WORKER = """
import copy
import torch
from torch import distributed as dist, nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel
from utils import data_parallel
from utils.sharded import BucketedAverage, ShardedOptimizer, state_bytes

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)).double()

def batch(step, worker):
    generator = torch.Generator().manual_seed(100 * step + worker.process_rank)
    return torch.randn(6, 7, generator=generator, dtype=torch.float64)

def backward(model, step, worker):
    model.zero_grad()
    model(batch(step, worker)).square().sum().backward()

def vector(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])

def weights(kind, worker, make):
    model = network()
    if kind == "ours":
        optimizer = ShardedOptimizer(model, make)
    elif kind == "library":
        model = DistributedDataParallel(model)
        optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, lr=0.01)
    else:
        model = DistributedDataParallel(model)
        optimizer = make(list(model.parameters()))
    for step in range(4):
        backward(model, step, worker)
        optimizer.step()
    held = state_bytes(optimizer.optimizer if kind == "ours" else optimizer)
    return vector(model), held

with data_parallel.join(gpus=False) as worker:
    found = {"buckets": []}
    for cap in (1, 200, 2**20):
        ours, theirs = network(), DistributedDataParallel(network())
        average = BucketedAverage(ours, cap_bytes=cap)
        for step in range(2):
            backward(ours, step, worker)
            average.finish()
            backward(theirs, step, worker)
            both = data_parallel.gradient_vector(ours), data_parallel.gradient_vector(theirs)
        kinds = [what for what, *_ in average.events]
        found["buckets"].append([data_parallel.distance(*both), kinds.count("sent"), len(average.buckets)])
        average.remove()
        backward(ours, 0, worker)
        found.setdefault("removed", []).append(len(average.events) == len(kinds))
    found["order"] = [(what, about) for what, about, _ in average.events[:7]]

    skips = network()
    skips[0].weight.requires_grad_(False)
    average = BucketedAverage(skips, cap_bytes=1)
    try:
        skips[4](torch.ones(1, 5, dtype=torch.float64)).sum().backward()
        average.finish()
    except RuntimeError as error:
        found["refused"] = str(error)

    for name, make in (("adam", lambda p: torch.optim.Adam(p, lr=0.01)),
                       ("sgd", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))):
        (whole, all_of_it), (ours, shard) = weights("whole", worker, make), weights("ours", worker, make)
        found[name] = [data_parallel.distance(ours, whole), all_of_it, shard]
    adam = weights("ours", worker, lambda p: torch.optim.Adam(p, lr=0.01))[0]
    found["library"] = data_parallel.distance(weights("library", worker, None)[0], adam)
    data_parallel.report(found)
"""


@pytest.mark.slow
def test_buckets_and_shards_compute_what_the_library_computes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WORKER, encoding="utf-8")
    parameters = 7 * 5 + 5 + 5 * 5 + 5 + 5 * 3 + 3
    for found in launch(script, world_size=2):
        assert [sent // 2 for _, sent, _ in found["buckets"]] == [buckets for *_, buckets in found["buckets"]]
        assert [buckets for *_, buckets in found["buckets"]] == [6, 2, 1]
        assert max(apart for apart, *_ in found["buckets"]) < 1e-12
        assert found["removed"] == [True] * 3
        assert found["order"][:2] == [["ready", "4.bias"], ["ready", "4.weight"]]
        assert found["order"][6] == ["sent", 8 * parameters]
        assert found["refused"] == "2.bias got no gradient, so its bucket was never sent"
        assert found["adam"][0] < 1e-12
        assert found["sgd"][0] < 1e-12
        assert found["library"] < 1e-12
        assert found["adam"][1] == 2 * 8 * parameters
        assert found["adam"][2] == 2 * 8 * parameters // 2
        assert found["sgd"][2] == 8 * parameters // 2
