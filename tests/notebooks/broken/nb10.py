"""Breaking notebook 10: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    (
        "        return gradient\n",
        "        return torch.zeros_like(gradient)\n",
        "by hand, ours, utils.qat and PyTorch's operator",
    ),
    ("round(v) - v if -2", "round(v) if -2", "by hand, loop and autograd agree"),
    (
        "bias = Round.apply(self.layer.bias / step) * step",
        "bias = self.layer.bias",
        "our layers and utils.qat give the same logits",
    ),
]

IN_LIBRARY = []
