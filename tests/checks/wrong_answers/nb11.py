"""Wrong answers to the exercises of notebook 11."""

import torch


def _in_buckets(
    gradients, start, cap_bytes, world_size, *, full=None, wait_at_once=False, all_first=False, mean=True, rest=True
):
    full = full or (lambda held, new: held + new >= cap_bytes)
    waits, bucket, means = [], [], {}

    def send():
        wait = start(torch.cat([g.flatten() for _, g in bucket]))
        total = wait() if wait_at_once else None
        waits.append((list(bucket), (lambda: total) if wait_at_once else wait))
        bucket.clear()

    for name, gradient in list(gradients) if all_first else gradients:
        held = sum(g.nbytes for _, g in bucket)
        bucket.append((name, gradient))
        if full(held, gradient.nbytes):
            send()
    if bucket and rest:
        send()
    for parts, wait in waits:
        total = wait() / (world_size if mean else 1)
        for (name, gradient), values in zip(parts, total.split([g.numel() for _, g in parts]), strict=True):
            means[name] = values.view_as(gradient)
    return means


def _sharded(weights, gradient_of, make, group, steps, *, divide=True, whole=False, anew=False, own=False):
    n, i = group.world_size, group.process_rank
    piece = torch.nn.Parameter((weights if whole else weights.chunk(n)[i]).clone())
    optimizer = make([piece])
    for _ in range(steps):
        if whole:  # an all-reduce of two halves, and a whole optimizer
            piece.grad = group.all_gather(group.reduce_scatter(gradient_of(weights))) / n
        elif own:
            piece.grad = gradient_of(weights).chunk(n)[i]
        else:
            piece.grad = group.reduce_scatter(gradient_of(weights)) / (n if divide else 1)
        optimizer = make([piece]) if anew else optimizer
        optimizer.step()
        weights = piece.detach().clone() if whole else group.all_gather(piece.detach())
    return weights


def _sends_everything(weights, gradient_of, make, group, steps):
    n, i = group.world_size, group.process_rank
    piece = torch.nn.Parameter(weights.chunk(n)[i].clone())
    optimizer = make([piece])
    for _ in range(steps):
        everyone = group.all_gather(gradient_of(weights)).view(n, -1)
        piece.grad = everyone.mean(dim=0).chunk(n)[i]
        optimizer.step()
        weights = group.all_gather(piece.detach())
    return weights


WRONG_ANSWERS = {
    "11.1": [
        lambda c, g, n, a, b: c / (c + 2 * (n - 1) * a + 2 * g / b),  # 2 G, whatever N
        lambda c, g, n, a, b: c / (c + 2 * (n - 1) * (a + g / b)),  # whole vectors instead of pieces
        lambda c, g, n, a, b: c / (c + 2 * (n - 1) / n * (a + g / b)),  # start-ups divided as well
        lambda c, g, n, a, b: c / (c + (n - 1) * (a + g / n / b)),  # one round only
        lambda c, g, n, a, b: c / (n * (c + 2 * (n - 1) * (a + g / n / b))),  # divided by N once more
        lambda c, g, n, a, b: 2 * (n - 1) * (a + g / n / b) / c,  # the ratio, upside down
        lambda c, g, n, a, b: None,
    ],
    "11.2": [
        lambda *given: _in_buckets(*given, wait_at_once=True),  # no overlap: it waits for each bucket
        lambda *given: _in_buckets(*given, all_first=True),  # no overlap: sent after the backward pass
        lambda *given: _in_buckets(*given, mean=False),  # the sum
        lambda *given: _in_buckets(*given, rest=False),  # the last bucket is forgotten
        lambda g, start, cap, n: _in_buckets(g, start, cap, n, full=lambda held, new: held + new > cap),
        lambda g, start, cap, n: _in_buckets(g, start, cap, n, full=lambda held, new: True),  # one each
        lambda g, start, cap, n: dict(g),  # not exchanged at all
        lambda *given: None,
    ],
    "11.3": [
        lambda *given: _sharded(*given, divide=False),  # the sum of the gradients
        lambda *given: _sharded(*given, whole=True),  # right, but all averages on every worker
        lambda *given: _sharded(*given, anew=True),  # the averages begin anew in each step
        lambda *given: _sharded(*given, own=True),  # nobody's gradient but its own
        _sends_everything,  # right, but every worker sends whole gradients to all
        lambda weights, *_: weights,
        lambda *given: None,
    ],
}
