"""Breaking notebook 08: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("round(value / scale) + zero", "int(value / scale) + zero", "hand, loop, tensor"),
    ("- input_grid.zero_point * qw", "+ input_grid.zero_point * qw", "loop and int32 product"),
    # not far enough from the half
    ('"away": 2.0**-22', '"away": 2.0**-40', "beside a half over 100 of 1,000 codes"),
    # a range that stays as it was measured
    ("high = factor * hidden_high", "high = hidden_high", "with 2 bits the range chosen on training images"),
    # inputs that are all alike
    ("(moved @ (x.T @ x / len(x)) @ moved.T)", "(moved @ moved.T)", "by hand 0.03 and 0.01"),
    # every difference is shown
    ("if p > level / (len(p_values) - place):", "if p > 1.0:", "shown by Holm's rule"),
    # codebooks in both layers as the control
    ("ten[ten.form == by_group].set_index", "ten[ten.form == by_part].set_index", "one of the nine is shown"),
    # grids in both layers
    ("(dense, by_group, by_part, 2)", "(dense, by_group, by_group, 2)", "grids in fc1 with codebooks in fc2"),
    # the weights' noise under another name
    ("{kind: noise(ten, kind) for", "{kind: noise(ten, 'weights') for", "at 2 bits the outputs order"),
    # each group with the scale of its neighbour
    ("partial * grid.scale.view(256, 13)", "partial * grid.scale.roll(1).view(256, 13)", "13 integer sums, each times"),
    (
        "lambda w: quantization.codebook(w, bits=bits).dequantize()",
        "lambda w: quantization.codebook(w, bits=bits, iterations=0).dequantize()",
        "at 2 bits a codebook loses under 4 points",
    ),
    # a grid of as few bits as the other
    ("by_part: 2, by_row: 3}", "by_part: 2, by_row: 2}", "in fc2 a grid of 3 bits"),
    # inputs that are all alike
    ("gptq(w1, moment, grid", "gptq(w1, torch.eye(784).double(), grid", "with as many bytes GPTQ leaves over 5"),
    # grids chosen anew in both ways
    ("rows = next(before) if same_grids else rows", "next(before)", "the repair alone is worth over 5"),
    # the smallest weights in place of the quantiles
    ("w.flatten().sort()[0][places.long()]", "w.flatten().sort()[0][: 2**bits]", "at 2 bits a codebook loses under 4"),
    # the scales of the last layer under the name of the first's
    (
        'in_fc1, in_fc2 = "ternary, per row in fc1"',
        'in_fc1, in_fc2 = "ternary, per row in fc2"',
        "256 scales in fc1 leave less noise",
    ),
    # the product of int8 by int8 into int8
    (
        "return torch._int_mm(codes, self.weight.T) + self.bias",
        "return (codes @ self.weight.T).int() + self.bias",
        "with weights of 7 bits the layer with the int8 product",
    ),
    # sums of pairs that may be as large as they like
    ("pairs.clamp(-(2**15), 2**15 - 1)", "pairs", "simulated, pairs added up in 16 bits"),
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
    # the right codes, by way of floats
    (
        "utils.integer_layers",
        "steps = requantize(sums, self.mantissa, self.shift) + grid.zero_point",
        "steps = torch.round(sums * (self.mantissa * 2.0 ** -self.shift.double())).long() + grid.zero_point",
        "from codes to answer no operation returns a float",
    ),
    # a scale for each group of the filled matrix, cut without regard to its rows
    (
        "utils.quantization",
        'F.pad(rows, (0, -rows.shape[1] % require_int("size", size, minimum=1))).reshape(-1, size)',
        "F.pad(rows.flatten(), (0, len(rows) * (-rows.shape[1] % size))).reshape(-1, size)",
        "the loop over groups and the reshaped matrix agree",
    ),
    # groups without clipping
    (
        "utils.quantization",
        "low, high = mse_range(rows, bits=bits, axis=0)",
        "low, high = minmax_range(rows, axis=0)",
        "our grid per 64 loses what the table says",
    ),
    # codebooks that stay where they start
    (
        "utils.quantization",
        "for _ in range(iterations):",
        "for _ in range(0):",
        "after ten rounds the loop and codebook",
    ),
]
