"""`utils.pruning` against PyTorch's own pruning and SciPy, and against what must hold for any input."""

import copy
import math
from itertools import pairwise

import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from tests.random_inputs import images, quick, randn, seeded, seeded_model, tied_scores
from utils import pruning
from utils.datasets import Examples
from utils.models import LeNet5, LeNet300100, SmallDepthwiseNet, SmallResNet
from utils.training import Recipe, fit

SPARSITIES = (0.0, 0.1, 0.5, 0.9, 0.999, 1.0)

fractions = st.floats(0.0, 1.0)


def split(count=24):
    return Examples(images(count), torch.arange(count) % 10)


# --- masks against PyTorch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 5, 5), (1, 1)])
def test_magnitude_mask_equals_l1_unstructured(shape, sparsity):
    layer = nn.Linear(1, 1)
    layer.weight = nn.Parameter(randn(*shape))
    ours = pruning.mask_by_score(pruning.magnitude_scores(layer.weight), sparsity)
    prune.l1_unstructured(layer, "weight", amount=sparsity)
    assert torch.equal(ours, layer.weight_mask.bool())


@given(total=st.integers(1, 500), sparsity=fractions)
@quick
def test_counts_round_as_pytorch_does(total, sparsity):
    layer = nn.Linear(total, 1)
    prune.random_unstructured(layer, "weight", amount=sparsity)
    assert pruning.pruned_count(total, sparsity) == int((layer.weight_mask == 0).sum())


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_global_masks_equal_global_unstructured(sparsity):
    model = seeded_model(LeNet5, channels=(6, 12), hidden=80)
    ours = pruning.global_magnitude_masks(model, sparsity)
    layers = {name: model.get_submodule(name.removesuffix(".weight")) for name in ours}
    prune.global_unstructured(
        [(layer, "weight") for layer in layers.values()], pruning_method=prune.L1Unstructured, amount=sparsity
    )
    for name, layer in layers.items():
        assert torch.equal(ours[name], layer.weight_mask.bool()), name


@pytest.mark.parametrize("n", [1, 2, math.inf])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_group_masks_equal_ln_structured(n, dim):
    for layer in (nn.Linear(9, 6), nn.Conv2d(6, 8, 3)):
        scores = pruning.group_scores(layer.weight, dim=dim, n=n)
        ours = pruning.spread_mask(pruning.mask_by_score(scores, 0.4), layer.weight.shape, dim=dim)
        prune.ln_structured(layer, "weight", amount=0.4, n=n, dim=dim)
        assert torch.equal(ours, layer.weight_mask.bool())


def test_rounds_compose_as_the_pruning_container_does():
    layer = nn.Linear(40, 25)
    weight = layer.weight.detach().clone()
    mask = torch.ones(25, 40, dtype=torch.bool)
    for done in range(1, 4):
        prune.l1_unstructured(layer, "weight", amount=0.2)
        mask = pruning.tighten_mask(mask, pruning.magnitude_scores(weight), 0.2)
        assert torch.equal(mask, layer.weight_mask.bool())
        assert int((~mask).sum()) == round(1000 * pruning.sparsity_after(done, 0.2))
    assert int((~mask).sum()) == 488
    # pruning to the same sparsity in one go keeps the same weights, as nothing was trained in between
    assert torch.equal(mask, pruning.mask_by_score(weight.abs(), pruning.sparsity_after(3, 0.2)))


def test_single_weights_have_one_norm_and_groups_have_several():
    weight = torch.tensor([[3.0, 3.0], [4.5, 0.0]])  # L1: 6 and 4.5; L2: 4.2 and 4.5
    assert pruning.group_scores(weight, n=1).argmax() == 0
    assert pruning.group_scores(weight, n=2).argmax() == 1
    single = randn(9, 1)
    for n in (1, 2, math.inf):
        assert torch.allclose(pruning.group_scores(single, n=n), pruning.magnitude_scores(single).flatten())


# --- masks: what must hold for any input -----------------------------------------------------------------------------


