"""Tiny Shakespeare from `data/`, checked, split and turned into numbers, one for each character."""

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import torch

from utils.dataset_files import DATA, data_error

SHAKESPEARE = DATA / "tiny_shakespeare" / "input.txt"

DIGEST = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
"""SHA-256 of the file."""

TRAIN, VALIDATION = 0.85, 0.90
"""Where the training part and the validation part end, as shares of the text; the last tenth is the test part."""


class Vocabulary(NamedTuple):
    """The characters that can be written, in their order; a character's place is its number."""

    characters: str

    def encode(self, text: str) -> torch.Tensor:
        """Return the numbers of the characters, shape (length,), int64.

        Raises a ValueError that names the first character that is not in the vocabulary.

        >>> Vocabulary("abc").encode("cab").tolist()
        [2, 0, 1]
        """
        number = {character: index for index, character in enumerate(self.characters)}
        for place, character in enumerate(text):
            if character not in number:
                raise ValueError(f"{character!r}, at place {place}, is none of the {len(number)} known characters")
        return torch.tensor([number[character] for character in text], dtype=torch.int64)

    def decode(self, numbers: torch.Tensor) -> str:
        """Return the text of a vector of numbers.

        >>> Vocabulary("abc").decode(torch.tensor([2, 0, 1]))
        'cab'
        """
        return "".join(self.characters[number] for number in numbers.tolist())


class Text(NamedTuple):
    """A text in three consecutive parts, each a vector of int64, and what its numbers stand for."""

    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    vocabulary: Vocabulary


def load_shakespeare(path: Path = SHAKESPEARE) -> Text:
    """Load Tiny Shakespeare: 1,115,394 characters of 65 kinds, by speakers and scenes.

    The first 85 % are to learn from, the next 5 % to choose by, the last tenth to look at once; the last tenth is what
    others report as validation. Neighbouring parts are of one play: a shuffled split would show the model its test.

    Raises:
        DataError: the file is missing or is not what it should be.

    >>> text = load_shakespeare()
    >>> len(text.train), len(text.validation), len(text.test), len(text.vocabulary.characters)
    (948084, 55770, 111540, 65)
    """
    return _load(Path(path))


@functools.cache
def _load(path: Path) -> Text:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise data_error("tiny_shakespeare", path, f"cannot be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != DIGEST:
        raise data_error("tiny_shakespeare", path, "is not the published file: its SHA-256 digest is another")
    text = content.decode("ascii")
    vocabulary = Vocabulary("".join(sorted(set(text))))
    numbers = vocabulary.encode(text)
    ends = [int(share * len(text)) for share in (TRAIN, VALIDATION)]
    return Text(*numbers.tensor_split(ends), vocabulary)


def windows(
    part: torch.Tensor, length: int, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw stretches of a text and, for each place in them, the character that comes next.

    Args:
        part: numbers of shape (characters,).
        length: of each stretch.
        count: how many are drawn, with replacement.
        generator: draws where they begin.

    Returns:
        Inputs and targets, both of shape (count, length), int64.

    >>> inputs, targets = windows(torch.arange(10), 4, 2, torch.Generator().manual_seed(0))
    >>> bool((targets == inputs + 1).all())
    True
    """
    if not 0 < length < len(part):
        raise ValueError(f"length must be from 1 to {len(part) - 1}, the text's length less one, got {length}")
    starts = torch.randint(len(part) - length, (count, 1), generator=generator)
    places = starts + torch.arange(length)  # (count, length)
    return part[places], part[places + 1]
