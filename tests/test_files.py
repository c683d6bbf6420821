"""Files are written whole or not at all, and temporary folders go with their process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.files import replace_file


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
