"""Compressed gradients: nothing is lost with all of k or the full rank, nor in the long run; PyTorch's PowerSGD."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils.data_parallel import launch
from utils.gradient_compression import Exchange, Plain, PowerSGD, TopK

SHAPES = [(6, 4), (6,), (3, 2, 2, 2), (1,)]


def gradients(workers, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(workers, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def all_close(found, expected):
    return [f.shape for f in found] == [e.shape for e in expected] and all(map(torch.allclose, found, expected))


@given(workers=st.integers(1, 5), seed=st.integers(0, 99))
def test_with_all_values_or_the_full_rank_it_is_the_plain_mean(workers, seed):
    given = gradients(workers, seed)
    means = [g.mean(dim=0) for g in given]
    for way in (Plain(Exchange(workers)), TopK(Exchange(workers), 1.0), PowerSGD(Exchange(workers), 4)):
        assert all_close(way.average(given), means), way


@given(workers=st.integers(1, 4), share=st.floats(0.01, 1.0), rank=st.integers(1, 3), seed=st.integers(0, 99))
def test_what_was_sent_and_what_is_held_back_are_all_gradients(workers, share, rank, seed):
    by_chance = torch.Generator().manual_seed(seed)
    ways = [TopK(Exchange(workers), share), TopK(Exchange(workers), share, by_chance=by_chance)]
    for way in [*ways, PowerSGD(Exchange(workers), rank)]:
        steps = [gradients(workers, seed + step) for step in range(5)]
        sent = [way.average(step) for step in steps]
        received = torch.cat([sum(parts).flatten() for parts in zip(*sent, strict=True)])
        there = torch.cat([sum(parts).mean(dim=0).flatten() for parts in zip(*steps, strict=True)])
        if isinstance(way, TopK):
            held = way.held_back.mean(dim=0)
        else:
            shapes = {i: torch.zeros(shape) for i, shape in enumerate(SHAPES)}
            held = torch.cat([way.held_back[i].mean(dim=0).flatten() if i in way.held_back else z.flatten()
                              for i, z in shapes.items()])  # fmt: skip
        torch.testing.assert_close(received + held, there)


def test_top_k_sends_the_largest_and_exactly_k_even_of_equal_ones():
    way = TopK(Exchange(2), 0.5, feedback=False)
    values = torch.tensor([[3.0, -9.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    (mean,) = way.average([values])
    assert mean.count_nonzero() >= 2
    assert mean.sum() == pytest.approx((3 - 9 + 1 + 1) / 2)
    assert way.held_back is None
    assert way.exchange.bytes_sent == 2 * (4 + 4)  # to one other: two values and two places


def test_bytes_are_those_of_a_ring():
    given = [g.float() for g in gradients(4)]
    count = sum(g[0].numel() for g in given)
    plain, power = Plain(Exchange(4)), PowerSGD(Exchange(4), 1)
    plain.average(given)
    power.average(given)
    assert plain.exchange.bytes_sent == 1.5 * 4 * count
    assert power.exchange.bytes_sent == 1.5 * 4 * ((6 + 4) + (3 + 8) + 6 + 1)  # rows and columns, and the vectors


def test_without_feedback_the_small_ones_are_never_sent():
    values = torch.tensor([[1.0, 0.3]])
    for feedback, expected in ((False, 0.0), (True, 0.3 * 4)):
        way = TopK(Exchange(), 0.5, feedback=feedback)
        total = sum(way.average([values])[0] for _ in range(4))
        assert total[1] == pytest.approx(expected)


WORKER = """
import torch
from torch import distributed as dist, nn
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook
from torch.nn.parallel import DistributedDataParallel
from utils import data_parallel
from utils.gradient_compression import Exchange, Plain, PowerSGD, TopK

with data_parallel.join(gpus=False) as worker:
    def both(seed):
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(2, *shape, generator=generator) for shape in ((6, 4), (6,), (3, 2, 2))]

    def same(make):  # two processes with a row each, and both rows in one
        one, two = make(Exchange()), make(Exchange(2))
        one.exchange.world_size, equal = 2, []
        two.exchange.mean = lambda values: values.mean(dim=0)
        two.exchange.gather = lambda values: values
        for step in range(3):
            here = one.average([g[worker.process_rank : worker.process_rank + 1] for g in both(step)])
            equal.append(all(torch.allclose(a, b, atol=1e-6) for a, b in zip(here, two.average(both(step)))))
        return all(equal)

    class OfTwo(Exchange):
        def __init__(self, here=1):
            super().__init__(here)
            self.world_size = 2

    Exchange = OfTwo
    found = {
        "same": [same(Plain), same(lambda e: TopK(e, 0.3)), same(lambda e: PowerSGD(e, 1))],
    }

    # PyTorch's hook, with its first Q put into ours; it joins what DDP puts into one bucket
    torch.manual_seed(0)
    layer = nn.Linear(40, 30, bias=False)
    model = DistributedDataParallel(layer)
    state = powerSGD_hook.PowerSGDState(
        None, matrix_approximation_rank=2, start_powerSGD_iter=2, min_compression_rate=1
    )
    model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    ours, apart = PowerSGD(OfTwo(), 2), []
    for step in range(6):
        own = torch.Generator().manual_seed(10 * step + worker.process_rank)
        x, y = torch.randn(8, 40, generator=own), torch.randn(8, 30, generator=own)
        model.zero_grad()
        (model(x) - y).square().sum().backward()
        theirs = layer.weight.grad.clone()
        if step < 2:
            continue  # DDP still averages whole gradients
        alone = torch.autograd.grad((layer(x) - y).square().sum(), layer.weight)[0]
        if step > 2:
            [mine] = ours.average([alone[None]])
            apart.append(data_parallel.distance(theirs, mine))
        else:
            [(_, q)] = list(state.q_memory_dict.items())
            error = alone - theirs
            ours._q[0], ours.held_back = q.view(40, 2).clone(), {0: error[None]}
    found["apart"] = apart
    data_parallel.report(found)
"""


@pytest.mark.slow
def test_two_processes_are_two_rows_and_agree_with_pytorchs_power_sgd(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WORKER, encoding="utf-8")
    for found in launch(script, world_size=2):
        assert found["same"] == [True] * 3
        assert len(found["apart"]) == 3
        assert max(found["apart"]) < 1e-4
