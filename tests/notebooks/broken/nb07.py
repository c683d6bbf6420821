"""Breaking notebook 07: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("[row[i] - mean[i] for", "[row[i] for", "the loop finds the direction (1, 1)"),
    ("fifty.project(some, whitened=whitened)", "fifty.project(some)", "whitened, a single step"),
]

IN_LIBRARY = []
