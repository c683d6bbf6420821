"""Worker 1 dies in step 7 of 12, on the first attempt; the second goes on."""

import os
import sys

import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from utils import data_parallel
from utils.data_parallel import share_of
from utils.models import LiteNetMLP


def train(worker, digits, seed, checkpoint, accident=None):
    torch.manual_seed(seed)
    model = DistributedDataParallel(LiteNetMLP().to(worker.device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(data_parallel.load_state(checkpoint, model, optimizer), 12):
        if step == accident and worker.process_rank == 1:
            os._exit(9)  # the power fails
        images, labels = share_of(digits, worker, 512 * step, 512 * (step + 1))
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # a GPU's calls return at once: wait until the step is over
        if worker.process_rank == 0:
            with open(checkpoint + ".txt", "a") as diary:
                print(f"attempt {worker.restarts}: step {step}", file=diary)
            if step % 5 == 4:
                data_parallel.save_state(checkpoint, model, optimizer, steps=step + 1)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


if __name__ == "__main__":
    digits, seed, folder = load_file(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with data_parallel.join() as worker:
        accident = 7 if worker.restarts == 0 else None
        weights = train(worker, digits, seed, folder + "/interrupted", accident)
        undisturbed = train(worker, digits, seed, folder + "/undisturbed")
        difference = data_parallel.distance(weights, undisturbed)
        data_parallel.report({"restarts": worker.restarts, "difference": difference})
