"""Breaking notebook 22: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # a budget that the dense network keeps
    ("Budget(bytes=100_000, points=2.5)", "Budget(bytes=9_000_000, points=2.5)", "the rows add up to the network"),
    # the control is our own network
    (
        "drawn = chosen(score=lambda weight: torch.rand(len(weight)))",
        "drawn = kept",
        "the narrow network answers as the silenced one",
    ),
    # new weights that are the old ones
    ("module.reset_parameters()", "pass", "inherited channels, ours or drawn"),
    # nothing is quantized
    ("return quantize_onnx_static(source, path, images)", "return source", "int8 takes a byte for each parameter"),
    # the control is calibrated as the method is
    (
        "noise = [torch.rand(batch.shape) for batch in batches]",
        "noise = batches",
        "int8 costs the dense network at most",
    ),
    # the control is the method itself
    ('exported("from scratch", from_scratch)', 'exported("from scratch", narrowed)', "the network from scratch takes"),
]

IN_LIBRARY = [
    (
        "utils.accounting",
        "parameters = sum(p.numel() for p in own)",
        "parameters = 2 * sum(p.numel() for p in own)",
        "the rows add up to the network",
    ),
    # no file is too large
    ("utils.budget", "candidate.bytes > budget.bytes", "candidate.bytes > 100 * budget.bytes", "narrow and in int8"),
    # no network is good enough
    ("utils.budget", "round(lost, 9) > budget.points", "round(lost, 9) > -9", "narrow and in int8"),
]
