"""Breaking notebook 14: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("[256, 256])", "[128, 256])", "the sum over the global batch gives the gradient"),
    ("BatchNormalization(synchronized=True)", "BatchNormalization()", "with synchronized=True it does not"),
]

IN_LIBRARY = []
