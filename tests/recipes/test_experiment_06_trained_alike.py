"""The long experiment of notebook 06: its starts of the sizes it says, and trained as it says."""

import pytest
import torch

from utils.accounting import count_parameters
from utils.experiment_files import condition, read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_06_trained_alike as alike


def test_the_three_small_starts_have_as_many_parameters():
    counts = {shape: count_parameters(alike.start(shape)) for shape in alike.SHAPES}
    assert counts["plain rank 21"] == counts["rank 21"]
    assert 0 <= counts["narrow"] - counts["rank 21"] < 100
    assert counts["dense"] > 4 * counts["narrow"]


def test_the_dense_start_is_the_checkpoint_and_the_cut_by_data_answers_nearly_so():
    images = alike.splits().validation.images[:200]
    dense = load_checkpoint(alike.LONG.source)
    assert torch.equal(alike.start("dense")(images), dense(images))
    agree = {
        shape: (alike.start(shape)(images).argmax(1) == dense(images).argmax(1)).float().mean()
        for shape in ("rank 21", "plain rank 21")
    }
    assert agree["plain rank 21"] < 0.9 < agree["rank 21"]


def test_the_plain_cut_has_the_best_weight_of_its_rank():
    weight = load_checkpoint(alike.LONG.source).fc1.weight
    distance = (alike.start("plain rank 21").fc1.merged().weight - weight).norm()
    discarded = torch.linalg.svdvals(weight)[alike.LONG.rank :].norm()
    assert distance.item() == pytest.approx(discarded.item(), rel=1e-4)


def test_only_the_seed_and_the_epochs_differ():
    one, other = alike.recipe(0, 2), alike.recipe(1, 8)
    assert {**vars(one), "seed": 0, "epochs": 0} == {**vars(other), "seed": 0, "epochs": 0}


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("shape", ["rank 21", "narrow"])
def test_a_row_trained_again_is_the_stored_one(shape):
    _, rows = read_experiment(alike.NAME)
    row = next(row for row in rows if row["shape"] == shape and row["epochs"] == 2)
    assert alike.tune(**condition(row)) == pytest.approx(row["error"], abs=0.5), "another processor rounds so"
