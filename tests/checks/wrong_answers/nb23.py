"""Wrong answers to the exercises of notebook 23."""


def _size(weights, kept, bits, position_bits, biases):
    return 16 + -(-kept * bits // 8) - (-kept * position_bits // 8) + 2 * 2**bits + 4 * biases


def _dense(weights, biases):
    return 16 + 4 * (weights + biases)


def _with(change):
    """The right answer with the size changed."""

    def answer(weights, kept, bits, position_bits, biases):
        size = change(_size(weights, kept, bits, position_bits, biases), weights, kept, bits, position_bits, biases)
        return size, 8 * size / weights, _dense(weights, biases) / size

    return answer


def _frontier(dominates):
    return lambda points: [i for i, p in enumerate(points) if not any(dominates(o, p) for o in points)]


def _one_pass(points):
    kept, least = [], float("inf")
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if points[i][1] < least:
            kept.append(i)
            least = points[i][1]
    return sorted(kept)


WRONG_ANSWERS = {
    "23.1": [
        _with(lambda size, w, kept, bits, position_bits, biases: size - 2 * 2**bits),  # the codebook forgotten
        _with(lambda size, w, kept, bits, position_bits, biases: size - -(-kept * position_bits // 8)),  # positions
        _with(lambda size, w, kept, bits, position_bits, biases: size + 2 * 2**bits),  # float32 in the codebook
        _with(lambda size, w, kept, bits, position_bits, biases: size - 4 * biases),  # the biases forgotten
        # rounded once, for codes and positions together
        _with(
            lambda size, w, kept, bits, position_bits, biases: (
                16 - (-kept * (bits + position_bits) // 8) + 2 * 2**bits + 4 * biases
            )
        ),
        # bits over the weights that are left
        lambda w, kept, bits, position_bits, biases: (
            _size(w, kept, bits, position_bits, biases),
            8 * _size(w, kept, bits, position_bits, biases) / max(kept, 1),
            _dense(w, biases) / _size(w, kept, bits, position_bits, biases),
        ),
        # the ratio upside down
        lambda w, kept, bits, position_bits, biases: (
            _size(w, kept, bits, position_bits, biases),
            8 * _size(w, kept, bits, position_bits, biases) / w,
            _size(w, kept, bits, position_bits, biases) / _dense(w, biases),
        ),
    ],
    "23.2": [
        _frontier(lambda o, p: o[0] <= p[0] and o[1] <= p[1]),  # every point dominates itself
        _frontier(lambda o, p: o[0] < p[0] and o[1] < p[1]),  # better in both only
        _frontier(lambda o, p: o[0] < p[0] or o[1] < p[1]),  # better in one is enough
        _frontier(lambda o, p: o[0] >= p[0] and o[1] >= p[1] and o != p),  # more is better
        lambda points: sorted(range(len(points)), key=lambda i: points[i])[:1],  # the smallest alone
        _one_pass,  # forgets equal points
    ],
    "23.3": [
        lambda: {"C"},
        lambda: {"D"},
        lambda: {"A", "C", "D"},
        lambda: {"B", "C", "D"},
        lambda: {"C", "D", "E"},
        lambda: "CD",
        lambda: None,
    ],
}
