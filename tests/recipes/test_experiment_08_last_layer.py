"""The control of notebook 08: on the networks of the table beside it, and one row measured again."""

import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.models import load_checkpoint
from utils.recipes import experiment_08_codebooks as grids
from utils.recipes import experiment_08_last_layer as apart


def test_each_layer_is_rounded_in_its_own_form():
    model = load_checkpoint("LiteNetMLP")
    rounded = apart.rounded_apart(model, apart.SCALED, apart.BY_GROUP, 4)
    for layer, form in (("fc1", apart.SCALED), ("fc2", apart.BY_GROUP)):
        weight = model.get_submodule(layer).weight.detach()
        assert torch.equal(rounded.get_submodule(layer).weight, grids.FORMS[form].rounded(weight, 4))
    assert torch.equal(rounded.fc1.bias, model.fc1.bias)


def test_with_one_form_for_both_layers_it_is_the_other_table():
    model = load_checkpoint("LiteNetMLP")
    ours = apart.rounded_apart(model, apart.BY_GROUP, apart.BY_GROUP, 2)
    theirs = grids.rounded_network(model, apart.BY_GROUP, 2)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_row_is_what_the_shipped_network_gives():
    _, rows = read_experiment(apart.NAME)
    row = next(row for row in rows if condition(row) == next(apart.conditions()))
    assert apart.error_of(**condition(row)) == pytest.approx(row["error"], abs=0.1)
