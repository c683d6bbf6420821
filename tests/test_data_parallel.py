"""Workers end whatever happens, shards cover a batch, gradients add up, training goes on from a checkpoint."""

import os
import runpy
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.notebooks.read_notebooks import code
from tests.waiting import wait_until
from utils import data_parallel
from utils.data_parallel import WorkerError, launch
from utils.files import ROOT

WORKERS = ROOT / "notebooks" / "workers"

# --- shards and gradients --------------------------------------------------------------------------------------------


@given(more=st.integers(0, 50), n=st.integers(1, 12))
def test_shards_cover_a_batch_once_and_differ_by_one_at_most(more, n):
    count = n + more
    shards = [data_parallel.shard(torch.arange(count), i, n) for i in range(n)]
    assert torch.equal(torch.cat(shards), torch.arange(count))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    with pytest.raises(ValueError, match=f"process_rank must be below world_size, {n}, got {n}"):
        data_parallel.shard(torch.arange(count), n, n)
    for few in range(min(n, 3)):
        with pytest.raises(ValueError, match=f"{few} examples are too few for {n} workers"):
            data_parallel.shard(torch.arange(few), 0, n)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_weighted_mean_of_shard_gradients_is_the_gradient_of_the_batch(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(4, 3).double()
    x = torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (sum(sizes),), generator=generator)

    def gradient(x, y):
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        return data_parallel.gradient_vector(model)

    parts = [len(b) / len(y) * gradient(a, b) for a, b in zip(x.split(sizes), y.split(sizes), strict=True)]
    torch.testing.assert_close(sum(parts), gradient(x, y))


def test_gradient_vector_names_what_has_none():
    with pytest.raises(ValueError, match="weight has no gradient; call backward first"):
        data_parallel.gradient_vector(nn.Linear(2, 2))


def test_distance_is_relative_and_broadcasts_nothing():
    assert data_parallel.distance(torch.tensor([1.0, 0.0]), torch.ones(2)) == pytest.approx(0.5**0.5)
    with pytest.raises(ValueError, match="shapes differ"):
        data_parallel.distance(torch.ones(1), torch.ones(3))


# --- checkpoints -----------------------------------------------------------------------------------------------------


def _step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_training_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path, kind):
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters())
    for _ in range(3):
        _step(model, optimizer)
    data_parallel.save_state(tmp_path / "state.pt", model, optimizer, steps=3)
    again = nn.Linear(3, 2)
    optimizer_again = kind(again.parameters())
    assert data_parallel.load_state(tmp_path / "state.pt", again, optimizer_again) == 3
    for _ in range(2):
        _step(model, optimizer)
        _step(again, optimizer_again)
    assert torch.equal(model.weight, again.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert data_parallel.load_state(tmp_path / "none.pt", again, optimizer_again) == 0
    assert torch.equal(model.weight, again.weight)


# --- on a GPU, tried without one -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus_here", "workers", "gpus", "expected"),
    [
        (4, 4, True, ("cuda:1", "nccl")),
        (4, 4, False, ("cpu", "gloo")),  # asked to stay on the CPU: what is recorded must not be "nccl"
        (1, 2, True, ("cpu", "gloo")),
        (0, 2, True, ("cpu", "gloo")),
    ],
)
def test_a_worker_names_the_backend_that_it_uses(monkeypatch, gpus_here, workers, gpus, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus_here)
    device, backend = data_parallel.device_and_backend(1, workers, gpus=gpus)
    assert (str(device), backend) == expected


@pytest.mark.parametrize(("device", "between"), [("cuda", ["wait"]), ("cpu", [])])
def test_the_clock_starts_and_stops_at_an_idle_device(monkeypatch, device, between):
    events = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: events.append("barrier"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: events.append("wait"))
    monkeypatch.setattr(data_parallel.time, "perf_counter", lambda: events.append("clock") or len(events))
    worker = data_parallel.Worker(0, 2, torch.device(device), "", 0)
    assert data_parallel.timed(worker, events.append, "call") > 0
    assert events == ["barrier", *between, "clock", "call", *between, "clock"]


