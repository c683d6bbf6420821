"""The experiment of notebook 21: whole, not stale, and fair to the network that shares nothing."""

import torch

from utils.experiment_files import read_experiment
from utils.recipes import experiment_21_shared_keys as shared
from utils.transformer import load_transformer


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(shared.NAME)
    assert about["digest"] == shared.digest(), "run `python -m utils experiments 21_shared_keys` again"
    assert [shared.Condition(**{name: row[name] for name in shared.Condition._fields}) for row in rows] == (
        shared.conditions()
    )
    assert all(len(row["nats"]) == shared.PARTS for row in rows)


def test_the_control_is_trained_on_as_long_as_the_others():
    trained = [each for each in shared.conditions() if each.steps]
    for heads in (5, 2, 1):
        assert {(each.steps, each.seed) for each in trained if each.key_heads == heads} == {
            (shared.STEPS, seed) for seed in shared.SEEDS
        }


def test_without_training_and_sharing_it_is_the_shipped_network():
    tokens = torch.arange(30)[None]
    with torch.no_grad():
        received = shared.trained_on(shared.Condition(5, "mean", 0, 0))(tokens)
        assert torch.equal(received, load_transformer(shared.CHECKPOINT)(tokens))
