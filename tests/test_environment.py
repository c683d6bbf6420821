"""Seeds, device, threads, files written whole, and the stamp of the machine."""

import importlib.metadata
import os
import platform
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from utils.environment import environment, environment_stamp, pick_device, progress_wanted, seed_everything
from utils.environment import torch_threads as threads
from utils.files import replace_file


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - the global generator is meant


def test_one_seed_repeats_every_generator():
    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


@pytest.mark.parametrize("seed", [0, np.int64(5), 2**32 - 1])
def test_every_legal_seed_is_accepted(seed):
    seed_everything(seed)


@pytest.mark.parametrize(
    ("seed", "error"),
    [(-1, ValueError), (2**32, ValueError), (1.0, TypeError), ("0", TypeError), (None, TypeError), (True, TypeError)],
)
def test_bad_seed_is_named(seed, error):
    with pytest.raises(error, match="seed must be"):
        seed_everything(seed)


@pytest.mark.parametrize(("cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_if_there_is_one(monkeypatch, cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert pick_device() == torch.device(expected)


@pytest.mark.parametrize(("name", "expected"), [("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cuda:2", "cpu")])
def test_a_gpu_is_given_only_if_it_exists(monkeypatch, capsys, name, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(name) == torch.device(expected)
    assert (f"no device {name}" in capsys.readouterr().out) == (expected == "cpu")


def test_without_a_gpu_the_cpu_is_used_and_the_reader_told(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("cuda") == torch.device("cpu")
    assert "computing on the CPU" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gpu", "", "CPU", None, 1.5])
def test_unknown_device_is_refused(name):
    with pytest.raises(ValueError, match="device must be"):
        pick_device(name)


def test_thread_count_is_set_and_restored():
    with threads(2):
        with threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2


def test_thread_count_is_restored_after_an_exception():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("count", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), ("1", TypeError), (True, TypeError)]
)
def test_bad_thread_count_is_refused_and_nothing_changes(count, error):
    before = torch.get_num_threads()
    with pytest.raises(error, match="count must be"), threads(count):
        pass
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("value", "wanted"), [("1", False), ("yes", False), ("0", True), ("", True), (None, True)])
def test_progress_is_drawn_unless_the_environment_says_quiet(monkeypatch, value, wanted):
    monkeypatch.delenv("WORKBOOK_QUIET")
    if value is not None:
        monkeypatch.setenv("WORKBOOK_QUIET", value)
    assert progress_wanted() is wanted


def test_replace_file_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.txt"
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_replace_file_keeps_the_earlier_content_if_writing_stops_half_way(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"first")

    def write_half(self, content):
        with open(self, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_environment_tells_this_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    stamp = environment()
    assert stamp["python"] == platform.python_version()
    assert torch.__version__.startswith(stamp["torch"])
    assert stamp["numpy"] == np.__version__
    assert stamp["cores"].startswith(f"{os.cpu_count()} ")
    assert stamp["gpu"].startswith("none")
    assert all(isinstance(value, str) and value for value in stamp.values())


def test_a_missing_library_is_said_to_be_missing(monkeypatch):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert environment()["tensorflow"] == "not installed"


def test_environment_stamp_has_an_aligned_line_for_each_fact(monkeypatch):
    monkeypatch.setattr(environment, "environment", lambda: {"gpu": "none", "instruction_sets": "avx2"})
    gpu, sets = environment_stamp().splitlines()
    assert gpu.split() == ["gpu", "none"]
    assert sets.split() == ["instruction", "sets", "avx2"]
    assert gpu.index("none") == sets.index("avx2")


def test_a_temporary_folder_is_gone_when_its_process_ends():
    script = """
from utils.files import temporary_folder
folders = temporary_folder(), temporary_folder()
(folders[0] / "below").mkdir()
(folders[0] / "below" / "file").touch()
print(*folders, sep="\\n")
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    first, second = map(Path, said.splitlines())
    assert first != second
    assert not first.exists()
    assert not second.exists()
