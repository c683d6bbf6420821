"""Breaking notebook 10: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    (
        "        return gradient",
        "        return torch.zeros_like(gradient)",
        "by hand, ours, utils.qat and PyTorch's operator",
    ),
    ("round(v) - v if -2", "round(v) if -2", "by hand, loop and autograd agree"),
    ("bias = Round.apply(bias / step) * step", "pass", "our layers and utils.qat give the same logits"),
    ("layer.exact_bias = True", "layer.exact_bias = False", "at 4 bits an exact bias moves a logit"),
]

IN_LIBRARY = [
    # the true derivative, which is zero
    (
        "utils.qat",
        "return straight_through(x, x.detach().round())",
        "return x.round()",
        "by hand, ours, utils.qat and PyTorch's operator",
    ),
    # the clip lets a gradient through outside the range
    (
        "utils.qat",
        "steps = round_straight_through(torch.clamp(x / scale, qmin - zero_point, qmax - zero_point))",
        "steps = straight_through(x / scale, torch.clamp((x / scale).round(), qmin, qmax).detach())",
        "the gradients are equal except between 1 and 1.25",
    ),
    # the scale is a constant where it multiplies
    ("utils.qat", "return steps * scale\n", "return steps * scale.detach()\n", "by hand, loop and autograd agree"),
    # the bias in steps of the input alone
    (
        "utils.qat",
        "scale = input_scale * weight_scale\n",
        "scale = input_scale\n",
        "our layers and utils.qat give the same logits",
    ),
]
