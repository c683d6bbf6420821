"""Breaking notebook 03: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("[:, unit]", "[:, unit - 1]", "hand, loop and index agree"),
    # the sums of a group, and not their share of its mean
    ("return mean / mean.mean()", "return mean", "we compute the library's scores"),
    ("sums.mean(dim=0) / sums.mean()", "sums.mean(dim=0)", "the two channels score 0.93 and 1.07"),
    # the control is what it is compared with
    ("same = leads(SAME)", 'same = leads("scratch")', "channels of a network that saw only the same images"),
    # the statistics are those of before
    (
        "torch.optim.swa_utils.update_bn(tuning.images.split(500), same_weights)",
        "same_weights.eval()",
        "new statistics alone bring",
    ),
    # the constant forgotten, and the factor with it
    (
        "return constant + factor * milliseconds(stored, widths)",
        "return sums[widths]",
        "a constant and a factor, fitted",
    ),
    # the search stops too early
    ("while cost(widths) > budget:", "while cost(widths) > 2 * budget:", "the greedy search keeps its budget"),
    # digits in place of clothes
    ('"clothes": "fashion_mnist"}', '"clothes": "mnist"}', "a narrow network of clothes that we trained here"),
    # the next uniform shape in place of the one in the budget
    (
        'lead(*case, "uniform")',
        'lead(*case, "next uniform")',
        "the list's shape makes fewer errors than the uniform one in the budget",
    ),
    # the mixture beside one of the shapes that it is made of
    (
        "(wrong[2] - wrong[1]) - wrong[0]",
        "(wrong[2] - wrong[1]) - wrong[1]",
        "in exactly its time the list's shape makes fewer errors",
    ),
    # the list's shape twice, the larger one
    (
        '(("from the list", 10), ("uniform", 5))',
        '(("from the list", 10), ("from the list", 5))',
        "with fewer parameters than the list's shape of a tenth",
    ),
    # the uniform shape of digits beside the list's of clothes
    (
        'points(n, "from the list", b) for n in SETS',
        'points("digits", "from the list", b) for n in SETS',
        "by the list clothes lose more points than digits",
    ),
    # the uniform shapes in place of the list's
    (
        'with_seeds(name, "from the list", b)[1].mean() /',
        'with_seeds(name, "uniform", b)[1].mean() /',
        "as multiples of the dense network's errors",
    ),
    # each task's own shape beside itself
    (
        "wrong_once[SETS[name], kept_at_5[other]] -",
        "wrong_once[SETS[name], own] -",
        "at a fifth the search chose 5-8-250",
    ),
    # the search's choice is not used; even the worst shape of its list may beat the uniform one
    (
        "found = min(promises, key=promises.get)",
        "found = uniform",
        "under one budget by the clock the widths from the list make fewer errors",
    ),
    # the readers keep their weights
    ("layer.weight.copy_(solution[:-1].T", "layer.weight.add_(0 * solution[:-1].T", "least squares in the readers"),
    # a tenth of the images
    (
        "fit(seen[FOUR], images, thousands",
        "fit(seen[FOUR], images.take(100), thousands",
        "both networks err as often as the recipe's with the same images",
    ),
    # trained for four passes, in place of repaired first
    (
        "ahead(OLD, FOUR), ahead(BOTH, ANY)",
        "ahead(OLD, FOUR), ahead(FOUR, ANY)",
        "repaired towards the old weights it makes fewer",
    ),
    # the short training in place of the long one
    (
        '"repair over any passes": ahead(OLD, ANY)',
        '"repair over any passes": ahead(OLD, FOUR)',
        "with some thousands one is ahead",
    ),
    # the repaired networks are not trained
    ("[*starts.values(), *mended.values()]", "[*starts.values()]", "after the same training the repaired networks"),
    # the uniform shape in the budget in place of the next one
    ('over_next["digits", b]) for b', 'over_uniform["digits", b]) for b', "on digits the next one, which takes longer"),
]

IN_LIBRARY = [
    # the first rows stay, whatever was asked for
    (
        "utils.structured_pruning",
        "new_weight = new_weight[rows]",
        "new_weight = new_weight[: len(rows)]",
        "narrow_linear and torch_pruning agree",
    ),
    # the weakest channels stay
    (
        "utils.structured_pruning",
        "return mask_by_score(scores, (len(scores) - count)",
        "return mask_by_score(-scores, (len(scores) - count)",
        "every filter of conv2 that stays has a larger L1 norm",
    ),
    # place by place instead of channel by channel behind flatten
    (
        "utils.structured_pruning",
        "return (kept[:, None] * positions + places).flatten()",
        "return (kept[:, None] * positions + places).T.flatten()",
        "our eight lines and shrink_lenet5 make the same network",
    ),
    # a silenced channel still says its bias
    (
        "utils.structured_pruning",
        "        layer.bias[gone] = 0.0",
        "        pass",
        "the small network equals the masked one",
    ),
    # the sign of the weights lost in the Taylor score
    (
        "utils.structured_pruning",
        "total + (parameter.detach() * gradient)",
        "total + (parameter.detach().abs() * gradient)",
        "our score and the library's are the same",
    ),
]
