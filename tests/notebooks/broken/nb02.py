"""Breaking notebook 02: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("abs().flatten().argsort(stable", "flatten().argsort(stable", "vectorised it does the same"),
    ('prune.remove(layer, "weight")', "pass", "after prune.remove it is exactly"),
    # the control with the same share of every layer, whatever it controls
    (
        "1 - mask.float().mean().item(),",
        "pruning.mask_sparsity(masks),",
        "a control keeps exactly as many weights of each layer",
    ),
    # the sorting by value and not by magnitude
    ("[w.detach().abs().flatten() for", "[w.detach().flatten() for", "one threshold for all layers"),
    # each square as a share of the whole layer
    ("ascending.flip(0).cumsum(0).flip(0)  #", "ascending.sum()  #", "our LAMP scores are those of the definition"),
    # ERK that gives every layer the same share
    (
        "shares = erdos_renyi_sparsities(network, sparsity)",
        "shares = dict.fromkeys(pruning.prunable(network), sparsity)",
        "of 90 % zeros ERK keeps",
    ),
    # LAMP in place of ERK
    (
        'mean_tuned["ERK"][s] - mean_tuned["LAMP"][s]',
        'mean_tuned["LAMP"][s] - mean_tuned["LAMP"][s]',
        "50 steps later ERK is ahead of LAMP",
    ),
    # LAMP that gives every layer the same share
    (
        "return pruning.global_masks(scores, sparsity)",
        "return pruning.layerwise_magnitude_masks(network, sparsity)",
        "with 80 % zeros global is at least 3 points",
    ),
    # the shares of one choice for all
    (
        'mean_tuned[f"{c}, random places"][0.95] for c',
        'mean_tuned["per layer, random places"][0.95] for c',
        "with 95 % zeros at random places",
    ),
    # networks that are not trained
    (
        'random_at_90 = {c: tuned[f"{c}, random',
        'random_at_90 = {c: one_shot[f"{c}, random',
        "with 90 % zeros at random places",
    ),
    # one plan for all
    (
        "trained = {p: plan_accuracies(p)",
        'trained = {p: plan_accuracies("by the scan")',
        "25 steps later one threshold",
    ),
    # the control in place of the pruned network
    ('live = {"pruned": "pruned"', 'live = {"pruned": "control"', "in each of three trainings the pruned"),
    # random places in place of the pruned network
    (
        'errors["dense, three epochs"], errors["pruned"], strict',
        'errors["dense, three epochs"], errors["random places"], strict',
        "with the same three epochs the pruned network",
    ),
    # one threshold in place of LAMP
    (
        "lamp_masks(lenet5, SCAN_TOTAL)",
        "pruning.global_magnitude_masks(lenet5, SCAN_TOTAL)",
        "with 95 % zeros in all and no training",
    ),
    # a hook that does nothing
    ("weights[name].masked_fill_(~mask", "weights[name].clone().masked_fill_(~mask", "with our hook exactly as many"),
    # the shares by shape: the same in every layer
    (
        '"ERK": erk_masks(lenet5, SCAN_TOTAL)',
        '"ERK": pruning.layerwise_magnitude_masks(lenet5, SCAN_TOTAL)',
        "with 95 % zeros in all and no training",
    ),
    # clothes that are trained on without their zeros
    ("hook = put_back(few_left, masks)", "hook = None", "a network of clothes that we trained and cut here"),
    # digits twice
    (
        "(points(name, sparsity, trained) for name in SETS)",
        '(points("digits", sparsity, trained) for name in SETS)',
        "right after a cut to 80 or 90 % zeros clothes cost more",
    ),
    # before training in place of after it
    (
        "all(cost_more(s, True) for s in (0.9, 0.95, 0.98))",
        "all(cost_more(s, False) for s in (0.9, 0.95, 0.98))",
        "50 steps later clothes still cost more",
    ),
    # errors in place of multiples
    (
        "errors_on(n, 0.98, True) / errors_on(n, 0.0, True)",
        "errors_on(n, 0.98, True)",
        "as a multiple of the dense network's error",
    ),
    # one layer's curve for all: the plan is then the same in every layer
    (
        "{name: np.minimum.accumulate(a) for name, a in sensitivity.items()}",
        '{name: np.minimum.accumulate(sensitivity["fc1.weight"]) for name in sensitivity}',
        "with 95 % zeros in all and no training",
    ),
    # one choice in place of all three
    (
        "of_layers = {c: mean_tuned[c] for c in CONTROLLED}",
        'of_layers = dict.fromkeys(CONTROLLED, mean_tuned["LAMP"])',
        "how many weights each layer keeps is worth 2 to 4 points",
    ),
    # the blocks with the smallest sums
    ("in_blocks(groups.square(), 0.5, 2, 2)", "in_blocks(-groups.square(), 0.5, 2, 2)", "of two blocks of 2 x 2"),
    # blocks at random places
    (
        '"4 x 4": lambda seed: block_masks(4, 4),',
        '"4 x 4": blocks_by_chance,',
        "with 90 % zeros and 50 steps blocks of 1 x 4",
    ),
    # the weight before its blocks went
    ("bsr_array(zeros.numpy()", "bsr_array(random_weight.numpy()", "the products of blocks are those of dense"),
    # the control beside itself
    (
        "100 * (mean_tuned[c][0.9] - by_lot_90[c])",
        "100 * (by_lot_90[c] - by_lot_90[c])",
        "at 90 % the right places are worth over 5 points",
    ),
    # beside the dense network with the same steps, twice
    (
        "errors_on(n, 0.8, True) - errors_on(n, 0.0, False)",
        "errors_on(n, 0.8, True) - errors_on(n, 0.0, True)",
        "with 80 % zeros and 50 steps nothing is lost",
    ),
]

IN_LIBRARY = [
    # one weight too few where the count is not a whole number
    (
        "utils.pruning",
        'return round(require_fraction("sparsity", sparsity) * total)',
        'return int(require_fraction("sparsity", sparsity) * total)',
        "on six weights all four agree",
    ),
    # large negative weights count as small
    ("utils.pruning", "return weight.detach().abs()\n", "return weight.detach()\n", "on six weights all four agree"),
    # a control that is not random
    (
        "utils.pruning",
        "scores = torch.rand(weight.shape, generator=generator, device=generator.device)",
        "scores = weight.detach().abs()",
        "half of the weights cost less than half a point by magnitude",
    ),
    # the masks reach the last layer only
    (
        "utils.pruning",
        "    for name, mask in masks.items():\n        # Not weight * mask",
        "    for name, mask in list(masks.items())[-1:]:\n        # Not weight * mask",
        "half of the weights cost less than half a point by magnitude",
    ),
]
