"""Each worker draws numbers, and all add them up: as the library does, and our way."""

import sys

import torch
from torch import distributed as dist

from utils import data_parallel
from utils.all_reduce import ALL_REDUCES, Links


def add_up(worker, seed):
    own = torch.Generator().manual_seed(1000 * seed + worker.process_rank)
    values = torch.randint(-100, 101, (1200,), generator=own).float().to(worker.device)
    library = values.clone()
    dist.all_reduce(library)
    found = {"backend": worker.backend, "device": str(worker.device)}
    for name, all_reduce in ALL_REDUCES.items():
        links = Links()  # sends and receives, and counts the bytes
        total = all_reduce(values, links)
        sent = links.bytes_sent / values.nbytes
        found[name] = {"equal": torch.equal(total, library), "sent": sent}
    return found


if __name__ == "__main__":
    with data_parallel.join() as worker:
        data_parallel.report(add_up(worker, seed=int(sys.argv[2])))
