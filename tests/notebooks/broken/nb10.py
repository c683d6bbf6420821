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
    # nothing is trained
    ("fit(trained, few_images, recipe, loss=distillation(start))", "pass", "QAT at 2 bits, done again"),
    # what is measured as GPTQ's was rounded to the nearest
    ("gptq_layers.gptq_prepared(trained, images)", "trained", "GPTQ at 2 bits, done again"),
    # the bits go where they help least
    ("max(gains, key=gains.get)", "min(gains, key=gains.get)", "at the bytes of 3 bits, mixed bits move"),
    # a layer's own sensitivities, not those of another one
    ("sensitivity[names[n]] for", "sensitivity[name] for", "with sensitivities shuffled they move"),
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
    # the teacher's answers belong to the next image
    (
        "utils.training",
        "target = F.softmax(teacher(images) / temperature, dim=1)",
        "target = F.softmax(teacher(images).roll(1, 0) / temperature, dim=1)",
        "by hand and utils.training.distillation agree",
    ),
    # inputs that know nothing of each other: the nearest value is the best
    ("utils.gptq_layers", "second_moment(inputs)", "torch.eye(inputs.shape[1]).double()", "GPTQ at 2 bits, done again"),
    # the two weights of a byte exchanged
    (
        "utils.int4_export",
        "return pack(padded + 8, 4)",
        "return pack(padded.unflatten(1, (-1, 2)).flip(2).flatten(1) + 8, 4)",
        "by hand and utils.int4_export pack the row",
    ),
    # the scales in the order of the blocks, not of the rows
    (
        "utils.int4_export",
        "layer.weight_scale.repeat_interleave(packed.shape[1])",
        "layer.weight_scale.repeat(packed.shape[1])",
        "with inputs in float the file gives the logits",
    ),
]
