"""Breaking notebook 16: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # the largest rung is the smallest
    ("errors[20_000].max() < of_teacher", "errors[600].max() < of_teacher", "with under a twentieth of the parameters"),
    # upwards
    ("-np.diff(means)", "np.diff(means)", "from rung to rung the mean error of five seeds falls"),
    # each search is seen by its first design, which both share
    ("best[way][:, -1] for way", "best[way][:, 0] for way", "by the error after a short training evolution"),
    # the evolved designs with their four passes, beside 56
    ("np.array(as_long.errors()),", "evolved,", "trained for 56 passes each"),
    # the twin beside itself
    (
        '"share 0.7 - twin": (students(share=0.7), twin)',
        '"share 0.7 - twin": (twin, twin)',
        "with a share of 0.7 the teacher",
    ),
    # a convolution of each channel alone without its bias
    (
        "total += area * inputs + inputs + inputs * outputs + outputs",
        "total += area * inputs + inputs * outputs + outputs",
        "by hand, the loop, utils",
    ),
    # nobody leaves
    ("generator.sample(found[-population:], tournament)", "generator.sample(found, tournament)", "our loop and utils"),
    # the table read for each network, whatever its parts
    (
        "sums = {each: block_latencies.microseconds(table, each) for each in whole}",
        "sums = {each: len(each.blocks) for each in whole}",
        "sums of the table rank",
    ),
    # a search that knows only its own designs, not the eight that both share
    ('isin(["both", way])', "isin([way])", "every design that was tried is within both budgets"),
    # candidates trained for less than the table says
    ("searching.SHORT_IMAGES, 1)", "500, 1)", "three candidates trained again"),
    (
        "{way: each[str(narrowest)].mean() for",
        "{way: each[str(sharing.versions()[0])].mean() for",
        "with the widest's statistics the narrowest",
    ),
    # trained alone, in place of cut
    (
        'narrow_errors["cut from the widest"] >',
        'narrow_errors["alone"] >',
        "cut from a network that was trained only wide",
    ),
    # the order of another way
    ("(alone.loc[s], shared[way].loc[s])", "(alone.loc[s], -shared[way].loc[s])", "each of the ten has more errors in"),
    # the answers of other images
    (
        "distilling.case(LIVE, **varied)",
        'distilling.case(LIVE, **varied | {"share": 0.7, "whose": "another image"})',
        "a student and its twin that we trained here",
    ),
    ("(factor * follow).backward()", "follow.backward()", "from temperature 64 to 128"),
    # the other half is read at the first epoch, not at the one that was chosen
    ("(other[epoch] - chose[epoch])", "(other[0] - chose[epoch])", "an epoch chosen on half of the test split"),
]

IN_LIBRARY = [
    # batch norms are not folded: two numbers for each channel
    (
        "utils.tiny_networks",
        "return area * inputs * block.channels + block.channels",
        "return area * inputs * block.channels + 2 * block.channels",
        "by hand, the loop, utils",
    ),
    # the best of all becomes a parent, however old
    (
        "utils.architecture_search",
        "generator.sample(found[-population:], tournament)",
        "generator.sample(found, tournament)",
        "our loop and utils",
    ),
    # judged on the split that chose the designs
    (
        "utils.recipes.experiment_16_as_long",
        'row["split"] == "unseen"',
        'row["split"] == "validation"',
        "trained for 56 passes each",
    ),
    # copies in place of views
    (
        "utils.supernet",
        "return {name: p[tuple(map(slice, shapes[name]))] for name, p in wide.named_parameters()}",
        "return {name: p[tuple(map(slice, shapes[name]))].clone() for name, p in wide.named_parameters()}",
        "two channels of four are the same",
    ),
    # statistics stay those of the widest
    ("utils.supernet", "norm.momentum = 1.0", "norm.momentum = 0.0", "the supernet that we trained here"),
    # the factor forgotten
    (
        "utils.recipes.experiment_16_distillation",
        "return share * temperature**2 * follow",
        "return share * follow",
        "the loss with stored answers",
    ),
]
