"""Breaking notebook 06: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # what was fitted is thrown away
    (
        "network.fc2.weight.data = best.float()\n    missing = reading @ centre - best @ arr",
        "missing = reading @ centre - reading @ arr",
        "at rank 21 the fit brings the plain cut",
    ),
    ("rounds=30", "rounds=1", "loop, eigenvectors, PyTorch"),
    # a control that is not shuffled
    ("weight.flatten()[order]", "weight.flatten()", "pure chance ends within 3 %"),
    # a second one that is not either
    ("weight.gather(0, neurons)", "weight", "deflation finds 20 planted terms"),
    # a residual that is taken for as many free numbers as the matrix
    ("(rows * columns)).sqrt()", "(m * n)).sqrt()", "deflation finds 20 planted terms"),
    # only one round
    ("counts.append(above)", "return [above]", "of the trained values 20 to 50 pass"),
    # the first round alone on a spectrum that fades
    ("counted = rounds(faded)", "counted = [int((faded > edge(faded)).sum())]", "of 100 planted terms that fade"),
    # half of the rank that is said
    (
        "split_layers(dense, {name: k})) for k in scanned",
        "split_layers(dense, {name: k // 2})) for k in scanned",
        "fc1 at rank 40 of 300 and fc2 at rank 10",
    ),
    # the smallest share in place of the largest that fits
    ("max((pair for pair in shares", "min((pair for pair in shares", "equal shares choose the ranks"),
    # slices that are not shuffled
    ("reshape(1000, 25).gather(1, by_lot)", "reshape(1000, 25)", "in the median slice they hold"),
    # one rule may spend twice as much
    ("cost(ranks) + price[n] <= budget", "cost(ranks) + price[n] <= 2 * budget", "in the same budget"),
    # a network that was not trained at rank 21
    (
        'load_checkpoint(f"LeNet300100-compared-{name}")',
        'load_checkpoint("LeNet300100-compared-dense")',
        "trained alike, the three lie within half a point",
    ),
    # outputs in another order
    ('ayx", kernel, u1', 'ayx", kernel.flip(0), u1', "at full rank all three"),
    # filters that are not shuffled
    ("places = torch.randperm(25, generator=chance)", "places = torch.arange(25)", "the spatial split misses over 8"),
    # a channel split whose filters are mixed up as well
    (
        "kernel.flatten(2)[:, :, places]",
        "(kernel.flatten(2)[:, :, places] * (1 + places))",
        "the spatial split misses over 8",
    ),
    # a moment that knows no data
    ('"data-aware": moment,', '"data-aware": torch.eye(784).double(),', "at rank 21 and power 1"),
    # the whole moment in place of the sizes
    ("sizes.square().diag()", "moment", "each at its own power"),
    # another power in place of power 1
    ('in [by_power["data-aware", k][1.0]]', 'in [by_power["data-aware", k][0.25]]', "a power of its own brings"),
    # pixels that are not mixed up
    ("moment[pixels][:, pixels]", "moment", "at rank 21, data with its pixels mixed up"),
    # the first layer cut for the weight
    (
        'network = cut_by_data(ranks["fc1"])',
        'network = split_layers(dense, {"fc1": ranks["fc1"]})',
        "cut for the data, their ranks",
    ),
    # an heir that was trained on already
    (
        "remove_channels(dense, kept_channels(dense, HIDDEN))",
        'load_checkpoint("LeNet300100-compared-narrow")',
        "both cuts end",
    ),
    # a checkpoint whose first weight has its full rank
    ('load_checkpoint("LeNet300100-rank-21")', "copy.deepcopy(dense)", "its first weight has 21 singular values"),
    # a dense network beside itself
    ('behind("rank 21", "dense", 2)', 'behind("dense", "dense", 2)', "with each of three seeds"),
    # the narrow network in place of the cut by data
    ('behind("plain rank 21", "rank 21", n)', 'behind("plain rank 21", "narrow", n)', "with each seed the directions"),
    # the cut by data in place of the plain one, after two epochs and after eight
    ('behind("narrow", "plain rank 21", 2)', 'behind("narrow", "rank 21", 2)', "after 2 epochs the plain cut has"),
    ('behind("narrow", "plain rank 21", 8)', 'behind("narrow", "rank 21", 8)', "after 8 epochs the plain cut"),
    # the lead of the dense network in place of the low rank's
    ('behind("narrow", "rank 21", epochs)', 'behind("narrow", "dense", epochs)', "with each seed rank 21 errs less"),
    # the heaviest neurons in place of those that the data chose
    (
        'behind("narrow by data", "rank 21", n) for n',
        'behind("narrow", "rank 21", n) for n',
        "begun as cut, rank 21 is ahead",
    ),
    # a cut for centred inputs that forgets the mean image
    ("layer.bias.data += (missing @ mean).float()", "pass", "a bias of its own moves"),
    # the channel split in place of the spatial one
    (
        'mcnemar(right5["spatial"], right5[name])',
        'mcnemar(right5["channel"], right5[name])',
        "the spatial split is not shown",
    ),
    # neurons chosen by how much they vary, whatever the second layer reads
    ("(reading @ rest).square().sum(dim=0)", "rest.square().sum(dim=0)", "our two functions and utils"),
    # the fit left out
    (
        '"by data, fitted": narrowed(chosen_by_data(count), fitted=True)',
        '"by data, fitted": narrowed(chosen_by_data(count))',
        "untrained, 60 neurons",
    ),
    # the heaviest neurons under another name
    (
        '"chosen": narrowed(chosen_by_data(60)),',
        '"chosen": narrowed(kept_channels(dense, HIDDEN)["fc1"]),',
        "the neurons that the data chose",
    ),
    # the gain of the fit before the training in place of that after it
    ('after[f"{name}, fitted"] - after[name]', 'before[f"{name}, fitted"] - before[name]', "the fit, worth over 15"),
    # neurons without the fit, twice
    (
        'behind("narrow by data, fitted", "narrow by data", 8)',
        'behind("narrow by data", "narrow by data", 8)',
        "begun with a fitted second layer",
    ),
]

IN_LIBRARY = [
    # the smallest singular values are kept
    (
        "utils.low_rank",
        "return u[:, :rank], s[:rank], vh[:rank]",
        "return u[:, -rank:], s[-rank:], vh[-rank:]",
        "loop, eigenvectors, PyTorch",
    ),
    # each factor takes the whole singular value
    ("utils.low_rank", "root = s.sqrt()", "root = s", "at full rank the two layers compute"),
    # twice the factors
    (
        "utils.low_rank",
        "return out_features * in_features / (out_features + in_features)",
        "return out_features * in_features / (2 * (out_features + in_features))",
        "rank 216 is the last one",
    ),
    # the directions in which the outputs vary least
    ("utils.low_rank", "vectors.flip(1)[:, :rank]", "vectors[:, :rank]", "our three lines and split_linear"),
]
