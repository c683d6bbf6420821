"""Caches in pages and in 8 bits, compared with whole passes and with `KeyValueCache`."""

import pytest
import torch

from utils.compact_caches import Int8Cache, NoPageFreeError, PagedText, PagePool
from utils.shared_keys import share_keys
from utils.transformer import KeyValueCache, Transformer


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Transformer(9, width=16, heads=2, hidden=24, blocks=2, context=64).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


TEXT = torch.arange(40)[None] % 9


@torch.no_grad()
def read(model, cache, *pieces):
    return torch.cat([model(piece, cache) for piece in pieces], dim=1)


@pytest.mark.parametrize("page", [1, 4, 7, 64])
def test_a_text_in_pages_is_read_as_in_one_pass(model, page):
    pool = PagePool(model, pages=40, page=page)
    paged = PagedText(pool)
    received = read(model, paged, *TEXT.split([5, 1, 20, 14], dim=1))
    with torch.no_grad():
        assert torch.allclose(received, model(TEXT), atol=1e-5)
    assert len(paged.table) == -(-40 // page) == pool.in_use


def test_forks_share_until_one_writes_and_neither_changes_the_other(model):
    pool = PagePool(model, pages=12, page=8)
    first = PagedText(pool)
    read(model, first, TEXT[:, :20])
    second = first.fork()
    assert pool.in_use == 3
    ends = TEXT[:, 20:30], TEXT[:, 3:13]
    received = [read(model, each, end) for each, end in zip((first, second), ends, strict=True)]
    with torch.no_grad():
        for row, end in zip(received, ends, strict=True):
            assert torch.allclose(row, model(torch.cat([TEXT[:, :20], end], dim=1))[:, 20:], atol=1e-5)
    assert first.table[:2] == second.table[:2]
    assert first.table[2] != second.table[2]
    first.free()
    assert pool.in_use == len(second.table)
    second.free()
    assert pool.uses == [0] * 12


def test_a_pool_without_a_free_page_says_so(model):
    with pytest.raises(NoPageFreeError, match="all 2 pages are in use"):
        read(model, PagedText(PagePool(model, pages=2, page=4)), TEXT[:, :9])


def test_pages_hold_fewer_rows_where_heads_share(model):
    shared = share_keys(model, 1)
    paged = PagedText(PagePool(shared, pages=8, page=8))
    with torch.no_grad():
        assert torch.allclose(read(shared, paged, *TEXT.split(10, dim=1)), shared(TEXT), atol=1e-5)
    assert 2 * paged.pool.page_bytes == PagePool(model, pages=1, page=8).page_bytes


def test_int8_rows_are_off_by_half_a_step_and_take_a_byte_a_number(model):
    cache, exact = Int8Cache(model), KeyValueCache(model)
    read(model, exact, TEXT)
    read(model, cache, TEXT)
    rows = exact.stored[:, 0, :, :, :40]  # of the first block: its inputs are the same
    found = cache.stored[:, 0, :, :, :40].float() * cache.scales[:, 0, :, :, :40, None].float()
    step = rows.abs().amax(dim=-1, keepdim=True) / 127
    assert ((found - rows).abs() <= 0.57 * step + 1e-6).all()  # the scale itself is rounded to float16
    assert cache.nbytes == exact.nbytes * (8 + 2) // (8 * 4)


def test_int8_reads_alike_in_pieces_and_at_once_and_takes_back(model):
    whole = read(model, Int8Cache(model, batch_size=2), TEXT.expand(2, -1))
    cache = Int8Cache(model)
    read(model, cache, TEXT[:, :30], TEXT[:, :5])
    cache.forget_last(5)
    assert torch.allclose(read(model, cache, TEXT[:, 30:]), whole[:1, 30:], atol=0.02)  # a code may tip over
    with pytest.raises(ValueError, match="40 and 25 characters do not fit a cache of 64"):
        cache.reserve(25)
