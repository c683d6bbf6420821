"""Breaking notebook 08: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("round(value / scale) + zero", "int(value / scale) + zero", "hand, loop, tensor"),
    ("- input_grid.zero_point * qw", "+ input_grid.zero_point * qw", "loop and int32 product"),
]

IN_LIBRARY = [
    # as one writes rounding in C
    (
        "utils.quantization",
        "steps = torch.round(real * (1.0 / scale)) + zero_point",
        "steps = torch.floor(real * (1.0 / scale)) + zero_point",
        "no value moved by more than half a step",
    ),
    # 2^b steps instead of 2^b - 1
    (
        "utils.quantization",
        "(high - low) / (qmax - qmin)",
        "(high - low) / (qmax - qmin + 1)",
        "there and back, the values are the same",
    ),
    # a range that does not begin at 0
    (
        "utils.quantization",
        "low = low.clamp(max=0.0)",
        "low = low.clamp(max=1e9)",
        "no value moved by more than half a step",
    ),
    # the smaller side of 0 instead of the larger
    (
        "utils.quantization",
        "torch.maximum(-low, high) / qmax",
        "torch.minimum(-low, high) / qmax",
        "for pixels a symmetric signed step is",
    ),
    # channels along the wrong axis
    (
        "utils.quantization",
        "values.movedim(axis, 0).reshape(values.shape[axis], -1)",
        "values.movedim(axis, -1).reshape(values.shape[axis], -1)",
        "the loop over 256 rows and axis=0 agree",
    ),
    # halves upwards
    (
        "utils.integer_layers",
        "up = (rest > half) | ((rest == half) & (floor % 2 == 1))",
        "up = rest >= half",
        "18/4 and 14/4 are both halves",
    ),
]
