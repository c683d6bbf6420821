"""Breaking notebook 03: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [("[:, unit]", "[:, unit - 1]", "hand, loop and index agree")]

IN_LIBRARY = []
