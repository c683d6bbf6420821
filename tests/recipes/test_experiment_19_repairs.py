"""The fourth experiment of notebook 19: whole, every method prunes as much as it says, and repairs what it prunes."""

import pytest
import torch

from tests.recipes.test_experiment_19_one_shot import small  # noqa: F401 (a fixture)
from utils.experiment_files import condition, read_experiment
from utils.recipes import experiment_19_one_shot as one_shot
from utils.recipes import experiment_19_repairs as repairs
from utils.transformer_pruning import sparsity_of_blocks


def test_the_table_holds_every_row_once_and_is_not_stale():
    about, rows = read_experiment(repairs.NAME)
    assert about["digest"] == repairs.digest(), "run `python -m utils experiments 19_repairs` again"
    assert [condition(row, "nats") for row in rows] == repairs.conditions()
    assert all(len(row["nats"]) == one_shot.PARTS for row in rows)


@pytest.mark.parametrize("method", list(repairs.METHODS))
@pytest.mark.parametrize("pattern", one_shot.PATTERNS)
def test_every_method_leaves_the_zeros_that_it_should(small, method, pattern):  # noqa: F811
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    pruned = repairs.METHODS[method](pattern, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())
    wanted = 0.5 if pattern == "2:4" else float(pattern[:-2]) / 100
    assert sparsity_of_blocks(pruned) == pytest.approx(wanted, abs=0.02)


def test_the_rows_at_other_patterns_are_of_the_method_that_the_first_experiment_has_at_half(small):  # noqa: F811
    name = "Wanda's mask, at once"
    one, other = repairs.METHODS[name]("50 %", 0), one_shot.METHODS[name].prune("50 %", 0)
    assert all(torch.allclose(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_with_one_block_there_is_nothing_before_it_to_prune(small):  # noqa: F811
    assert len(small.blocks) == 1
    one, other = (repairs.METHODS[f"SparseGPT{how}"]("50 %", 0) if how else one_shot.repaired("50 %", 0)
                  for how in (", block by block", ""))  # fmt: skip
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_repaired_then_rounded_keeps_wandas_mask_and_takes_the_bytes_of_the_others(small):  # noqa: F811
    ours, joint = repairs.at_once_then_round(0), one_shot.joint(0)
    assert ours.nbytes == pytest.approx(joint.nbytes, rel=0.01)
    for name, each in ours.stored.items():
        weight = small.get_submodule(name).weight.detach()
        assert torch.equal(each.mask, one_shot.wanda_mask("50 %", 0, name, weight))
