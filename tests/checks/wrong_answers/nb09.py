"""Wrong answers to the exercises of notebook 09."""

import torch


def _factor(norm):
    return norm["gamma"] / torch.sqrt(norm["variance"] + norm["epsilon"])


def _equalizer(*, bias=True, readers=True, pairs=9, power=0.5):
    """Return the solution with one mistake in it."""

    def rows(values, weight):
        return values.view(-1, *[1] * (weight.ndim - 1))

    def answer(layers):
        for _ in range(10):
            for number in range(pairs):
                (weight, constant), (reader, after) = layers[number : number + 2]
                read = reader if reader.shape[1] == 1 else reader.transpose(0, 1)
                ratio = weight.flatten(1).abs().amax(dim=1) / read.flatten(1).abs().amax(dim=1)
                scale = ratio**power
                told = read * rows(scale, read) if readers else read
                layers[number] = (weight / rows(scale, weight), constant / scale if bias else constant)
                layers[number + 1] = (told if reader.shape[1] == 1 else told.transpose(0, 1), after)
        return layers

    return answer


WRONG_ANSWERS = {
    "09.1": [
        lambda largest_code: 32767 // (2 * largest_code),  # the limit of 127 forgotten
        lambda largest_code: min(127, 32767 // largest_code),  # one product instead of two
        lambda largest_code: min(127, 65535 // (2 * largest_code)),  # as if the sum were unsigned
        lambda largest_code: 63,
        lambda largest_code: 32767 / (2 * largest_code),
    ],
    "09.2": [
        # the factor on the rows, as for a norm behind the layer
        lambda w, c, n: (w * _factor(n)[: len(w), None], c + w @ (n["beta"] - _factor(n) * n["mean"])),
        # the constants forgotten
        lambda w, c, n: (w * _factor(n), c),
        # the mean forgotten
        lambda w, c, n: (w * _factor(n), c + w @ n["beta"]),
        # the constants through the folded weight: the factor twice
        lambda w, c, n: (w * _factor(n), c + (w * _factor(n)) @ (n["beta"] - _factor(n) * n["mean"])),
        # variance for deviation
        lambda w, c, n: (
            w * n["gamma"] / (n["variance"] + n["epsilon"]),
            c + w @ (n["beta"] - n["gamma"] / (n["variance"] + n["epsilon"]) * n["mean"]),
        ),
        # epsilon forgotten
        lambda w, c, n: (
            w * n["gamma"] / n["variance"].sqrt(),
            c + w @ (n["beta"] - n["gamma"] / n["variance"].sqrt() * n["mean"]),
        ),
    ],
    "09.3": [
        lambda layers: layers,  # nothing changed: 38 %
        lambda layers: None,
        lambda layers: layers[:-1],
        lambda layers: [weight for weight, _ in layers],
        _equalizer(bias=False),  # the biases keep their old size
        _equalizer(readers=False),  # what reads a channel is not told
        _equalizer(pairs=1),  # only the first pair of layers
        _equalizer(power=-0.5),  # the wrong way round: the channels become more unlike
        lambda layers: [(weight * float("nan"), bias) for weight, bias in layers],
    ],
}
