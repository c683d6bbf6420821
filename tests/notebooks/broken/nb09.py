"""Breaking notebook 09: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("max(-32768, min(pair, 32767))", "pair", "hand, loop and tensors agree"),
    ("torch.randint(-64, 64,", "torch.randint(-128, 128,", "with 7 bits our saturating"),
    ("norm.bias - factor", "norm.bias + factor", "loop, tensors and PyTorch fold"),
]

IN_LIBRARY = []