def test_notebook_11_writes_a_step_down_only_when_its_exchange_is_over(tmp_path, monkeypatch):
    """NCCL's backward pass returns at once; with a dead partner it is `item` that never comes back."""

    class DeadPartner(Exception):
        pass

    class Loss:
        def backward(self):
            pass

        def item(self):
            raise DeadPartner

    script = runpy.run_path(str(WORKERS / "11_accident.py"))
    functions = script["train"].__globals__
    monkeypatch.setitem(functions, "DistributedDataParallel", lambda model: model)
    monkeypatch.setitem(functions, "F", SimpleNamespace(cross_entropy=lambda *_: Loss()))
    examples = {"images": torch.zeros(4096, 1, 28, 28), "labels": torch.zeros(4096)}
    worker = data_parallel.Worker(0, 2, torch.device("cpu"), "nccl", 0)
    with pytest.raises(DeadPartner):
        script["train"](worker, examples, 0, str(tmp_path / "state"))
    assert not list(tmp_path.iterdir())


def test_every_script_of_the_notebooks_is_run_by_one():
    """What no notebook runs nobody keeps running; that the scripts run is what the notebooks show."""
    for script in WORKERS.glob("*.py"):
        (notebook,) = (ROOT / "notebooks").glob(f"{script.name[:2]}_*.ipynb")
        assert any(f'work("{script.name}"' in cell.source for cell in code(notebook)), script.name


@given(workers=st.integers(1, 4), start=st.integers(0, 9), count=st.integers(4, 9))
def test_shares_of_a_batch_are_together_the_batch(workers, start, count):
    examples = {"images": torch.arange(40).view(20, 2), "labels": torch.arange(20)}
    everyone = [data_parallel.Worker(i, workers, torch.device("cpu"), "gloo", 0) for i in range(workers)]
    shares = [data_parallel.share_of(examples, worker, start, start + count) for worker in everyone]
    for place, name in enumerate(("images", "labels")):
        assert torch.equal(torch.cat([share[place] for share in shares]), examples[name][start : start + count])


# --- processes -------------------------------------------------------------------------------------------------------

START = """
import os, sys, time
from pathlib import Path
from torch import distributed as dist
from utils import data_parallel
from utils.all_reduce import ALL_REDUCES, Links

folder = Path(sys.argv[1])

with data_parallel.join() as worker:
    (folder / f"{worker.restarts}-{worker.process_rank}.pid").write_text(str(os.getpid()))
"""

ALL_THREE = """
    import torch
    generator = torch.Generator().manual_seed(worker.process_rank)
    equal = []
    for count in (1, 2, 3, 12, 1000):  # a ring of three has empty pieces at first
        values = torch.randint(-9, 10, (count,), generator=generator).float().to(worker.device)
        library = values.clone()
        dist.all_reduce(library)
        equal.append(all(torch.equal(way(values, Links()), library) for way in ALL_REDUCES.values()))
    who = {"rank": worker.process_rank, "size": worker.world_size}
    data_parallel.report(who | {"equal": equal, "given": sys.argv[2:]})
"""

BATCH_NORM = """
    import torch
    torch.manual_seed(0)
    images = torch.randn(7, 3, 4, 4, dtype=torch.float64, device=worker.device)
    weights = torch.randn(7, 3, 4, 4, dtype=torch.float64, device=worker.device)
    ours = data_parallel.SynchronizedBatchNorm2d(3).double().to(worker.device)
    one = torch.nn.BatchNorm2d(3).double().to(worker.device)
    x = images.clone().requires_grad_()
    mine = data_parallel.shard(images, worker.process_rank, 2).clone().requires_grad_()
    y, z = one(x), ours(mine)
    (y * weights).sum().backward()
    (z * data_parallel.shard(weights, worker.process_rank, 2)).sum().backward()
    share = lambda values: data_parallel.shard(values, worker.process_rank, 2)
    total = ours.weight.grad.clone()
    dist.all_reduce(total)
    data_parallel.report([bool(torch.allclose(a, b)) for a, b in [
        (z, share(y)), (mine.grad, share(x.grad)), (total, one.weight.grad),
        (ours.running_mean, one.running_mean), (ours.running_var, one.running_var),
        (ours.eval()(mine), share(one.eval()(x)))]])
"""