@given(scores=tied_scores, sparsity=fractions)
@quick
def test_exactly_the_lowest_go_and_ties_are_broken_by_stable_order(scores, sparsity):
    gone = scores.argsort(stable=True)[: round(sparsity * len(scores))]
    expected = torch.ones(len(scores), dtype=torch.bool)
    expected[gone] = False
    assert torch.equal(pruning.mask_by_score(scores, sparsity), expected)


@given(first=tied_scores, second=tied_scores, sparsity=fractions)
@quick
def test_global_masks_are_one_mask_cut_up(first, second, sparsity):
    masks = pruning.global_masks({"a": first, "b": second[None]}, sparsity)
    together = pruning.mask_by_score(torch.cat([first, second]), sparsity)
    assert masks["b"].shape == (1, len(second))
    assert torch.equal(torch.cat([masks["a"], masks["b"][0]]), together)


@given(scores=tied_scores, sparsity=fractions, ratio=fractions)
@quick
def test_tightening_removes_a_ratio_of_what_is_left(scores, sparsity, ratio):
    mask = pruning.mask_by_score(scores, sparsity)
    before = mask.clone()
    tighter = pruning.tighten_mask(mask, scores, ratio)
    assert torch.equal(mask, before)  # pure
    assert not (tighter & ~mask).any()
    gone = mask & ~tighter
    assert int(gone.sum()) == round(ratio * int(mask.sum()))
    if gone.any() and tighter.any():
        assert scores[gone].max() <= scores[tighter].min()


@given(rows=st.integers(1, 5), columns=st.integers(1, 9), sparsity=fractions)
@quick
def test_each_row_loses_the_same_number(rows, columns, sparsity):
    scores = randn(rows, columns) * torch.arange(1.0, rows + 1)[:, None]
    mask = pruning.mask_each_row(scores, sparsity)
    for row, row_mask in zip(scores, mask, strict=True):
        assert torch.equal(row_mask, pruning.mask_by_score(row, sparsity))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_masks_work_in_every_floating_point_dtype(dtype):
    scores = torch.arange(8.0).to(dtype)
    assert pruning.mask_by_score(scores, 0.5).tolist() == [False] * 4 + [True] * 4


def test_random_scores_are_drawn_from_the_generator_alone():
    weight = randn(30, 20)
    first = pruning.random_scores(weight, seeded(1))
    torch.manual_seed(5)
    assert torch.equal(first, pruning.random_scores(weight * 9, seeded(1)))
    assert not torch.equal(first, pruning.random_scores(weight, seeded(2)))
    assert int((~pruning.mask_by_score(first, 0.9)).sum()) == 540


def test_independent_draws_vary_around_the_expected_count():
    draws = torch.tensor([int((~pruning.bernoulli_mask((40, 25), 0.9, seeded(s))).sum()) for s in range(400)]).double()
    spread = math.sqrt(1000 * 0.9 * 0.1)  # of the binomial distribution: 9.5
    assert abs(draws.mean() - 900) < 4 * spread / math.sqrt(400)
    assert 0.8 * spread < draws.std() < 1.2 * spread


@pytest.mark.parametrize(("sparsity", "kept"), [(0.0, 6), (1.0, 0)])
def test_independent_draws_at_the_ends(sparsity, kept):
    assert int(pruning.bernoulli_mask((2, 3), sparsity, seeded()).sum()) == kept


@given(outputs=st.integers(1, 4), groups=st.integers(1, 4), m=st.integers(1, 5), data=st.data())
@quick
def test_n_of_m_keeps_the_n_largest_of_each_group(outputs, groups, m, data):
    n = data.draw(st.integers(0, m))
    values = data.draw(st.lists(st.integers(0, 3), min_size=outputs * groups * m, max_size=outputs * groups * m))
    scores = torch.tensor(values).float().view(outputs, groups * m)
    mask = pruning.n_of_m_mask(scores, n=n, m=m)
    for group, kept in zip(scores.view(-1, m), mask.view(-1, m), strict=True):
        assert int(kept.sum()) == n
        assert sorted(group[kept].tolist()) == sorted(group.tolist())[m - n :]


