"""Breaking notebook 05: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("amount=0.2)", "amount=0.25)", "three times 20 %"),
    ("(now - before) / (1 - before)", "now - before", "0.10 and eight times 0.05"),
    # the schedule ends with the training
    ("END = round(0.7 * STEPS)", "END = STEPS - 2", "the three networks of 2 % that we trained here"),
    # the difference the other way round
    ("d, t = one - other,", "d, t = other - one,", "the gradual way is really better than one cut"),
    # every comparison as if it were the only one
    ("0.05 / comparisons / 2", "0.05 / 2", "with five seeds |t| must exceed 2.78"),
    # no cut
    ("apply_masks(network, pruning.global_magnitude_masks(network, sparsity))", "pass", "at 98 % the cut alone leaves"),
    # one dense network in place of five
    (
        'errors_of("starts", way=w, sparsity=s)',
        'errors_of("ways", way=w, sparsity=s, epochs=1)',
        "from five dense networks",
    ),
    # one way of pruning for all
    ('errors_of("ways at a constant rate", way=way)', 'long["gradually"]', "at a constant rate, too, a cut each epoch"),
    # the rate falls
    ("with constant_rate(LEARNING_RATE / 2):", "if True:", "a cell of the grid at the constant rate"),
    (
        'errors_of("grid at a constant rate", start=a, length=b)',
        "grid[a, b]",
        "a cell of the grid at the constant rate",
    ),
    # the shorter rise leads
    ("(at_one_rate[0.0, 1.0], slow)", "(slow, at_one_rate[0.0, 1.0])", "at the constant rate the rise over all steps"),
    # trainings of their own, with a new optimizer each
    (
        'errors_of("restarted rate", way=way)',
        'errors_of("cycles", way=way)',
        "four trainings are really worse than one",
    ),
    # dense kernels: every weight is multiplied
    (
        "products[name] * (1 - s) + share * s",
        "products[name] + share * s",
        "counted layer by layer, ten epochs of RigL",
    ),
    # the fixed mask moves
    ("(fixed, shorter)", "(gradient, shorter)", "for as many multiply-accumulates RigL and SET"),
    # another start
    (
        "gradual(**schedule)(network, 0.98)",
        "gradual(0, 22)(network, 0.98)",
        "our hook and the library's train the same",
    ),
    # the ways changed places
    (
        'ONE, OTHER = "one cut", "gradually"',
        'ONE, OTHER = "gradually", "one cut"',
        "at 98 % the gradual way has the lowest mean error",
    ),
    # errors in place of their price
    (
        "price = levels.loc[name] - each.mean()",
        "price = levels.loc[name]",
        "at 98 % the gradual way has the lowest mean error",
    ),
    # the lead over another opponent
    ("seeds_needed(gradient, early)", "seeds_needed(gradient, fixed)", "with the lead and the spread that we saw"),
    # not pruned at all
    ("hook = GradualPruner(network, final=layers, **rise)", "hook = None", "the network that we pruned early here"),
    # another control in place of the early rise
    (
        '"RigL - early rise, ten epochs": (gradient, early)',
        '"RigL - early rise, ten epochs": (gradient, fixed)',
        "against gradual pruning that is done early",
    ),
    (
        "hook = prune_gradually(of_clothes, final=0.9, end=END)",
        "hook = None",
        "the network of clothes that we trained and pruned here",
    ),
    # digits twice
    ('"clothes": "fashion_mnist"}', '"clothes": "mnist"}', "the network of clothes that we trained and pruned here"),
    # the ways changed places
    (
        'errors_on(name, "gradually", s),\n        errors_on(name, "one cut", s),',
        'errors_on(name, "one cut", s),\n        errors_on(name, "gradually", s),',
        "on digits and on clothes the gradual way is really better",
    ),
    # errors in place of points
    ('- errors_on(name, "dense", 0.0)', "", "pruned gradually, clothes cost more points than digits"),
    # nothing was pruned
    ("np.array(test_errors[size])", 'np.full(3, test_errors["dense, as it came"])', "pruning to 2 % really costs"),
    # half of the layer, at any places
    ("pruning.n_of_m_mask(w.abs())", "pruning.mask_by_score(w.abs(), 0.5)", "after the epoch each group of four"),
    # the seven new seeds the other way round
    (
        'more["early rise"] - more["moved by gradient"]',
        'more["moved by gradient"] - more["early rise"]',
        "over twelve seeds RigL errs less",
    ),
]

IN_LIBRARY = [
    # a ratio of the whole, not of what is left
    (
        "utils.pruning",
        "pruned_count(kept.numel(), require_fraction",
        "pruned_count(mask.numel(), require_fraction",
        "the loop, tensors, utils and PyTorch keep the same",
    ),
    # the ratio that goes, in place of the ratio that stays
    (
        "utils.pruning",
        'return 1.0 - (1.0 - require_fraction("ratio", ratio)) **',
        'return 1.0 - require_fraction("ratio", ratio) **',
        "the formula 1 - (1 - 0.2)^3 gives",
    ),
    # a rate that is not held
    ("utils.training", 'group["lr"] = rate', 'group["held"] = rate', "a cell of the grid at the constant rate"),
    # every round a third of the way later
    (
        "utils.sparse_training",
        "{n * end // rounds: ",
        "{n * end // rounds + end // 3: ",
        "the three networks of 2 % that we trained here",
    ),
    # a quadratic schedule
    ("utils.pruning", "(initial - final) * left**3", "(initial - final) * left**2", "half way along, the cubic curve"),
    # grown where the gradient is smallest
    (
        "utils.sparse_training",
        "new[slope.argsort(stable=True, descending=True)[:count]] = True",
        "new[(-slope).argsort(stable=True, descending=True)[int(old.sum()) :][:count]] = True",
        "the network that RigL trained here",
    ),
]
