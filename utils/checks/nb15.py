"""Checks for notebook 15, deep_compression."""

import math
import random
import secrets
from collections.abc import Callable

from utils.checks import check_cases, check_choice, exercise


@exercise("15.1")
def layer_bytes(answer: Callable) -> None:
    """Bytes of a layer as relative indices with codes, fillers, centroids and the number of entries included."""

    def specification(gaps: list[int], index_bits: int, centroids: int) -> int:
        entries = 0
        for gap in gaps:
            while gap >= 2**index_bits:
                entries += 1
                gap -= 2**index_bits
            entries += 1
        code_bits = 1
        while 2**code_bits < centroids + 1:
            code_bits += 1
        bits = entries * (index_bits + code_bits)
        whole = 0
        while 8 * whole < bits:
            whole += 1
        return whole + 2 * centroids + 4

    small = [([], 2, 1), ([0], 1, 1), ([2, 5], 2, 3), ([3], 2, 3), ([4], 2, 3), ([8], 2, 3), ([1, 1], 4, 8)]
    generator = random.Random(secrets.randbits(32))
    drawn = [
        ([generator.randrange(reach) for _ in range(count)], bits, centroids)
        for count, reach, bits, centroids in ((3, 10, 2, 4), (5, 40, 3, 7), (20, 200, 4, 16), (50, 300, 5, 31))
    ]
    check_cases(answer, [(case, specification(*case)) for case in [*small, *drawn]])


@exercise("15.2")
def decode_canonical(answer: Callable) -> None:
    """Decode a message in the canonical code that follows from the lengths."""

    def specification(bits: str, lengths: dict[int, int]) -> list[int]:
        words: dict[str, int] = {}
        for length in range(1, max(lengths.values()) + 1):
            for letter in sorted(lengths):
                if lengths[letter] == length:
                    # the first word of this length, in the order of counting, that no earlier word begins
                    free = (f"{number:0{length}b}" for number in range(2**length))
                    word = next(w for w in free if not any(w.startswith(earlier) for earlier in words))
                    words[word] = letter
        letters, read = [], ""
        for bit in bits:
            read += bit
            if read in words:
                letters.append(words[read])
                read = ""
        return letters

    def message(lengths: dict[int, int], letters: list[int]) -> str:
        words, word, before = {}, 0, 0
        for letter, length in sorted(lengths.items(), key=lambda item: (item[1], item[0])):
            word <<= length - before
            words[letter] = f"{word:0{length}b}"
            word, before = word + 1, length
        return "".join(words[letter] for letter in letters)

    small = [("", {3: 1}), ("0", {3: 1}), ("01", {1: 1, 2: 1}), ("10", {5: 1, 2: 1}), ("0110", {7: 1, 8: 2, 9: 2})]
    codes = [{9: 1, 4: 3, 1: 3, 7: 2}, {1: 2, 2: 2, 3: 2, 4: 2}, {0: 4, 1: 4, 2: 3, 3: 2, 4: 1}, {6: 1, 5: 4, 8: 4}]
    generator = random.Random(secrets.randbits(32))
    assert all(math.fsum(2.0**-n for n in lengths.values()) <= 1 for lengths in codes)
    drawn = [(message(c, generator.choices(sorted(c), k=count)), c) for count in (2, 6, 15) for c in codes]
    check_cases(answer, [(case, specification(*case)) for case in [*small, *drawn]])


@exercise("15.3")
def true_statements(answer: Callable) -> None:
    """Which sentences about small files are true."""
    check_choice(
        answer,
        right={"C", "D", "E"},
        why_wrong={
            "A": "the shuffled mask has no structure, and then no code can go below its entropy.",
            "B": "each place that holds the centroid adds its gradient: look at the nine weights by hand.",
            "F": "the decoded 2 % network ran like the dense one.",
        },
        why_missing={
            "C": "by how much does a place narrow the interval if both possibilities are equally likely?",
            "D": "compute n H(k / n) for two values of n with one k.",
            "E": "how short can a word of Huffman's code be?",
        },
    )
