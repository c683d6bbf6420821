"""Breaking notebook 04: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # both at the high rate
    (
        'careful = high_errors["random"], low_errors["magnitude"]',
        'careful = high_errors["random"], high_errors["magnitude"]',
        "the rate can weigh as much as the criterion",
    ),
    ("sorted((scores[i, j]", "sorted((-scores[i, j]", "the loop finds our three masks"),
    # the gradients of the images cancel before the magnitude is taken
    (
        "gradient[n].abs().T @ inputs[n].abs()",
        "(gradient[n].T @ inputs[n]).abs()",
        "the product is what the gradients of single images give",
    ),
    # the other weights move the wrong way
    ("left[name] -= row[p]", "left[name] += row[p]", "the step of OBS is the least-squares repair"),
    # the kept weights are asked for their own part of the output only
    (
        "wanted = moment[kept] @ weight[row]",
        "wanted = moment[kept][:, kept] @ weight[row, kept]",
        "the step of OBS is the least-squares repair",
    ),
    # rounds in name only: nothing is priced again
    (
        "prices = price(current, mask, moment)",
        "prices = price(weight, torch.ones_like(mask), moment)",
        "repaired in rounds, Wanda and OBS lose less than",
    ),
    # the prices leave the weights out
    ("return weight.square() / diagonal", "return diagonal", "utils.surgeon prunes and repairs"),
    # a criterion that keeps more weights than the others
    (
        "mask_by_score(-score, sparsity)",
        "mask_by_score(-score, 0.9)",
        "all nine criteria keep 23,400, 3,000 and 100 weights",
    ),
    # the mask keeps the weights that were repaired for it
    (
        "verdicts(repairs.MASK_PAIRS, final)",
        "verdicts([(a, b.replace('mask alone', 'repaired')) for a, b in repairs.MASK_PAIRS], final)",
        "in the masks of the rounds the repaired weights bring over a point",
    ),
    # each digit keeps as many as the next
    (
        "stays = mask_by_score(scores, SPARSITY).sum(dim=1)",
        "stays = pruning.mask_each_row(scores, SPARSITY).sum(dim=1)",
        "in fc3 Taylor's mean scores of the digits lie",
    ),
    # the remedy is not given
    (
        "by_row_in_fc3(s, whole_rows(s, SPARSITY)) for n, s",
        "mask_by_score(s, whole_rows(s, SPARSITY)) for n, s",
        "ten weights for each digit raise Taylor",
    ),
    # what magnitude removes
    (
        "[by_magnitude]\nsmallest_kept",
        "[~by_magnitude]\nsmallest_kept",
        "the smallest weight that magnitude keeps in the first layer",
    ),
    # the gradients stay where they were
    (
        'gradient["fc3.weight"].abs().roll(shift, dims=1)',
        'gradient["fc3.weight"].abs()',
        "the empty rows move with the gradients",
    ),
    # rows in place of one list
    (
        "mask = mask_by_score(prices, whole_rows(w1, 0.95))",
        "mask = pruning.mask_each_row(prices, 0.95)",
        "without repair one list is better than rows",
    ),
    # the weights of one cut are repaired
    (
        'when: found[name] - found["Wanda"]',
        'when: found[name] - found["Wanda, repaired"]',
        "on dense weights Wanda's mask of the rounds",
    ),
    # the images of the other digits
    (
        "of_emptied = gone[:, digits.validation.labels]",
        "of_emptied = ~gone[:, digits.validation.labels]",
        "retrained, Taylor's networks classify less than half",
    ),
    # one list in place of rows
    (
        'by_row = final["Taylor, by row in fc3"]',
        'by_row = final["Taylor"]',
        "so compared, Taylor is ahead of chance and behind magnitude",
    ),
    # one cut that was not retrained
    (
        "by_layer = accuracies(control_rows, rate=controls.HIGH, sparsity=0.9, epochs=2)",
        "by_layer = accuracies(control_rows, rate=controls.HIGH, sparsity=0.9, epochs=0)",
        "on the same inputs, too, Wanda's rounds",
    ),
    # the rates changed places
    ("spared[way] = high - low", "spared[way] = low - high", "at 50 % the high rate adds over half a point of error"),
    ("low_errors[way] - high_errors[way]", "high_errors[way] - low_errors[way]", "at 90 % every mask of one cut"),
    # the high rate in place of the low one
    ("verdicts(PAIRS, low)", "verdicts(PAIRS, final)", "at the low rate rounds are over two points ahead"),
    (
        "verdicts(repairs.HALF_PAIRS, low_half)",
        "verdicts(repairs.HALF_PAIRS, half)",
        "at 50 % and the low rate magnitude",
    ),
    # the control gets the rounds, too
    (
        'repaired_and_retrained("Wanda, repaired", seed, LONGER)',
        'repaired_and_retrained("Wanda in rounds, repaired", seed, LONGER)',
        "OBS in rounds costs less than one retraining",
    ),
    # no correction for the number of comparisons
    ("level / (len(p_values) - place)", "level", "of tables of eight equal pairs"),
    ("axis=-1, ddof=1", "axis=-1, ddof=0", "with five repetitions, |t| > 2 is a false alarm"),
    # columns in place of rows
    (
        "weights[n].detach().norm(dim=1)",
        "weights[n].detach().norm(dim=0)",
        "as it was trained, the largest norm of a row",
    ),
    # after retraining in place of before it
    ('("before", at_90_errors["before"]),', '("before", high_errors),', "as a ratio of errors the lead of magnitude"),
]

IN_LIBRARY = [
    # the kept weights are asked for their own part of the output only
    (
        "utils.surgeon",
        "wanted = moment[kept] @ weight[row]",
        "wanted = moment[kept][:, kept] @ weight[row, kept]",
        "utils.surgeon prunes and repairs",
    ),
    # an error that is no longer in per cent
    (
        "utils.recipes.experiment_04_repairs",
        "return 100 * (1 - evaluate(",
        "return 1 * (1 - evaluate(",
        "a row of the table, measured again here",
    ),
    # a score with a sign: what lowers the loss most goes first
    (
        "utils.pruning",
        "return (gradient * weight).detach().abs()",
        "return (gradient * weight).detach()",
        "the scores of utils.pruning are these formulas",
    ),
    # the highest scores go
    (
        "utils.pruning",
        "below = flat < threshold",
        "below = flat > threshold",
        "the vectorised form, PyTorch's call and utils.pruning",
    ),
    # the count of a column instead of a row
    (
        "utils.pruning",
        "count = pruned_count(scores[0].numel(), sparsity)",
        "count = pruned_count(len(scores), sparsity)",
        "within each row, activation keeps 1.2 and 1.4",
    ),
    # another norm than L2
    (
        "utils.pruning",
        "x.reshape(-1, x.shape[-1]).square().sum(dim=0)",
        "x.reshape(-1, x.shape[-1]).abs().sum(dim=0)",
        "the input norms of the first layer",
    ),
    # the probability of staying in place of that of going
    (
        "utils.pruning",
        "device=generator.device) >= sparsity",
        "device=generator.device) < sparsity",
        "independent draws have the binomial's mean",
    ),
]
