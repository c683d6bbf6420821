"""Wrong answers to the exercises of notebook 14."""


def _plan(steps, sizes):
    return lambda examples, batch, replicas, drop: (
        steps(examples, batch, drop),
        sizes(examples, batch, replicas, drop),
    )


def _steps(examples, batch, drop):
    return examples // batch if drop else -(-examples // batch)


WRONG_ANSWERS = {
    "14.1": [
        # the batch taken for that of one replica
        lambda examples, batch, replicas, drop: (-(-examples // (batch * replicas)), [batch] * replicas),
        # the last batch taken for a whole one
        _plan(_steps, lambda examples, batch, replicas, drop: [batch // replicas] * replicas),
        # dealt out evenly, the first replicas one more: 5 over 4 as 2, 1, 1, 1
        _plan(
            _steps,
            lambda examples, batch, replicas, drop: [
                (examples % batch or batch) // replicas + (r < (examples % batch or batch) % replicas)
                for r in range(replicas)
            ],
        ),
        # drop_remainder forgotten
        lambda examples, batch, replicas, drop: (-(-examples // batch), [examples % batch or batch]),
        lambda examples, batch, replicas, drop: None,
    ],
    "14.2": [
        # each shard's own mean
        lambda losses, weights: [
            sum(w * v for v, w in zip(vs, ws, strict=True)) / max(sum(ws), 1e-9)
            for vs, ws in zip(losses, weights, strict=True)
        ],
        # the mean of the means
        lambda losses, weights: [
            sum(w * v for v, w in zip(vs, ws, strict=True)) / max(sum(ws), 1e-9) / len(losses)
            for vs, ws in zip(losses, weights, strict=True)
        ],
        # divided by the number of examples, padding included
        lambda losses, weights: [
            sum(w * v for v, w in zip(vs, ws, strict=True)) / max(1, sum(map(len, losses)))
            for vs, ws in zip(losses, weights, strict=True)
        ],
        # the weights forgotten
        lambda losses, weights: [sum(vs) / max(1, sum(map(len, losses))) for vs in losses],
        # no care for a batch of padding alone
        lambda losses, weights: [
            sum(w * v for v, w in zip(vs, ws, strict=True)) / sum(map(sum, weights))
            for vs, ws in zip(losses, weights, strict=True)
        ],
    ],
    "14.3": [
        lambda: {"A", "E"},
        lambda: {"A", "B", "C", "E"},
        lambda: {"A", "C", "D", "E"},
        lambda: {"C"},
        lambda: "ACE",
        lambda: None,
    ],
}
