"""Breaking notebook 12: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("looped += mixing[0, channel] *", "looped += 1 *", "hand, loop and PyTorch's grouped"),
    ("max(arrival, free_at) + seconds", "arrival + seconds", "hand, loop, running maximum"),
]

IN_LIBRARY = []
