"""The fifth experiment of notebook 19: the shares add up, lean on the blocks with outliers, and are really pruned."""

import pytest
import torch

from utils.recipes import experiment_19_shares as shares
from utils.transformer_pruning import block_layers, sparsity_of_blocks


def test_the_blocks_with_more_outliers_keep_more_and_the_mean_is_that_of_the_pattern(monkeypatch):
    monkeypatch.setattr(shares, "outliers", lambda _: (0.01, 0.03, 0.02, 0.01, 0.01))
    gone = shares.shares_gone(0)
    assert sum(gone) / 5 == pytest.approx(0.7)
    assert max(gone) - min(gone) == pytest.approx(2 * shares.REACH)
    assert gone.index(min(gone)) == 1
    assert shares.shares_gone(0, turned_round=True) == pytest.approx([1.4 - each for each in gone])


@pytest.mark.slow
@pytest.mark.parametrize("method", shares.METHODS[::3])
def test_every_block_loses_its_share(method):
    model = shares.make({"method": method, "pattern": "70 %", "seed": 0})
    wanted = shares.shares_gone(0, turned_round=method.endswith("turned round"))
    for number, share in enumerate(wanted):
        own = [each.weight for name, each in block_layers(model).items() if name.startswith(f"blocks.{number}.")]
        assert sum((each == 0).sum() for each in own) / sum(map(torch.numel, own)) == pytest.approx(share, abs=0.004)
    assert sparsity_of_blocks(model) == pytest.approx(0.7, abs=0.003)
