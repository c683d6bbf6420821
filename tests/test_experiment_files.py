"""Tables of long experiments: read as written, and a digest that notices what matters and nothing else."""

import functools
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


def test_an_interrupted_experiment_goes_on_and_another_digest_begins_anew(tmp_path):
    asked = []

    def measure(wanted):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(wanted)
        return 10.0 + wanted["seed"]

    conditions = [{"seed": seed} for seed in range(3)]
    with pytest.raises(KeyboardInterrupt):
        experiment_files.complete("09_x", "a", conditions, measure, folder=tmp_path)
    line = experiment_files.complete("09_x", "a", conditions, lambda wanted: 99.0, folder=tmp_path)
    _, rows = experiment_files.read_experiment("09_x", folder=tmp_path)
    assert [row["error"] for row in rows] == [10.0, 11.0, 99.0]
    assert line.startswith("09_x: 3 rows, ")
    experiment_files.complete("09_x", "b", conditions, lambda wanted: 1.0, folder=tmp_path)
    about, rows = experiment_files.read_experiment("09_x", folder=tmp_path)
    assert (about["digest"], [row["error"] for row in rows]) == ("b", [1.0, 1.0, 1.0])


def test_rows_that_need_earlier_ones_go_on_where_they_were_interrupted_and_another_digest_begins_anew(tmp_path):
    complete = functools.partial(experiment_files.complete_rows, folder=tmp_path)
    measured = []

    def measure(wanted):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(wanted["number"])
        return {**wanted, "nats": 1.0}

    def conditions(rows):
        yield {"number": 0}
        yield {"number": len(rows)}  # needs the first
        yield {"number": 7}

    with pytest.raises(KeyboardInterrupt):
        complete("some", {"digest": "one"}, conditions, measure)
    assert measured == [0, 1]
    measured.clear()
    assert complete("some", {"digest": "one"}, lambda _: iter([{"number": 0}, {"number": 7}]), measure)
    assert measured == [7]
    measured.clear()
    complete("some", {"digest": "two"}, lambda _: iter([{"number": 0}]), measure)
    assert measured == [0]
