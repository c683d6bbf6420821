"""Tables of long experiments: read as written, and a digest that notices what matters and nothing else."""

import inspect

import pytest

from utils import experiment_files
from utils.experiment_files import digest_of, read_experiment, write_experiment


def test_what_is_written_is_read(tmp_path):
    write_experiment(
        "05_tiny", {"digest": "d"}, [{"seed": 0, "error": 1.5}, {"seed": 1, "error": 2.0}], folder=tmp_path
    )
    assert read_experiment("05_tiny", folder=tmp_path) == (
        {"digest": "d"},
        [{"seed": 0, "error": 1.5}, {"seed": 1, "error": 2.0}],
    )


SOURCE = '''
def half(x):
    """Return a half."""
    if x < 0:
        raise ValueError(f"x must be positive, got {x}")
    return x / 2
'''


@pytest.mark.parametrize(
    ("old", "new", "the_same"),
    [
        ("a half", "one half of it", True),
        ("positive, got", "at least 0, got", True),
        ("return x / 2", "return x / 2  # not x // 2", True),
        ("x / 2", "x / 3", False),
        ("x < 0", "x <= 0", False),
        ("ValueError", "TypeError", False),
    ],
)
def test_the_digest_changes_with_what_the_code_does(monkeypatch, old, new, the_same):
    sources = iter([SOURCE, SOURCE.replace(old, new)])
    assert SOURCE.replace(old, new) != SOURCE
    monkeypatch.setattr(inspect, "getsource", lambda _: next(sources))
    assert (digest_of(["before"]) == digest_of(["after"])) is the_same


def test_the_digest_changes_with_a_file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"1")
    before = digest_of([experiment_files], [path])
    assert digest_of([experiment_files], [path]) == before
    path.write_bytes(b"2")
    assert digest_of([experiment_files], [path]) != before
