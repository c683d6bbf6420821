"""Breaking notebook 01: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("* in_features + out_features,", "* in_features,", "the sums for LiteNetMLP"),
    ("weights * side**2", "weights * side", "the sums for LiteNetCNN"),
    ('mlp = networks["LiteNetMLP"]', "mlp = LiteNetMLP().half()", "in memory each parameter takes four bytes"),
    ("(to_safetensors(mlp))", "(2 * to_safetensors(mlp))", "the file holds the same bytes"),
    ("Adam(mlp.parameters())", "SGD(mlp.parameters(), lr=1)", "parameters, gradients and Adam's averages"),
    ("tensor.numel() * tensor.element_size()", "1", "at batch 64 LiteNetCNN's activations"),
    ("+ inputs[0].numel() +", "+", "for one digit LiteNetMLP moves 818,280 bytes"),
    ("models.SmallDepthwiseNet(width=1)", "models.SmallDepthwiseNet()", "each hollow twin has under 4 %"),
]

IN_LIBRARY = [
    ("utils.accounting", "(spent - by_children) // 2", "(spent - by_children)", "the sums for LiteNetMLP"),
    ("utils.accounting", "sum(p.numel() for p in require", "sum(len(p) for p in require", "the sums for LiteNetMLP"),
    ("utils.accounting", "t.numel() * t.element_size()", "t.numel()", "in memory each parameter takes four bytes"),
]
