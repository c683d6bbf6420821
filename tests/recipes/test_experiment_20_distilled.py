"""The second experiment of notebook 20: whole, not stale, and its measure of agreement."""

from itertools import product

import torch

from utils.experiment_files import read_experiment
from utils.recipes import experiment_20_distilled as experiment
from utils.transformer import load_transformer


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(experiment.NAME)
    assert about["digest"] == experiment.digest(), "run `python -m utils experiments 20_distilled` again"
    wanted = list(experiment.conditions(rows))
    assert [{name: row[name] for name in ("way", "rate", "seed")} for row in rows] == wanted
    assert set(about["before"]) == {experiment.TEACHER, experiment.STUDENT}


def test_each_way_takes_its_own_best_rate():
    rows = [
        {"way": way, "rate": rate, "seed": experiment.CHOOSING_SEED, "nats": abs(rate - best)}
        for (way, best), rate in product({"labels": 5e-5, "distilled": 8e-4}.items(), experiment.TRIED)
    ]
    assert experiment.chosen_rates(rows) == {"labels": 5e-5, "distilled": 8e-4}


def test_agreement_is_one_for_the_teacher_itself_and_little_for_a_network_that_knows_nothing():
    teacher = load_transformer(experiment.TEACHER)
    assert abs(experiment.agreement(teacher) - 1) < 1e-4
    untrained = load_transformer(experiment.STUDENT)
    torch.nn.init.zeros_(untrained.head.weight)  # says 1 / 65 for each character
    assert experiment.agreement(untrained) < 0.3
