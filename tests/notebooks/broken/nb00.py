"""Breaking notebook 00: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ('load_checkpoint("LiteNetMLP")', 'build("LiteNetMLP").eval()', "the network reads at least 98 %"),
    ("784 * 256 + 256 + 256 * 10 + 10", "784 * 256 + 256 * 10", "the counter finds the same"),
    ("saved_bytes(dense)\n", "saved_bytes(dense) // 2\n", "the file is those 814,120 bytes"),
    ("argsort(stable=True)", "argsort(descending=True)", "setting half of the weights to zero"),
    ("saved_bytes(pruned) ==", "saved_bytes(pruned.half()) ==", "the pruned network's file is exactly"),
    (".round().to(torch.int8)", ".floor().to(torch.int8)", "no weight moves by more than half a step"),
    (".round().to(torch.int8)", ".round()", "the file with both is at least 6 times smaller"),
    ("(dense, prune_smallest, 0.5)", "(dense, prune_smallest, 0.45)", "of the rebuilt network"),
    ("torch.randperm(weight.numel())", "weight.abs().flatten().argsort()", "with 70 % of the weights"),
    ("ALLOWED_DROP = 0.005", "ALLOWED_DROP = 0.5", "on the test split the small network"),
    (
        '"small": small}, one_digit',
        '"small": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))}, one_digit',
        "the small network is not faster",
    ),
]

IN_LIBRARY = []
