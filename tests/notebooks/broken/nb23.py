"""Breaking notebook 23: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("and one != other", "", "the loop finds the frontier"),
    (".drop_duplicates()", ".iloc[:1]", "loop, tensor, pandas and utils.scoreboard agree"),
    ("wilson(right / n, n)", "wilson(right / n, n + 5)", "our formula gives SciPy's interval"),
    ("boards.max(axis=1).mean()", "boards.mean(axis=1).mean()", "the winner looks over 0.15"),
]

IN_LIBRARY = [
    ("utils.scoreboard", "checked[index][1] < last[1]", "checked[index][1] <= last[1]", "loop, tensor, pandas"),
    ("utils.scoreboard", 'method="wilson"', 'method="exact"', "our formula gives SciPy's interval"),
    ("utils.scoreboard", "z * math.sqrt(variance)", "0.5 * z * math.sqrt(variance)", "two of them chosen beforehand"),
]
