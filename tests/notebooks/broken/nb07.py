"""Breaking notebook 07: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("[row[i] - mean[i] for", "[row[i] for", "the loop finds the direction (1, 1)"),
    ("fifty.project(some, whitened=whitened)", "fifty.project(some)", "whitened, a single step"),
    # only a scaled copy passes, as for a projection that is no rotation
    ("torch.linalg.qr(torch.randn(300, 300, generator=generator)).Q", "torch.randn(300, 300)", "a rotation passes"),
    # the weight's directions twice
    ('"data": angles(covariance)', '"data": angles(weight @ weight.T)', "there the weight's direction loses"),
    # PCA's place taken by the SVD
    ("calibrated_anew(seed) for", 'reached["LeNet300100"]["svd"] for', "with each of five other sets of images"),
    # random directions in the place of PCA's
    (
        'is_right(networks["LeNet300100"]["pca"])',
        'is_right(compressed("LeNet300100", at_random))',
        "LeNet300100: PCA classifies more test",
    ),
    # the start by SVD compared with itself
    ('gaps = trained["SVD"] - trained["PCA"]', 'gaps = trained["SVD"] - trained["SVD"]', "four epochs close over nine"),
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
