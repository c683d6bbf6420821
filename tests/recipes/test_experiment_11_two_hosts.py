"""Two hosts: refused with a reason where the machine does not allow them, and where it does, they train as one."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from utils import two_hosts
from utils.datasets import load
from utils.experiment_files import read_experiment
from utils.recipes import experiment_11_two_hosts as experiment

STEPS = 3


def test_the_table_holds_what_the_lesson_says_of_it():
    _, rows = read_experiment(experiment.NAME)
    found = {(row["megabits"], row["way"]): row for row in rows}
    assert list(found) == [(megabits, way) for megabits in experiment.MEGABITS for way in two_hosts.WAYS]
    whole, *compressed = two_hosts.WAYS

    def times_as_long(megabits):
        return [found[megabits, whole]["seconds"] / found[megabits, way]["seconds"] for way in compressed]

    assert max(times_as_long(10_000) + times_as_long(3_000)) < 1.05
    assert 2.6 < min(times_as_long(300)) < max(times_as_long(300)) < 3.5
    assert 6.5 < min(times_as_long(100)) < max(times_as_long(100)) < 8.5
    assert found[100, whole]["bytes"] == pytest.approx(1.7e6, rel=0.02)
    losses = [{round(found[megabits, way]["loss"], 2) for megabits in experiment.MEGABITS} for way in two_hosts.WAYS]
    assert losses == [{2.16}, {2.23}, {2.21}], "the link changes none"


@pytest.fixture(scope="module")
def images_and_labels():
    split = load("mnist").train.take(two_hosts.WORKERS * two_hosts.BATCH * STEPS)
    return split.images, split.labels


def test_without_the_commands_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda command: None if command == "tc" else command)
    monkeypatch.setattr(subprocess, "run", None)  # must not be called
    with pytest.raises(experiment.NoNamespacesError, match="no command 'tc': install iproute2"):
        experiment.on_two_hosts([1000])


def test_where_it_is_not_allowed_it_says_so_and_cleans_up(monkeypatch):
    asked = []

    def run(command, **_):
        asked.append(" ".join(command))
        refused = "add" in command
        return SimpleNamespace(returncode=int(refused), stderr="Operation not permitted" if refused else "")

    monkeypatch.setattr(shutil, "which", lambda command: command)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(experiment.NoNamespacesError, match="ip netns add workbook-a`: Operation not permitted"):
        experiment.on_two_hosts([1000])
    assert asked[-2:] == ["ip netns delete workbook-a", "ip netns delete workbook-b"]


def test_silent_training_sends_nothing_and_whole_gradients_are_sent_once(images_and_labels):
    silent = two_hosts.train(*images_and_labels, "whole", steps=2, silent=True)
    whole = two_hosts.train(*images_and_labels, "whole", steps=2)
    assert silent["bytes"] == 0
    assert whole["bytes"] == 4 * 431_080  # N = 2: a ring sends one vector
    assert silent["loss"] == whole["loss"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="namespaces take root on Linux")
def test_two_hosts_train_as_one_and_a_slow_link_takes_longer(images_and_labels):
    try:
        rows = experiment.on_two_hosts([1000, 20], steps=STEPS)
    except experiment.NoNamespacesError as error:
        pytest.skip(str(error))
    assert [row["way"] for row in rows] == 2 * list(two_hosts.WAYS)
    for row in rows:
        alone = two_hosts.train(*images_and_labels, row["way"], steps=STEPS)
        assert row["bytes"] == alone["bytes"]
        assert row["loss"] == pytest.approx(alone["loss"], abs=1e-4)
    fast, slow = rows[0], rows[len(two_hosts.WAYS)]
    # 1.7 MB each way at 20 Mbit/s take 0.69 s at least, less what the filter lets pass at once
    assert slow["seconds"] - slow["computing"] > 0.5
    assert slow["seconds"] > fast["seconds"]
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "workbook" not in left
