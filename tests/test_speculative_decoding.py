"""Speculative decoding: the network's distribution whatever the draft, and its text where nothing is drawn."""

import math
import time

import pytest
import torch
from scipy.stats import chisquare

from utils import speculative_decoding as speculation
from utils.language_models import generate
from utils.ngrams import ngram_probabilities
from utils.transformer import Transformer


def small(seed, width=16, context=64):
    torch.manual_seed(seed)
    model = Transformer(7, width=width, heads=2, hidden=24, blocks=2, context=context).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def distributions(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).softmax(dim=-1)


def test_acceptance_is_one_less_the_total_variation_distance():
    p, q = distributions(20, 9), distributions(20, 9, seed=1)
    assert torch.allclose(speculation.acceptance(p, q), 1 - (p - q).abs().sum(dim=-1) / 2)
    assert torch.allclose(speculation.acceptance(p, p), torch.ones(20))


def test_accepted_and_left_over_add_up_to_p():
    p, q = distributions(20, 9), distributions(20, 9, seed=1)
    refused = 1 - speculation.acceptance(p, q)[:, None]
    assert torch.allclose(torch.minimum(p, q) + refused * speculation.left_over(p, q), p, atol=1e-6)
    assert torch.equal(speculation.left_over(p, p), p)


def test_two_drafted_characters_come_out_as_the_network_would_draw_them():
    generator = torch.Generator().manual_seed(0)
    first, second, q = distributions(3), distributions(3, 3, seed=1), distributions(2, 3, seed=2)
    counts = torch.zeros(3, 3)
    for _ in range(4_000):
        drafted = q.multinomial(1, generator=generator)[:, 0]
        p = torch.stack([first, second[drafted[0]], torch.full((3,), 1 / 3)])
        accepted, following = speculation.judge(p, q, drafted, torch.rand(2, generator=generator))
        text = [*drafted[:accepted].tolist(), int(following.multinomial(1, generator=generator))]
        if len(text) == 1:
            text.append(int(second[text[0]].multinomial(1, generator=generator)))
        counts[text[0], text[1]] += 1
    expected = (first[:, None] * second).double().flatten().numpy()
    assert chisquare(counts.flatten().numpy(), expected / expected.sum() * 4_000).pvalue > 1e-3


@pytest.mark.parametrize("drafted", [1, 3, 9])
def test_without_drawing_the_text_is_the_networks_with_any_draft(drafted):
    model, prompt = small(0), torch.tensor([1, 2, 3, 4])
    wanted = generate(model, prompt[None], 40, temperature=0)[0].tolist()
    table = ngram_probabilities(torch.arange(7).repeat(20), 3, 7, strength=1.0)
    for draft in (speculation.NetworkDraft(small(1, width=8)), speculation.CountingDraft(table)):
        found = speculation.speculate(model, draft, prompt, 40, drafted=drafted, temperature=0)
        assert found.text.tolist() == wanted
        assert found.accepted <= found.judged <= found.drafted
        assert found.accepted + found.rounds == 40


def test_a_perfect_draft_is_always_accepted():
    model = small(0)
    draft = speculation.NetworkDraft(model)
    found = speculation.speculate(model, draft, torch.tensor([1, 2]), 30, drafted=4, temperature=0)
    assert found.accepted == found.drafted == 24
    assert found.rounds == 6


def test_reading_ahead_takes_back_what_changed():
    model = small(0)
    ahead = speculation.ReadAhead(model)
    with torch.no_grad():
        ahead.logits([1, 2, 3, 4, 5])
        received = ahead.logits([1, 2, 6, 0])
        wanted = model(torch.tensor([[1, 2, 6, 0]]))[0]
    assert received.shape == (2, 7)  # two characters were new
    assert torch.allclose(received, wanted[2:], atol=1e-5)
    assert ahead.cache.length == 4


@pytest.mark.parametrize("accepted", [0.0, 0.3, 0.99])
def test_characters_a_round_by_the_closed_form(accepted):
    wanted = (1 - accepted**6) / (1 - accepted)
    assert math.isclose(speculation.expected_characters(accepted, 5), wanted)
    assert math.isclose(speculation.expected_speedup(accepted, 5, draft_cost=0.2, check_cost=1.5), wanted / 2.5)


def test_a_text_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="context of 64, got 4 and 61"):
        speculation.speculate(small(0), speculation.NetworkDraft(small(1)), torch.tensor([1, 2, 3, 4]), 61)


@pytest.mark.parametrize("drafted", [0, 3])
def test_the_seconds_of_the_parts_are_those_of_the_whole(drafted):
    network, draft = small(0), speculation.NetworkDraft(small(1))
    began = time.perf_counter()
    written = speculation.speculate(network, draft, torch.zeros(4, dtype=torch.int64), 40, drafted=drafted)
    took = time.perf_counter() - began
    assert set(written.seconds) == {"draft", "check", "judging", "rest"}
    assert min(written.seconds.values()) > 0
    assert 0.5 * took < sum(written.seconds.values()) <= took
