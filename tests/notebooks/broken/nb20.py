"""Breaking notebook 20: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # the loop forgets the scale
    (
        "total = total + scale * up[i, k] * inner",
        "total = total + up[i, k] * inner",
        "by hand, in a loop, with matrices, merged and by utils",
    ),
    # the rule without the scale
    (
        "by_rule = 3 * dense.grad @ layer.down.T, 3 * layer.up.T @ dense.grad",
        "by_rule = dense.grad @ layer.down.T, layer.up.T @ dense.grad",
        "at the start A has no gradient",
    ),
    # turned and not given back its length
    (
        "by_hand = sums / sums.norm(dim=1, keepdim=True) * rows.norm(dim=1, keepdim=True)",
        "by_hand = sums",
        "DoRA starts",
    ),
    # a product of sides in place of their sum
    ("3 * (320 + 96))", "3 * (320 * 96))", "rank 2 in all matrices of the blocks"),
    # everything is trained in place of the 14 matrices
    (
        '"14 matrices": experiment.WAYS["14 matrices"](),',
        '"14 matrices": experiment.WAYS["full"](),',
        "training the same 14 matrices whole keeps as many activations",
    ),
    # every way is trained with the rate of full fine-tuning
    (
        "way: experiment.trained(way, rates[way], SEED)",
        'way: experiment.trained(way, rates["full"], SEED)',
        "full fine-tuning, LoRA and QLoRA, trained here once more",
    ),
    # the lead the other way round
    (
        'of[size]["largest"] - of[size]["smallest"] for size',
        'of[size]["smallest"] - of[size]["largest"] for size',
        "the smallest directions end ahead of the largest",
    ),
    # a start is compared with itself
    (
        'principal = five[["PiSSA", "PiSSA, scale 4"]].min(axis=1)',
        'principal = five[["LoRA", "PiSSA"]].min(axis=1)',
        "it is the start: with each of five seeds",
    ),
    # small minus large
    (
        'by_size = of_starts["largest"] - of_starts["smallest"]',
        'by_size = of_starts["smallest"] - of_starts["largest"]',
        "on validation it is the size more than the directions",
    ),
    # validation in place of test
    ("    of = by_start(judged)\n", '    of = by_start("nats")\n', "what the size of a start made on validation"),
    # another way's numbers
    ('of_dora = interval(five["DoRA"]', 'of_dora = interval(five["QLoRA"]', "the interval of DoRA minus LoRA"),
    # a quarter of the rate
    (
        ".loc[[1.2e-3, 2.5e-3, 5e-3]].to_numpy()",
        ".loc[[6e-4, 1.2e-3, 2.5e-3]].to_numpy()",
        "PiSSA with scale 4 at half of the rate",
    ),
    # what was forgotten by seed, the wrong way round
    (
        'name: (of.loc["LoRA", lora] - of.loc["full", full]).dropna()',
        'name: (of.loc["full", full] - of.loc["LoRA", lora]).dropna()',
        "at two pairs of rates LoRA has learned",
    ),
    # full fine-tuning minus LoRA
    (
        'return of_text["LoRA"] - of_text["full"]',
        'return of_text["full"] - of_text["LoRA"]',
        "taught from the new text LoRA stays over 0.01 nats behind",
    ),
    # the two ways to write the scale are taken for each other
    (
        'by_rank.loc["alpha / r"], by_rank.loc["alpha / root r"]',
        'by_rank.loc["alpha / root r"], by_rank.loc["alpha / r"]',
        "with LoRA's scale each larger rank needs fewer nats",
    ),
    # only half of the scale is made up for
    (
        "by_step = changes_after_ten_steps(scale=1.0, rate_up=0.04)",
        "by_step = changes_after_ten_steps(scale=1.0, rate_up=0.02)",
        "with Adam, four times the scale",
    ),
    # a random matrix in place of the change
    (
        'change = (trained["full"].get_submodule(name).weight - layer.weight).detach()',
        "change = drawn_change = torch.randn(layer.weight.shape, generator=noise)",
        "two singular values hold over twice as much of the change",
    ),
    # what was forgotten, the wrong way round
    (
        'forgets_more = originals["LoRA"] - originals["full"]',
        'forgets_more = originals["full"] - originals["LoRA"]',
        "over twenty pairs LoRA forgets more",
    ),
    # always the same adapter
    (
        "    adapters.load_adapter(one, state)",
        "    adapters.load_adapter(one, prose)",
        "each style's adapter is the better one",
    ),
    # the gradient of the original weight
    ("by_hand = 2 * y @ rounded", "by_hand = 2 * y @ query.weight.detach()", "gradients go through the codes"),
    # both are what full fine-tuning made
    (
        '"LoRA": merged(trained["LoRA"])}',
        '"LoRA": trained["full"]}',
        "after LoRA over three of the 140 leading directions",
    ),
    # as many others are the new ones
    ("with_halved(whole_change, control=True)", "with_halved(whole_change)", "halving the new directions takes away"),
    # the whole change in place of nine tenths
    ('along["full"].loc[0.9]', 'along["full"].loc[1.25]', "nine tenths of the full change"),
]

IN_LIBRARY = [
    # the scale is left out where the change is merged
    (
        "utils.adapters",
        "return self.scale * self.up @ self.down",
        "return self.up @ self.down",
        "by hand, in a loop, with matrices, merged and by utils",
    ),
    # the length that the adapter has made stays in
    (
        "utils.adapters",
        "return (self.lengths / turned.detach().norm(dim=1))[:, None] * turned",
        "return self.lengths[:, None] * turned",
        "DoRA starts as the layer",
    ),
    # both factors start at zero: nothing could ever be learned
    (
        "utils.adapters",
        "torch.empty(rank, columns).uniform_(-(columns**-0.5), columns**-0.5)",
        "torch.zeros(rank, columns)",
        "at the start A has no gradient",
    ),
    # both are drawn: the function is disturbed from the start
    (
        "utils.adapters",
        "self.up = nn.Parameter(torch.zeros(rows, rank))",
        "self.up = nn.Parameter(torch.randn(rows, rank))",
        "at the start A has no gradient",
    ),
    # the principal part stays in the base, too
    (
        "utils.adapters",
        "started.base.weight -= started.change()",
        "pass",
        "started from the layer's largest singular directions",
    ),
    # another style is never loaded
    ("utils.adapters", "parameter.copy_(state[name])", "pass", "each style's adapter is the better one"),
    # the gradient passes straight through, past the weight's signs
    (
        "utils.nf4_linear",
        "return gradient @ ctx.layer.dequantized().to(gradient.dtype), None",
        "return gradient @ ctx.layer.dequantized().abs().to(gradient.dtype), None",
        "full fine-tuning, LoRA and QLoRA, trained here once more",
    ),
    # the teacher's logarithms are taken for its probabilities
    (
        "utils.language_models",
        'F.kl_div(ours, wanted, reduction="batchmean", log_target=True)',
        'F.kl_div(ours, wanted, reduction="batchmean")',
        "by hand, in a line and by utils",
    ),
    # the mean is added and was never taken off
    (
        "utils.nf4_linear",
        "F.pad(scales - mean, (0, -len(scales) % group_size))",
        "F.pad(scales, (0, -len(scales) % group_size))",
        "full fine-tuning, LoRA and QLoRA, trained here once more",
    ),
]
