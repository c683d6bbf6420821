"""Every coder gives back what it was given, within its length bound; a damaged file is an error, never a network."""

import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from utils import entropy_coding
from utils.entropy_coding import (
    MAGIC,
    CodingError,
    SharedTensor,
    byte_account,
    canonical_codes,
    decode_network,
    decode_tensors,
    encode_network,
    entropy,
    from_relative_indices,
    huffman_decode,
    huffman_encode,
    huffman_lengths,
    relative_indices,
)
from utils.models import LeNet300100

pytest.importorskip("constriction")  # no wheel for Linux on aarch64

SYMBOLS = st.lists(st.integers(0, 20), min_size=1, max_size=200)
CODES = arrays.arrays(np.int64, arrays.array_shapes(max_dims=4, max_side=8), elements=st.integers(0, 4))
SMALL = {"hidden": (6, 5)}


def small_network(seed=0, density=0.1, centroids=4):
    """Return the tensors of a narrow LeNet300100 with random masks and codes."""
    rng, tensors = np.random.default_rng(seed), {}
    for name, tensor in LeNet300100(**SMALL).state_dict().items():
        shape = tuple(tensor.shape)
        codes = rng.integers(1, centroids + 1, shape) * (rng.random(shape) < density)
        tensors[name] = SharedTensor(codes, rng.normal(size=centroids).astype(np.float16))
    return tensors


def encoded(**how):
    return encode_network(small_network(**how), model="LeNet300100", arguments=SMALL)


# --- Huffman's code


@given(SYMBOLS)
def test_huffman_round_trip(symbols):
    codes = canonical_codes(huffman_lengths(Counter(symbols)))
    assert huffman_decode(huffman_encode(symbols, codes), codes, len(symbols)) == symbols


@given(SYMBOLS.filter(lambda symbols: len(set(symbols)) > 1))
def test_huffman_stays_within_one_bit_a_symbol_of_the_entropy(symbols):
    lengths = huffman_lengths(Counter(symbols))
    mean = sum(lengths[symbol] for symbol in symbols) / len(symbols)
    assert entropy(np.array(symbols)) - 1e-9 <= mean < entropy(np.array(symbols)) + 1


@given(SYMBOLS)
def test_no_code_word_begins_another(symbols):
    words = list(canonical_codes(huffman_lengths(Counter(symbols))).values())
    assert not any(a != b and b.startswith(a) for a in words for b in words)


def test_huffman_is_as_short_as_the_counts_allow():
    assert huffman_lengths({0: 1, 1: 1, 2: 2, 3: 4}) == {0: 3, 1: 3, 2: 2, 3: 1}
    assert huffman_lengths({5: 9}) == {5: 1}


@pytest.mark.parametrize(
    ("content", "codes", "message"),
    [(b"", {1: "0"}, "ends after 0 of 9"), (b"\xff", {1: "0", 2: "10"}, "11 is no code")],
)
def test_a_damaged_huffman_stream_is_an_error(content, codes, message):
    with pytest.raises(CodingError, match=message):
        huffman_decode(content, codes, 9)


def test_lengths_of_no_prefix_code_are_an_error():
    with pytest.raises(CodingError, match="no prefix code"):
        canonical_codes({1: 1, 2: 1, 3: 1})


# --- relative indices


@given(CODES, st.integers(1, 8))
def test_relative_indices_round_trip(codes, bits):
    gaps, values = relative_indices(codes, bits=bits)
    assert not len(gaps) or gaps.max() < 2**bits
    assert np.array_equal(from_relative_indices(gaps, values, codes.shape), codes)


