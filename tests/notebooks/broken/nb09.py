"""Breaking notebook 09: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("max(-32768, min(pair, 32767))", "pair", "hand, loop and tensors agree"),
    ("torch.randint(-64, 64,", "torch.randint(-128, 128,", "with 7 bits our saturating"),
    ("norm.bias - factor", "norm.bias + factor", "loop, tensors and PyTorch fold"),
    ('per_channel=name == "per_channel"', "per_channel=True", "with one scale for each weight, int8 gives"),
    # the other formats' logits are those of other digits
    (
        "given = logits(kernels[name], few)",
        "given = logits(kernels[name], few.roll(1, 0))",
        "in U8U8 the weights' codes",
    ),
]

IN_LIBRARY = [
    # the weights are cut off instead of rounded
    (
        "utils.quantization",
        "steps = torch.round(real * (1.0 / scale)) + zero_point",
        "steps = torch.floor(real * (1.0 / scale)) + zero_point",
        "that makes the largest error of a logit at least five times",
    ),
    # unsigned weights are made with 7 bits
    (
        "utils.onnx_export",
        "calibration_batches, reduce_range=False, data_format=data_format",
        "calibration_batches, reduce_range=True, data_format=data_format",
        "in U8U8 the weights' codes",
    ),
    # gamma and beta exchanged
    (
        "utils.onnx_export",
        "norm.eps, norm.weight, norm.bias",
        "norm.eps, norm.bias, norm.weight",
        "folded, the network has no batch norm",
    ),
    # each image gets its neighbour's answer
    (
        "utils.onnx_export",
        "return torch.from_numpy(output)",
        "return torch.from_numpy(output).roll(1, 0)",
        "the exported network has the logits",
    ),
    # what rounding added to the mean is added once more
    (
        "utils.onnx_export",
        "moved = onnx.numpy_helper.to_array(bias) - (",
        "moved = onnx.numpy_helper.to_array(bias) + (",
        "with a scale for each channel and corrected biases",
    ),
]
