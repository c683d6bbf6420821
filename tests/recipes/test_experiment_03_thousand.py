"""The long experiment of notebook 03 on repair: its images, its least squares, and a row made again."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_03_thousand as thousands


def test_no_image_is_in_two_thousands_or_in_both_halves_of_validation():
    numbers = (thousands.CHOOSES, *thousands.THOUSANDS)
    images = [thousands.thousand(number).images for number in numbers]
    assert all(len(each) == thousands.IMAGES for each in images)
    starts = sorted(each.storage_offset() for each in images)  # views of one tensor
    assert all(b - a == images[0].numel() for a, b in itertools.pairwise(starts))
    first, second = (thousands.half(number).images for number in (0, 1))
    assert first.storage_offset() + first.numel() == second.storage_offset()


def test_the_undamped_repair_is_least_squares():
    images = thousands.thousand(1).images
    dense, _, kept = thousands.cut()
    network = thousands.repaired(images, 0.0, towards_old=False)
    with torch.no_grad():
        given = F.pad(thousands.read_by(network, images)["conv2"], (0, 1), value=1.0)
        wanted = thousands.said_by(dense, images)["conv2"][:, kept["conv2"]]
    expected = torch.linalg.lstsq(given.double(), wanted.double()).solution
    found = torch.cat([network.conv2.weight.flatten(1), network.conv2.bias[:, None]], dim=1).T
    assert torch.allclose(given.double() @ found.double(), given.double() @ expected, atol=1e-2)


@pytest.mark.parametrize("towards_old", [False, True])
def test_damping_without_end_gives_what_it_pulls_towards(towards_old):
    network = thousands.repaired(thousands.thousand(1).images, 1e6, towards_old=towards_old)
    _, narrow, _ = thousands.cut()
    for name in ("conv2", "fc1", "fc2"):
        weight = network.get_submodule(name).weight
        target = narrow.get_submodule(name).weight if towards_old else torch.zeros_like(weight)
        assert torch.allclose(weight, target, atol=1e-3)


def test_every_setting_that_was_chosen_was_tried():
    for way, settings in thousands.SETTINGS.items():
        assert thousands.chosen(way) in settings
        assert len(thousands.errors(way)) == len(thousands.THOUSANDS)


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("way", ["repair towards zero", "repair towards the old weights", "labels, four passes"])
def test_a_row_made_again_is_the_stored_one(way):
    _, rows = read_experiment(thousands.NAME)
    row = next(row for row in rows if row["way"] == way and row["number"] == 1)
    assert thousands.measure(**condition(row)) == pytest.approx(row["error"], abs=1.0), "another processor rounds so"
