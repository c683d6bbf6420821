"""Breaking notebook 13: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [("include_optimizer=include", "include_optimizer=True", ".h5 honours it")]

IN_LIBRARY = []
