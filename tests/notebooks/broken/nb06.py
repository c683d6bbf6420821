"""Breaking notebook 06: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [("rounds=30", "rounds=1", "loop, eigenvectors, PyTorch")]

IN_LIBRARY = []
