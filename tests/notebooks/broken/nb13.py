"""Breaking notebook 13: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("difference(without(many_digits)", "difference(without(many_digits[::-1])", "without XNNPACK the float file"),
    # the code of zero one too high
    ("- 128, -128, 127)", "- 127, -128, 127)", "of the grey values of our digits"),
    ("include_optimizer=include", "include_optimizer=True", ".h5 honours it"),
    ('in_file = lite["float"].operations', "in_file = computing", "the graph has over four times as many operations"),
]

IN_LIBRARY = [
    # grey from 0 to 1, as LeNet5 takes it, and not from -1 to 1
    (
        "utils.keras_models",
        "astype(np.float32) / 127.5 - 1",
        "astype(np.float32) / 255",
        "at least 97 % of 500 validation digits",
    ),
    # every batch is compared with the labels of the first
    (
        "utils.keras_models",
        "labels[start : start + 100]).sum()",
        "labels[:100]).sum()",
        "at least 97 % of 500 validation digits",
    ),
    # the float16 file holds int8 weights
    ("utils.keras_models", "if form is Form.FLOAT16:", "if form is Form.DYNAMIC:", "float16 gives them to a hundredth"),
]
