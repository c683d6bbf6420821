"""Breaking notebook 05: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("amount=0.2)", "amount=0.25)", "three times 20 %"),
    ("(now - before) / (1 - before)", "now - before", "0.10 and eight times 0.05"),
]

IN_LIBRARY = [
    # a ratio of the whole, not of what is left
    (
        "utils.pruning",
        "pruned_count(kept.numel(), require_fraction",
        "pruned_count(mask.numel(), require_fraction",
        "the loop, tensors, utils and PyTorch keep the same",
    ),
    # the ratio that goes, in place of the ratio that stays
    (
        "utils.pruning",
        'return 1.0 - (1.0 - require_fraction("ratio", ratio)) **',
        'return 1.0 - require_fraction("ratio", ratio) **',
        "the formula 1 - (1 - 0.2)^3 gives",
    ),
    # the smallest weights stay
    (
        "utils.pruning",
        "{name: magnitude_scores(weight) for name, weight in weights.items()}, sparsity)",
        "{name: -magnitude_scores(weight) for name, weight in weights.items()}, sparsity)",
        "nine rounds make half of the weights zero",
    ),
    # a quadratic schedule
    ("utils.pruning", "(initial - final) * left**3", "(initial - final) * left**2", "half way along, the cubic curve"),
]
