"""Heads that share keys and values: with as many as before nothing changes, and a cache holds fewer."""

import pytest
import torch

from utils.shared_keys import first_head, head_groups, mean_of_heads, share_keys
from utils.transformer import KeyValueCache, Transformer


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Transformer(9, width=24, heads=3, hidden=24, blocks=2).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


TEXT = torch.arange(20).view(2, 10) % 9


def test_with_as_many_keys_as_heads_it_is_the_same_network(model):
    with torch.no_grad():
        assert torch.equal(share_keys(model, 3)(TEXT), model(TEXT))


def test_heads_with_equal_matrices_lose_nothing_by_sharing(model):
    with torch.no_grad():
        for block in model.blocks:
            for layer in (block.attention.key, block.attention.value):
                layer.weight.copy_(layer.weight[:8].repeat(3, 1))
        for pool in (mean_of_heads, first_head):
            for key_heads in (1, 2):
                assert torch.allclose(share_keys(model, key_heads, pool)(TEXT), model(TEXT), atol=1e-5)


def test_a_cache_holds_fewer_rows_and_changes_nothing(model):
    shared = share_keys(model, 1)
    cache, before = KeyValueCache(shared, batch_size=2), KeyValueCache(model, batch_size=2)
    with torch.no_grad():
        received = torch.cat([shared(piece, cache) for piece in TEXT.split([4, 1, 5], dim=1)], dim=1)
        assert torch.allclose(received, shared(TEXT), atol=1e-5)
        model(TEXT, before)
    assert 3 * cache.nbytes == before.nbytes


def test_groups_are_neighbours():
    assert head_groups(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert head_groups(5, 1).tolist() == [0] * 5
    assert head_groups(8, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="from 1 to 5, the number of heads, got 6"):
        head_groups(5, 6)
