"""Make a sandbox without bubblewrap; started by `unshare`, alone in new namespaces, and imports nothing of the course.

Of the machine's files only the named folders stay, read-only; then all rights are given up and the command is executed.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

_MOUNT_SETATTR, _HERE, _RECURSIVE = 442, -100, 0x8000  # the same number on every architecture
_READ_ONLY, _NO_SETUID = 1, 2
_DEVICES = ("null", "zero", "random", "urandom")


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _make_read_only(path: Path, flags: int = _RECURSIVE) -> None:
    class Attributes(ctypes.Structure):
        _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))

    attributes = Attributes(_READ_ONLY | _NO_SETUID, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = _HERE, os.fsencode(path), flags, ctypes.byref(attributes), ctypes.sizeof(attributes)
    if libc.syscall(_MOUNT_SETATTR, *arguments):
        raise OSError(ctypes.get_errno(), f"{path} cannot be made read-only: Linux 5.12 or later is needed")


def _bind(path: Path, inside: Path) -> None:
    _mount("--rbind", path, inside)
    _make_read_only(inside)


def main() -> None:
    """Read from the argument what is seen, the scratch folder's size, the rights and the command, and become that."""
    about = json.loads(sys.argv[1])
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    seen = [Path(each) for each in about["seen"]]
    empty = (Path(each) for each in ("/mnt", "/media", "/srv", "/opt", "/var"))
    root = next(each for each in empty if each.is_dir() and not any(path.is_relative_to(each) for path in seen))
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root)
    for name in ("tmp", "dev/shm"):  # first: the course may lie below one of them
        (root / name).mkdir(parents=True)
        _mount("-t", "tmpfs", "-o", f"size={about['scratch']},mode=1777", "tmpfs", root / name)
    for path in seen:
        inside = root / path.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            inside.symlink_to(os.readlink(path))
            continue
        inside.mkdir() if path.is_dir() else inside.touch()
        _bind(path, inside)
    hidden, shown = (root / Path(about[name]).relative_to("/") for name in ("hidden", "shown"))
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", hidden)
    shown.touch()
    _bind(Path(about["shown"]), shown)
    _make_read_only(hidden)
    (root / "proc").mkdir()
    _mount("-t", "proc", "proc", root / "proc")
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _mount("--bind", f"/dev/{name}", root / "dev" / name)
    os.chdir(root)
    _make_read_only(root, 0)
    subprocess.run(["pivot_root", ".", "."], check=True)
    subprocess.run(["umount", "-l", "."], check=True)
    os.chdir("/tmp")
    privileges = ["setpriv", f"--bounding-set={about['rights']}", "--inh-caps=-all", "--no-new-privs"]
    os.execvp("setpriv", [*privileges, *about["command"]])


if __name__ == "__main__":
    main()
