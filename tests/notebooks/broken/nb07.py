"""Breaking notebook 07: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("[row[i] - mean[i] for", "[row[i] for", "the loop finds the direction (1, 1)"),
    ("fifty.project(some, whitened=whitened)", "fifty.project(some)", "whitened, a single step"),
]

IN_LIBRARY = [
    # the pixels in another order than the weights
    ("utils.pca", "varies.nonzero().flatten()", "varies.nonzero().flatten().roll(1)", "on training images the smaller"),
    # what a constant pixel adds is lost
    ("utils.pca", "_bias(layer) + weight[:, ~varies] @ constants", "_bias(layer)", "on inverted digits"),
    # divided by D instead of D - 1
    (
        "utils.pca",
        "torch.linalg.eigh(scatter / (len(data) - 1))",
        "torch.linalg.eigh(scatter / len(data))",
        "50 components of real digits",
    ),
    # the means are left out of the bias
    (
        "utils.pca",
        "constant = mean + rows.T @ (rows @ (_bias(first) - mean))",
        "constant = rows.T @ (rows @ _bias(first))",
        "the folded pair computes",
    ),
]
