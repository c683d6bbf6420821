"""How long a step takes: one worker, two threads, two workers; and messages alone."""

import copy
import statistics
import sys

import torch
from safetensors.torch import load_file
from torch import distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks import noop_hook
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from utils import data_parallel
from utils.data_parallel import timed
from utils.models import LeNet5, LiteNetMLP


def step(model, *parts):
    model.zero_grad()
    for images, labels in parts:
        (F.cross_entropy(model(images), labels) / len(parts)).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.01 * parameter.grad


def alone(worker, model, halves, threads):
    """Worker 0 computes both halves while the other waits."""
    torch.set_num_threads(threads)
    work = (step, model, *halves) if worker.process_rank == 0 else (str,)
    seconds = timed(worker, *work)
    torch.set_num_threads(1)
    return seconds


def each_a_half(worker, model, halves):
    """Both compute a half; through DDP, if `model` is wrapped, they exchange, too."""
    return timed(worker, step, model, halves[worker.process_rank])


def ways_of(worker, network):
    pair = DistributedDataParallel(copy.deepcopy(network))
    return {
        "alone": lambda halves: alone(worker, network, halves, 1),
        "two threads": lambda halves: alone(worker, network, halves, 2),
        "silent": lambda halves: each_a_half(worker, network, halves),
        "together": lambda halves: each_a_half(worker, pair, halves),
    }


def mute_way(worker, network):
    mute = DistributedDataParallel(copy.deepcopy(network))
    mute.register_comm_hook(None, noop_hook)  # fills its buckets and sends nothing
    return lambda halves: each_a_half(worker, mute, halves)


def in_turn(worker, ways, digits, size, repeats):
    """Take a step in each of the ways in turn, so that all meet the same machine."""
    parts = (digits[name][:size].to(worker.device) for name in ("images", "labels"))
    halves = list(zip(*(part.chunk(2) for part in parts), strict=True))
    return [{way: ways[way](halves) for way in ways} for _ in range(repeats)]


def medians(turns):
    return {way: statistics.median(turn[way] for turn in turns) for way in turns[0]}


def lower_quartiles(turns):
    """What disturbs a machine only slows it: the time that a quarter stays below."""
    return {
        what: statistics.quantiles([t[what] for t in turns], n=4, method="inclusive")[0]
        for what in turns[0]
    }


def messages_in_turn(worker, sizes, repeats=15):
    """All-reduce a message of each size in turn, after a round of warm-up."""
    vectors = {n: torch.ones(n // 4, device=worker.device) for n in sizes}
    turns = [
        {n: timed(worker, dist.all_reduce, vector) for n, vector in vectors.items()}
        for _ in range(1 + repeats)
    ]
    return turns[1:]


if __name__ == "__main__":
    digits, repeats, where = load_file(sys.argv[1]), int(sys.argv[3]), sys.argv[4]
    sizes, wide_sizes, messages = (
        [int(n) for n in text.split(",")] for text in sys.argv[5:8]
    )
    with data_parallel.join(gpus=where == "gpus") as worker:
        ways = ways_of(worker, LeNet5().to(worker.device))
        ways = {way: ways[way] for way in ("alone", "two threads", "together")}
        network = LiteNetMLP(hidden=2048).to(worker.device)
        wide = ways_of(worker, network) | {"mute": mute_way(worker, network)}
        wide = {way: wide[way] for way in ("silent", "mute", "together")}
        steps = {
            n: in_turn(
                worker, ways, digits, n, repeats if n < 1024 else min(repeats, 3)
            )
            for n in sizes
        }
        turns = {n: in_turn(worker, wide, digits, n, 3 * repeats) for n in wide_sizes}
        alone_turns = messages_in_turn(worker, messages)
        found = {
            "backend": worker.backend,
            "step": {n: medians(each) for n, each in steps.items()},
            "wide": {n: lower_quartiles(each) for n, each in turns.items()},
            "wide turns": turns,
            "message": lower_quartiles(alone_turns),
            "message turns": {n: [turn[n] for turn in alone_turns] for n in messages},
        }
        data_parallel.report(found)
