"""Wrong answers to the exercises of notebook 12."""

import math


def _served(arrivals, a_call, an_input, max_batch, patience, *, mistake):
    """Serve with one mistake."""
    first, free_at, answers = 0, 0.0, []
    while first < len(arrivals):
        full_at = arrivals[first + max_batch - 1] if first + max_batch <= len(arrivals) else math.inf
        gives_up = arrivals[first] + patience
        if mistake == "the patience begins when the server is free":
            gives_up = max(free_at, arrivals[first]) + patience
        start = max(free_at, min(gives_up, full_at))
        if mistake == "never starts before the patience ends":
            start = max(free_at, gives_up)
        if mistake == "waits until the batch is full":
            start = max(free_at, full_at if full_at < math.inf else arrivals[-1])
        size = min(max_batch, sum(arrival <= start for arrival in arrivals[first:]))
        if mistake == "batches without end":
            size = sum(arrival <= start for arrival in arrivals[first:])
        if mistake == "one at a time":
            size = 1
        free_at = start + a_call + an_input * (1 if mistake == "the price of one input" else size)
        answers += [free_at] * size
        first += size
    return answers


def _with(mistake):
    return lambda *case: _served(*case, mistake=mistake)


WRONG_ANSWERS = {
    "12.1": [
        lambda preparation, before, after: preparation / (before - after),  # no whole number, and a crash if equal
        lambda preparation, before, after: preparation // (before - after) if before > after else None,  # rounded down
        lambda preparation, before, after: math.ceil(preparation / before),  # as if a call cost nothing afterwards
        lambda preparation, before, after: math.ceil(preparation / abs(before - after)) if before != after else None,
        lambda preparation, before, after: preparation // (before - after) + 1 if before > after else None,
        lambda preparation, before, after: math.ceil(preparation / (before - after)) if before > after else None,  # 0
        lambda preparation, before, after: None,
    ],
    "12.2": [
        _with("the patience begins when the server is free"),
        _with("never starts before the patience ends"),
        _with("waits until the batch is full"),
        _with("batches without end"),
        _with("one at a time"),
        _with("the price of one input"),
        lambda arrivals, a_call, an_input, max_batch, patience: [a + a_call + an_input for a in arrivals],  # no queue
    ],
    "12.3": [
        lambda waited, max_batch, max_wait: (1, 0.0),  # one by one
        lambda waited, max_batch, max_wait: (min(len(waited), max_batch), 0.0),  # has no patience
        lambda waited, max_batch, max_wait: (
            (max_batch, 0.0) if len(waited) >= max_batch else (0, max_wait)
        ),  # full only
        lambda waited, max_batch, max_wait: (
            (len(waited), 0.0) if len(waited) >= max_batch or waited[0] >= max_wait else (0, max_wait - waited[0])
        ),  # more than may share a call
        lambda waited, max_batch, max_wait: (
            (min(len(waited), max_batch), 0.0)
            if len(waited) >= max_batch or waited[-1] >= max_wait
            else (0, max_wait - waited[-1])
        ),  # asks the youngest
        lambda waited, max_batch, max_wait: (
            (min(len(waited), max_batch), 0.0) if len(waited) >= max_batch or waited[0] >= max_wait else (0, max_wait)
        ),  # begins to wait anew with each request
        lambda waited, max_batch, max_wait: (
            (min(len(waited), max_batch), 0.0)
            if len(waited) > max_batch or waited[0] > max_wait
            else (0, max_wait - waited[0])
        ),  # a full batch goes on waiting
        lambda waited, max_batch, max_wait: min(len(waited), max_batch),  # says nothing of the time
    ],
}
