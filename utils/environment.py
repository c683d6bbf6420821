"""Seeds, device, threads, and the stamp of the machine."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from utils.input_validation import require_seed

if TYPE_CHECKING:
    import torch

QUIET_VARIABLE = "WORKBOOK_QUIET"
"""Set to 1 by the runner and by the tests: no progress bars, since outputs are stored or compared."""

SIDE_BY_SIDE_VARIABLE = "WORKBOOK_SIDE_BY_SIDE"
"""Set to 1 by the tests that run two notebooks at a time, which disturb each other's clocks."""


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and the framework that computes here, PyTorch (every device) or Keras, with one number.

    Two runs of one configuration on one machine are then bit-identical; another processor or thread count may still
    change the last bits, so trained numbers are compared by tolerance only.

    Args:
        seed: from 0 to 2**32 - 1, the range NumPy accepts.

    >>> import torch
    >>> seed_everything(0); first = torch.rand(1)
    >>> seed_everything(0); bool(first == torch.rand(1))
    True
    """
    seed = require_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that still draw from the global generator
    if computes_with_tensorflow():
        sys.modules["keras"].utils.set_random_seed(seed)
        return
    import torch

    torch.manual_seed(seed)


def computes_with_tensorflow() -> bool:
    """Tell whether this process has loaded TensorFlow and not PyTorch: one kernel never loads both."""
    return {"tensorflow", "keras"} <= sys.modules.keys() and "torch" not in sys.modules


def pick_device(name: str = "auto") -> "torch.device":
    """Return the device to compute on; where the one asked for is missing, say so and return the CPU.

    Args:
        name: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps", ...

    >>> pick_device("cpu")
    device(type='cpu')
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f'device must be "auto", "cpu", "cuda", "cuda:N" or "mps", got {name!r}') from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        print(f"There is no device {name} on this machine: computing on the CPU instead.")
        return torch.device("cpu")
    return device


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads inside the block and restore the earlier number after it, whatever happens.

    >>> import torch
    >>> with torch_threads(1):
    ...     torch.get_num_threads()
    1
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products and convolutions on a GPU in float32 inside the block, and restore the setting after it.

    By default PyTorch lets a GPU's convolutions round their inputs to TF32, which keeps 10 of the 23 bits of a
    mantissa: enough to train, but not for outputs that must be the CPU's to a hundred-thousandth.

    >>> import torch
    >>> with full_float32():
    ...     torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    (False, False)
    """
    import torch

    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = False
        yield
    finally:
        for setting, allowed in zip(settings, before, strict=True):
            setting.allow_tf32 = allowed


def progress_wanted() -> bool:
    """Tell whether a progress bar may be drawn: not where outputs are stored or compared."""
    return os.environ.get(QUIET_VARIABLE, "") in ("", "0")


def side_by_side() -> bool:
    """Tell whether another notebook runs at the same time, which makes every measured time unreliable."""
    return os.environ.get(SIDE_BY_SIDE_VARIABLE, "") not in ("", "0")


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a training run depends on, for the card of a checkpoint.

    >>> sorted(library_versions())
    ['numpy', 'safetensors', 'torch']
    """
    return {package: importlib.metadata.version(package) for package in ("torch", "numpy", "safetensors")}


@functools.cache
def processor() -> tuple[str, frozenset[str]]:
    """Return the processor's name and its flags, such as "avx2": what decides which kernels run."""
    import cpuinfo  # takes a second, so only when it is asked for

    info = cpuinfo.get_cpu_info()
    return info.get("brand_raw") or platform.machine(), frozenset(info.get("flags", ()))


def last_level_cache(caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """Return the bytes of the largest cache that the first core reaches, as Linux lists it; elsewhere None.

    A virtual machine may list what is not there, or share it with others.
    """
    kilobytes = [int(path.read_text().strip().removesuffix("K")) for path in caches.glob("index*/size")]
    return 1024 * max(kilobytes) if kilobytes else None


INSTRUCTION_SETS = (
    *("avx2", "fma", "avx512f", "avx512vnni", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm"),
)
"""The flags that the stamp of a machine names, of those that it has."""

_LIST_GPUS = {
    "torch": "import torch; names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]",
    "tensorflow": "import tensorflow as tf; names = [d.name for d in tf.config.list_physical_devices('GPU')]",
}


@functools.cache
def gpus_seen_by(framework: str) -> str:
    """Return the names of the GPUs that "torch" or "tensorflow" can compute on, or "none".

    The two are built for different versions of CUDA, so that one may see a GPU that the other does not. Each is asked
    in a process of its own, since no process loads both; where there is no driver nothing is asked.
    """
    driver = shutil.which("nvidia-smi") or os.path.exists("/proc/driver/nvidia")
    if not driver:
        return "none"
    code = f"{_LIST_GPUS[framework]}; print('GPUS:' + ', '.join(names))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found = [line.removeprefix("GPUS:") for line in done.stdout.splitlines() if line.startswith("GPUS:")]
    return "".join(found) or "none"


def _threads() -> str:
    if computes_with_tensorflow():
        count = sys.modules["tensorflow"].config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
        return f"{count} threads used by TensorFlow"
    import torch

    return f"{torch.get_num_threads()} threads used by PyTorch"


def environment() -> dict[str, str]:
    """Return what a reader needs to know about this machine to judge a measurement on it.

    Keys: processor, instruction_sets, cores, memory, the GPUs that each framework sees, system, python, and the version
    of each main library.

    >>> environment()["python"] == platform.python_version()
    True
    """
    name, flags = processor()
    stamp = {
        "processor": name,
        "instruction_sets": " ".join(flag for flag in INSTRUCTION_SETS if flag in flags) or "not known",
        "cores": f"{os.cpu_count()} ({_threads()})",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "PyTorch's GPU": gpus_seen_by("torch"),
        "TensorFlow's GPU": gpus_seen_by("tensorflow"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in ("torch", "torchvision", "tensorflow", "keras", "numpy"):
        try:
            stamp[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            stamp[package] = "not installed"
    return stamp


def environment_stamp() -> str:
    """Return `environment()` as aligned lines of text, to print at the top of a notebook or a report."""
    return "\n".join(f"{key.replace('_', ' '):<17}{value}" for key, value in environment().items())
