"""Shakespeare in another style, computed by rules: what notebook 20 teaches a network that has read only the original.

A style uses the characters of the original, so that the same network can write it; and a rule says of every sentence
that the network writes whether it kept to the style.
"""

import re

MODERN = {
    "thou": "you", "thee": "you", "thy": "your", "thine": "yours", "thyself": "yourself", "ye": "you", "art": "are",
    "hast": "have", "hath": "has", "hadst": "had", "dost": "do", "doth": "does", "didst": "did", "wilt": "will",
    "shalt": "shall", "wert": "were", "wast": "was", "canst": "can", "couldst": "could", "wouldst": "would",
    "shouldst": "should", "mayst": "may", "ere": "before", "oft": "often", "nay": "no", "ay": "yes",
    "aye": "yes", "hither": "here", "thither": "there", "whither": "where", "wherefore": "why", "whence": "from where",
    "hence": "away", "'tis": "it is", "'twas": "it was", "'twere": "it were", "'twill": "it will", "o'er": "over",
    "e'er": "ever", "ne'er": "never", "e'en": "even", "i'": "in", "o'": "of", "prithee": "please",
    "methinks": "I think", "unto": "to", "upon": "on", "betwixt": "between", "morrow": "morning", "sirrah": "fellow",
}  # fmt: skip
"""Old words, and what stands in their place."""

_WORD = re.compile(r"(?<![A-Za-z'])(?:'t(?:is|was|were|will)|[A-Za-z]+(?:'[A-Za-z]+)*'?)", re.IGNORECASE)


def modern(text: str) -> str:
    """Replace the words of `MODERN`, and "-'d" at a word's end by "-ed"; a capital stays a capital.

    A word right behind an apostrophe, as where a quotation begins, and one that is drawn together with another
    ("thou'rt"), stay as they are.

    >>> modern("Thou hast banish'd thy enemy; 'Tis o'er.")
    'You have banished your enemy; It is over.'
    """
    return _WORD.sub(lambda found: _modern_word(found.group()), text)


def _modern_word(word: str) -> str:
    bare = word[:-1] if word.endswith("'") and word.lower() not in MODERN else word  # a quotation may end here
    new = MODERN.get(bare.lower())
    if new is None:
        return word[:-2] + "ed" if word.endswith("'d") and len(word) > 4 else word
    first = next(character for character in bare if character.isalpha())
    return (new[0].upper() + new[1:] if first.isupper() else new) + word[len(bare) :]


def prose(text: str) -> str:
    """Make prose of a play: modern words, and each speech in one line behind its speaker.

    A line of verse begins with a capital; it becomes small unless a sentence begins there, or the word is "I" or never
    stands in the text in small letters, as names do not.

    Args:
        text: speeches with an empty line between them, the first line of each the speaker's name and a colon.

    >>> print(prose("ROMEO:\\nO, she doth teach\\nThe torches! It seems\\nShe hangs. the she\\n\\nTYBALT:\\nThis?"))
    ROMEO: O, she does teach the torches! It seems she hangs. the she
    TYBALT: This?
    """
    small = set(re.findall(r"(?<![A-Za-z'])[a-z]+", text))
    return "\n".join(_in_one_line(speech, small) for speech in text.split("\n\n"))


def _in_one_line(speech: str, small: set[str]) -> str:
    speaker, *lines = speech.strip("\n").split("\n")
    joined = ""
    for line in lines:
        word = re.match(r"[A-Za-z]*", line).group()
        if joined and joined[-1] not in ".?!" and word.lower() in small and word != "I":
            line = line[:1].lower() + line[1:]
        joined += f" {line}" if line else ""
    return speaker + modern(joined)


def telegram(text: str) -> str:
    """Make telegrams of a play: small letters only, no punctuation but the full stop behind a sentence.

    >>> print(telegram("ROMEO:\\nO, she doth teach\\nThe torches! She hangs."))
    romeo
    o she doth teach
    the torches. she hangs.
    """
    text = re.sub(r"[?!;]", ".", text.lower())
    return re.sub(r"[^a-z.\n ]+", "", text.replace("-", " "))