def test_two_of_four_runs_along_the_input_channels_of_a_convolution():
    scores = randn(3, 8, 2, 2).abs()
    mask = pruning.n_of_m_mask(scores)
    assert mask.shape == scores.shape
    for o in range(3):
        for y in range(2):
            for x in range(2):
                expected = pruning.n_of_m_mask(scores[o, :, y, x][None])[0]
                assert torch.equal(mask[o, :, y, x], expected)
                assert mask[o, :4, y, x].sum() == mask[o, 4:, y, x].sum() == 2


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_detached_and_leave_the_weight_alone():
    weight = nn.Parameter(randn(4, 3))
    before = weight.detach().clone()
    all_scores = (
        pruning.magnitude_scores(weight),
        pruning.random_scores(weight, seeded()),
        pruning.taylor_scores(weight, randn(4, 3)),
        pruning.activation_scores(weight, torch.ones(3)),
        pruning.group_scores(weight),
    )
    assert not any(scores.requires_grad for scores in all_scores)
    assert torch.equal(weight, before)


def test_taylor_score_is_the_change_of_a_linear_loss():
    weight, direction = nn.Parameter(randn(5)), randn(5, seed=1)
    (weight * direction).sum().backward()
    scores = pruning.taylor_scores(weight, weight.grad)
    for i in range(5):  # for a loss linear in the weights the first order is all there is
        without = weight.detach().clone()
        without[i] = 0.0
        change = abs(((weight.detach() - without) * direction).sum().item())
        assert scores[i].item() == pytest.approx(change, abs=1e-6)


def test_input_norms_of_linear_and_convolution():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).train()
    x = randn(5, 3, 4, 4)
    norms = pruning.input_norms(model, x)
    hidden = model[:3](x)
    assert torch.allclose(norms["0.weight"], x.pow(2).sum(dim=(0, 2, 3)).sqrt(), atol=1e-6)
    assert torch.allclose(norms["3.weight"], hidden.norm(dim=0), atol=1e-6)
    assert not model[0]._forward_pre_hooks


def test_input_norms_of_a_layer_that_is_called_by_name():
    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(input=x)

    x = randn(5, 3)
    assert torch.allclose(pruning.input_norms(ByName(), x)["fc.weight"], x.norm(dim=0), atol=1e-6)


def test_measuring_norms_leaves_each_module_its_mode():
    model = SmallResNet(width=4).train()
    model.bn.eval()
    modes = [module.training for module in model.modules()]
    pruning.input_norms(model, images())
    assert [module.training for module in model.modules()] == modes


def test_activation_scores_follow_the_norms_and_the_groups():
    weight = randn(4, 3, 2, 2)
    norms = torch.tensor([1.0, 10.0, 100.0])
    scores = pruning.activation_scores(weight, norms)
    for j in range(3):
        assert torch.allclose(scores[:, j], weight[:, j].abs() * norms[j])
    # two groups: the first two filters see channels 0-2, the others 3-5
    grouped = pruning.activation_scores(weight, torch.tensor([1.0, 1.0, 1.0, 5.0, 5.0, 5.0]))
    assert torch.allclose(grouped[:2], weight[:2].abs())
    assert torch.allclose(grouped[2:], 5 * weight[2:].abs())


def test_every_layer_of_every_kind_of_network_has_activation_scores():
    small = {LeNet5: {"channels": (6, 12), "hidden": 80}, SmallResNet: {"width": 4}, SmallDepthwiseNet: {"width": 4}}
    for kind, options in small.items():
        model = seeded_model(kind, **options)
        norms = pruning.input_norms(model, images())
        weights = pruning.prunable(model)
        assert list(norms) == list(weights)
        for name, weight in weights.items():
            assert pruning.activation_scores(weight, norms[name]).shape == weight.shape


