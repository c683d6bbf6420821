"""The long experiment of notebook 18: calibrated on text of the training part, and shuffled as it says."""

import pytest
import torch

from utils.characters import load_shakespeare
from utils.experiment_files import read_experiment
from utils.recipes import experiment_18_frontier as frontier
from utils.transformer import Transformer


@pytest.fixture
def small(monkeypatch):
    torch.manual_seed(0)
    model = Transformer(width=32, heads=2, hidden=48, blocks=1).eval()
    torch.nn.init.normal_(model.head.weight, std=0.2)
    monkeypatch.setattr(frontier, "network", lambda: model)
    monkeypatch.setattr(frontier, "calibration", lambda seed, of_text=True: torch.randint(65, (2, 32)))
    frontier.statistics.cache_clear()
    yield model
    frontier.statistics.cache_clear()


def test_every_row_has_a_loss_for_each_stretch():
    _, rows = read_experiment(frontier.NAME)
    assert all(len(row["nats"]) == frontier.PARTS for row in rows)


def test_calibration_is_text_of_the_training_part_or_of_no_text():
    train = "".join(map(chr, load_shakespeare().train.tolist()))
    drawn = [frontier.calibration(seed) for seed in frontier.SEEDS]
    assert all(each.shape == (32, 256) for each in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert all("".join(map(chr, row)) in train for row in drawn[0].tolist())
    assert "".join(map(chr, frontier.calibration(0, of_text=False)[0].tolist())) not in train


@pytest.mark.parametrize("method", list(frontier.METHODS))
def test_every_method_rounds_a_copy_and_counts_it(small, method):
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    bits = frontier.METHODS[method].bits[-1]
    rounded = frontier.METHODS[method].round(bits, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())
    assert bits < rounded.bits_per_weight < bits + 1
    with torch.no_grad():
        off = (rounded.model(torch.arange(20)[None]) - small(torch.arange(20)[None])).abs().max()
    assert 0 < off < 30


def test_shuffled_codes_take_the_same_bytes(small):
    plain = frontier.METHODS["GPTQ, 64"].round(3, 0)
    shuffled = frontier.shuffled(plain, 0)
    assert shuffled.nbytes == plain.nbytes
    for name, each in plain.stored.items():
        assert torch.equal(each.codes.sort(dim=1).values, shuffled.stored[name].codes.sort(dim=1).values)
        assert not torch.equal(each.codes, shuffled.stored[name].codes)
