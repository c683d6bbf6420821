"""The long experiment of notebook 03: trained as it says."""

import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_03_starts as starts


def test_both_starts_have_one_shape_and_only_new_weights_depend_on_the_seed():
    networks = {(way, seed): starts.start(way, seed) for way in starts.WAYS for seed in (0, 1)}
    assert len({sum(p.numel() for p in network.parameters()) for network in networks.values()}) == 1
    assert torch.equal(networks["L1", 0].conv1.weight, networks["L1", 1].conv1.weight)
    assert not torch.equal(networks["scratch", 0].conv1.weight, networks["scratch", 1].conv1.weight)


def test_what_is_inherited_are_filters_of_the_dense_network():
    dense = {tuple(kernel.flatten().tolist()) for kernel in load_checkpoint("LeNet5").conv1.weight}
    assert all(tuple(kernel.flatten().tolist()) in dense for kernel in starts.start("L1", 0).conv1.weight)


def test_the_control_sees_the_same_images_and_a_dense_network_of_its_own(monkeypatch):
    seen = []
    monkeypatch.setattr(starts, "fit", lambda network, images, recipe: seen.append((images, recipe)))
    starts.dense_of_the_same_images.cache_clear()
    first, second = (starts.start(starts.CONTROL, seed) for seed in (0, 1))
    starts.dense_of_the_same_images.cache_clear()
    assert not torch.equal(first.conv1.weight, second.conv1.weight)
    assert sum(p.numel() for p in first.parameters()) == sum(p.numel() for p in starts.start("L1", 0).parameters())
    assert [(len(images.labels), recipe.epochs, recipe.seed) for images, recipe in seen] == [
        (starts.TRAIN_IMAGES, starts.DENSE_EPOCHS, seed) for seed in (0, 1)
    ]


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("way", starts.WAYS)  # the control's dense networks take minutes
def test_a_row_trained_again_is_the_stored_one(way):
    _, rows = read_experiment(starts.NAME)
    row = next(row for row in rows if row["way"] == way and row["epochs"] == 2)
    assert starts.tune(**condition(row)) == pytest.approx(row["error"], abs=1.0), "another processor rounds so"
