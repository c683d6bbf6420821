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
    # a side of the table that is a corner, and the other way round
    (
        'with the weight\'s directions": ("SVD, centre fixed", "SVD")',
        'with the weight\'s directions": ("SVD", "SVD")',
        "at rank 20 the right centre",
    ),
    (
        'cost = five["SVD"] - five["SVD, centre fixed"]',
        'cost = five["SVD, centre fixed"] - five["SVD"]',
        "at rank 5 the right centre costs",
    ),
    # nothing is cut; and the tests of other filters
    ("append(correct(network))", "append(correct(convolutional))", "5 principal filters"),
    ('by_filters[5, "SVD, centre fixed",', "by_filters[20, by_pca,", "with 5 filters the centre alone"),
    ("p = by_filters[3, by_pca,", "p = by_filters[20, by_pca,", "with 3 filters SVD"),
    ("min(by_filters[20, by_pca, way]", "min(by_filters[5, by_pca, way]", "with 20 filters the four"),
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
        'with_ranks["LeNet300100", "of PCA of outputs"]["SVD"]',
        'with_ranks["LeNet300100", "own"]["SVD"]',
        "LeNet300100: at PCA's ranks",
    ),
    # PCA behind itself
    ("100 * (of[by_pca] - of[way]) for way in others", "0.0 for way in others", "LeNet300100: at its own ranks"),
    # the ranks of PCA in place of those of SVD
    (
        'found = accuracy_with_ranks["LeNet300100", "of SVD"]',
        'found = accuracy_with_ranks["LeNet300100", "of PCA of outputs"]',
        "LeNet300100: at the ranks of plain SVD",
    ),
    # the tests of the other network
    ('p = {way: paired["LeNet5", "own",', 'p = {way: paired["LeNet300100", "own",', "LeNet5: at half of the multiply"),
    # a grid of two ranks
    ("(18, 20, 21, 22, 23, 24)", "(21, 23)", "LeNet5: no way chose a rank at the end"),
    # PCA's place taken by the SVD
    ("leads = {way: anew[by_pca]", 'leads = {way: anew["SVD"]', "with each of five other sets of images"),
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
        "ours, other = right[model][by_pca]",
        "other, ours = right[model][by_pca]",
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
        'of_weights = [way for way in gaps if not way.startswith("data-aware SVD")]',
        "of_weights = list(gaps)",
        "after one epoch all six gaps",
    ),
    # the means without their intervals
    ("if lower[way][4] > 0]", "if means[way][4] > 0]", "after four epochs three of the six"),
    # the other bias at the same ranks
    ("trained[fixed_own]).loc[4]", 'trained["SVD"]).loc[4]', "for SVD with the centre fixed, ranks of its own"),
    # the start by SVD compared with itself
    (
        'trained[f"{way}{kept}"] - trained[f"{by_pca}{kept}"]',
        'trained[f"{way}{kept}"] - trained[f"SVD{kept}"]',
        "four epochs close over nine",
    ),
    # plain SVD in place of PCA at the ranks of SVD
    ('costs = (trained[f"{by_pca}{at_ranks.OF_SVD}"]', 'costs = (trained["SVD"]', "at the ranks of plain SVD PCA errs"),
    # a start without its epoch
    ("at_ranks.tune(anew_at, 1, seed)", "at_ranks.tune(anew_at, 0, seed)", "one epoch from three of the starts"),
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
