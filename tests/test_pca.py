"""`utils.pca` against scikit-learn, and folded layers against the same thing computed step by step."""

import copy

import pytest
import sklearn.decomposition
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.random_inputs import quick, randn, seeded
from utils import low_rank, pca

fits = pytest.mark.parametrize("fit", [pca.pca_by_covariance, pca.pca_by_svd])
biases = pytest.mark.parametrize("bias", [True, False])


def skewed(examples, features, seed=0):
    """Correlated data with a mean of its own and clearly different variances."""
    return (
        randn(examples, features, seed=seed)
        * torch.linspace(3, 0.5, features)
        @ randn(features, features, seed=seed + 1)
        + 2
    )


def linear(inputs, outputs, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def conv(inputs, outputs, kernel_size=3, seed=0, **options):
    torch.manual_seed(seed)
    return nn.Conv2d(inputs, outputs, kernel_size, **options)


def through(projection, images):
    """Project the channels of images down and up again, by the methods and not by a layer."""
    count, channels, height, width = images.shape
    restored = projection.restore(projection.project(pca.channels_as_rows(images)))
    return restored.view(count, height, width, channels).movedim(-1, 1)


def close(received, expected, tolerance=1e-4):
    assert received.shape == expected.shape
    scale = expected.double().abs().max().clamp(min=1.0)
    assert ((received.double() - expected.double()).abs().max() / scale).item() < tolerance


# --- fitting: against scikit-learn -----------------------------------------------------------------------------------


@fits
@pytest.mark.parametrize("shape", [(50, 8), (9, 8), (5, 8), (8, 8), (2, 3), (20, 1)])
def test_equals_scikit_learn_up_to_sign(fit, shape):
    data = skewed(*shape).double()
    theirs = sklearn.decomposition.PCA(svd_solver="full").fit(data.numpy())
    ours = fit(data)
    varying = int((ours.variances > 1e-9 * ours.total_variance).sum())  # without variance the direction is arbitrary
    cosines = (ours.components[:varying] * torch.from_numpy(theirs.components_[:varying])).sum(dim=1)
    close(ours.mean, torch.from_numpy(theirs.mean_), 1e-12)
    close(ours.variances, torch.from_numpy(theirs.explained_variance_), 1e-10)
    close(cosines.abs(), torch.ones(varying, dtype=torch.float64), 1e-8)
    close(ours.explained[-1:], torch.ones(1), 1e-10)


@fits
def test_whitening_equals_scikit_learn(fit):
    data = skewed(40, 6).double()
    theirs = torch.from_numpy(sklearn.decomposition.PCA(3, whiten=True, svd_solver="full").fit_transform(data.numpy()))
    close(fit(data, 3).project(data, whitened=True).abs(), theirs.abs(), 1e-9)


@given(examples=st.integers(2, 12), features=st.integers(1, 8), seed=st.integers(0, 99), steps=st.integers(1, 4))
@quick
def test_what_holds_for_any_data(examples, features, seed, steps):
    data = torch.randint(-steps, steps + 1, (examples, features), generator=seeded(seed)).float()  # ties, constants
    if bool((data == data[0]).all()):
        with pytest.raises(ValueError, match="does not vary"):
            pca.pca_by_covariance(data)
        return
    ours, other = pca.pca_by_covariance(data), pca.pca_by_svd(data)
    close(ours.variances, other.variances)
    assert bool((ours.variances >= 0).all())
    assert bool((ours.variances.diff() <= 1e-6 * ours.total_variance).all())
    close(ours.components @ ours.components.T, torch.eye(min(data.shape)))
    for projection in (ours, other):
        for count in range(1, min(data.shape) + 1):
            kept = projection.keep(count)
            error = (data - kept.restore(kept.project(data))).square().sum() / (examples - 1)
            close(error, kept.total_variance - kept.variances.sum())  # what is lost is the variance left out
    close(ours.restore(ours.project(data)), data)


@given(seed=st.integers(0, 99), count=st.integers(1, 6))
@quick
def test_no_random_directions_explain_more(seed, count):
    data = skewed(30, 6, seed=seed)
    drawn = pca.random_projection(data, count, seeded(1000 + seed))
    best, worst = pca.pca_by_svd(data), pca.pca_by_svd(data).reversed()
    assert worst.keep(count).explained[-1] - 1e-5 <= drawn.explained[-1] <= best.keep(count).explained[-1] + 1e-5
    close(drawn.project(data).var(dim=0), drawn.variances)


@fits
def test_constant_features_get_no_weight(fit):
    data = skewed(30, 5)
    data[:, 2] = 7.0
    ours = fit(data)
    assert ours.variances[-1] < 1e-6 * ours.total_variance
    assert ours.components[:4, 2].abs().max() < 1e-6
    assert ours.mean[2] == 7.0


@fits
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types(fit, dtype):
    data = skewed(20, 4).to(dtype)
    ours, exact = fit(data, 2), fit(data.double(), 2)
    assert ours.components.dtype == (dtype if dtype in (torch.float32, torch.float64) else torch.float32)
    close(ours.components, exact.components, 1e-5)
    assert ours.project(data).dtype == ours.components.dtype


@fits
def test_neither_memory_layout_nor_blocks_matter(fit):
    data = skewed(9000, 4)
    close(fit(data.T.contiguous().T).components, fit(data).components, 1e-6)
    close(fit(data[::2]).components, fit(data[::2].clone()).components, 1e-6)


@fits
def test_directions_carry_no_gradient(fit):
    outputs = linear(6, 5)(skewed(20, 6))
    assert outputs.requires_grad
    for ours in (fit(outputs), pca.random_projection(outputs, 2, seeded())):
        assert not any(t.requires_grad for t in (ours.mean, ours.components, ours.variances))


@fits
def test_a_large_mean_does_not_drown_the_variance(fit):
    data = skewed(50, 4).double()
    close(fit(data + 1e5).variances, fit(data).variances, 1e-6)


@fits
@pytest.mark.parametrize(
    ("data", "components", "message"),
    [
        (torch.ones(3, 1, 28, 28), None, "flatten"),
        (torch.ones(1, 5), None, "does not vary"),
        (torch.full((3, 2), torch.nan), None, "NaN"),
        (torch.eye(5)[:3], 4, "at most 3"),
    ],
)
def test_bad_data_is_a_clear_error(fit, data, components, message):
    with pytest.raises(ValueError, match=message):
        fit(data, components)


def test_random_projection_is_seeded():
    data = skewed(10, 6)
    first, second = (pca.random_projection(data, 3, seeded(1000)) for _ in range(2))
    assert torch.equal(first.components, second.components)


# --- Projection ------------------------------------------------------------------------------------------------------


def test_keep_and_reversed():
    ours = pca.pca_by_svd(skewed(20, 5))
    assert torch.equal(ours.keep(2).components, ours.components[:2])
    assert torch.equal(ours.reversed().keep(1).components[0], ours.components[-1])
    assert ours.keep(5).total_variance == ours.total_variance
    with pytest.raises(ValueError, match="count must be at most 5"):
        ours.keep(6)


def test_one_example_projects_like_many():
    data = skewed(20, 5)
    ours = pca.pca_by_svd(data, 2)
    close(ours.project(data[3]), ours.project(data)[3], 1e-6)
    close(ours.restore(ours.project(data[3])), ours.restore(ours.project(data))[3], 1e-6)


def test_whitening_without_variance_is_a_clear_error():
    data = skewed(20, 3)
    data[:, 1] = 0.0
    ours = pca.pca_by_covariance(data)
    with pytest.raises(ValueError, match=r"keep\(2\)"):
        ours.project(data, whitened=True)
    close(ours.keep(2).project(data, whitened=True).var(dim=0), torch.ones(2))


def test_projection_refuses_rows_that_are_not_orthonormal():
    with pytest.raises(ValueError, match="orthonormal"):
        pca.Projection(torch.zeros(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.ones(2), 2.0)


def test_components_for():
    data = torch.tensor([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    ours = pca.pca_by_covariance(data)  # variances 8/3, 2/3, 0
    assert [pca.components_for(ours, share) for share in (0.0, 0.5, 0.8, 0.81, 1.0)] == [1, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"at most 0\.8"):
        pca.components_for(ours.keep(1), 0.9)
    with pytest.raises(ValueError, match="write 80 % as"):
        pca.components_for(ours, 80)


def test_channels_as_rows():
    outputs = randn(2, 3, 4, 5)
    rows = pca.channels_as_rows(outputs)
    assert torch.equal(rows[4 * 5 + 2 * 5 + 1], outputs[1, :, 2, 1])


# --- directions of the weight, and other centres ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 5])
def test_from_the_bias_the_directions_are_those_of_truncated_svd(count):
    layer, x = linear(7, 5), skewed(30, 7)
    ways = pca.four_ways(layer, layer(x))
    moment = low_rank.input_moment(x)
    close(pca.split_output(layer, ways["SVD"].keep(count))(x), low_rank.split_linear(layer, count)(x))
    aware = low_rank.split_linear(layer, count, moment=moment)
    close(pca.split_output(layer, ways["data-aware SVD"].keep(count))(x), aware(x))
    kernel, images = conv(3, 6), randn(4, 3, 7, 7)
    of_kernel = pca.weight_directions(kernel, kernel.bias).keep(count)
    close(pca.split_output(kernel, of_kernel)(images), low_rank.split_conv_channels(kernel, count)(images))


def test_a_fixed_centre_makes_the_mean_output_right_and_no_way_beats_pca():
    layer, x = linear(7, 5), skewed(30, 7)
    expected, left = layer(x).detach(), {}
    for name, projection in pca.four_ways(layer, expected).items():
        received = pca.split_output(layer, projection.keep(2))(x)
        left[name] = (received - expected).square().sum().item()
        off = (received.mean(dim=0) - expected.mean(dim=0)).abs().max()
        assert (off < 1e-4) == (name in ("PCA of outputs", "SVD, centre fixed")), name
    assert min(left, key=left.get) == "PCA of outputs"
    assert left["SVD, centre fixed"] < left["SVD"]


def test_a_centre_of_another_shape_is_a_clear_error():
    for make in (
        lambda c: pca.pca_by_covariance(skewed(9, 4), centre=c),
        lambda c: pca.weight_directions(linear(5, 4), c),
    ):
        with pytest.raises(ValueError, match=r"centre must have the shape \(4,\)"):
            make(torch.zeros(5))


# --- folding is exact ------------------------------------------------------------------------------------------------


@given(
    inputs=st.integers(1, 6),
    middle=st.integers(1, 6),
    outputs=st.integers(1, 4),
    bias=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 50),
    data=st.data(),
)
@quick
def test_folding_linear_layers_is_exact_for_any_shape(inputs, middle, outputs, bias, seed, data):
    first, second = linear(inputs, middle, bias[0], seed), linear(middle, outputs, bias[1], seed + 1)
    projection = pca.pca_by_svd(skewed(middle + 2, middle, seed))
    projection = projection.keep(data.draw(st.integers(1, middle)))
    x = randn(5, inputs, seed=seed)
    folded = pca.fold_between(first, second, projection)
    close(folded(x), second(projection.restore(projection.project(first(x)))))
    assert [layer.out_features for layer in folded] == [len(projection.components), outputs]


@biases
@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("fit", [pca.pca_by_svd, lambda data: pca.random_projection(data, 6, seeded(1000))])
def test_split_linear_is_exact(fit, bias, count):
    layer, x = linear(6, 6, bias), skewed(20, 6)
    of_inputs, of_outputs = fit(x).keep(count), fit(layer(x).detach()).keep(count)
    close(pca.split_input(layer, of_inputs)(x), layer(of_inputs.restore(of_inputs.project(x))))
    close(pca.split_output(layer, of_outputs)(x), of_outputs.restore(of_outputs.project(layer(x))))
    if count == 6:  # nothing was left out, so nothing may change
        close(pca.split_input(layer, of_inputs)(x), layer(x))
        close(pca.split_output(layer, of_outputs)(x), layer(x))


@biases
@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"padding": 1},
        {"padding": "same"},
        {"dilation": 2, "padding": (2, 1)},
        {"kernel_size": (1, 3)},
    ],
)
def test_split_conv_outputs_is_exact(options, bias, count):
    layer, x = conv(3, 4, **({"kernel_size": 3} | options), bias=bias), randn(5, 3, 9, 8) + 1
    projection = pca.pca_by_covariance(pca.channels_as_rows(layer(x).detach())).keep(count)
    pair = pca.split_output(layer, projection)
    close(pair(x), through(projection, layer(x)))
    assert (pair[0].out_channels, pair[1].kernel_size, pair[0].bias) == (count, (1, 1), None)