@pytest.mark.parametrize("gap", [0, 1, 2, 3, 4, 6, 7, 8, 11])
def test_a_gap_too_long_for_its_bits_is_broken_by_fillers(gap):
    gaps, values = relative_indices(np.array([0] * gap + [1]), bits=2)
    assert len(gaps) == gap // 4 + 1
    assert values.tolist() == [0] * (gap // 4) + [1]


# --- the file


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("centroids", [1, 2, 15, 127])
def test_the_file_gives_back_every_tensor_bit_for_bit(density, centroids):
    tensors = small_network(density=density, centroids=centroids)
    decoded = decode_tensors(encode_network(tensors, model="LeNet300100", arguments=SMALL))
    assert decoded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert np.array_equal(decoded[name].codes, tensor.codes)
        assert decoded[name].centroids.tobytes() == tensor.centroids.tobytes()


@given(st.integers(1, 63), st.floats(-900, 900, width=16).filter(lambda step: abs(step) > 1e-3), st.integers(0, 2**9))
def test_of_evenly_spaced_centroids_only_the_step_is_written(most, step, seed):
    tensors, levels = small_network(seed), np.array([level for level in range(-most, most + 1) if level])
    even = SharedTensor(np.zeros((6, 784), dtype=np.int64), (levels * np.float64(step)).astype(np.float16))
    uneven = SharedTensor(even.codes, even.centroids + np.eye(2 * most, dtype=np.float16)[0])
    sizes = {}
    for name, tensor in {"even": even, "uneven": uneven}.items():
        content = encode_network(tensors | {"fc1.weight": tensor}, model="LeNet300100", arguments=SMALL)
        sizes[name] = len(content)
        assert decode_tensors(content)["fc1.weight"].centroids.tobytes() == tensor.centroids.tobytes()
    # 0 where half precision swallows the one that was added
    assert sizes["uneven"] - sizes["even"] in (4 * most - 2, 0)


def test_the_decoder_rebuilds_the_network_from_the_file_alone():
    network = decode_network(encoded())
    assert not network.training
    for name, tensor in small_network().items():
        assert np.array_equal(network.state_dict()[name].numpy(), tensor.values)


def test_the_file_is_about_as_small_as_the_entropy_allows():
    tensors = small_network(density=0.05)
    bits = sum(t.codes.size * entropy(t.codes != 0) + np.count_nonzero(t.codes) * 2 for t in tensors.values())
    side = sum(5 + 8 for _ in tensors) + 60
    assert len(encode_network(tensors, model="LeNet300100", arguments=SMALL)) < 1.1 * bits / 8 + side


def test_a_truncated_file_is_an_error():
    content = encoded()
    for length in range(0, len(content), 7):
        with pytest.raises(CodingError):
            decode_tensors(content[:length])


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_every_flipped_bit_is_an_error(place, bit):
    content = bytearray(encoded())
    content[place % len(content)] ^= 1 << bit
    with pytest.raises(CodingError):
        decode_tensors(bytes(content))


@given(st.binary(max_size=300))
def test_foreign_content_is_an_error_even_with_a_right_checksum(body):
    with pytest.raises(CodingError):
        decode_tensors(body)
    with pytest.raises(CodingError):
        decode_tensors(MAGIC + struct.pack("<I", zlib.crc32(body)) + body)


def test_tensors_of_another_network_are_refused():
    with pytest.raises(CodingError, match="not those of LeNet300100"):
        encode_network(small_network(), model="LeNet300100", arguments={"hidden": (6, 4)})
    with pytest.raises(CodingError, match="no network of the course"):
        encode_network(small_network(), model="Foreign", arguments={})


@pytest.mark.parametrize(
    ("code", "centroids", "message"),
    [(3, [1, 1], "between 0 and 2, got 3"), (0, [], "1 to 127"), (1, [np.inf], "not finite")],
)
def test_bad_shared_tensors_are_refused(code, centroids, message):
    with pytest.raises(ValueError, match=message):
        SharedTensor(np.array([code]), np.array(centroids, dtype=np.float16))


# --- where the bytes go


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.02, 0.3, 1.0]), st.integers(1, 9))
def test_the_account_adds_up_and_little_is_left_over(seed, density, centroids):
    content = encoded(seed=seed, density=density, centroids=centroids)
    account = byte_account(content)
    assert sum(sum(row.values()) for row in account.values()) == pytest.approx(len(content), abs=1e-6)
    assert 0 <= account["file"]["rest"] <= 12  # whole words of four bytes, and float32 probabilities
    assert all(value >= 0 for row in account.values() for value in row.values())


def test_a_whole_and_an_empty_mask_cost_nothing():
    for density in (0.0, 1.0):
        assert all(row.get("mask", 0) == 0 for row in byte_account(encoded(density=density)).values())


# --- the contexts of a mask


def mask_bytes(mask):
    arguments = {"hidden": (60, 5)}
    one = np.ones(1, dtype=np.float16)
    tensors = {
        name: SharedTensor(np.zeros(tuple(w.shape), dtype=int), one)
        for name, w in LeNet300100(**arguments).state_dict().items()
    }
    tensors["fc1.weight"] = SharedTensor(mask.astype(int), one)
    content = encode_network(tensors, model="LeNet300100", arguments=arguments)
    return byte_account(content)["fc1.weight"]["mask"]


def test_contexts_find_crowds_and_lose_little_without_them():
    rng = np.random.default_rng(0)
    strokes = np.zeros((60, 28, 28), dtype=bool)
    for unit in strokes:
        row, column = rng.integers(5, 20, 2)
        unit[row : row + 8, column : column + 8] = True
    crowded = strokes.reshape(60, 784)
    shuffled = rng.permutation(crowded.reshape(-1)).reshape(crowded.shape)
    bound = entropy(crowded) * crowded.size / 8
    assert mask_bytes(crowded) < 0.5 * bound
    assert 0.98 * bound < mask_bytes(shuffled) < 1.03 * bound


def test_without_its_package_coding_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(entropy_coding, "constriction", None)
    with pytest.raises(entropy_coding.RangeCoderMissingError, match="pip install constriction"):
        encode_network(small_network(), model="LeNet300100", arguments=SMALL)


def test_nothing_is_coded_by_huffman_as_nothing():
    codes = canonical_codes(huffman_lengths({}))
    content = huffman_encode([], codes)
    assert (codes, content, huffman_decode(content, codes, 0)) == ({}, b"", [])
    with pytest.raises(CodingError, match="ends after 0 of 1 symbols"):
        huffman_decode(b"", {}, 1)
    with pytest.raises(CodingError, match="is no code word"):
        huffman_decode(b"\x00", {}, 1)


def test_one_number_is_a_tensor_too():
    one = SharedTensor(np.array(2), np.array([1.0, 7.0], dtype=np.float16))
    assert isinstance(one.values, np.ndarray)
    assert (one.values.shape, one.values.item()) == ((), 7.0)
