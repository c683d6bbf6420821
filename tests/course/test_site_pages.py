"""What the site's own pages are made of: the table of all records, and the networks and digits of "Draw a digit"."""

import json
import re

import pytest
import torch

from utils.course import site_networks
from utils.course.site_scoreboard import scoreboard_table
from utils.reference_runs import reference_runs
from utils.scoreboard import key_of

ROW = {
    "kind": "record",
    "notebook": "05_iterative_pruning",
    "technique": "iterative pruning",
    "model": "LeNet300100",
    "variant": "5 % & less",
    "family": "weights removed",
    "accuracy": 0.989,
    "bytes": 1_234_567,
    "latency_s": 2e-5,
    "epochs": 45.0,
}


def table(text):
    """Return the heads of a table, and for each row its cells as (value, text)."""
    head, body = text.split("<tbody>")
    rows = [re.findall(r'<td(?: data-value="([^"]*)")?>(?:<a [^>]*>)?([^<]*)', line) for line in body.split("<tr>")[1:]]
    return re.findall(r">([^<]+)</th>", head), rows


def test_the_machines_stand_side_by_side_and_a_record_of_one_alone_is_there():
    other = {**ROW, "variant": "2 %", "data_set": "fashion_mnist", "accuracy": None, "speedup": 1.5}
    runs = {
        "x86-64 new": ({"date": "2026-02-02"}, [ROW, {"kind": "claim"}]),
        "x86-64 old": ({"date": "2026-01-01"}, [{**ROW, "latency_s": 4e-5, "accuracy": 0.5}, other]),
    }
    heads, rows = table(scoreboard_table(runs))
    assert [len(row) for row in rows] == [len(heads)] * 2
    alone, both = (dict(zip(heads, row, strict=True)) for row in rows)
    assert both["test error, %"] == (str(100 * (1 - 0.989)), "1.10")  # the newest run's
    assert both["file, kB"] == ("1234.567", "1,235")
    assert [both[f"ms an image, {name}"][1] for name in ("NEW", "OLD")] == ["0.02", "0.04"]
    assert both["variant"] == ("5 % &amp; less", "5 % &amp; less")
    assert both["network"][1] == "LeNet-300-100"
    assert alone["data set"][1] == "Fashion-MNIST"
    assert alone["test error, %"] == alone["ms an image, NEW"] == ("", "")
    assert alone["times faster, OLD"] == ("1.5", "1.5")


def test_every_record_of_the_course_is_in_the_table():
    records = {key_of(row) for _, rows in reference_runs().values() for row in rows if row["kind"] == "record"}
    assert len(table(scoreboard_table())[1]) == len(records) > 50


def test_the_digits_shown_are_one_of_each_kind_and_some_on_which_the_networks_disagree():
    labels = torch.arange(10).repeat(3)
    first, second = labels.clone(), labels.clone()
    first[0] = second[0] = 5  # read wrongly by both: not shown
    second[[1, 25]] = 7
    chosen = site_networks._shown_digits({"a": first, "b": second}, labels)
    assert chosen == [10, 11, *range(2, 10), 1, 25]


def test_networks_that_are_there_are_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(site_networks, "load", lambda name: pytest.fail("nothing is to be done"))
    (tmp_path / site_networks.ABOUT).write_text(json.dumps({"digest": site_networks._digest()}))
    assert site_networks.write_networks(tmp_path) == tmp_path
    (tmp_path / site_networks.ABOUT).write_text(json.dumps({"digest": "another"}))
    with pytest.raises(pytest.fail.Exception):
        site_networks.write_networks(tmp_path)