# --- application -----------------------------------------------------------------------------------------------------


def test_prunable_takes_weights_of_linear_and_convolutional_layers_only():
    assert list(pruning.prunable(LeNet5())) == ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"]
    model = SmallResNet()
    names = set(pruning.prunable(model))
    expected = {n for n, p in model.named_parameters() if n.endswith("weight") and p.dim() >= 2}
    assert names == expected
    for name, weight in pruning.prunable(model).items():
        assert weight is model.get_parameter(name)
    others = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3), nn.Embedding(3, 3), nn.ConvTranspose2d(3, 3, 2))
    assert pruning.prunable(others) == {}
    assert list(pruning.prunable(nn.Linear(2, 2))) == ["weight"]
    assert list(pruning.prunable(LeNet300100(), skip=("fc3.weight",))) == ["fc1.weight", "fc2.weight"]


def test_a_shared_weight_is_pruned_once():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), first)
    assert list(pruning.prunable(model)) == ["0.weight"]
    masks = pruning.global_magnitude_masks(model, 0.5)
    pruning.apply_masks(model, masks)
    assert int((first.weight == 0).sum()) == 18
    assert second.weight is first.weight


def test_apply_masks_zeroes_what_is_masked_and_nothing_else():
    model = seeded_model(SmallDepthwiseNet)
    before = copy.deepcopy(model.state_dict())
    masks = pruning.layerwise_magnitude_masks(model, 0.5, skip=("fc.weight",))
    unchanged = {name: mask.clone() for name, mask in masks.items()}
    pruning.apply_masks(model, masks)
    for name, value in model.state_dict().items():
        expected = torch.where(masks[name], before[name], 0.0) if name in masks else before[name]
        assert torch.equal(value, expected), name
        # -0.0 equals 0.0, but its sign bit would be stored
        assert not torch.signbit(value[value == 0]).any(), name
    assert all(torch.equal(masks[name], unchanged[name]) for name in masks)


@pytest.mark.parametrize("sparsity", [0.0, 1.0])
def test_all_or_nothing_on_a_network(sparsity):
    model = seeded_model(LeNet300100)
    for masks in (pruning.global_magnitude_masks(model, sparsity), pruning.layerwise_magnitude_masks(model, sparsity)):
        assert pruning.mask_sparsity(masks) == sparsity
        assert all(bool(mask.all()) == (sparsity == 0) for mask in masks.values())