UNEVEN = """
    import torch
    from torch.nn import functional as F

    class Skips(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.extra = torch.nn.Linear(4, 3), torch.nn.Linear(3, 3)
            self.unused = torch.nn.Linear(3, 3)
        def forward(self, x, skip):
            y = self.first(x)
            return y if skip else self.extra(y)

    torch.manual_seed(0)
    model = Skips().double().to(worker.device)
    x = torch.randn(5, 4, dtype=torch.float64, device=worker.device)
    y = torch.randint(0, 3, (5,), device=worker.device)
    cut = lambda values, rank: data_parallel.shard(values, rank, 2)

    # the oracle: one process, each half of the batch on its way, the mean over the five examples
    losses = [F.cross_entropy(model(cut(x, r), r == 1), cut(y, r), reduction="sum") for r in (0, 1)]
    (sum(losses) / 5).backward()
    wanted = {n: p.grad for n, p in model.named_parameters()}

    rank = worker.process_rank
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(cut(x, rank), rank == 1), cut(y, rank)).backward()
    data_parallel.average_gradients(model, examples=len(cut(x, rank)))
    right = [bool(torch.allclose(p.grad, wanted[n])) for n, p in model.named_parameters() if wanted[n] is not None]
    none = all(p.grad is None for p in model.unused.parameters())

    said = []
    norm = data_parallel.SynchronizedBatchNorm2d(3).double().to(worker.device)
    for refused in (lambda: data_parallel.average_gradients(model, examples=rank),
                    lambda: norm(torch.ones(rank, 3, 2, 2, dtype=torch.float64, device=worker.device))):
        try:
            refused()
        except ValueError as error:
            said.append(str(error)[:26])
    data_parallel.report([right, none, said])
"""

FAIL = """
    if worker.process_rank == 1:
        raise ArithmeticError("seven is not eight")
    dist.barrier()
"""

HANG = """
    print("waiting for nothing", flush=True)
    (folder / f"{worker.process_rank}.hangs").touch()
    time.sleep(600)
"""

FAIL_ONCE = """
    if worker.process_rank == 1 and worker.restarts == 0:
        os._exit(9)
    dist.barrier()
    data_parallel.report(worker.restarts)
"""


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(START + text, encoding="utf-8")
        return path

    return write


def pids(folder):
    return [int(path.read_text()) for path in folder.glob("*.pid")]


def nobody_left(folder):
    """Neither a worker, dead or alive, nor a child of this process."""
    assert not [pid for pid in pids(folder) if psutil.pid_exists(pid)]
    assert not [child for child in psutil.Process().children(recursive=True) if "torch.distributed.run" in str(child)]


@pytest.mark.slow
def test_workers_report_in_order_and_end(script, tmp_path):
    reports = launch(script(ALL_THREE), tmp_path, "a b", 3, world_size=3)
    assert [report["rank"] for report in reports] == [0, 1, 2]
    assert all(report["size"] == 3 and report["equal"] == [True] * 5 for report in reports)
    assert reports[0]["given"] == ["a b", "3"]
    assert len(pids(tmp_path)) == 3
    nobody_left(tmp_path)


@pytest.mark.slow
def test_a_worker_whose_work_is_done_cannot_fail_any_more(script, tmp_path):
    ending = "    import atexit\n    atexit.register(os.abort)\n    data_parallel.report(1)\nos.abort()\n"
    assert launch(script(ending), tmp_path, world_size=2) == [1, 1]


@pytest.mark.slow
def test_synchronized_batch_norm_is_batch_norm_over_all_workers(script, tmp_path):
    assert launch(script(BATCH_NORM), tmp_path, world_size=2) == [[True] * 6] * 2