@biases
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}, {"kernel_size": 1}])
def test_split_conv_inputs_and_fold_between_are_exact(options, bias):
    first, second = conv(3, 4, bias=bias, padding=1), conv(4, 2, **({"kernel_size": 3} | options), bias=bias)
    x = randn(5, 3, 9, 8) + 1
    middle = first(x).detach()
    projection = pca.pca_by_covariance(pca.channels_as_rows(middle), 2)
    expected = second(through(projection, middle))
    close(pca.split_input(second, projection)(middle), expected)
    close(pca.fold_between(first, second, projection)(x), expected)


@biases
@pytest.mark.parametrize("whitened", [True, False])
def test_fold_input_is_exact(bias, whitened):
    data, images = skewed(20, 6), randn(4, 3, 7, 7) + 1
    projection = pca.pca_by_svd(data, 4)
    layer = linear(4, 3, bias)
    folded = pca.fold_input(layer, projection, whitened=whitened)
    close(folded(data), layer(projection.project(data, whitened=whitened)))
    of_channels, layer = pca.pca_by_svd(pca.channels_as_rows(images), 2), conv(2, 5, bias=bias)
    scores = of_channels.project(pca.channels_as_rows(images), whitened=whitened).view(4, 7, 7, 2).movedim(-1, 1)
    close(pca.fold_input(layer, of_channels, whitened=whitened)(images), layer(scores))


