"""Texts side by side: each as if it were alone, in as many steps as counting says, and slots that are free again."""

import pytest
import torch

from utils.continuous_batching import (
    PagedSlots,
    Request,
    SlotCache,
    TextBatcher,
    read_in_slots,
    steps_needed,
    write_all,
)
from utils.language_models import generate
from utils.transformer import Transformer


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Transformer(9, width=16, heads=2, hidden=24, blocks=2, context=48).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def requests(counts, *, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (len(counts),), generator=generator).tolist()
    prompts = [torch.randint(9, (length,), generator=generator) for length in lengths]
    return [
        Request(prompt, count, seed=n, **options)
        for n, (prompt, count) in enumerate(zip(prompts, counts, strict=False))
    ]


COUNTS = [12, 1, 3, 30, 2, 2, 7, 1, 19, 4]


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("slots", [1, 3, 20])
def test_each_text_is_written_as_if_it_were_alone(model, slots, continuous):
    some = requests(COUNTS)
    batcher = TextBatcher(model, slots=slots, continuous=continuous)
    for request, written in zip(some, write_all(batcher, some), strict=True):
        alone = generate(model, request.prompt[None], request.count, temperature=0)[0, len(request.prompt) :]
        assert written == alone.tolist()
    assert not batcher.active
    assert not batcher.cache.lengths


def test_what_is_drawn_for_a_text_does_not_depend_on_its_neighbours(model):
    alone = write_all(TextBatcher(model, slots=1), requests(COUNTS, temperature=1.0))
    assert write_all(TextBatcher(model, slots=4), requests(COUNTS, temperature=1.0)) == alone


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_the_steps_are_those_that_counting_says(model, slots, continuous):
    counts = [9, 2, 2, 2, 5, 6, 3, 8]
    batcher = TextBatcher(model, slots=slots, continuous=continuous)
    write_all(batcher, requests(counts))
    assert batcher.steps == steps_needed(counts, slots, continuous=continuous)
    if continuous:
        assert batcher.computed == sum(counts) - len(counts)


def test_texts_of_any_lengths_read_as_in_passes_of_their_own(model):
    cache = SlotCache(model, 3)
    texts = [torch.arange(n) % 9 for n in (2, 7, 4)]
    for slot, text in enumerate(texts):
        cache.lengths.append(0)
        read_in_slots(model, text[None], cache, [slot])
    more = torch.tensor([[1, 2], [3, 4], [5, 6]])
    received = read_in_slots(model, more, cache, range(3))
    with torch.no_grad():
        for row, text, new in zip(received, texts, more, strict=True):
            assert torch.allclose(row, model(torch.cat([text, new])[None])[0, -2:], atol=1e-5)
    assert cache.lengths == [4, 9, 6]


def test_a_cancelled_request_frees_its_slot_and_harms_nobody(model):
    some = requests([20, 20, 20, 5])
    batcher = TextBatcher(model, slots=2)
    for request in some:
        batcher.add(request)
    batcher.step()
    batcher.cancel(some[0])
    batcher.cancel(some[3])  # it waits
    batcher.cancel(some[3])  # it is gone
    batcher.step()
    assert set(batcher.active) == {some[1], some[2]}
    while batcher.busy:
        batcher.step()
    for request in some[1:3]:
        alone = generate(model, request.prompt[None], 20, temperature=0)[0, len(request.prompt) :]
        assert request.written == alone.tolist()
    assert len(some[0].written) < 20
    assert not some[3].written


def test_what_does_not_fit_is_refused(model):
    batcher = TextBatcher(model, slots=2)
    with pytest.raises(ValueError, match="fit 48 with what is written, got 40 and 9"):
        batcher.add(Request(torch.zeros(40, dtype=torch.int64), 9))
    with pytest.raises(ValueError, match="must have a character"):
        batcher.add(Request(torch.zeros(0, dtype=torch.int64), 9))
    with pytest.raises(ValueError, match="count"):
        Request(torch.zeros(1, dtype=torch.int64), 0)