def test_a_bad_mask_leaves_the_whole_network_as_it_was():
    model = seeded_model(LeNet300100)
    before = copy.deepcopy(model.state_dict())
    masks = {"fc1.weight": torch.zeros(300, 784, dtype=torch.bool), "fc2.weight": torch.zeros(3, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"masks\['fc2.weight'\] must have the shape \(100, 300\)"):
        pruning.apply_masks(model, masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_layerwise_masks_take_one_sparsity_each():
    model = seeded_model(LeNet5)
    masks = pruning.layerwise_magnitude_masks(model, {"fc1.weight": 0.95, "conv2.weight": 0.5})
    assert list(masks) == ["conv2.weight", "fc1.weight"]
    assert int((~masks["conv2.weight"]).sum()) == 12500
    assert int((~masks["fc1.weight"]).sum()) == 380000


def test_masks_hold_through_training_and_without_the_hook_they_do_not():
    for hook in (True, False):
        model = seeded_model(LeNet300100, hidden=(30, 20))
        masks = pruning.global_magnitude_masks(model, 0.9)
        after_step = pruning.keep_masks(model, masks)
        frozen = {name: mask.clone() for name, mask in masks.items()}
        for mask in masks.values():
            mask.fill_(True)  # the hook has its own copy
        weights = pruning.prunable(model)
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        recipe = Recipe(epochs=2, batch_size=12, weight_decay=0.01)
        fit(model, split(), recipe, validation=split(4), after_step=after_step if hook else None)
        zero = {name: bool((weight[~frozen[name]] == 0).all()) for name, weight in weights.items()}
        assert all(zero.values()) == hook
        assert all(not torch.equal(weight, before[name]) for name, weight in weights.items())


# --- schedules -------------------------------------------------------------------------------------------------------


@given(start=st.integers(0, 50), length=st.integers(1, 100), final=fractions, initial=fractions)
@quick
def test_cubic_schedule_rises_from_initial_to_final(start, length, final, initial):
    initial, final = sorted((initial, final))
    end = start + length
    values = [
        pruning.cubic_sparsity(step, start=start, end=end, final=final, initial=initial) for step in range(end + 3)
    ]
    assert values[: start + 1] == pytest.approx([initial] * (start + 1))
    assert values[end:] == [final] * 3
    assert all(a <= b + 1e-12 for a, b in pairwise(values))


def test_cubic_schedule_at_a_point_computed_by_hand():
    # a quarter of the way: 0.9 (1 - 0.75^3)
    assert pruning.cubic_sparsity(25, start=0, end=100, final=0.9) == pytest.approx(0.9 * (1 - 27 / 64))
    # with equal ends it is a jump
    assert [pruning.cubic_sparsity(step, start=4, end=4, final=0.9) for step in (3, 4)] == [0.0, 0.9]


def test_gradual_pruner_follows_the_schedule_and_what_is_gone_stays_gone():
    model = seeded_model(LeNet300100, hidden=(30, 20))
    pruner = pruning.GradualPruner(model, final=0.9, start=2, end=9, every=3)
    masks, sparsities = [], []

    def after_step(step):
        pruner(step)
        masks.append(pruner.masks)
        sparsities.append(pruner.sparsity)
        for name, weight in pruning.prunable(model).items():
            assert bool((weight[~pruner.masks[name]] == 0).all())

    fit(model, split(), Recipe(epochs=4, batch_size=8), after_step=after_step)  # 12 steps
    due = {step: pruning.cubic_sparsity(step, start=2, end=9, final=0.9) for step in (2, 5, 8, 9)}
    latest = 0.0
    for step, sparsity in enumerate(sparsities):
        latest = due.get(step, latest)
        assert sparsity == pytest.approx(latest, abs=1 / 24_320), step
    for earlier, later in pairwise(masks):
        assert not any((later[name] & ~earlier[name]).any() for name in later)
    # one threshold for the whole network: layers differ
    shares = [float((~mask).float().mean()) for mask in pruner.masks.values()]
    assert max(shares) - min(shares) > 0.05


def test_gradual_pruner_with_a_final_sparsity_for_each_layer():
    model = seeded_model(LeNet300100)
    pruner = pruning.GradualPruner(model, final={"fc2.weight": 0.5, "fc1.weight": 0.9}, start=0, end=4, every=2)
    before = model.fc3.weight.detach().clone()
    for step in range(6):
        pruner(step)
    assert int((model.fc1.weight == 0).sum()) == round(0.9 * 235_200)
    assert int((model.fc2.weight == 0).sum()) == 15_000
    assert torch.equal(model.fc3.weight, before)


def test_gradual_pruner_with_equal_ends_is_one_shot():
    model = seeded_model(LeNet300100)
    expected = pruning.global_magnitude_masks(model, 0.8)
    pruner = pruning.GradualPruner(model, final=0.8, start=1, end=1, every=1)
    pruner(0)
    assert pruner.sparsity == 0.0
    pruner(1)
    assert all(torch.equal(pruner.masks[name], mask) for name, mask in expected.items())


def test_zeros_that_the_optimizer_moved_do_not_come_back_in_the_pruner():
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    pruner = pruning.GradualPruner(layer, final=0.5, start=0, end=2, every=1)
    pruner(0)
    assert pruner.sparsity == 0.0
    pruner(1)  # 0.5 (1 - 1/8) of four weights: two
    assert pruner.masks["weight"].tolist() == [[False, False, True, True]]
    layer.weight.data[0, :2] = 9.0
    pruner(2)
    assert pruner.masks["weight"].tolist() == [[False, False, True, True]]
    assert layer.weight.tolist() == [[0.0, 0.0, pytest.approx(0.3), pytest.approx(0.4)]]


# --- storage ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_csr_bytes_are_those_of_scipy_and_torch(sparsity):
    weight = randn(30, 84)
    weight[~pruning.mask_by_score(weight.abs(), sparsity)] = 0.0
    nonzeros = int(weight.count_nonzero())
    theirs = scipy.sparse.csr_matrix(weight.numpy())
    assert pruning.csr_bytes(30, 84, nonzeros) == theirs.data.nbytes + theirs.indices.nbytes + theirs.indptr.nbytes
    theirs = weight.to_sparse_csr()  # 8-byte indices
    parts = (theirs.values(), theirs.col_indices(), theirs.crow_indices())
    assert pruning.csr_bytes(30, 84, nonzeros, index_bytes=8) == sum(p.numel() * p.element_size() for p in parts)
    assert pruning.dense_bytes(30, 84) == weight.numel() * weight.element_size()


@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    value_bytes=st.sampled_from([1, 2, 4]),
    index_bytes=st.sampled_from([1, 2, 4, 8]),
)
@quick
def test_break_even_is_where_the_bytes_cross(rows, columns, value_bytes, index_bytes):
    widths = {"value_bytes": value_bytes, "index_bytes": index_bytes}
    edge = pruning.csr_break_even(rows, columns, **widths)
    dense = pruning.dense_bytes(rows, columns, value_bytes=value_bytes)
    for nonzeros in range(rows * columns + 1):
        saves = pruning.csr_bytes(rows, columns, nonzeros, **widths) < dense
        sparsity = 1 - nonzeros / (rows * columns)
        assert saves == (sparsity > edge) or sparsity == pytest.approx(edge, abs=1e-9)


def test_bitmask_bytes_count_the_mask_and_the_values():
    assert pruning.bitmask_bytes(3, 3, 9) == 2 + 36  # nine bits fill two bytes
    assert pruning.bitmask_bytes(300, 784, 0) == 29_400
    # a bit a weight beats a column number a weight below about 97 % with 4-byte indices
    for nonzeros, bitmask_wins in ((23_520, True), (2_352, False)):
        assert (pruning.bitmask_bytes(300, 784, nonzeros) < pruning.csr_bytes(300, 784, nonzeros)) == bitmask_wins


# --- errors ----------------------------------------------------------------------------------------------------------

LINEAR = nn.Linear(4, 3)
SCORES = torch.ones(2, 4)
BOOL = torch.ones(2, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    "make_mask",
    [
        lambda scores: pruning.mask_by_score(scores, 0.5),
        lambda scores: pruning.mask_each_row(scores, 0.5),
        lambda scores: pruning.global_masks({"fc": scores}, 0.5),
        lambda scores: pruning.tighten_mask(BOOL, scores, 0.5),
        pruning.n_of_m_mask,
    ],
)
def test_no_mask_is_made_of_scores_that_are_not_finite(make_mask):
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="1 NaN or infinite"):
            make_mask(SCORES.clone().index_put_((torch.tensor(0), torch.tensor(1)), torch.tensor(bad)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pruning.mask_by_score(SCORES, 80), ValueError, "sparsity must be between 0 and 1, got 80; write 80 %"),
        (lambda: pruning.mask_each_row(SCORES[0], 0.5), ValueError, r"shape \(outputs, inputs"),
        (lambda: pruning.tighten_mask(BOOL.long(), SCORES, 0.5), TypeError, r"a bool tensor .* convert a 0/1 tensor"),
        (lambda: pruning.tighten_mask(BOOL, SCORES, 20), ValueError, "ratio must be between 0 and 1"),
        (lambda: pruning.bernoulli_mask((2, 3), 90, seeded()), ValueError, "sparsity must be between 0 and 1"),
        (lambda: pruning.n_of_m_mask(torch.ones(2, 6)), ValueError, r"multiple of m = 4, got \(2, 6\)"),
        (lambda: pruning.n_of_m_mask(SCORES, n=5), ValueError, "n must be from 0 to m = 4, got 5"),
        (lambda: pruning.taylor_scores(SCORES, None), TypeError, "call backward"),
        (lambda: pruning.activation_scores(SCORES, torch.ones(3)), ValueError, r"must have the shape \(4,\)"),
        (lambda: pruning.activation_scores(SCORES, torch.ones(12)), ValueError, r"must have the shape \(4,\)"),
        (lambda: pruning.prunable(nn.Linear), TypeError, "is the class Linear"),
        (lambda: pruning.prunable(LINEAR, skip=("fc",)), ValueError, "no prunable weight 'fc'; it has: weight"),
        (lambda: pruning.global_magnitude_masks(nn.ReLU(), 0.5), ValueError, "no linear or convolutional weight"),
        (lambda: pruning.layerwise_magnitude_masks(LINEAR, {"weight": 50}), ValueError, "the sparsity of weight must"),
        (lambda: pruning.apply_masks(LINEAR, {"bias": BOOL}), ValueError, "no prunable weight 'bias'"),
        (lambda: pruning.sparsity_after(3, 20), ValueError, "ratio must be between 0 and 1"),
        (lambda: pruning.GradualPruner(LINEAR, final=90, start=0, end=4, every=1), ValueError, "final must be"),
        (lambda: pruning.GradualPruner(LINEAR, final=0.9, start=9, end=4, every=1), ValueError, "end must be at least"),
        (lambda: pruning.GradualPruner(LINEAR, final=0.9, start=0, end=4, every=0), ValueError, "every must be"),
        (lambda: pruning.csr_bytes(2, 257, 9, index_bytes=1), ValueError, "at least 2 to number 257 columns, got 1"),
    ],
)
def test_errors_name_the_argument_and_the_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_weight_that_diverged_is_named():
    model = seeded_model(LeNet300100)
    model.fc2.weight.data[0, 0] = float("nan")
    for function in (pruning.global_magnitude_masks, pruning.layerwise_magnitude_masks):
        with pytest.raises(ValueError, match=r"fc2.weight holds 1 NaN"):
            function(model, 0.5)


