"""Breaking notebook 16: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("and one != other", "", "the loop finds the frontier"),
    (".drop_duplicates()", ".iloc[:1]", "loop, tensor, pandas and utils.scoreboard agree"),
    ("interval(right / n, n)", "interval(right / n, n + 5)", "our interval is SciPy's"),
    ("boards.max(axis=1).mean()", "boards.mean(axis=1).mean()", "the winner looks over 0.15"),
]

IN_LIBRARY = []
