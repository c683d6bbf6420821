"""Tiny Shakespeare: the published file, its parts, and stretches of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils.characters import SHAKESPEARE, Vocabulary, load_shakespeare, windows
from utils.dataset_files import DataError


def test_the_parts_are_consecutive_and_make_up_the_whole():
    text = load_shakespeare()
    whole = torch.cat([text.train, text.validation, text.test])
    assert text.vocabulary.decode(whole) == SHAKESPEARE.read_text(encoding="ascii")
    assert text.vocabulary.decode(text.train[:14]) == "First Citizen:"


@given(st.text(alphabet="abc \n", max_size=50))
def test_decoding_undoes_encoding(text):
    vocabulary = Vocabulary("\n abc")
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match="'é', at place 1, is none of the 65 known characters"):
        load_shakespeare().vocabulary.encode("né")


@given(length=st.integers(1, 9), seed=st.integers(0, 100))
def test_every_target_is_what_follows_its_input_and_every_start_can_be_drawn(length, seed):
    inputs, targets = windows(torch.arange(10), length, 200, torch.Generator().manual_seed(seed))
    assert inputs.shape == targets.shape == (200, length)
    assert torch.equal(targets, inputs + 1)
    assert set(inputs[:, 0].tolist()) == set(range(10 - length)), "200 draws of at most nine starts"


@pytest.mark.parametrize("length", [0, 10])
def test_a_stretch_longer_than_the_text_is_refused(length):
    with pytest.raises(ValueError, match="length must be from 1 to 9"):
        windows(torch.arange(10), length, 1, torch.Generator())


@pytest.mark.parametrize(("content", "wrong"), [(None, "cannot be read"), (b"To be", "is not the published file")])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content, wrong):
    path = tmp_path / "input.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=wrong) as caught:
        load_shakespeare(path)
    assert "git checkout -- data/tiny_shakespeare" in str(caught.value)
