"""The transformer: attention against loops and PyTorch, the network against NumPy, the cache against a whole pass."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from utils.accounting import count_macs, count_parameters, layer_costs
from utils.checkpoint_files import CheckpointError
from utils.models import save_checkpoint
from utils.transformer import (
    KeyValueCache,
    Transformer,
    all_attention_weights,
    attention,
    attention_weights,
    causal_mask,
    load_transformer,
    rotate,
    rotations,
)

KINDS = 7


def tiny(*, blocks=2, context=12, seed=0, dropout=0.0):
    """A network whose head, too, has drawn weights, so that its logits say something."""
    torch.manual_seed(seed)
    model = Transformer(KINDS, width=12, blocks=blocks, heads=2, hidden=10, context=context, dropout=dropout)
    for norm in (model.norm, *(norm for block in model.blocks for norm in (block.norm1, block.norm2))):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def text(length, *, batch=1, seed=0):
    return torch.randint(KINDS, (batch, length), generator=torch.Generator().manual_seed(seed))


# --- attention --------------------------------------------------------------------------------------------------------


@given(queries=st.integers(1, 5), earlier=st.integers(0, 4), size=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_attention_against_a_loop_over_queries_keys_and_numbers(queries, earlier, size, seed):
    keys = queries + earlier
    drawn = np.random.default_rng(seed)
    q, k, v = drawn.normal(size=(queries, size)), drawn.normal(size=(keys, size)), drawn.normal(size=(keys, size))
    expected = np.zeros((queries, size))
    for i in range(queries):
        seen = range(earlier + i + 1)
        scores = [sum(q[i, n] * k[j, n] for n in range(size)) / size**0.5 for j in seen]
        total = sum(math.exp(score) for score in scores)
        for j, score in zip(seen, scores, strict=True):
            expected[i] += math.exp(score) / total * v[j]
    received = attention(*map(torch.from_numpy, (q, k, v)))
    assert np.allclose(received.numpy(), expected)


def test_attention_is_what_pytorch_computes():
    query, key, value = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0)).unbind()
    library = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.allclose(attention(query, key, value), library, atol=1e-6)
    last = F.scaled_dot_product_attention(query[:, :, -3:], key, value, causal_mask(3, 9))
    assert torch.allclose(attention(query[:, :, -3:], key, value), last, atol=1e-6)


def test_the_weights_of_a_query_add_up_to_one_and_none_looks_ahead():
    weights = attention_weights(*torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(weights.sum(dim=-1), torch.ones(5))
    assert bool((weights.triu(1) == 0).all())


@given(first=st.integers(0, 50), second=st.integers(0, 50), moved=st.integers(0, 200))
def test_a_turned_query_times_a_turned_key_depends_on_their_distance_only(first, second, moved):
    query, key = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def product(place, other):
        turned = [rotate(x, *rotations(torch.tensor([p]), 8)) for x, p in ((query, place), (key, other))]
        return (turned[0] * turned[1]).sum().item()

    assert product(first, second) == pytest.approx(product(first + moved, second + moved), abs=1e-4)


def test_turning_is_a_product_of_complex_numbers():
    x = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = x[..., :3].numpy() + 1j * x[..., 3:].numpy()
    angles = np.arange(5)[:, None] * 10_000.0 ** (-np.arange(3) / 3)
    turned = pairs * np.exp(1j * angles)
    received = rotate(x, *rotations(torch.arange(5), 6)).numpy()
    assert np.allclose(received, np.concatenate([turned.real, turned.imag], axis=-1), atol=1e-6)


# --- the network ------------------------------------------------------------------------------------------------------


def by_numpy(model, tokens):
    """The whole network once more, for one text, head by head, with complex numbers for the turning."""
    weight = {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}

    def norm(x, name):
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * weight[f"{name}.weight"]

    x = weight["embedding.weight"][tokens]
    length, (heads, size) = len(tokens), (model.blocks[0].attention.heads, model.blocks[0].attention.size)
    turn = np.exp(1j * np.arange(length)[:, None] * 10_000.0 ** (-2 * np.arange(size // 2) / size))
    for number in range(len(model.blocks)):
        at = f"blocks.{number}"
        seen = norm(x, f"{at}.norm1")
        q, k, v = (seen @ weight[f"{at}.attention.{name}.weight"].T for name in ("query", "key", "value"))
        mixed = []
        for head in range(heads):
            here = slice(head * size, (head + 1) * size)
            q_here, k_here = ((m[:, here][:, : size // 2] + 1j * m[:, here][:, size // 2 :]) * turn for m in (q, k))
            scores = (q_here @ k_here.conj().T).real / np.sqrt(size)
            scores[np.triu_indices(length, 1)] = -np.inf
            shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
            mixed.append(shares / shares.sum(axis=-1, keepdims=True) @ v[:, here])
        x = x + np.concatenate(mixed, axis=-1) @ weight[f"{at}.attention.output.weight"].T
        seen = norm(x, f"{at}.norm2")
        gate = seen @ weight[f"{at}.feed_forward.gate.weight"].T
        up = seen @ weight[f"{at}.feed_forward.up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weight[f"{at}.feed_forward.down.weight"].T
    return norm(x, "norm") @ weight["head.weight"].T


def test_the_network_against_numpy():
    model, tokens = tiny(blocks=3), text(11)
    assert np.allclose(model(tokens)[0].detach().numpy(), by_numpy(model, tokens[0].numpy()), atol=1e-4)


@given(place=st.integers(0, 9), seed=st.integers(0, 50))
@settings(max_examples=25)
def test_no_character_changes_what_is_said_before_it(place, seed):
    model, tokens = tiny(), text(10, seed=seed)
    other = tokens.clone()
    other[0, place] = (other[0, place] + 1) % KINDS
    before, after = model(tokens)[0], model(other)[0]
    assert torch.allclose(before[:place], after[:place], atol=1e-6)
    assert not torch.allclose(before[place], after[place], atol=1e-4)


def test_an_untrained_network_says_the_same_for_every_character():
    assert torch.equal(Transformer(KINDS, width=8, blocks=1, heads=2, hidden=8)(text(5)), torch.zeros(1, 5, KINDS))


def test_dropout_acts_in_training_only():
    model, tokens = tiny(dropout=0.5), text(8)
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="tokens must be at most 12 long, the context, got 13"):
        tiny()(text(13))
    with pytest.raises(ValueError, match="width must be heads times an even number, got width 12 and 4 heads"):
        Transformer(KINDS, width=12, heads=4)


def test_the_pictures_are_the_weights_by_which_values_are_mixed():
    model, tokens = tiny(), text(6)
    pictures = all_attention_weights(model, tokens[0])
    block = model.blocks[1]
    x = model.blocks[0](model.embedding(tokens), model.turns(tokens), None, 0)
    mixed = []
    block.attention.output.register_forward_pre_hook(lambda _, inputs: mixed.append(inputs[0]))
    block(x, model.turns(tokens), None, 1)
    values = block.attention.value(block.norm1(x))[0].view(6, 2, 6).transpose(0, 1)  # (heads, T, D)
    assert torch.allclose((pictures[1] @ values).transpose(0, 1).flatten(1), mixed[0][0], atol=1e-5)


# --- what it costs ----------------------------------------------------------------------------------------------------

WIDTH, BLOCKS, HIDDEN, CHARACTERS = 160, 5, 416, 65
MATRICES = BLOCKS * (4 * WIDTH**2 + 3 * WIDTH * HIDDEN)


def test_parameters_by_arithmetic():
    embedding_and_head, norms = 2 * CHARACTERS * WIDTH, (2 * BLOCKS + 1) * WIDTH
    assert count_parameters(Transformer()) == MATRICES + embedding_and_head + norms == 1_532_960


def test_macs_of_a_prefill_and_of_a_decoding_step_by_arithmetic():
    model, length = Transformer().eval(), 20
    per_character = MATRICES + CHARACTERS * WIDTH
    prefill = length * per_character + BLOCKS * 2 * length**2 * WIDTH
    tokens = torch.zeros(1, length, dtype=torch.int64)
    cache = KeyValueCache(model)
    assert count_macs(model, tokens) == prefill
    assert count_macs(model, tokens, cache) == prefill
    assert cache.length == length
    for held in (length + 1, length + 2):
        assert count_macs(model, tokens[:, :1], cache) == per_character + BLOCKS * 2 * held * WIDTH
    three = 3 * per_character + BLOCKS * 2 * 3 * (length + 5) * WIDTH
    assert count_macs(model, tokens[:, :3], cache) == three, "checking three drafted characters at once"


def test_each_layer_has_its_row_and_the_products_of_attention_their_own():
    length = 20
    rows = {row.name: row for row in layer_costs(Transformer(), torch.zeros(1, length, dtype=torch.int64))}
    assert rows["blocks.4.attention"].macs == 2 * length**2 * WIDTH
    assert rows["blocks.4.attention"].parameters == 0
    assert rows["blocks.0.attention.key"].macs == length * WIDTH**2
    assert rows["blocks.0.feed_forward.down"].macs == length * WIDTH * HIDDEN
    assert rows["head"].macs == length * WIDTH * CHARACTERS
    assert rows["embedding"].macs == 0
    assert sum(row.parameters for row in rows.values()) == 1_532_960


# --- the cache --------------------------------------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(1, 11), max_size=4), batch=st.integers(1, 3))
@settings(max_examples=30)
def test_reading_in_pieces_gives_the_logits_of_one_pass(cuts, batch):
    model, tokens = tiny(), text(12, batch=batch)
    cache = KeyValueCache(model, batch_size=batch)
    ends = sorted({*cuts, 12})
    pieces = [tokens[:, a:b] for a, b in zip([0, *ends], ends, strict=False)]
    received = torch.cat([model(piece, cache) for piece in pieces], dim=1)
    assert torch.allclose(received, model(tokens), atol=1e-5)
    assert cache.length == cache.seen == 12


def test_a_full_cache_forgets_the_oldest():
    """With one block keys and values depend on one character each, so nothing else of the forgotten is left."""
    model, tokens = tiny(blocks=1), text(20, batch=2)
    cache = KeyValueCache(model, batch_size=2)
    model(tokens[:, :10], cache)
    for end in (11, 12, 13, 16, 20):
        received = model(tokens[:, cache.seen : end], cache)[:, -1]
        assert torch.allclose(received, model(tokens[:, max(0, end - 12) : end])[:, -1], atol=1e-5)
        assert (cache.length, cache.seen) == (min(end, 12), end)


def test_characters_taken_back_were_never_read():
    model, tokens = tiny(), text(9)
    cache = KeyValueCache(model)
    model(tokens[:, :5], cache)
    model(torch.zeros(1, 3, dtype=torch.int64), cache)
    cache.forget_last(3)
    assert torch.allclose(model(tokens[:, 5:], cache), model(tokens)[:, 5:], atol=1e-5)
    with pytest.raises(ValueError, match="count must be from 0 to 9"):
        cache.forget_last(10)


def test_the_bytes_of_a_cache():
    cache = KeyValueCache(Transformer(), batch_size=32)
    cache.reserve(256)
    assert cache.nbytes == 2 * BLOCKS * 32 * 256 * WIDTH * 4
    cache.forget_last(156)
    assert cache.nbytes == 2 * BLOCKS * 32 * 100 * WIDTH * 4
    with pytest.raises(ValueError, match="257 characters at once do not fit a cache of 256"):
        cache.reserve(257)


# --- its file ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_with_its_form(tmp_path):
    model = tiny()
    form = {"characters": KINDS, "width": 12, "blocks": 2, "heads": 2, "hidden": 10, "context": 12}
    save_checkpoint(model, "tiny", folder=tmp_path, arguments=form)
    again = load_transformer("tiny", folder=tmp_path)
    assert not again.training
    assert torch.equal(again(text(12)), model(text(12)))
    save_checkpoint(model, "tiny", folder=tmp_path, arguments=form | {"width": 24})
    with pytest.raises(CheckpointError, match="does not fit this Transformer"):
        load_transformer("tiny", folder=tmp_path)
