"""Breaking notebook 12: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("looped += mixing[0, channel] *", "looped += 1 *", "hand, loop and PyTorch's grouped"),
    ("max(arrival, free_at) + seconds", "arrival + seconds", "hand, loop, running maximum"),
]

IN_LIBRARY = [
    # whoever arrives is served at once, though the server is busy
    ("utils.serving", "start = max(arrivals[first], free_at)", "start = arrivals[first]", "hand, loop, running"),
    # without the half, as if a call in progress had its whole length left
    ("utils.serving", "load * seconds / (2 * (1 - load))", "load * seconds / (1 - load)", "the mean wait is that of"),
]
