"""One gradient by hand, and a training through DistributedDataParallel."""

import copy
import sys

import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from utils import data_parallel
from utils.data_parallel import gradient_vector, share_of
from utils.models import LiteNetMLP


def by_hand(worker, digits, network):
    images, labels = share_of(digits, worker, 0, 128)
    F.cross_entropy(network(images.double()), labels).backward()
    data_parallel.average_gradients(network)
    return gradient_vector(network).tolist()


def through_ddp(worker, digits, network, steps):
    model = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses, first = [], None
    for step in range(steps):
        images, labels = share_of(digits, worker, 128 * step, 128 * (step + 1))
        loss = F.cross_entropy(model(images.double()), labels)
        optimizer.zero_grad()
        loss.backward()  # the gradients are averaged in here
        first = gradient_vector(model).tolist() if step == 0 else first
        optimizer.step()
        losses.append(loss.item())
    return losses, first


if __name__ == "__main__":
    digits, seed, steps = load_file(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with data_parallel.join() as worker:
        torch.manual_seed(seed)  # the same weights everywhere
        network = LiteNetMLP(hidden=32).double().to(worker.device)
        hand = by_hand(worker, digits, copy.deepcopy(network))
        losses, ddp = through_ddp(worker, digits, network, steps)
        data_parallel.report({"losses": losses, "gradients": [hand, ddp]})