def test_a_complete_text_does_not_grow_out_of_its_slot_while_its_batch_goes_on(model):
    some = [Request(torch.arange(9), 2), Request(torch.tensor([1]), 47)]
    write_all(TextBatcher(model, slots=2, continuous=False), some)
    alone = generate(model, some[1].prompt[None], 47, temperature=0)[0, 1:]
    assert some[1].written == alone.tolist()


# --- pages and chunks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pages", "page"), [(48, 1), (12, 4), (6, 8), (100, 4)])
@pytest.mark.parametrize("slots", [1, 3, 20])
def test_texts_in_pages_are_those_in_slots_however_few_pages_there_are(model, pages, page, slots):
    some = requests(COUNTS)
    batcher = TextBatcher(model, slots=slots, cache=PagedSlots(model, pages=pages, page=page))
    assert write_all(batcher, some) == write_all(TextBatcher(model, slots=slots), requests(COUNTS))
    assert batcher.cache.free == pages
    assert all(request.ended >= request.begun for request in some)
    if pages * page > 400:
        assert not batcher.held_back
        assert not batcher.preempted


def test_a_text_waits_for_pages_and_the_newest_gives_its_own_back(model):
    some = [Request(torch.arange(8), 20) for _ in range(3)]
    batcher = TextBatcher(model, slots=3, cache=PagedSlots(model, pages=7, page=4))
    for request in some:
        batcher.add(request)
    batcher.step()
    assert batcher.active == some[:2]  # 3 pages each, for 8 characters and the next; one page is left
    assert batcher.held_back == 1
    while not batcher.preempted:
        batcher.step()
        assert batcher.cache.pool.in_use <= 7
    assert batcher.active == some[:1]
    assert list(batcher.waiting) == some[1:]  # it is the first to come back
    while batcher.busy:
        batcher.step()
    assert some[0].written == some[1].written == some[2].written
    with pytest.raises(ValueError, match="fit 28 with what is written"):
        batcher.add(Request(torch.arange(8), 21))


def test_a_text_that_its_prompts_pass_completes_does_not_wait_again(model):
    old, short = Request(torch.arange(4), 12), Request(torch.arange(8), 1)
    batcher = TextBatcher(model, slots=2, cache=PagedSlots(model, pages=5, page=4))
    batcher.add(old)
    while batcher.cache.lengths != [8]:
        batcher.step()
    batcher.add(short)
    batcher.step()  # it takes the last three pages, and the old text needs one
    assert batcher.active == [old]
    assert not batcher.waiting
    assert not batcher.preempted
    assert len(short.written) == 1


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("paged", [False, True])
def test_a_prompt_in_chunks_changes_no_text_and_holds_nobody_up_longer(model, chunk, paged):
    def cache():
        return PagedSlots(model, pages=14, page=4) if paged else None

    some = requests(COUNTS)
    batcher = TextBatcher(model, slots=3, cache=cache(), chunk=chunk)
    assert write_all(batcher, some) == write_all(TextBatcher(model, slots=3, cache=cache()), requests(COUNTS))
    assert 0 < batcher.longest_reading <= chunk


def test_while_a_long_prompt_is_read_in_chunks_the_others_are_written(model):
    short, long = Request(torch.arange(3), 12), Request(torch.arange(9).repeat(3), 2)
    batcher = TextBatcher(model, slots=2, chunk=5)
    batcher.add(short)
    batcher.step()
    batcher.add(long)
    for read in (5, 10, 15, 20, 25):
        before = len(short.written)
        assert [event.request for event in batcher.step()] == [short]
        assert len(short.written) == before + 1
        assert batcher.cache.lengths[1] == read
    assert {event.request for event in batcher.step()} == {short, long}


def test_a_text_whose_prompt_is_half_read_can_be_cancelled(model):
    some = [Request(torch.arange(9).repeat(2), 4), Request(torch.arange(4), 4)]
    batcher = TextBatcher(model, slots=2, cache=PagedSlots(model, pages=20, page=4), chunk=5)
    for request in some:
        batcher.add(request)
    batcher.step()
    batcher.cancel(some[0])
    while batcher.busy:
        batcher.step()
    assert not some[0].written
    assert some[1].written == generate(model, torch.arange(4)[None], 4, temperature=0)[0, 4:].tolist()
    assert batcher.cache.free == 20
