"""Styles of Shakespeare: small cases by hand, and the whole text stays within its own characters."""

import re

import pytest

from utils.characters import load_shakespeare
from utils.restyling import MODERN, modern, prose, telegram


@pytest.fixture(scope="module")
def text():
    loaded = load_shakespeare()
    return loaded.vocabulary.decode(loaded.validation).split("\n\n", 1)[1]  # from the first whole speech


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Thou art", "You are"),
        ("THOU", "You"),
        ("thousand", "thousand"),
        ("'tis; 'Tis", "it is; It is"),
        ("he's banish'd", "he's banished"),
        ("I'd", "I'd"),
        ("'thou' said he", "'thou' said he"),  # behind an apostrophe a word is left as it is
        ("", ""),
    ],
)
def test_words_become_modern(old, new):
    assert modern(old) == new


def test_prose_has_one_line_a_speech_and_no_old_word(text):
    speeches = text.split("\n\n")
    rewritten = prose(text)
    assert rewritten.count("\n") == len(speeches) - 1
    words = set(re.findall(r"(?<![a-z'])[a-z]+(?:'[a-z]+)*'?", re.sub(r"^[^:\n]*:", "", rewritten, flags=re.M).lower()))
    assert not words & {"thou", "thee", "thy", "hath", "doth", "ere", "unto"}
    assert not words & {old for old in MODERN if old.isalpha()} - set(MODERN.values())


def test_prose_keeps_names_and_beginnings_of_sentences():
    play = "A:\nHis brother\nRichard came. then\nHe left. the\nHe he"
    assert prose(play) == "A: His brother Richard came. then he left. the he he"


@pytest.mark.parametrize("style", [prose, telegram])
def test_styles_need_no_other_characters(text, style):
    load_shakespeare().vocabulary.encode(style(text))


def test_telegrams_are_small_letters_and_full_stops(text):
    assert re.fullmatch(r"[a-z.\n ]*", telegram(text))
