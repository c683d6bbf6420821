"""Breaking notebook 08: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("round(value / scale) + zero", "int(value / scale) + zero", "hand, loop, tensor"),
    ("- input_grid.zero_point * qw", "+ input_grid.zero_point * qw", "loop and int32 product"),
]

IN_LIBRARY = []
