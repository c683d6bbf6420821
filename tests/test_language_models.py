"""Judging, sampling and training of models of characters: against loops, and against training without a pause."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from utils.accounting import count_macs, count_parameters
from utils.language_models import (
    CharacterLSTM,
    TextHistory,
    TextRecipe,
    cooler,
    distillation_loss,
    evaluate_text,
    fit_text,
    generate,
    next_probabilities,
    strided_windows,
)
from utils.transformer import Transformer

KINDS = 5


def tiny(*, context=8, seed=0, dropout=0.0):
    torch.manual_seed(seed)
    model = Transformer(KINDS, width=8, blocks=2, heads=2, hidden=8, context=context, dropout=dropout)
    nn.init.normal_(model.head.weight)
    return model.eval()


def text(length, *, seed=0):
    return torch.randint(KINDS, (length,), generator=torch.Generator().manual_seed(seed))


# --- judging ----------------------------------------------------------------------------------------------------------


@given(length=st.integers(1, 60), context=st.integers(1, 20), data=st.data())
def test_each_place_is_judged_once_behind_a_long_enough_text(length, context, data):
    context = min(context, length)
    stride = data.draw(st.integers(1, context))
    starts, judged = strided_windows(length, context, stride)
    places = [start + i for start, row in zip(starts.tolist(), judged, strict=True) for i in row.nonzero().flatten()]
    assert sorted(int(place) for place in places) == list(range(length))
    for start, row in zip(starts.tolist(), judged, strict=True):
        assert 0 <= start <= length - context
        assert start == 0 or int(row.nonzero()[0]) >= context - stride


@pytest.mark.parametrize("stride", [1, 3, 8, None])
def test_a_score_against_a_loop_over_places(stride):
    model, part = tiny(), text(30)
    step = 4 if stride is None else stride
    nats, right = [], []
    begins = [*range(0, 29 - 8, step), 21]
    for place in range(29):
        begin = next(b for b in begins if b <= place < b + 8)
        logits = model(part[None, begin : place + 1])[0, -1].double()
        nats.append(-logits.log_softmax(dim=0)[part[place + 1]].item())
        right.append(int(logits.argmax()) == int(part[place + 1]))
    score = evaluate_text(model, part, context=8, stride=stride, batch_size=3)
    assert score.nats == pytest.approx(np.mean(nats), abs=1e-5)
    assert score.accuracy == pytest.approx(np.mean(right))
    assert score.characters == 29
    assert score.bits == pytest.approx(np.mean(nats) / math.log(2), abs=1e-5)


def test_a_text_shorter_than_the_context_is_judged_in_one_window():
    model, part = tiny(), text(5)
    expected = nn.functional.cross_entropy(model(part[None, :-1])[0], part[1:]).item()
    assert evaluate_text(model, part, context=8).nats == pytest.approx(expected, abs=1e-6)


def test_judging_leaves_the_mode_and_dropout_alone():
    model = tiny(dropout=0.5).train()
    assert evaluate_text(model, text(20), context=8) == evaluate_text(model, text(20), context=8)
    assert model.training


# --- sampling ---------------------------------------------------------------------------------------------------------


@given(
    logits=st.lists(st.integers(-20, 20), min_size=5, max_size=5, unique=True),
    temperature=st.floats(0.2, 5),
    top_k=st.integers(1, 7),
)
def test_probabilities_against_sorting(logits, temperature, top_k):
    chosen = sorted(range(5), key=lambda i: -logits[i])[:top_k]
    weights = [math.exp(logits[i] / temperature) if i in chosen else 0.0 for i in range(5)]
    received = next_probabilities(torch.tensor(logits, dtype=torch.float64), temperature=temperature, top_k=top_k)
    assert received.tolist() == pytest.approx([w / sum(weights) for w in weights], abs=1e-9)


def test_temperature_zero_takes_the_likeliest():
    assert next_probabilities(torch.tensor([[0.0, 2.0, 1.0]]), temperature=0).tolist() == [[0.0, 1.0, 0.0]]


@given(seed=st.integers(0, 30), top_k=st.sampled_from([None, 2]))
def test_with_and_without_a_cache_the_same_is_written_until_the_context_is_full(seed, top_k):
    prompt = text(3, seed=seed).view(1, 3).expand(2, 3)
    written = [
        generate(tiny(), prompt, 6, generator=torch.Generator().manual_seed(seed), top_k=top_k, cached=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*written)
    assert written[0].shape == (2, 9)
    assert torch.equal(written[0][:, :3], prompt)


def test_it_writes_on_when_the_context_is_full_and_reads_the_end_of_a_long_prompt():
    model, prompt = tiny(), text(20).view(1, 20)
    greedy = generate(model, prompt, 15, temperature=0)
    assert greedy.shape == (1, 35)
    assert int(greedy[0, 20]) == int(model(prompt[:, -8:])[0, -1].argmax())
    without = generate(model, prompt, 15, temperature=0, cached=False)
    for place in (20, 27, 34):
        assert int(without[0, place]) == int(model(without[:, place - 8 : place])[0, -1].argmax())


def test_characters_come_as_often_as_the_network_says():
    model, prompt = tiny(), text(4).view(1, 4)
    drawn = generate(model, prompt.expand(2000, 4), 1, generator=torch.Generator().manual_seed(0))[:, -1]
    expected = model(prompt)[0, -1].softmax(dim=0).detach().numpy().astype(float)
    assert stats.chisquare(drawn.bincount(minlength=KINDS), 2000 * expected / expected.sum()).pvalue > 0.001


@pytest.mark.parametrize("make", [tiny, lambda: CharacterLSTM(KINDS, width=4)])
def test_a_cooler_network_has_its_logits_divided_and_the_first_one_stays(make):
    model = make()
    nn.init.normal_(model.head.weight)
    tokens = text(8)[None]
    with torch.no_grad():
        before = model(tokens)
        divided = cooler(model, 1.3)(tokens)
        assert torch.equal(model(tokens), before)
    torch.testing.assert_close(divided, before / 1.3)
    torch.testing.assert_close(divided.softmax(-1), next_probabilities(before, temperature=1.3))


def test_a_bias_of_the_head_is_divided_too():
    model = CharacterLSTM(KINDS, width=4)
    model.head = nn.Linear(4, KINDS)
    with torch.no_grad():
        torch.testing.assert_close(cooler(model, 2.0)(text(6)[None]), model(text(6)[None]) / 2)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_divides_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be"):
        cooler(tiny(), temperature)


# --- training ---------------------------------------------------------------------------------------------------------

RECIPE = TextRecipe(steps=12, batch_size=3, context=6, learning_rate=1e-2, average=0.5)


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("make", [tiny, lambda **_: CharacterLSTM(KINDS, width=16)])
def test_a_text_that_repeats_is_learned(make):
    part = torch.tensor([0, 1, 2, 3, 3, 2] * 40)
    model = make()
    before = evaluate_text(model, part, context=6).nats
    history = fit_text(model, part, TextRecipe(steps=150, batch_size=8, context=8, learning_rate=1e-2))
    assert evaluate_text(model, part, context=8, stride=1).nats < 0.5 < before
    assert history.steps == [150]
    assert not model.training


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_loss_is_by_default_the_cross_entropy_outside_of_autocast(bfloat16):
    """A plain loop gives the same weights, bit for bit: shipped checkpoints were trained so."""
    recipe = TextRecipe(steps=2, batch_size=2, context=6, clip=1e9, warm_up=0.0, bfloat16=bfloat16)
    losses = []

    def plain(logits, inputs, targets):
        with torch.autocast("cpu", enabled=False):
            losses.append(nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()))
        return losses[-1]

    models = [tiny(), tiny()]
    fit_text(models[0], text(60), recipe)
    fit_text(models[1], text(60), recipe, loss=plain)
    assert len(losses) == 2
    assert same(models[0].state_dict(), models[1].state_dict())


def test_a_teacher_with_no_share_is_the_same_training():
    plain, unshared = tiny(), tiny()
    fit_text(plain, text(60), RECIPE)
    fit_text(unshared, text(60), RECIPE, loss=distillation_loss(tiny(), share=0.0))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain.parameters(), unshared.parameters(), strict=True))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_loss_is_the_divergence_written_out(temperature):
    teacher, tokens = tiny(), text(12).view(2, 6)
    logits = torch.randn(2, 6, KINDS, generator=torch.Generator().manual_seed(1))
    p, q = ((each / temperature).softmax(dim=-1) for each in (teacher(tokens), logits))
    expected = temperature**2 * (p * (p / q).log()).sum(dim=-1).mean()
    received = distillation_loss(teacher, temperature=temperature)(logits, tokens, tokens)
    assert received.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_student_comes_nearer_to_its_teacher():
    teacher, student = tiny(), tiny()
    nn.init.normal_(teacher.head.weight, std=0.5)
    tokens, loss = text(24).view(4, 6), distillation_loss(teacher)
    before = loss(student(tokens), tokens, tokens).item()
    fit_text(student, text(60), TextRecipe(steps=60, batch_size=4, context=6, learning_rate=1e-2), loss=loss)
    assert loss(student(tokens), tokens, tokens).item() < 0.5 * before


def test_what_is_no_float_is_kept_as_it_is():
    model = tiny()
    model.register_buffer("codes", torch.tensor([3, 200], dtype=torch.uint8))
    fit_text(model, text(60), RECIPE)
    assert model.codes.tolist() == [3, 200]


def test_the_best_weights_by_validation_are_kept():
    model, part = tiny(), text(60)
    history = fit_text(model, part, RECIPE, validation=text(40, seed=1), every=2)
    assert history.steps == [2, 4, 6, 8, 10, 12]
    nats = evaluate_text(model, text(40, seed=1), context=6, stride=6).nats
    assert nats == pytest.approx(min(history.validation_nats), abs=1e-6)
    assert history.best == history.validation_nats.index(min(history.validation_nats))


def test_the_average_is_that_of_the_weights_after_each_step():
    model, seen = tiny(), []
    start = state_of(model)
    fit_text(model, text(60), RECIPE, every=1, report=lambda _: seen.append(state_of(model)))
    assert len(seen) == 12
    average = start
    for step, weights in enumerate(seen, start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * tensor for name, tensor in weights.items()}
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, average[name], atol=1e-5), name


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, dropout):
    class PowerCut(Exception):
        pass

    def stop(history):
        if history.steps[-1] == 6:
            raise PowerCut

    rest = {"validation": text(40, seed=1), "every": 3}
    whole = tiny(dropout=dropout)
    expected = fit_text(whole, text(60), RECIPE, **rest)
    state = tmp_path / "folder" / "training.safetensors"
    with pytest.raises(PowerCut):
        fit_text(tiny(dropout=dropout), text(60), RECIPE, state=state, report=stop, **rest)
    assert state.exists()
    resumed, steps = tiny(dropout=dropout, seed=5), []
    history = fit_text(resumed, text(60), RECIPE, state=state, report=lambda h: steps.append(h.steps[-1]), **rest)
    assert steps == [9, 12], "it went on and did not begin again"
    assert same(resumed.state_dict(), whole.state_dict())
    assert history.validation_nats == expected.validation_nats
    assert not state.exists()


def test_a_training_of_another_recipe_is_not_gone_on_with(tmp_path):
    state = tmp_path / "training.safetensors"

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_text(tiny(), text(60), RECIPE, every=3, state=state, report=stop)
    with pytest.raises(ValueError, match="has another recipe"):
        fit_text(tiny(), text(60), TextRecipe(steps=5, context=6), state=state)


def test_the_seed_draws_the_windows():
    ends = []
    for seed in (0, 0, 1):
        model = tiny()
        recipe = TextRecipe(steps=3, batch_size=2, context=6, seed=seed)
        fit_text(model, text(60), recipe)
        ends.append(state_of(model))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_matrices_decay_and_embeddings_and_norms_do_not():
    """A learning rate so large that decay alone would halve a weight; the gradients of a text of one kind are zero."""
    model = tiny()
    before = state_of(model)
    recipe = TextRecipe(steps=1, batch_size=1, context=1, learning_rate=0.5, weight_decay=1.0, warm_up=0.0)
    for parameter in model.parameters():
        parameter.register_hook(torch.zeros_like)
    fit_text(model, torch.zeros(5, dtype=torch.int64), recipe)
    for name, tensor in model.state_dict().items():
        decays = "embedding" not in name and "norm" not in name
        assert torch.allclose(tensor, before[name] * (0.5 if decays else 1.0)), name


def test_a_loss_that_is_no_number_stops_the_training():
    model = tiny()
    model.head.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match=r"the loss became nan at step 0; try a learning_rate below 0\.01"):
        fit_text(model, text(60), RECIPE)


def test_bfloat16_learns_in_float32_weights():
    model = tiny()
    recipe = TextRecipe(steps=60, batch_size=8, context=8, learning_rate=1e-2, bfloat16=True)
    fit_text(model, torch.tensor([0, 1, 2, 3] * 40), recipe)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert evaluate_text(model, torch.tensor([0, 1, 2, 3] * 40), context=8).nats < 0.3


def test_a_recipe_says_how_many_characters_it_takes_and_refuses_what_cannot_be():
    assert RECIPE.characters == 12 * 3 * 6
    for wrong in ({"steps": 0}, {"average": 1.5}, {"clip": 0.0}, {"learning_rate": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TextRecipe(**({"steps": 1} | wrong))


def test_the_best_of_a_history_is_the_earliest_of_equals():
    assert TextHistory(validation_nats=[2.0, 1.0, 1.0]).best == 1


# --- the control ------------------------------------------------------------------------------------------------------


def test_the_lstm_is_as_large_as_the_transformer_and_counted():
    width = 304
    by_hand = 2 * 65 * width + 2 * (8 * width**2 + 8 * width)
    lstm, transformer = count_parameters(CharacterLSTM()), count_parameters(Transformer())
    assert lstm == by_hand
    assert abs(lstm / transformer - 1) < 0.02
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    assert count_macs(CharacterLSTM(), tokens) == 3 * (2 * 8 * width**2 + 65 * width)


def test_an_lstm_does_not_look_ahead():
    torch.manual_seed(0)
    lstm = CharacterLSTM(KINDS, width=8).eval()
    nn.init.normal_(lstm.head.weight)
    one, other = text(9), text(9)
    other[5] = (other[5] + 1) % KINDS
    said = [lstm(each[None])[0] for each in (one, other)]
    assert torch.allclose(said[0][:5], said[1][:5])
    assert not torch.allclose(said[0][5:], said[1][5:])
