"""Breaking notebook 06: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("rounds=30", "rounds=1", "loop, eigenvectors, PyTorch"),
    # a control that is not shuffled
    ("weight.flatten()[order]", "weight.flatten()", "chance ends within 3 %"),
    # a second one that is not either
    ("weight.gather(0, neurons)", "weight", "of the 300 singular values 20 to 50"),
    # one rule may spend twice as much
    ("cost(ranks) + price[n] <= budget", "cost(ranks) + price[n] <= 2 * budget", "in the same budget"),
    # a network that was not trained at rank 21
    (
        'load_checkpoint(f"LeNet300100-compared-{name}")',
        'load_checkpoint("LeNet300100-compared-dense")',
        "trained alike, the three lie within half a point",
    ),
    # outputs in another order
    ('ayx", kernel, u1', 'ayx", kernel.flip(0), u1', "at full rank all three"),
    # filters that are not shuffled
    ("kernel.reshape(1000, 25).gather(1, places)", "kernel", "the spatial split misses over 8 points"),
]

IN_LIBRARY = [
    # the smallest singular values are kept
    (
        "utils.low_rank",
        "return u[:, :rank], s[:rank], vh[:rank]",
        "return u[:, -rank:], s[-rank:], vh[-rank:]",
        "loop, eigenvectors, PyTorch",
    ),
    # each factor takes the whole singular value
    ("utils.low_rank", "root = s.sqrt()", "root = s", "at full rank the two layers compute"),
    # twice the factors
    (
        "utils.low_rank",
        "return out_features * in_features / (out_features + in_features)",
        "return out_features * in_features / (2 * (out_features + in_features))",
        "rank 216 is the last one",
    ),
    # the directions in which the outputs vary least
    ("utils.low_rank", "vectors.flip(1)[:, :rank]", "vectors[:, :rank]", "our three lines and split_linear"),
]
