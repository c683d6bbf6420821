"""The long experiment of notebook 16 on distillation: measured as it says."""

import pytest
import torch

from utils.models import load_checkpoint
from utils.recipes import experiment_16_distillation as distilling
from utils.tiny_networks import Design, TinyNet, deployed_parameters
from utils.training import distillation


def test_the_student_is_within_a_thousand():
    assert deployed_parameters(Design.parse(distilling.DESIGN)) <= 1000


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 1.0), (4.0, 0.7), (8.0, 0.0)])
def test_the_loss_is_that_of_the_library(monkeypatch, temperature, share):
    images, labels = distilling.train_images().take(32)
    teacher, student = load_checkpoint("LiteNetMLP"), TinyNet(Design.parse(distilling.DESIGN)).eval()
    targets = torch.cat([labels.unsqueeze(1).float(), teacher(images).detach()], dim=1)
    ours = distilling.following(temperature, share)(student, images, targets)
    theirs = distillation(teacher, temperature=temperature, teacher_share=share)(student, images, labels)
    assert torch.allclose(ours, theirs, rtol=1e-4)


def test_exchanged_answers_are_all_there_and_elsewhere(monkeypatch):
    labels = distilling.train_images().labels
    own = torch.arange(len(labels)).unsqueeze(1).expand(-1, 10).float()
    monkeypatch.setattr(distilling, "_teacher_s", lambda name: own)
    for whose in distilling.ANSWERS[1:]:
        whom = distilling.answers("LeNet5", whose, 0)[:, 0].long()
        assert torch.equal(whom.sort().values, torch.arange(len(labels)))
        assert (whom == torch.arange(len(labels))).float().mean() < 0.01
        same_class = (labels[whom] == labels).float().mean()
        assert same_class == 1 if whose == "another of its class" else same_class < 0.15
