"""The second experiment of notebook 20: whole, not stale, and what it calls agreement."""

import pytest
import torch

from utils.experiment_files import read_experiment
from utils.recipes import experiment_20_distilled as experiment
from utils.transformer import load_transformer


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(experiment.NAME)
    assert about["digest"] == experiment.digest(), "run `python -m utils experiments 20_distilled` again"
    wanted = list(experiment.conditions(rows))
    assert len(rows) == len(wanted)
    assert all(each.items() <= row.items() for each, row in zip(wanted, rows, strict=True))


def test_a_network_agrees_with_itself_and_hardly_with_one_that_knows_nothing():
    teacher = load_transformer(experiment.TEACHER)
    assert experiment.agreement(teacher) == pytest.approx(1, abs=1e-4)
    blank = load_transformer(experiment.STUDENT)
    torch.nn.init.zeros_(blank.head.weight)
    assert experiment.agreement(blank) < 0.3
