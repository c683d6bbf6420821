"""Breaking notebook 11: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("len(labels) if weighted", "len(labels) * 1.01 if weighted", "weighted by their sizes"),
    ("place = (w - 1 + offset - step) % n", "place = (w + offset - step) % n", "after twice three steps each of the"),
]

IN_LIBRARY = [
    # the weights are compared, which are the same whatever the shards are
    (
        "utils.data_parallel",
        "p.grad.flatten() for p in trained.values()",
        "p.flatten() for p in trained.values()",
        "over shards of 448 and 64 digits the mean is off",
    ),
    # over the number of values, not over the length of what was expected
    (
        "utils.data_parallel",
        ".norm().item() / expected.double().norm().item()",
        ".norm().item() / expected.numel()",
        "over shards of 448 and 64 digits the mean is off",
    ),
]
