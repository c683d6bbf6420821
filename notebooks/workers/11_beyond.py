"""What DDP does beyond averaging, buckets and shards by hand, and batch norm."""

import contextlib
import sys

import torch
from safetensors.torch import load_file
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from utils import data_parallel
from utils.data_parallel import bytes_held, gradient_vector, share_of
from utils.models import LeNet5, LiteNetCNN, LiteNetMLP, SmallResNet
from utils.sharded import BucketedAverage, ShardedOptimizer, state_bytes

digits, seed = load_file(sys.argv[1]), int(sys.argv[2])


def accumulate(worker, quiet):
    torch.manual_seed(seed)
    model = DistributedDataParallel(LiteNetMLP(hidden=32).double().to(worker.device))
    exchanged = data_parallel.watch_exchanges(model)
    for part in range(4):
        images, labels = share_of(digits, worker, 128 * part, 128 * (part + 1))
        silent = quiet and part < 3
        with model.no_sync() if silent else contextlib.nullcontext():
            (F.cross_entropy(model(images.double()), labels) / 4).backward()
    return {"gradient": gradient_vector(model).tolist(), "exchanged": exchanged}


def buckets_by_hand(worker, cap_bytes):
    torch.manual_seed(seed)
    network = LeNet5().double().to(worker.device)
    average = BucketedAverage(network, cap_bytes=cap_bytes)
    images, labels = share_of(digits, worker, 0, 128)
    F.cross_entropy(network(images.double()), labels).backward()
    average.finish()
    average.remove()
    ours = gradient_vector(network)
    network.zero_grad()
    model = DistributedDataParallel(network)
    F.cross_entropy(model(images.double()), labels).backward()
    apart = data_parallel.distance(ours, gradient_vector(model))
    return {"difference": apart, "events": [event[:2] for event in average.events]}


def in_order(worker, bucket_mb):
    torch.manual_seed(seed)
    model = LeNet5().to(worker.device)
    model = DistributedDataParallel(model, bucket_cap_mb=bucket_mb)
    events = data_parallel.watch_exchanges(model)
    for name, layer in model.module.named_children():
        layer.weight.register_post_accumulate_grad_hook(
            lambda _, name=name: events.append(name)
        )
    for _ in range(2):  # DDP sorts its buckets after the first step
        events.clear()
        images, labels = share_of(digits, worker, 0, 512)
        F.cross_entropy(model(images), labels).backward()
    return list(events)


def compressed(worker, bfloat16):
    torch.manual_seed(seed)
    model = DistributedDataParallel(LiteNetCNN().to(worker.device))
    exchanged = data_parallel.watch_exchanges(model, bfloat16=bfloat16)
    images, labels = share_of(digits, worker, 0, 512)
    F.cross_entropy(model(images), labels).backward()
    return {"gradient": gradient_vector(model).tolist(), "exchanged": exchanged}


def with_batch_norm(worker, norm):
    torch.manual_seed(seed)
    network = SmallResNet()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, torch.nn.BatchNorm2d):
            network.set_submodule(name, norm(layer.num_features))
    model = DistributedDataParallel(network.double().to(worker.device))
    images, labels = share_of(digits, worker, 0, 32)
    F.cross_entropy(model(images.double()), labels).backward()
    return gradient_vector(model).tolist()


def train(worker, model, optimizer, steps=3):
    losses = []
    for step in range(steps):
        images, labels = share_of(digits, worker, 512 * step, 512 * (step + 1))
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def optimizer_shared_out(worker, way):
    torch.manual_seed(seed)
    network = LiteNetMLP(hidden=512).to(worker.device)
    model = network if way == "by hand" else DistributedDataParallel(network)
    if way == "by hand":
        optimizer = ShardedOptimizer(model, torch.optim.Adam)
    elif way == "library":
        optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam)
    else:
        optimizer = torch.optim.Adam(model.parameters())
    losses = train(worker, model, optimizer)
    inner = {"by hand": "optimizer", "library": "optim"}
    mine = getattr(optimizer, inner[way]) if way in inner else optimizer
    weights = torch.cat([p.detach().flatten() for p in network.parameters()])
    return {"bytes": state_bytes(mine), "losses": losses}, weights


def three_optimizers(worker):
    ways = ("copied", "by hand", "library")
    reports, weights = zip(
        *(optimizer_shared_out(worker, way) for way in ways), strict=True
    )
    apart = [data_parallel.distance(each, weights[0]) for each in weights]
    return [r | {"difference": d} for r, d in zip(reports, apart, strict=True)]


def everything_shared_out(worker, sharded):
    torch.manual_seed(seed)
    model = LiteNetMLP(hidden=2048).to(worker.device)
    if sharded:
        mesh = dist.init_device_mesh(worker.device.type, (worker.world_size,))
        for module in (model.fc1, model.fc2, model):
            fully_shard(module, mesh=mesh)
    else:
        model = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters())
    losses = train(worker, model, optimizer)
    return {"bytes": bytes_held(model, optimizer), "losses": losses}


if __name__ == "__main__":
    norms = torch.nn.BatchNorm2d, data_parallel.SynchronizedBatchNorm2d
    both = (False, True)
    with data_parallel.join() as worker:
        found = {
            "accumulate": [accumulate(worker, quiet) for quiet in both],
            "by_hand": buckets_by_hand(worker, 2**20),
            "in_order": [in_order(worker, bucket_mb) for bucket_mb in (25, None)],
            "compressed": [compressed(worker, bfloat16) for bfloat16 in both],
            "batch_norm": [with_batch_norm(worker, norm) for norm in norms],
            "optimizer": three_optimizers(worker),
            "memory": [everything_shared_out(worker, sharded) for sharded in both],
        }
        data_parallel.report(found)
