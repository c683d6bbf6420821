"""Breaking notebook 23: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("and one != other", "", "the loop finds the frontier"),
    (".drop_duplicates()", ".iloc[:1]", "loop, tensor, pandas and utils.scoreboard agree"),
    ("in on_frontier(found, size)]\nmixed", "in on_frontier(toy_rows, size)]\nmixed", "on one frontier with MNIST"),
    ('["accuracy"] is None]\nshown', '["accuracy"] is not None]\nshown', "every row is on one chart, or about a text"),
    ("wilson(right / n, n)", "wilson(right / n, n + 5)", "our formula gives SciPy's interval"),
    ("boards.max(axis=1).mean()", "boards.mean(axis=1).mean()", "the winner looks over 0.15"),
    # a mean over seeds is taken for a count
    ('row.get("seeds", 1) for row in sized', "1 for row in sized", "every error on the chart counts digits"),
    # a hundred times the digits would tell nearly all apart
    (
        'key=error_of)["accuracy"], row["accuracy"])',
        'key=error_of)["accuracy"], row["accuracy"], 10**6)',
        "of the rows off",
    ),
    # the test digits choose here, too
    (
        "(sized, size, by_validation),",
        "(sized, size, within),",
        "the smallest file for which the validation digits promise",
    ),
    # the errors of the next best in per mille
    (
        '"its error, %": 100 * error_of(second)',
        '"its error, %": 1000 * error_of(second)',
        "no pick is told apart from its next best by fewer errors",
    ),
    # the two change places
    (
        'gap("2-kB", "2-kB-plain")',
        'gap("2-kB-plain", "2-kB")',
        "paired, digit by digit, the control of the file of 2 kB errs more",
    ),
    # as many digits as characters in a book
    ("1.96 * stats.sem(by_digit)", "0.01 * stats.sem(by_digit)", "paired on the test digits, our pick is told apart"),
    # the test digits are asked
    ('r["model"], "validation") for', 'r["model"], "test") for', "measured here, the validation errors are those"),
    # the two change places
    (
        "wrong[:, tempting] - wrong[:, pick])",
        "wrong[:, pick] - wrong[:, tempting])",
        "paired on the validation digits, which chose it, our pick errs less",
    ),
    # the bootstrap asks the error in place of its interval
    ("end <= ALLOWED_ERROR for end in upper", "end <= 0.013 for end in upper", "with the validation digits drawn anew"),
    # the control is not shuffled
    ("spread(rng.permutation(hits))", "spread(hits)", "between stretches of text the errors vary"),
    # the limit of each is set for a crowd
    ("pick, among=many)", "pick, among=10**9 * many)", "even as the best of all its candidates"),
]

IN_LIBRARY = [
    ("utils.scoreboard", "checked[index][1] < last[1]", "checked[index][1] <= last[1]", "loop, tensor, pandas"),
    (
        "utils.scoreboard",
        "setdefault(data_set_of(row), [])",
        "setdefault(MAIN_DATA_SET, [])",
        "on one frontier with MNIST",
    ),
    # a control that does not say so
    (
        "utils.scoreboard",
        ' or bool(row.get("control_of"))',
        "",
        "with the controls allowed, some of them would be on the frontier",
    ),
    # the error in place of the end of its interval
    (
        "utils.scoreboard",
        "return 1 - interval(1 - validation_error(row), VALIDATION_DIGITS)[0]",
        "return validation_error(row)",
        "the validation error without its interval would pick a smaller file",
    ),
    # the cards' test errors in place of their validation errors
    (
        "utils.scoreboard",
        'card["validation_accuracy"] for',
        'card["test_accuracy"] for',
        "measured here, the validation errors are those",
    ),
    ("utils.scoreboard", 'method="wilson"', 'method="exact"', "our formula gives SciPy's interval"),
    ("utils.scoreboard", "z * math.sqrt(variance)", "0.5 * z * math.sqrt(variance)", "two of them chosen beforehand"),
]
