"""Breaking notebook 00: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ('load_checkpoint("LiteNetMLP")', 'build("LiteNetMLP").eval()', "the network classifies at least 98 %"),
    ("784 * 256 + 256 + 256 * 10 + 10", "784 * 256 + 256 * 10", "the counter finds the same"),
    ("saved_bytes(dense)\n", "saved_bytes(dense) // 2\n", "the file is those 814,120 bytes"),
    ("argsort(stable=True)", "argsort(descending=True)", "setting half of the weights to zero"),
    ("(dense, prune_largest, 0.5)", "(dense, prune_largest, 0.0)", "setting the largest half to zero"),
    ("saved_bytes(pruned) ==", "saved_bytes(pruned.half()) ==", "49.3 % of its numbers are zeros"),
    ("(dense, prune_smallest, 0.5)", "(dense, prune_smallest, 0.45)", "49.3 % of its numbers are zeros"),
    (".round().to(torch.int8)", ".floor().to(torch.int8)", "no weight moves by more than half a step"),
    (".round().to(torch.int8)", ".round()", "the file with both is at least 6 times smaller"),
    ("tensors[name] * tensors", "tensors[name].abs() * tensors", "rebuilt from the file, it gives the same answer"),
    ("len(gzip.decompress(zipped))", "len(zipped)", "rounding makes the pruned file"),
    (
        '("dense", dense), ("pruned", pruned)',
        '("dense", pruned), ("pruned", dense)',
        "zeros alone bring nothing and gzip",
    ),
    ('("8 bits", in_8_bits)', '("8 bits", to_safetensors)', "rounding brings at least 3.9 times alone"),
    ("torch.randperm(weight.numel())", "weight.abs().flatten().argsort()", "with 70 % of the weights"),
    ("keep.gather(0, mixed)", "keep", "with 70 % of the weights"),
    # each step of the next smaller number of bits
    ("2 ** (bits - 1) - 1", "2 ** (bits - 2) - 1", "at equal bytes, to 1 %, the files of"),
    # pruned files of three quarters of the size
    ("np.interp(-size, [", "np.interp(-0.75 * size, [", "at equal bytes, to 1 %, the files of"),
    # steps that round nothing to zero
    (
        "(coarser(first_matrix, bits) == 0)",
        "(coarser(first_matrix, bits + 8) == 0)",
        "coarse rounding makes zeros as well",
    ),
    ("rounded_path = file_of(coarser, fewest_bits)", "rounded_path = path", "the network that is only rounded"),
    # a byte for each weight, whether it is there or not
    ("-(-c.numel() // 8) + int(c.count_nonzero())", "int(c.count_nonzero())", "gzip's file is always smaller"),
    ("ALLOWED_DROP = 0.005", "ALLOWED_DROP = 0.5", "on the test split the small network"),
    (
        '"small": small,',
        '"small": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)),',
        "the small network is not faster",
    ),
]

IN_LIBRARY = [
    ("utils.training", "correct = int((outputs.argmax", "correct = int((outputs.argmin", "the network classifies"),
    ("utils.accounting", "return sum(p.numel() for p in require", "return sum(1 for p in require", "the counter finds"),
    (
        "utils.accounting",
        "return 1.0 - count_nonzero(model) / total",
        "return count_nonzero(model) / total",
        "49.3 % of its numbers",
    ),
]
