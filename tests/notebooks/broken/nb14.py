"""Breaking notebook 14: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("[256, 256])", "[128, 256])", "the sum over the global batch gives the gradient"),
    # the unfinished batch is left in for both pairs
    ("batches(count, drop_remainder=True)", "batches(count)", "an unfinished last batch makes the two differ"),
    # both ways of dividing are that of the mean of all
    ("[2 * replicas, 1 * replicas], [3, 3]", "[3, 3], [3, 3]", "the last step of fit is that of the mean"),
    # fit leaves its last step out
    ("*with_rest, batches(count))", "*with_rest, batches(count - 3))", "the last step of fit is that of the mean"),
    ("BatchNormalization(synchronized=True)", "BatchNormalization()", "with synchronized=True one step agrees"),
    # replicas that learn nothing after their first step
    (
        '"two replicas": distances(of_one, of_two)',
        '"two replicas": distances(of_one, of_two[:1] * len(LOOKS))',
        "after 32 steps two replicas are at most ten times",
    ),
]

IN_LIBRARY = [
    # each image has its neighbour's label
    (
        "utils.dataset_files",
        "GrayImages(images[~held_out], labels[~held_out])",
        "GrayImages(images[~held_out], np.roll(labels[~held_out], 1))",
        "both classify more than half of the test digits",
    ),
    # the report of the first worker stands for all
    (
        "utils.keras_data_parallel",
        "_report_of(folder, index) for index",
        "_report_of(folder, 0) for index",
        "two workers report, each from its own place",
    ),
]
