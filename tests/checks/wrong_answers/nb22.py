"""Wrong answers to the exercises of notebook 22."""


def _ship(fits, key):
    def answer(rows, most_bytes, most_errors):
        fitting = [row for row in rows if fits(row, most_bytes, most_errors)]
        return min(fitting, key=key)[0] if fitting else ""

    return answer


def _keeps(row, most_bytes, most_errors):
    return not row[3] and row[2] <= most_bytes and row[1] <= most_errors


def _up_to(measured, safe):
    """The last ratio of a list before the first that is not safe."""
    best = 0.0
    for ratio, error in measured:
        if not safe(error):
            break
        best = ratio
    return best


WRONG_ANSWERS = {
    "22.1": [
        _ship(lambda row, b, e: row[2] <= b and row[1] <= e, lambda row: (row[2], row[1])),  # a control is shipped
        _ship(lambda row, b, e: not row[3] and row[1] <= e, lambda row: (row[2], row[1])),  # any size
        _ship(lambda row, b, e: not row[3] and row[2] <= b, lambda row: (row[2], row[1])),  # any errors
        _ship(lambda row, b, e: not row[3] and row[2] < b and row[1] < e, lambda row: (row[2], row[1])),  # the edges
        _ship(_keeps, lambda row: (row[1], row[2])),  # the best and not the smallest
        _ship(_keeps, lambda row: row[2]),  # a tie by place
        _ship(_keeps, lambda row: (row[2], row[1], row[0])),  # a tie by name
        lambda rows, most_bytes, most_errors: min(rows, key=lambda row: row[2])[0],  # the smallest of all
    ],
    "22.2": [
        lambda found, dense, allowed: max([r for r, e in found if e <= dense + allowed], default=0.0),  # a lucky value
        lambda found, dense, allowed: _up_to(sorted(found), lambda error: error < dense + allowed),  # the edge
        lambda found, dense, allowed: _up_to(found, lambda error: error <= dense + allowed),  # in the order given
        lambda found, dense, allowed: _up_to(sorted(found), lambda error: error <= allowed),  # dense forgotten
        lambda found, dense, allowed: min(
            [r for r, e in found if e > dense + allowed], default=0.0
        ),  # the first unsafe
        lambda found, dense, allowed: _up_to(sorted(found), lambda error: error <= dense + allowed) or None,
    ],
    "22.3": [
        lambda: {"B", "C", "D", "E"},
        lambda: {"A", "B", "C", "D", "E", "F"},
        lambda: {"B", "C", "D", "E", "F", "G"},
        lambda: {"C"},
        lambda: "BCDEF",
        lambda: None,
    ],
}
