"""Breaking notebook 06: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("rounds=30", "rounds=1", "loop, eigenvectors, PyTorch"),
    # a control that is not shuffled
    ("weight.flatten()[order]", "weight.flatten()", "chance ends within 3 %"),
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
