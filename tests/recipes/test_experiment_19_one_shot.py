"""The first experiment of notebook 19: whole, and every method prunes as much as it says."""

import pytest
import torch

from utils.characters import load_shakespeare
from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_19_one_shot as one_shot
from utils.transformer import Transformer
from utils.transformer_pruning import sparsity_of_blocks

CACHED = (one_shot.statistics, one_shot.gradients, one_shot.removal_costs)


@pytest.fixture
def small(monkeypatch):
    torch.manual_seed(0)
    model = Transformer(width=32, heads=2, hidden=64, blocks=1).eval()
    torch.nn.init.normal_(model.head.weight, std=0.2)
    monkeypatch.setattr(one_shot, "network", lambda: model)
    drawn = torch.randint(65, (2, 33))
    monkeypatch.setattr(one_shot, "calibration", lambda seed, of_text=True: (drawn[:, :-1], drawn[:, 1:]))
    for cached in CACHED:
        cached.cache_clear()
    yield model
    for cached in CACHED:
        cached.cache_clear()


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(one_shot.NAME)
    assert about["digest"] == one_shot.digest(), "run `python -m utils experiments 19_one_shot` again"
    assert [condition(row, "nats") for row in rows] == one_shot.conditions()
    assert all(len(row["nats"]) == one_shot.PARTS for row in rows)


def test_calibration_is_text_of_the_training_part_or_of_no_text():
    train = "".join(map(chr, load_shakespeare().train.tolist()))
    inputs, targets = one_shot.calibration(0)
    assert inputs.shape == targets.shape == (32, 256)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert all("".join(map(chr, row)) in train for row in inputs.tolist())
    assert "".join(map(chr, one_shot.calibration(0, of_text=False)[0][0].tolist())) not in train


@pytest.mark.parametrize("method", list(one_shot.METHODS))
@pytest.mark.parametrize("pattern", one_shot.PATTERNS)
def test_every_method_leaves_the_zeros_that_it_should(small, method, pattern):
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    pruned = one_shot.METHODS[method].prune(pattern, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())
    wanted = 0.5 if pattern == "2:4" else float(pattern[:-2]) / 100
    assert sparsity_of_blocks(pruned) == pytest.approx(wanted, abs=0.02)
    if pattern == "2:4":
        weight = pruned.blocks[0].feed_forward.up.weight
        assert bool(((weight.view(-1, 4) == 0).sum(dim=1) == 2).all())


@pytest.mark.parametrize("method", list(one_shot.FEW_BITS))
def test_few_bits_take_what_they_say(small, method):
    rounded = one_shot.FEW_BITS[method](0)
    zeros = sparsity_of_blocks(rounded.model)
    pruned = method != "3 bits, not pruned"
    assert zeros >= 0.49 if pruned else zeros < 0.4
    weights = sum(p.numel() for name, p in small.blocks.named_parameters() if "norm" not in name)
    assert 3 < 8 * rounded.nbytes / weights < 3.8


def test_pruned_then_rounded_keeps_the_mask_of_sparsegpt(small):
    before = one_shot.METHODS["SparseGPT"].prune("50 %", 0)
    after = one_shot.prune_then_round(0)
    for name, each in after.stored.items():
        assert not (each.mask & (before.get_submodule(name).weight == 0)).any()
