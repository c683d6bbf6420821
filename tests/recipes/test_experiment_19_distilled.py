"""The second experiment of notebook 19: whole, and its networks are of the sizes that it says."""

import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_19_distilled as smaller
from utils.recipes import experiment_19_one_shot as one_shot
from utils.transformer_pruning import sparsity_of_blocks, without_branches


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(smaller.NAME)
    assert about["digest"] == smaller.digest(), "run `python -m utils experiments 19_distilled` again"
    assert [condition(row, "nats") for row in rows] == smaller.conditions()
    assert all(len(row["nats"]) == one_shot.PARTS for row in rows)


def test_each_set_is_a_quarter_of_the_weights_and_no_branch_of_it_is_spare():
    model = one_shot.network()
    blocks = smaller.count(model.blocks)
    assert len(set(map(frozenset, smaller.sets()))) == 10 + 30 + 1
    for gone in smaller.sets():
        assert 0.25 <= 1 - smaller.count(without_branches(model, gone).blocks) / blocks < 0.28
        for spared in gone:
            fewer = [branch for branch in gone if branch != spared]
            assert 1 - smaller.count(without_branches(model, fewer).blocks) / blocks < 0.25


def test_the_twins_have_as_many_parameters():
    shallow, narrow = smaller.shallower(one_shot.network()), smaller.narrower()
    assert smaller.count(narrow) == pytest.approx(smaller.count(shallow), rel=0.005)
    assert smaller.chosen() in smaller.sets()


@pytest.mark.slow
@pytest.mark.parametrize("way", smaller.SMALL)
def test_a_step_of_each_way_changes_the_network(way):
    model = smaller.train_small(way, 0, steps=1)
    assert torch.isfinite(model.head.weight).all()
    assert all(module.p == smaller.DROPOUT for module in model.modules() if isinstance(module, torch.nn.Dropout))


@pytest.mark.slow
@pytest.mark.parametrize(("way", "zeros"), [("dense", 0.0), ("magnitude", 0.7)])
def test_masked_training_keeps_the_zeros(way, zeros):
    model = smaller.train_masked(way, 0, steps=1)
    assert sparsity_of_blocks(model) == pytest.approx(zeros, abs=0.001)
    assert any((a != b).any() for a, b in zip(model.parameters(), one_shot.network().parameters(), strict=True))
