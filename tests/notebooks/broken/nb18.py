"""Breaking notebook 18: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # each group of the loop has the range of its whole row
    (
        "low, high = group.min().clamp(max=0), group.max().clamp(min=0)",
        "low, high = row.min().clamp(max=0), row.max().clamp(min=0)",
        "by hand, in a loop and by utils",
    ),
    # all layouts are one
    ('"a row": by_row,', '"a row": by_matrix,', "the fewer weights share a scale"),
    # the last, shorter group of a row is forgotten
    ("groups = 3 * rows_160 + 7 * rows_416", "groups = 2 * rows_160 + 6 * rows_416", "in groups of 64 a weight takes"),
    # calibrated on what comes next
    ("calibration, _ = windows(", "_, calibration = windows(", "the moment of the first layer is"),
    # calibrated on other text
    (
        "calibration, _ = windows(text.train",
        "calibration, _ = windows(text.validation",
        "the moment of the first layer",
    ),
    # updates left out
    ("        row[j + 1 :] -= share * inverse[j, j + 1 :]\n", "", "to nearest the pair becomes (0, 1)"),
    (
        "weight[:, j + 1 :] -= torch.outer(share, factor[j, j + 1 :])",
        "pass",
        "the loop, the Cholesky factor and both forms",
    ),
    # a Hessian of the identity
    (
        "return gptq(weight, statistics[name].moment, choose, group_size=64, **options)",
        "return gptq(weight, torch.eye(weight.shape[1]), choose, group_size=64, **options)",
        "at 3 and at 2 bits GPTQ loses at least a fifth",
    ),
    # nothing is shuffled
    (
        "order = torch.randperm(codes.shape[1], generator=shuffle)",
        "order = torch.arange(codes.shape[1])",
        "calibrated on random characters GPTQ loses more",
    ),
    # chosen the other way round
    (
        '"largest inputs": lambda name, _: seen[name].mean_magnitude,',
        '"largest inputs": lambda name, _: -seen[name].mean_magnitude,',
        "2 % of the columns in float",
    ),
    # no outliers
    ("outliers(3, 60)", "outliers(3, 1)", "with outliers W8A8 loses at least ten times"),
    # nothing is smoothed
    (
        "rescaling.rescale(spiky, rescaling.smoothing_factors(spiky, of_spiky))",
        "spiky",
        "with outliers W8A8 loses at least ten times",
    ),
    # the twin is its own control
    (
        'afterwards = ternary(copy.deepcopy(trained["float"]))',
        'afterwards = trained["float"]',
        "trained with three values the network is within",
    ),
    # the control takes as many bytes as the float32 matrix's own quarter
    (
        'bytes_on_disk(files["int4"]) // (4 * large.shape[1])',
        'bytes_on_disk(files["int4"]) // large.shape[1]',
        "on disk the product with 4 bits is 6.24 times smaller",
    ),
    # the zero points are not counted
    ("on_paper = 32 / (4 + (32 + 4) / 32)", "on_paper = 32 / (4 + 32 / 32)", "on disk the product with 4 bits"),
    # as if a thousand stretches had been judged
    (".mean().sem(axis=1)", ".mean().sem(axis=1) / 7", "what comes out better than float"),
]

IN_LIBRARY = [
    # groups mixed up: each code meets its neighbour's scale
    (
        "utils.weight_only",
        "return by_group.repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]",
        "return by_group.roll(1, 1).repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]",
        "the fewer weights share a scale",
    ),
    # zero points are not counted
    (
        "utils.weight_only",
        "side = 2 * self.scale.numel() + packed_bytes(self.zero_point.numel(), self.bits)",
        "side = 2 * self.scale.numel()",
        "in groups of 64 a weight takes",
    ),
    # blocks behind are not told
    (
        "utils.gptq",
        "left[:, end:] -= shares @ factor[start:end, end:]",
        "pass",
        "the loop, the Cholesky factor and both forms",
    ),
    # the shares of the loop are not divided by the diagonal
    (
        "utils.gptq",
        "share = (left[:, j] - value) / inverse[j, j]  # (m,)",
        "share = left[:, j] - value",
        "the loop, the Cholesky factor and both forms",
    ),
    # each layer answers for another text's inputs
    (
        "utils.gptq",
        "weight = answering_for_others(layer.weight.double(), given, received)",
        "weight = answering_for_others(layer.weight.double(), given.flip(0), received)",
        "at 2 bits GPTQ layer after layer",
    ),
    # what is written smaller is not read larger
    ("utils.rescaling", "changed.get_submodule(reader).weight.mul_(factor)", "pass", "with factors from 0.5 to 1.5"),
    # the rotation is not taken back where the sum is read
    (
        "utils.rescaling",
        "layer.weight.copy_(layer.weight * writer.weight @ rotation)",
        "layer.weight.copy_(layer.weight * writer.weight)",
        "rotated, the network has the same logits",
    ),
]
