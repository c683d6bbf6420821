"""Wrong answers to the exercises of notebook 17."""

import torch


def _cost(width, hidden, blocks, heads, kv_heads, alphabet, held, texts, **wrong):
    size = width // heads
    kv = wrong.get("kv", kv_heads) * size
    block = 2 * width * width + 2 * kv * width + 3 * width * hidden
    looked = wrong.get("looked", heads * size)
    macs = texts * (blocks * (block + 2 * held * looked) + alphabet * width)
    cache = wrong.get("cache", texts * blocks * 2 * held * kv)
    numbers = blocks * (block + wrong.get("norms", 2) * width) + alphabet * width + cache
    numbers = wrong.get("weights_times", 1) * numbers + wrong.get("rows", texts) * width + width
    return wrong.get("macs_times", 1) * macs, wrong.get("bytes", 4) * numbers


def _step(query, key, value, keys, values, capacity, *, scale=None, spread="repeat", keep="newest", softmax=True):
    heads, size = query.shape
    if keep == "before":  # makes room although there is room
        keys, values = keys[:, -(capacity - 1) :], values[:, -(capacity - 1) :]
    keys = torch.cat([keys, key[:, None]], dim=1)
    values = torch.cat([values, value[:, None]], dim=1)
    if keep == "newest":
        keys, values = keys[:, -capacity:], values[:, -capacity:]
    if keep == "oldest":
        keys, values = keys[:, :capacity], values[:, :capacity]
    times = heads // len(keys)
    k, v = (
        (each.repeat_interleave(times, dim=0) if spread == "repeat" else each.repeat(times, 1, 1))
        for each in (keys, values)
    )
    scores = (k @ query[:, :, None])[..., 0] / (size**0.5 if scale is None else scale)
    weights = scores.softmax(dim=-1) if softmax else scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    return (weights[:, None] @ v)[:, 0], keys, values


def _writes_into_the_cache(query, key, value, keys, values, capacity):
    received = _step(query, key, value, keys, values, capacity)
    keys += 1
    return received


def _rounded(rows, bits, *, low, high):
    """Codes of a byte each, and what is needed to take them back."""
    step = ((high - low) / (2**bits - 1)).clamp(min=1e-6).half()
    codes = ((rows - low) / step.float()).round().clamp(0, 2**bits - 1).to(torch.uint8)
    return codes, low.half(), step


def _back(parts):
    codes, low, step = parts
    return codes.float() * step.float() + low.float()


def _ends(rows):
    return {"low": rows.amin(dim=1, keepdim=True), "high": rows.amax(dim=1, keepdim=True)}


def _halved(parts):
    codes, *others = parts
    return (codes[:, ::2] | codes[:, 1::2] << 4, *others)


def _doubled(parts):
    codes, *others = parts
    return torch.stack([codes & 15, codes >> 4], dim=2).flatten(1), *others


def _kept_elsewhere():
    kept = []

    def pack(rows):
        kept.append(rows)
        return (torch.zeros(1),)

    return pack, lambda parts: kept[-1]


WRONG_ANSWERS = {
    "17.1": [
        # as if every query had its own key and value
        lambda *sizes: _cost(*sizes, kv=sizes[3]),
        # attention's products counted for the shared heads only
        lambda *sizes: _cost(*sizes, looked=sizes[0] // sizes[3] * sizes[4]),
        # the weights read once for each text
        lambda *sizes: _cost(*sizes, weights_times=sizes[7]),
        # one cache for all texts
        lambda *sizes: _cost(*sizes, cache=sizes[2] * 2 * sizes[6] * sizes[4] * sizes[0] // sizes[3]),
        # the whole embedding is read
        lambda *sizes: _cost(*sizes, rows=sizes[5]),
        # one norm a block
        lambda *sizes: _cost(*sizes, norms=1),
        # operations in place of multiply-accumulates
        lambda *sizes: _cost(*sizes, macs_times=2),
        # two bytes a number
        lambda *sizes: _cost(*sizes, bytes=2),
        # for one text
        lambda *sizes: _cost(*sizes[:7], 1),
        lambda *sizes: sum(_cost(*sizes)),
    ],
    "17.2": [
        lambda *given: _step(*given, scale=1.0),
        lambda *given: _step(*given, scale=given[0].shape[1]),
        # heads 0, 2, 4 share in place of heads 0, 1
        lambda *given: _step(*given, spread="tile"),
        # never forgets
        lambda *given: _step(*given, keep="all"),
        # forgets the newest
        lambda *given: _step(*given, keep="oldest"),
        # a slice of [-0:] keeps everything
        lambda *given: _step(*given, keep="before"),
        # overflows
        lambda *given: _step(*given, softmax=False),
        _writes_into_the_cache,
        # does not look at itself
        lambda query, key, value, keys, values, capacity: (
            _step(query, keys[:, -1], values[:, -1], keys[:, :-1], values[:, :-1], capacity)[0],
            *_step(query, key, value, keys, values, capacity)[1:],
        ),
        lambda *given: _step(*given)[0],
    ],
    "17.3": [
        # half the bits, not a seventh
        lambda: (lambda rows: (rows.half(),), lambda parts: parts[0].float()),
        # four bits, but in a byte each
        lambda: (lambda rows: _rounded(rows, 4, **_ends(rows)), _back),
        # a smallest value and a step for each row are half a bit too many
        lambda: (lambda rows: _halved(_rounded(rows, 4, **_ends(rows))), lambda parts: _back(_doubled(parts))),
        # one scale for all rows
        lambda: (
            lambda rows: _halved(_rounded(rows, 4, low=rows.amin().view(1, 1), high=rows.amax().view(1, 1))),
            lambda parts: _back(_doubled(parts)),
        ),
        # the same range for every row, whatever is in it
        lambda: (
            lambda rows: _halved(_rounded(rows, 4, low=torch.full((1, 1), -20.0), high=torch.full((1, 1), 20.0))),
            lambda parts: _back(_doubled(parts)),
        ),
        # one bit: the sign
        lambda: (
            lambda rows: (((rows > 0).view(len(rows), -1, 8).long() @ (1 << torch.arange(8))).to(torch.uint8),),
            lambda parts: (parts[0][..., None] >> torch.arange(8) & 1).flatten(1) * 2.0 - 1,
        ),
        # what is not packed does not come back
        lambda: (lambda rows: (), lambda parts: torch.zeros(1, 32)),
        lambda: (lambda rows: [rows], lambda parts: parts[0][:1]),
        _kept_elsewhere,
        lambda: _halved,
    ],
}
