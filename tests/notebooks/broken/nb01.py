"""Breaking notebook 01: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("* in_features + out_features,", "* in_features,", "the sums for LiteNetMLP"),
    ("weights * side**2", "weights * side", "the sums for LiteNetCNN"),
    ('mlp = networks["LiteNetMLP"]', "mlp = LiteNetMLP().half()", "in memory: four bytes"),
    ("(to_safetensors(mlp))", "(2 * to_safetensors(mlp))", "on the disk: the same"),
    ("Adam(mlp.parameters())", "SGD(mlp.parameters(), lr=1)", "training with Adam holds"),
]

IN_LIBRARY = []
