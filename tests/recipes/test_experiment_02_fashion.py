"""The long experiment of notebook 02 on two data sets: cut as it says, and trained as it says."""

import pytest
import torch

from utils import pruning
from utils.experiment_files import condition, read_experiment
from utils.models import LeNet300100
from utils.recipes import experiment_02_fashion as fashion


@pytest.mark.parametrize("data_set", fashion.DATA_SETS)
def test_a_cut_leaves_the_share_it_says_and_the_dense_network_whole(monkeypatch, data_set):
    torch.manual_seed(0)
    dense = LeNet300100()
    seen = {}

    def note(network, name):
        weights = pruning.prunable(network)
        seen[name] = pruning.mask_sparsity({key: weight.detach() != 0 for key, weight in weights.items()})
        return 0.0

    monkeypatch.setattr(fashion, "dense_network", lambda *_: dense)
    monkeypatch.setattr(fashion, "error", note)
    fashion.cut(data_set, 0.9, False, 0)
    assert seen == {data_set: pytest.approx(0.9, abs=1e-5)}
    assert all((weight != 0).all() for weight in pruning.prunable(dense).values())


def test_only_the_seed_differs():
    assert {**vars(fashion.recipe(0)), "seed": 1} == vars(fashion.recipe(1))


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("data_set", fashion.DATA_SETS)
def test_a_row_trained_again_is_the_stored_one(data_set):
    _, rows = read_experiment(fashion.NAME)
    wanted = {"data_set": data_set, "sparsity": 0.9, "trained": True, "seed": 0}
    row = next(row for row in rows if condition(row) == wanted)
    assert fashion.cut(**wanted) == pytest.approx(row["error"], abs=1.0), "another processor rounds otherwise"
