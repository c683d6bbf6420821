"""Wrong answers to the exercises of notebook 15."""

import math


def _bytes(gaps, index_bits, centroids, *, entries=None, code_bits=None, side=None):
    entries = sum(gap // 2**index_bits + 1 for gap in gaps) if entries is None else entries
    code_bits = math.ceil(math.log2(centroids + 1)) if code_bits is None else code_bits
    return math.ceil(entries * (index_bits + code_bits) / 8) + (2 * centroids + 4 if side is None else side)


def _decode(bits, words):
    letters, read = [], ""
    for bit in bits:
        read += bit
        if read in words:
            letters.append(words[read])
            read = ""
    return letters


def _words(lengths, key, *, shift=True):
    words, word, before = {}, 0, 0
    for letter, length in sorted(lengths.items(), key=key):
        word = word << (length - before) if shift else word
        words[f"{word:0{length}b}"] = letter
        word, before = word + 1, length
    return words


WRONG_ANSWERS = {
    "15.1": [
        lambda gaps, p, k: _bytes(gaps, p, k, entries=len(gaps)),  # the fillers forgotten
        lambda gaps, p, k: _bytes(gaps, p, k, code_bits=math.ceil(math.log2(max(2, k)))),  # no code for the filler
        lambda gaps, p, k: _bytes(gaps, p, k, side=0),  # centroids and count forgotten
        lambda gaps, p, k: _bytes(gaps, p, k, side=4 * k + 4),  # centroids of four bytes
        lambda gaps, p, k: _bytes(gaps, p, k, entries=sum(g // (2**p - 1) + 1 for g in gaps)),  # reach one too short
        lambda gaps, p, k: _bytes(gaps, p, k, side=0) - 1 + 2 * k + 4,  # rounded down
        lambda gaps, p, k: None,
    ],
    "15.2": [
        lambda bits, lengths: _decode(bits, _words(lengths, lambda item: item[0])),  # by letter alone
        lambda bits, lengths: _decode(bits, _words(lengths, lambda item: (item[1], -item[0]))),  # equal ones reversed
        lambda bits, lengths: _decode(bits, _words(lengths, lambda item: (item[1], item[0]), shift=False)),  # no zeros
        lambda bits, lengths: _decode(bits, _words(lengths, lambda item: item[1])),  # in the order of the dictionary
        lambda bits, lengths: [],
    ],
    "15.3": [
        lambda: {"A", "C", "D", "E"},
        lambda: {"B", "C", "D", "E"},
        lambda: {"C", "D"},
        lambda: {"C", "D", "E", "F"},
        lambda: "CDE",
    ],
}
