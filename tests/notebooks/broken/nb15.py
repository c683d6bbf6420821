"""Breaking notebook 15: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("sums[code - 1] += g", "sums[code - 1] = g", "hand, loop, index_add and autograd find"),
    ("key=lambda tree: tree[0])", "key=lambda tree: -tree[0])", "hand, loop and huffman"),
    ("zeros < 2**bits - 1", "zeros < 2**bits - 2", "hand, loop and relative_indices agree"),
]

IN_LIBRARY = []
