"""Breaking notebook 22: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # a budget that the dense network keeps
    (
        "Budget(bytes=100_000, points=2.5)",
        "Budget(bytes=9_000_000, points=2.5)",
        "in this example the largest layer alone breaks the budget",
    ),
    # a layer is forgotten
    (
        "costs = layer_costs(dense, example[:1])",
        "costs = layer_costs(dense, example[:1])[1:]",
        "the rows add up to the network",
    ),
    # a network that knows little
    ("dense_error = 1 - evaluate", "dense_error = 0.5 + 0 * evaluate", "the network makes less than half the errors"),
    # the control is our own network
    (
        "drawn = chosen(score=lambda weight: torch.rand(len(weight)))",
        "drawn = kept",
        "the narrow network answers as the silenced one",
    ),
    # new weights that are the old ones
    ("untrained_twin(narrowed)", "copy.deepcopy(narrowed)", "in this example inherited channels"),
    # the draws are our own channels
    (
        "draws += [a_draw() for _ in range(1, DRAWS)]",
        'draws = [(errors["narrowed"], narrowed)] * 2',
        "in this example our channels make fewer errors",
    ),
    # the control is cut as well
    (
        '"dense, trained on": copy.deepcopy(dense)',
        '"dense, trained on": copy.deepcopy(narrowed)',
        "in this example the cut costs",
    ),
    # nothing is quantized
    (
        "return quantize_onnx_static(source, path, images)",
        "return source",
        "in this example int8 takes at least a byte for each parameter",
    ),
    # the control is calibrated as the method is
    ("noise = noise_like(batches)", "noise = batches", "in this example int8 costs the dense network"),
    # the control is the method itself
    (
        'exported("from scratch", from_scratch)',
        'exported("from scratch", narrowed)',
        "in this example the network from scratch",
    ),
]

IN_LIBRARY = [
    (
        "utils.accounting",
        "parameters = sum(p.numel() for p in own)",
        "parameters = 2 * sum(p.numel() for p in own)",
        "the rows add up to the network",
    ),
    # no file is too large
    (
        "utils.budget",
        "candidate.bytes > budget.bytes",
        "candidate.bytes > 100 * budget.bytes",
        "in this example narrow int8 keeps",
    ),
    # no network is good enough
    ("utils.budget", "round(lost, 9) > budget.points", "round(lost, 9) > -9", "in this example narrow int8 keeps"),
]
