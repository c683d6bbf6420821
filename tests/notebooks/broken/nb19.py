"""Breaking notebook 19: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # what is removed is not handed on
    ("row -= row[p] / inverse[p, p] * inverse[:, p]", "pass", "the loop, utils and least squares agree on four rows"),
    # a row of the wrong factor: zero behind the diagonal
    ("torch.linalg.inv(moment), upper=True)", "torch.linalg.inv(moment))", "our lines, both forms of utils"),
    # a Hessian of the identity
    (
        "return sparsegpt(weight, seen[name].moment, half)",
        "return sparsegpt(weight, torch.eye(weight.shape[1]), half)",
        "with half of the weights gone a random choice",
    ),
    # nothing is random
    (
        "return weight * half(torch.rand(weight.shape, generator=drawn))",
        "return weight * half(weight.abs())",
        "with half of the weights gone a random choice",
    ),
    # the choice alone is repaired, too
    (
        "return weight * (repaired(name, weight) != 0)",
        "return repaired(name, weight)",
        "SparseGPT's choice without its repair",
    ),
    # what has been passed does not move in the repair at once either
    (
        '"at once": surgeon.repair(query, mask, moment)}',
        '"at once": pruned_query}',
        "with the same mask the repair at once",
    ),
    # two rows of the crossed table are exchanged
    (
        '("Wanda\'s mask, at once", "Wanda\'s mask, left to right"),',
        '("Wanda\'s mask, left to right", "Wanda\'s mask, at once"),',
        "at 50 % the repair at once loses less",
    ),
    # the unequal shares are ahead of themselves
    ('each.split(",")[0], "70 %"))', 'each, "70 %"))', "at 70 % OWL's shares lose more"),
    # the wrong heads are taken out
    (
        "others = [each for each in range(5) if each != head]",
        "others = [each for each in range(5) if each == head]",
        "one of the two heads that cost most",
    ),
    # the mask of heads is of single numbers
    ("columns = gates.repeat_interleave(32)", "columns = gates.repeat(32)", "a head behind a mask and a head cut out"),
    # the influence of what the branch adds, not of the sum behind it
    (
        "turned = 1 - torch.cosine_similarity(old, new, dim=-1).mean()",
        "turned = 1 - torch.cosine_similarity(old, new - old, dim=-1).mean()",
        "the influence puts the nine branches",
    ),
    # gains are taken for losses
    ("*lead(other, method, pattern))", "*lead(method, other, pattern))", "block by block nothing is gained"),
    # nothing is repaired on the test part
    (
        "return surgeon.repair(weight, wanda(name, weight) != 0, seen[name].moment.float())",
        "return at_random(name, weight)",
        "on the test part, too, half of the weights gone",
    ),
    # the control is the network from scratch
    (
        "control = ways[ways.way == seeds.WHOLE].lost",
        'control = -ways[ways.way == "from scratch"].lost',
        "it is not the training as such",
    ),
    # no distillation: no step at all
    ("_ = fit_text(student, text.train, recipe, loss=distillation_loss(network))", "pass", "16 steps of distillation"),
    # the shallower network is the whole one
    ('"shallower": shallow,', '"shallower": network,', "zeros leave the multiplications"),
]

IN_LIBRARY = [
    # updates left out within a block
    (
        "utils.sparsegpt",
        "left[:, j + 1 : end] -= torch.outer(shares[:, j - start], factor[j, j + 1 : end])",
        "pass",
        "our lines, both forms of utils",
    ),
    # columns behind a block are not told
    ("utils.sparsegpt", "left[:, end:] -= shares @ factor[start:end, end:]", "pass", "our lines, both forms"),
    # the mask's bits are not counted
    (
        "utils.sparsegpt",
        "return packed_bytes(self.mask.numel(), 1) + kept",
        "return kept",
        "half of the weights in 4 bits with their mask",
    ),
    # another block's branch goes
    (
        "utils.transformer_pruning",
        "if (number, branch) not in gone]",
        "if (number - 1, branch) not in gone]",
        "the influence puts the nine branches",
    ),
]