@biases
def test_drop_constant_inputs_is_exact(bias):
    data, layer = skewed(20, 6), linear(6, 3, bias)
    data[:, [1, 4]] = torch.tensor([0.0, 3.5])
    smaller, indices = pca.drop_constant_inputs(layer, data)
    assert indices.tolist() == [0, 2, 3, 5]
    close(smaller(data[:, indices]), layer(data))
    everything, indices = pca.drop_constant_inputs(layer, skewed(20, 6))
    assert torch.equal(everything.weight, layer.weight)
    assert len(indices) == 6


def test_folding_through_a_relu_is_not_exact():
    first, second, x = linear(6, 5), linear(5, 4), skewed(20, 6)
    projection = pca.pca_by_svd(torch.relu(first(x)).detach(), 3)
    expected = second(projection.restore(projection.project(torch.relu(first(x)))))
    down, up = pca.fold_between(first, second, projection)
    assert (up(torch.relu(down(x))) - expected).abs().max() > 0.1
    close(pca.split_input(second, projection)(torch.relu(first(x))), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_layers_keep_type_mode_and_form(dtype):
    layer, x = linear(6, 5).to(dtype).eval(), skewed(20, 6)
    projection = pca.pca_by_svd(x, 3)
    expected = copy.deepcopy(layer).double()(projection.restore(projection.project(x)).double())
    layer.weight = nn.Parameter(layer.weight.detach().T.contiguous().T)  # another memory layout changes nothing
    pair = pca.split_input(layer, projection)
    assert {p.dtype for p in pair.parameters()} == {dtype}
    assert not any(part.training for part in pair)
    assert all(part.weight.requires_grad and part.weight.is_contiguous() for part in pair)
    close(pair.double()(x.double()), expected, 1e-5 if dtype == torch.float64 else 0.05)


def test_folding_changes_neither_the_layers_nor_the_random_state():
    layer, x = linear(6, 5), skewed(20, 6)
    before, state = copy.deepcopy(layer.state_dict()), torch.get_rng_state()
    pca.split_output(layer, pca.pca_by_svd(layer(x).detach(), 3))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


DIVERGED = nn.Linear(6, 6)
DIVERGED.weight.data[0, 0] = torch.nan


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (nn.Linear(3, 6), nn.Linear(5, 2), "takes 6 features, first gives 6 and second takes 5"),
        (nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 3, padding=1), "padded zero"),
        (nn.Conv2d(6, 6, 3, groups=2), nn.Conv2d(6, 2, 1), "2 groups"),
        (DIVERGED, nn.Linear(6, 2), r"first\.weight holds 1 NaN"),
    ],
)
def test_layers_that_cannot_be_folded_are_a_clear_error(first, second, message):
    with pytest.raises(ValueError, match=message):
        pca.fold_between(first, second, pca.pca_by_svd(skewed(20, 6), 2))
