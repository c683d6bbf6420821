"""The long experiment of notebook 02: its controls of the sizes it says, and trained as it says."""

import pytest
import torch

from utils import pruning
from utils.accounting import saved_bytes
from utils.experiment_files import condition, read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_02_controls as controls


def test_a_tenth_of_the_weights_stays_and_as_many_of_each_layer_by_chance():
    pruned, first, second = controls.masks("pruned", 0), *(controls.masks("random places", k) for k in (0, 1))
    assert pruning.mask_sparsity(pruned) == pytest.approx(controls.SPARSITY)
    for name, mask in pruned.items():
        assert mask.sum() == first[name].sum() == second[name].sum()
        assert not torch.equal(mask, first[name])
        assert not torch.equal(first[name], second[name])


def test_the_small_dense_network_fills_the_bytes_of_the_pruned_one():
    kept = controls.masks("pruned", 0)
    described = sum(pruning.bitmask_bytes(*mask.shape, int(mask.sum())) for mask in kept.values()) + 4 * 410
    assert saved_bytes(controls.small_dense(0)) == pytest.approx(described, rel=0.01)
    assert saved_bytes(load_checkpoint(controls.SOURCE)) > 7 * described


def test_only_the_seed_differs():
    assert {**vars(controls.recipe(0)), "seed": 1} == vars(controls.recipe(1))


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("way", controls.WAYS)
def test_a_row_trained_again_is_the_stored_one(way):
    _, rows = read_experiment(controls.NAME)
    row = next(row for row in rows if row["way"] == way and row["seed"] == 0)
    assert controls.train(**condition(row)) == pytest.approx(row["error"], abs=0.5), "another processor rounds so"
