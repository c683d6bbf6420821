"""Breaking notebook 04: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [("sorted((scores[i, j]", "sorted((-scores[i, j]", "the loop finds our three masks")]

IN_LIBRARY = []
