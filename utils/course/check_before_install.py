"""Say in one sentence what is missing before anything is installed: what the Makefile runs first.

``python3 -I utils/course/check_before_install.py`` says nothing where the course can be installed. There is no
environment yet and any Python may be the one at hand, so this file imports nothing but the standard library and runs
from Python 3.6 on; ``-I`` keeps the files beside it from being taken for the standard library's.
"""

import importlib.util
import platform
import struct
import sys
import sysconfig
from typing import NamedTuple

OLDEST, NEWEST = (3, 11), (3, 13)
PROCESSORS = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",), "Windows": ("amd64",)}


class Machine(NamedTuple):
    """What decides whether the wheels fit: the Python that will be used, and the system it runs on."""

    python: tuple  # (3, 11, 2)
    bits: int  # of this Python; a 64-bit system can run a 32-bit one
    system: str  # "Linux", "Darwin" or "Windows"
    processor: str  # that Python was built for, such as "x86_64"
    release: tuple  # of macOS, such as (14, 5), or of glibc, such as (2, 36); empty where there is neither
    has_ensurepip: bool


def this_machine() -> Machine:
    """Return what this Python and this system are."""
    system, processor, release = platform.system(), platform.machine(), ""
    if system == "Windows":
        processor = sysconfig.get_platform().split("-")[-1]  # amd64 or arm64; platform.machine() names the hardware
    elif system == "Darwin":
        release = platform.mac_ver()[0]
    elif platform.libc_ver()[0] == "glibc":
        release = platform.libc_ver()[1]
    numbers = tuple(int(part) for part in release.split(".") if part.isdigit())
    ensurepip = importlib.util.find_spec("ensurepip") is not None
    return Machine(sys.version_info[:3], 8 * struct.calcsize("P"), system, processor, numbers, ensurepip)


def what_is_missing(machine: Machine) -> str:
    """Return what is needed, what is here instead, and what to do about it; "" where nothing is missing.

    >>> what_is_missing(Machine((3, 12, 1), 64, "Linux", "x86_64", (2, 36), True))
    ''
    """
    version, release = (".".join(str(number) for number in each) for each in (machine.python, machine.release))
    if not OLDEST <= machine.python[:2] <= NEWEST:
        return f"Python 3.11, 3.12 or 3.13 is needed, and this is {version}; try: make PYTHON=python3.12 ..."
    if machine.bits != 64:
        return (
            f"A 64-bit Python is needed, and this one has {machine.bits} bits: PyTorch has no wheel for it; "
            "install a 64-bit Python, or use a 64-bit machine."
        )
    processor = machine.processor.lower()
    if machine.system == "Darwin" and processor != "arm64":
        return (
            "A Mac with Apple silicon is needed, and this Python is for Intel: PyTorch has no wheel for it; "
            "on Apple silicon install the arm64 Python, on an Intel Mac use another machine."
        )
    if machine.system == "Darwin" and machine.release < (14,):
        return (
            f"macOS 14 or newer is needed, and this is macOS {release}: PyTorch has no wheel for it; "
            "update macOS, or use another machine."
        )
    if processor not in PROCESSORS.get(machine.system, ()):
        return (
            "Linux on x86-64 or aarch64, macOS on Apple silicon or Windows on x86-64 is needed, and this is "
            f"{machine.system} on {machine.processor}: PyTorch has no wheel for it; use another machine."
        )
    if machine.system == "Linux" and machine.release < (2, 28):
        return (
            f"glibc 2.28 or newer is needed, and this system has {'glibc ' + release if release else 'none'}: the "
            "wheels do not run on it; use a newer Linux, such as Debian 12 or Ubuntu 22.04, or a container of one."
        )
    if not machine.has_ensurepip:
        return (
            f"The package python3-venv is needed, and Debian's Python {version} came without it; "
            "install it: sudo apt-get install python3-venv"
        )
    return ""


if __name__ == "__main__":
    sys.exit(what_is_missing(this_machine()) or 0)
