"""The long experiments of notebook 05: trained as they say."""

import pytest
import torch

from utils import pruning
from utils.__main__ import main
from utils.experiment_files import read_experiment
from utils.models import LeNet300100
from utils.recipes import experiment_05_schedules as schedules


def test_the_command_lists_the_experiments_and_refuses_unknown_ones(capsys):
    assert main(["experiments"]) == 0
    assert schedules.NAME in capsys.readouterr().out
    assert main(["experiments", "05_schedule"]) == 2
    assert "there is no experiment '05_schedule'; there are: " in capsys.readouterr().err


def test_masks_hold_from_the_step_that_a_ticket_goes_back_to():
    network = LeNet300100()
    masks = pruning.global_magnitude_masks(network, 0.9)
    hook = schedules.from_step(network, masks, 3)
    for step, wanted in enumerate((0.0, 0.0, 0.9)):
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(1.0)
        hook(step)
        zeros = pruning.mask_sparsity({n: w.detach() != 0 for n, w in pruning.prunable(network).items()})
        assert zeros == pytest.approx(wanted, abs=1e-5), "dense after one and two updates, masked after the third"


@pytest.mark.parametrize(
    ("pattern", "sparsity"), [("dense", 0), ("2:4", 0.5), ("50 % of each layer", 0.5), ("1:4", 0.75)]
)
def test_a_pattern_has_its_sparsity_in_every_layer(pattern, sparsity):
    for mask in schedules.pattern_masks(LeNet300100(), pattern).values():
        assert pruning.mask_sparsity({"": mask}) == pytest.approx(sparsity)


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("experiment", sorted(schedules.EXPERIMENTS_OF_05))
def test_a_row_trained_again_is_the_stored_one(experiment):
    _, rows = read_experiment(schedules.NAME)
    row = next(row for row in rows if row["experiment"] == experiment)
    assert schedules.measure(row) == pytest.approx(row["error"], abs=1.0), "another processor rounds otherwise"