def test_a_reparametrised_weight_is_refused_until_it_is_made_permanent():
    layer = nn.Linear(4, 3)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"prune\.remove"):
        pruning.prunable(layer)
    prune.remove(layer, "weight")
    pruning.prunable(layer)


def test_a_pruner_does_not_serve_a_second_training():
    pruner = pruning.GradualPruner(nn.Linear(4, 3), final=0.5, start=0, end=4, every=1)
    pruner(3)
    with pytest.raises(ValueError, match="step must be above 3, the last one, got 0"):
        pruner(0)


# --- networks of the learner's own ------------------------------------------------------------------------------------


def test_attention_and_recurrent_layers_are_pruned_whole():
    torch.manual_seed(0)
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), nn.GRU(16, 8))
    names = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
    names = [*(f"0.{name}" for name in names), "1.weight_ih_l0", "1.weight_hh_l0"]
    assert list(pruning.prunable(model)) == names
    pruning.apply_masks(model, pruning.global_magnitude_masks(model, 0.9))
    parameters = dict(model.named_parameters())
    zeros = sum(int((parameters[name] == 0).sum()) for name in names)
    assert zeros == round(0.9 * sum(parameters[name].numel() for name in names))
    separate = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
    assert list(pruning.prunable(separate)) == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]


def test_a_pruned_recurrent_layer_computes_with_its_zeros():
    torch.manual_seed(0)
    layer = nn.LSTM(4, 3)
    pruning.apply_masks(layer, {"weight_ih_l0": torch.zeros(12, 4, dtype=torch.bool)})
    one, other = layer(torch.randn(2, 1, 4))[0], layer(torch.randn(2, 1, 4))[0]
    assert torch.equal(one, other)  # no input reaches it any more