@pytest.mark.slow
def test_uneven_shares_and_skipped_layers_give_the_gradient_of_the_batch(script, tmp_path):
    said = ["1 workers have no examples"] * 2
    assert launch(script(UNEVEN), tmp_path, world_size=2) == [[[True] * 4, True, said]] * 2


@pytest.mark.slow
def test_a_failing_worker_is_an_error_with_its_last_lines(script, tmp_path):
    with pytest.raises(WorkerError, match="ArithmeticError: seven is not eight"):
        launch(script(FAIL), tmp_path, world_size=2)
    nobody_left(tmp_path)


@pytest.mark.slow
def test_hung_workers_end_by_a_time_out_with_their_last_lines(script, tmp_path, monkeypatch):
    """Time is up as soon as both hang, however long this machine took to start them."""
    wait = subprocess.Popen.wait

    def wait_for_both(process, timeout=None):
        if timeout != 600:
            return wait(process, timeout)
        wait_until(lambda: len(list(tmp_path.glob("*.hangs"))) == 2, 90)
        raise subprocess.TimeoutExpired(process.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_for_both)
    with pytest.raises(WorkerError, match=r"2 workers did not finish within 600 s\n(.*\n)*.*waiting for nothing"):
        launch(script(HANG), tmp_path, world_size=2, timeout_s=600)
    assert len(pids(tmp_path)) == 2
    nobody_left(tmp_path)


@pytest.mark.slow
def test_workers_that_fail_are_started_again(script, tmp_path):
    assert launch(script(FAIL_ONCE), tmp_path, world_size=2, max_restarts=1) == [1, 1]
    nobody_left(tmp_path)


LAUNCHER = """
import signal, sys
from utils import data_parallel
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
try:
    data_parallel.launch(sys.argv[1], sys.argv[2], world_size=2)
except KeyboardInterrupt:
    sys.exit(77)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 77), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_worker_outlives_an_interrupted_or_killed_launcher(script, tmp_path, sent, status):
    path = script(HANG)
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(path), str(tmp_path)])
    try:
        wait_until(lambda: len(pids(tmp_path)) == 2 and all(p.read_text() for p in tmp_path.glob("*.pid")), 60)
        launcher.send_signal(sent)
        assert launcher.wait(30) == status
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids(tmp_path)))
    finally:
        launcher.kill()
        launcher.wait()


@pytest.mark.slow
def test_two_nodes_meet_on_this_machine(script, tmp_path):
    """The commands of the lesson for two hosts, with both hosts here."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = script(ALL_THREE)

    def node(number):
        options = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(number)]
        options += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        command = [sys.executable, "-m", "torch.distributed.run", *options, str(path), str(tmp_path)]
        environment = data_parallel.worker_environment(tmp_path)
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)

    nodes = [node(0), node(1)]
    try:
        assert [process.wait(90) for process in nodes] == [0, 0]
    finally:
        for process in nodes:
            data_parallel.end(process)
    reports = data_parallel.read_reports(tmp_path, 2)
    assert [(r["rank"], r["size"], r["equal"]) for r in reports] == [(0, 2, [True] * 5), (1, 2, [True] * 5)]
    nobody_left(tmp_path)


def test_what_runs_without_its_other_half_says_how_to_start_it(tmp_path, monkeypatch):
    monkeypatch.delenv(data_parallel.FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(FileNotFoundError, match="there is no script nothing"):
        launch(tmp_path / "nothing.py", world_size=1)
    with pytest.raises(RuntimeError, match="start it with torchrun"), data_parallel.join():
        pass
    with pytest.raises(RuntimeError, match="nobody waits"):
        data_parallel.report(1)


def test_a_report_goes_to_the_folder_of_the_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv(data_parallel.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    data_parallel.report({"loss": 0.5})
    assert data_parallel.read_reports(tmp_path, 2) == [None, {"loss": 0.5}]


def test_bytes_held_by_adam_are_four_times_the_parameters():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    assert data_parallel.bytes_held(model, optimizer) == 4 * 8
    _step(model, optimizer)
    assert data_parallel.bytes_held(model, optimizer) == 4 * 4 * 8
