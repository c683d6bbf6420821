"""Breaking notebook 01: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("* in_features + out_features,", "* in_features,", "the sums for LiteNetMLP"),
    ("weights * side**2", "weights * side", "the sums for LiteNetCNN"),
    ("pooling = 3 *", "pooling = 30 *", "what the MACs of LiteNetCNN leave out"),
    ('mlp = networks["LiteNetMLP"]', "mlp = LiteNetMLP().half()", "in memory each parameter takes four bytes"),
    ("(to_safetensors(mlp))", "(2 * to_safetensors(mlp))", "the file holds the same bytes"),
    ("Adam(mlp.parameters())", "SGD(mlp.parameters(), lr=1)", "parameters, gradients and Adam's averages"),
    ("tensor.numel() * tensor.element_size()", "1", "at batch 64 LiteNetCNN's activations"),
    ("[*arguments, *(", "[*(", "for one digit LiteNetMLP moves 821,392 bytes"),
    ("    if not operation.is_view:", "    if True:", "for one digit LiteNetMLP moves 821,392 bytes"),
    # every operation counted as one that multiplies
    (
        '("aten::addmm", "aten::convolution")',
        'list(bytes_moved(four["LeNet5"], one_digit))',
        "with 64 digits the layers",
    ),
    ("models.SmallDepthwiseNet(width=2)", "models.SmallDepthwiseNet()", "each hollow twin has under 8 %"),
    (
        '"folded": fold_batch_norm(depthwise)',
        '"folded": fold_batch_norm(models.SmallDepthwiseNet().eval())',
        "half the channels",
    ),
]

IN_LIBRARY = [
    ("utils.accounting", "(spent - by_children) // 2", "(spent - by_children)", "the sums for LiteNetMLP"),
    ("utils.accounting", "sum(p.numel() for p in require", "sum(len(p) for p in require", "the sums for LiteNetMLP"),
    ("utils.accounting", "t.numel() * t.element_size()", "t.numel()", "in memory each parameter takes four bytes"),
]
