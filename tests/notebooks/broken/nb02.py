"""Breaking notebook 02: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("abs().flatten().argsort(stable", "flatten().argsort(stable", "vectorised: the same"),
    ('prune.remove(layer, "weight")', "pass", "after prune.remove it is exactly"),
]

IN_LIBRARY = []
