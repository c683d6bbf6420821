"""Breaking notebook 05: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [("amount=0.2)", "amount=0.25)", "three times 20 %")]

IN_LIBRARY = []
