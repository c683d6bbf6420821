"""Breaking notebook 07: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # the way up stays the transposed
    ("pair[1].weight = nn.Parameter((weight @ up).float())", "pass", "from 40 random numbers the best way up"),
    ("[row[i] - mean[i] for", "[row[i] for", "the loop finds the direction (1, 1)"),
    ("fifty.project(some, whitened=True)", "fifty.project(some)", "of whitened components one product"),
    # only a scaled copy passes, as for a projection that is no rotation
    ("torch.linalg.qr(torch.randn(300, 300, generator=generator)).Q", "torch.randn(300, 300)", "a rotation passes"),
    # the weight's directions twice
    ('"data": angles(covariance)', '"data": angles(weight @ weight.T)', "there the weight's direction loses"),
    # the SVD whose centre is fixed by the bias that it had
    (
        '"SVD, centre fixed": pca.weight_directions(dense.fc1, mean)',
        '"SVD, centre fixed": pca.weight_directions(dense.fc1, bias)',
        "at rank 20 plain SVD leaves over three times",
    ),
    # the data's directions from the bias, as the data-aware SVD has them
    ('one_way = "PCA of outputs"', 'one_way = "data-aware SVD"', "with the data's directions the centre is worth"),
    # a grid of ranks that ends where two of the ways are best
    (
        '"LeNet300100": ("fc2", (5, 8, 10, 15, 20, 25, 30, 35, 40, 45))',
        '"LeNet300100": ("fc2", (10, 15, 20, 25, 30, 35, 40))',
        "LeNet300100: no way chose a rank at the end",
    ),
    # SVD at its own ranks twice
    (
        '"SVD", chosen["LeNet300100", "PCA of outputs"])',
        '"SVD", chosen["LeNet300100", "SVD"])',
        "LeNet300100: at PCA's ranks",
    ),
    # PCA's place taken by the SVD
    ('leads = {way: anew["PCA of outputs"]', 'leads = {way: anew["SVD"]', "with each of five other sets of images"),
    # the weight fitted, too
    ("(shifted, shifted(arriving))", "(fitted, fitted(arriving))", "with its bias corrected and its weight kept"),
    # fitted to what the dense network passes on
    (
        "fitted = refitted(dense.fc2, arriving, wanted)",
        "fitted = refitted(dense.fc2, F.relu(outputs), wanted)",
        "fitted to what arrives, fc2 gains",
    ),
    # PCA and its rival the wrong way round
    (
        'ours, other = right[model]["PCA of outputs"]',
        'other, ours = right[model]["PCA of outputs"]',
        "LeNet300100: PCA classifies more test",
    ),
    (
        "starts.own_ranks(way) for way",
        'starts.own_ranks("PCA of outputs") for way',
        "at no more cost, plain SVD errs least",
    ),
    # its own ranks classify nothing
    (
        'at_own = right_with[own["SVD"]["fc2"]]',
        "at_own = right_with[15] & False",
        "with the centre fixed no ranks of SVD",
    ),
    # the data's directions among the weight's
    (
        'of_weights = [way for way in others if way != "data-aware SVD"]',
        "of_weights = list(others)",
        "after one epoch all four gaps",
    ),
    # the means without their intervals
    ("if lower[way][4] <= 0]", "if means[way][4] <= 0]", "after four epochs three of the four"),
    # the other bias at the same ranks
    ("trained[fixed_own]).loc[4]", 'trained["SVD"]).loc[4]', "for SVD with the centre fixed, ranks of its own"),
    # the start by SVD compared with itself
    (
        'gaps = {way: trained[way] - trained["PCA of outputs"]',
        'gaps = {way: trained[way] - trained["SVD"]',
        "four epochs close over nine",
    ),
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
        "split_input folds as we did by hand",
    ),
]
