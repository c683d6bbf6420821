"""Breaking notebook 12: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("looped += mixing[0, channel] *", "looped += 1 *", "hand, loop and PyTorch's grouped"),
    ("max(arrival, free_at) + seconds", "arrival + seconds", "hand, loop, running maximum"),
    # a call takes half of the time that the load was reckoned with
    ("seconds[next(one)][n - 1]", "seconds[next(one)][n - 1] / 2", "at a load of 0.9, one by one, the 99th"),
    # another network is written in the place of the folded one
    ('"folded": folded}.items()', '"folded": dense}.items()', "the exporter folds: both files hold"),
    # answers leave a batch in the wrong order
    (".argmax(1).tolist()", ".argmax(1).tolist()[::-1]", "no request is lost, each gets its own answer"),
    # a queue without end
    ("max_batch=1, max_queue=4", "max_batch=1, max_queue=400", "of a burst some are answered"),
]

IN_LIBRARY = [
    # whoever arrives is served at once, though the server is busy
    ("utils.serving", "start = max(arrivals[first], free_at)", "start = arrivals[first]", "hand, loop, running"),
    # without the half, as if a call in progress had its whole length left
    ("utils.serving", "load * seconds / (2 * (1 - load))", "load * seconds / (1 - load)", "the mean wait is that of"),
]
