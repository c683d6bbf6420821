"""Models by counting, against counters and loops."""

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils.ngrams import (
    best_strength,
    best_strengths,
    count_runs,
    kneser_ney_nats,
    kneser_ney_probabilities,
    mixed_nats,
    ngram_counts,
    ngram_nats,
    ngram_probabilities,
    seen_before,
)

texts = st.lists(st.integers(0, 2), min_size=5, max_size=40)


@given(text=texts, order=st.integers(1, 4))
def test_counts_against_a_counter(text, order):
    counted = Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))
    table = ngram_counts(torch.tensor(text), order, 3)
    for run in itertools.product(range(3), repeat=order):
        assert table[run] == counted[run]


@given(text=texts, order=st.integers(1, 3), strength=st.floats(0.1, 10))
def test_probabilities_against_the_definition_one_by_one(text, order, strength):
    def probability(run):
        if not run:
            return 1 / 3
        length = len(run)
        found = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
        of_the_context = sum(each[:-1] == run[:-1] for each in found)
        return (found.count(run) + strength * probability(run[1:])) / (of_the_context + strength)

    table = ngram_probabilities(torch.tensor(text), order, 3, strength=strength)
    assert torch.allclose(table.sum(dim=-1), torch.ones((), dtype=torch.float64))
    for run in itertools.product(range(3), repeat=order):
        assert table[run].item() == pytest.approx(probability(run))


def test_a_text_of_its_own_counts_costs_its_entropy():
    text = torch.tensor([0, 0, 0, 1] * 50)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert ngram_nats(ngram_probabilities(text, 1, 2, strength=1e-9), text) == pytest.approx(entropy)
    assert ngram_nats(ngram_probabilities(text, 4, 2, strength=1e-9), text) == pytest.approx(0, abs=1e-6)


@given(text=texts)
def test_nats_are_a_mean_over_the_characters_with_a_whole_context(text):
    table = ngram_probabilities(torch.tensor(text), 3, 3, strength=1.0)
    terms = [-math.log(table[tuple(text[i - 2 : i + 1])]) for i in range(2, len(text))]
    assert ngram_nats(table, torch.tensor(text)) == pytest.approx(sum(terms) / len(terms))


def test_the_strength_is_chosen_on_validation():
    train, like_it, unlike_it = torch.tensor([0, 1] * 20), torch.tensor([0, 1] * 5), torch.tensor([0, 0, 1, 1] * 5)
    assert best_strength(train, like_it, 2, 2) == 0.1
    assert best_strength(train, unlike_it, 2, 2) == 100.0


def test_a_table_that_would_not_fit_is_refused():
    with pytest.raises(ValueError, match="order must be from 1 to 4, got 5"):
        ngram_counts(torch.zeros(9, dtype=torch.int64), 5, 65)


@given(text=texts, order=st.integers(1, 6))
def test_the_runs_that_occur_against_a_counter(text, order):
    if len(text) < order:
        return
    counted = Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))
    table = count_runs(torch.tensor(text), order, 3)[-1]
    numbers = [sum(each * 3**place for place, each in enumerate(reversed(run))) for run in sorted(counted)]
    assert table.codes.tolist() == numbers
    assert table.counts.tolist() == [counted[run] for run in sorted(counted)]


@given(text=texts, other=texts, order=st.integers(1, 4), strength=st.floats(0.1, 100))
def test_sparse_and_dense_tables_give_the_same_nats(text, other, order, strength):
    text, other = torch.tensor(text), torch.tensor(other)
    dense = ngram_nats(ngram_probabilities(text, order, 3, strength=strength), other)
    sparse = mixed_nats(seen_before(count_runs(text, order, 3), other), [strength] * order, 3)
    assert sparse == pytest.approx(dense, rel=1e-5)  # the dense tables divide by sums in float32


def test_each_order_gets_the_strength_that_is_best_beside_the_others():
    generator = torch.Generator().manual_seed(0)
    text = (torch.rand(400, generator=generator) < 0.3).long().cumsum(0) % 3
    seen = seen_before(count_runs(text[:300], 2, 3), text[300:])
    grid = (0.1, 1.0, 10.0, 100.0)
    found = mixed_nats(seen, best_strengths(seen, 3, strengths=grid), 3)
    assert found == min(mixed_nats(seen, pair, 3) for pair in itertools.product(grid, repeat=2))


def kneser_ney_one_by_one(text, run, n):
    """The definition, with half a count off each (the discounts of a text too short to tell), over 3 characters."""
    if not run:
        return 1 / 3
    length = len(run)
    occur = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
    if length < n:
        longer = {tuple(text[i : i + length + 1]) for i in range(len(text) - length)}
        occur = [each[1:] for each in longer]
    counts = Counter(each for each in occur if each[:-1] == run[:-1])
    below = kneser_ney_one_by_one(text, run[1:], n)
    if not counts:
        return below

    def off(count):
        return 0.5 * min(count, 3)

    taken = sum(off(count) for count in counts.values())
    return (counts[run] - off(counts[run]) + taken * below) / counts.total()


@given(text=st.lists(st.integers(0, 2), min_size=5, max_size=12), order=st.integers(1, 4))
def test_kneser_ney_against_the_definition_one_by_one(text, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.ngrams._discounts", lambda counts: (0.0, 0.5, 1.0, 1.5))
        tables = count_runs(torch.tensor(text), order, 3)
        for run in itertools.product(range(3), repeat=order):
            (p,) = kneser_ney_probabilities(tables, torch.tensor(run)).tolist()
            assert p == pytest.approx(kneser_ney_one_by_one(text, run, order))


def test_kneser_ney_adds_up_to_one_with_discounts_of_its_own():
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, 5, (600,), generator=generator) * torch.randint(0, 2, (600,), generator=generator)
    tables = count_runs(text, 4, 5)
    for context in itertools.product(range(5), repeat=3):
        runs = [torch.tensor([*context, newest]) for newest in range(5)]
        assert sum(kneser_ney_probabilities(tables, run).item() for run in runs) == pytest.approx(1)
    p = kneser_ney_probabilities(tables, text[:50])
    assert kneser_ney_nats(tables, text[:50]) == pytest.approx(-p.log().mean().item())


def test_a_run_that_does_not_fit_64_bits_is_refused():
    with pytest.raises(ValueError, match="a run of 11 of 65 characters does not fit 64 bits"):
        count_runs(torch.zeros(20, dtype=torch.int64), 11, 65)
