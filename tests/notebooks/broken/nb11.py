"""Breaking notebook 11: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("len(labels) if weighted", "len(labels) * 1.01 if weighted", "weighted by their sizes"),
    ("[2 * 3 / 4] * 4", "[2 * 4 / 4] * 4", "all three send six vectors in all"),
]

IN_LIBRARY = []
