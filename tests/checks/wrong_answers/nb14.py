"""Wrong answers to the exercises of notebook 14."""


def _plan(steps, sizes):
    return lambda examples, batch, replicas, drop: (
        steps(examples, batch, drop),
        sizes(examples, batch, replicas, drop),
    )


def _steps(examples, batch, drop):
    return examples // batch if drop else -(-examples // batch)


def _without_waiting(losses, weights, context):
    """The others wait for a replica whose shard is empty."""
    if len(losses) == 0:
        return 0.0
    total = context.all_reduce("SUM", weights.sum())
    return (losses * weights).sum() / total if total else 0.0


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
        lambda losses, weights, context: (losses * weights).sum() / max(weights.sum(), 1e-9),
        # the mean of the means
        lambda losses, weights, context: (
            (losses * weights).sum() / max(weights.sum(), 1e-9) / context.all_reduce("SUM", 1)
        ),
        # divided by the number of examples, padding included
        lambda losses, weights, context: (losses * weights).sum() / max(1, context.all_reduce("SUM", len(losses))),
        # the weights forgotten
        lambda losses, weights, context: losses.sum() / max(1, context.all_reduce("SUM", len(losses))),
        # no care for a batch of padding alone
        lambda losses, weights, context: (
            float((losses * weights).sum()) / float(context.all_reduce("SUM", weights.sum()))
        ),
        # the whole mean from every replica
        lambda losses, weights, context: (
            context.all_reduce("SUM", (losses * weights).sum()) / max(1e-9, context.all_reduce("SUM", weights.sum()))
        ),
        _without_waiting,
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
