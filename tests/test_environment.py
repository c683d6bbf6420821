"""Seeds, device, threads, and the stamp of the machine."""

import contextlib
import copy
import functools
import importlib.metadata
import os
import platform
import random
import time

import numpy as np
import pandas as pd
import pytest
import torch

from tests.notebooks.read_notebooks import code
from utils import environment as environment_module
from utils.environment import environment, full_float32, pick_device, progress_wanted, seed_everything, torch_threads
from utils.files import ROOT


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - the global generator is meant


def test_one_seed_repeats_every_generator():
    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


@pytest.mark.parametrize(("cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_if_there_is_one(monkeypatch, cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert pick_device() == torch.device(expected)


@pytest.mark.parametrize(("name", "expected"), [("cuda:1", "cuda:1"), ("cuda:2", "cpu")])
def test_a_gpu_is_given_only_if_it_exists(monkeypatch, capsys, name, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(name) == torch.device(expected)
    assert (f"no device {name}" in capsys.readouterr().out) == (expected == "cpu")


@pytest.mark.parametrize("name", ["gpu", "", None])
def test_unknown_device_is_refused(name):
    with pytest.raises(ValueError, match="device must be"):
        pick_device(name)


def test_thread_count_is_set_and_restored_even_after_an_exception():
    before = torch.get_num_threads()
    seen = []
    with contextlib.suppress(KeyError), torch_threads(before + 1):
        seen.append(torch.get_num_threads())
        raise KeyError
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


@pytest.mark.parametrize("before", [(False, True), (True, False)])
def test_tf32_is_off_inside_the_block_and_as_before_after_an_exception(before):
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    seen = []
    with full_float32():  # gives this process its own settings back
        for setting, allowed in zip(settings, before, strict=True):
            setting.allow_tf32 = allowed
        with contextlib.suppress(KeyError), full_float32():
            seen.append(tuple(setting.allow_tf32 for setting in settings))
            raise KeyError
        seen.append(tuple(setting.allow_tf32 for setting in settings))
    assert seen == [(False, False), before]


def test_notebook_12_times_a_first_call_first_and_checks_every_way_on_the_gpu(monkeypatch):
    """Its measurement on a GPU, on a stand-in for one: the order of the calls, their formats, what is compared."""
    calls = []

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            calls.append((x.dtype, len(x), torch.backends.cudnn.allow_tf32))
            return x * self.weight

    cells = code(ROOT / "notebooks" / "12_inference_efficiency.ipynb")
    (apart,) = [cell.source for cell in cells if "def apart(" in cell.source]
    pieces = [apart[: apart.index("\n\n\n")], *(c.source for c in cells if "_on_gpu(" in c.source)]
    names = {"batches": {1: torch.ones(1, 3), 64: torch.full((64, 3), 2.0)}, "dense": Network(), "torch": torch}
    names |= {"copy": copy, "functools": functools, "full_float32": full_float32, "pd": pd, "time": time}
    pieces += [cell.source for cell in cells if cell.source.startswith("def measure_on(")]
    exec("\n".join(["captured = None", *pieces]), names)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    clocked = []
    timed, differences = names["measure_on"](
        "cpu", clock=lambda way: clocked.append(way) or 1.0, capture=functools.partial
    )
    to_compare = (torch.float32, 1, False)
    assert calls[:4] == [to_compare, "wait", to_compare, "wait"], "on the CPU, then nothing before the first call"
    assert calls.count("wait") == 2, "a first call at the first batch size only"
    assert timed[1].notna().all()
    assert sorted(timed.index[timed[64].isna()]) == ["first call, until done", "first call, until it returns"]
    assert {dtype for dtype, _, _ in calls[4:]} == {torch.float32, torch.float16}
    assert not any(tf32 for _, _, tf32 in calls[4:])
    assert [way().dtype for way in clocked] == 2 * [*[torch.float32] * 2, *[torch.float16] * 2]
    assert list(differences) == ["eager", "CUDA graph", "eager, float16", "CUDA graph, float16"]
    assert max(differences.values()) == 0.0


@pytest.mark.parametrize(("value", "wanted"), [("1", False), ("0", True), ("", True), (None, True)])
def test_progress_is_drawn_unless_the_environment_says_quiet(monkeypatch, value, wanted):
    monkeypatch.delenv("WORKBOOK_QUIET")
    if value is not None:
        monkeypatch.setenv("WORKBOOK_QUIET", value)
    assert progress_wanted() is wanted


def test_environment_tells_this_machine(monkeypatch):
    monkeypatch.setattr(environment_module, "gpus_seen_by", lambda framework: f"the one that {framework} sees")
    stamp = environment()
    assert stamp["python"] == platform.python_version()
    assert torch.__version__.startswith(stamp["torch"])
    assert stamp["numpy"] == np.__version__
    assert stamp["cores"].startswith(f"{os.cpu_count()} ")
    assert stamp["PyTorch's GPU"] == "the one that torch sees"
    assert stamp["TensorFlow's GPU"] == "the one that tensorflow sees"
    assert all(isinstance(value, str) and value for value in stamp.values())


def test_the_last_cache_is_the_largest_that_is_listed(tmp_path):
    assert environment_module.last_level_cache(tmp_path) is None
    for number, size in enumerate(("32K\n", "32K\n", "512K\n", "32768K\n")):
        (tmp_path / f"index{number}").mkdir()
        (tmp_path / f"index{number}" / "size").write_text(size)
    assert environment_module.last_level_cache(tmp_path) == 32 * 2**20


def test_a_missing_library_is_said_to_be_missing(monkeypatch):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert environment()["tensorflow"] == "not installed"


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_each_framework_is_asked_in_a_process_of_its_own_where_there_is_a_driver(monkeypatch, framework):
    gpus_seen_by = environment_module.gpus_seen_by.__wrapped__
    monkeypatch.setattr(environment_module.shutil, "which", lambda _: None)
    monkeypatch.setattr(environment_module.os.path, "exists", lambda _: False)
    assert gpus_seen_by(framework) == "none"
    asked = []
    monkeypatch.setattr(environment_module.shutil, "which", lambda name: name)
    run = environment_module.subprocess.run
    monkeypatch.setattr(environment_module.subprocess, "run", lambda *a, **k: asked.append(run(*a, **k)) or asked[0])
    found = gpus_seen_by(framework)
    assert asked[0].returncode == 0, asked[0].stderr
    assert "GPUS:" in asked[0].stdout
    assert found
