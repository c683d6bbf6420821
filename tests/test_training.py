"""The training loop and the evaluation, on sets so small that every step can be followed."""

import copy
import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from utils.datasets import Examples, Splits
from utils.training import (
    Evaluation,
    History,
    Recipe,
    cross_entropy,
    evaluate,
    fit,
    logits,
    move,
    rise_then_cosine,
    shifted,
)


def toy(count: int = 60, seed: int = 0) -> Examples:
    """Images of 4 x 4 pixels whose label says whether the upper or the lower half is brighter."""
    images = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Examples(images, (images[:, :, 2:].sum((1, 2, 3)) > images[:, :, :2].sum((1, 2, 3))).long())


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


def moody() -> nn.Module:
    """A network that answers otherwise in training mode than in evaluation mode."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2))


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


# --- evaluate and logits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 30, 1000])
def test_evaluate_against_a_plain_loop(batch_size):
    model, split = moody(), toy(30)
    model(split.images)  # moves the batch norm's statistics away from 0 and 1
    correct, loss = 0, 0.0
    model.eval()
    for image, label in zip(split.images, split.labels.tolist(), strict=True):
        scores = model(image[None])[0].tolist()
        correct += scores.index(max(scores)) == label
        loss -= scores[label] - math.log(sum(math.exp(score) for score in scores))
    result = evaluate(model.train(), split, batch_size=batch_size)
    assert (result.correct, result.total, result.accuracy) == (correct, 30, correct / 30)
    assert result.loss == pytest.approx(loss / 30, rel=1e-5)
    assert 0 < correct < 30


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("function", [lambda m: evaluate(m, toy()), lambda m: logits(m, toy().images)])
def test_evaluating_leaves_the_network_as_it_was(function, training):
    model = moody().train(training)
    before = copy.deepcopy(model.state_dict())
    function(model)
    assert model.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_evaluating_restores_the_mode_after_an_exception():
    model = moody().train()
    with pytest.raises(RuntimeError):
        logits(model, torch.ones(2, 5, 4, 4))
    assert model.training


def test_logits_come_in_order_and_without_a_graph():
    model, images = moody().eval(), toy().images
    outputs = logits(model, images, batch_size=7)
    torch.testing.assert_close(outputs, model(images).detach())
    assert not outputs.requires_grad


BAD_SPLITS = [
    (toy().images, TypeError, "must be Examples, got Tensor"),
    (None, TypeError, "must be Examples, got NoneType"),
    (Splits(toy(), toy(), toy()), TypeError, r"got Splits; choose one of them, such as \.train"),
    (Examples(toy().images[:0], toy().labels[:0]), ValueError, "has 0 images and 0 labels"),
    (Examples(toy().images, toy().labels[:3]), ValueError, "has 60 images and 3 labels"),
    (Examples(toy().images * math.nan, toy().labels), ValueError, "images holds 960 NaN"),
    (
        Examples((toy().images * 255).to(torch.uint8), toy().labels),
        TypeError,
        "images must have a floating-point dtype",
    ),
]


@pytest.mark.parametrize(("split", "error", "match"), BAD_SPLITS)
def test_every_function_refuses_a_bad_split(split, error, match):
    with pytest.raises(error, match=match):
        evaluate(linear(), split)
    with pytest.raises(error, match=match):
        fit(linear(), split, Recipe(epochs=1))
    if split is not None:
        with pytest.raises(error, match=match):
            fit(linear(), toy(), Recipe(epochs=1), validation=split)


def test_evaluate_refuses_labels_that_are_no_integers():
    with pytest.raises(TypeError, match="labels must be integers"):
        evaluate(linear(), Examples(toy().images, toy().labels.float()))


@pytest.mark.parametrize("function", [evaluate, lambda m, s, **k: logits(m, s.images, **k)])
@pytest.mark.parametrize(("batch_size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_a_bad_batch_size_is_refused(function, batch_size, error):
    with pytest.raises(error, match="batch_size must be"):
        function(linear(), toy(), batch_size=batch_size)


@pytest.mark.parametrize(
    ("images", "error"),
    [(None, TypeError), ([1.0], TypeError), (torch.ones(2).long(), TypeError), (torch.ones(0), ValueError)],
)
def test_logits_refuses_bad_images(images, error):
    with pytest.raises(error, match="images"):
        logits(linear(), images)


@pytest.mark.parametrize("model", [None, "LeNet5", nn.Flatten])
def test_what_is_no_network_is_refused(model):
    for function in (lambda: evaluate(model, toy()), lambda: logits(model, toy().images)):
        with pytest.raises(TypeError, match="model"):
            function()
    with pytest.raises(TypeError, match="model"):
        fit(model, toy(), Recipe(epochs=1))


# --- the recipe and its learning rate -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"epochs": 0}, ValueError),
        ({"epochs": 1.5}, TypeError),
        ({"epochs": True}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": "128"}, TypeError),
        ({"learning_rate": -1e-3}, ValueError),
        ({"learning_rate": math.nan}, ValueError),
        ({"learning_rate": math.inf}, ValueError),
        ({"learning_rate": None}, TypeError),
        ({"weight_decay": -0.1}, ValueError),
        ({"warm_up": 10}, ValueError),
        ({"warm_up": math.nan}, ValueError),
        ({"shift": -1}, ValueError),
        ({"shift": 0.5}, TypeError),
        ({"seed": -1}, ValueError),
        ({"seed": 2**32}, ValueError),
    ],
)
def test_a_bad_recipe_names_the_ingredient(wrong, error):
    with pytest.raises(error, match=f"{next(iter(wrong))} must be"):
        Recipe(**{"epochs": 1} | wrong)


def test_a_percentage_for_a_fraction_is_explained():
    with pytest.raises(ValueError, match=r"got 10; write 80 % as 0\.8"):
        Recipe(epochs=1, warm_up=10)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe(epochs=1).epochs = 2


@pytest.mark.parametrize("steps", [1, 2, 10, 57])
def test_without_warm_up_the_learning_rate_is_that_of_pytorch(steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(steps + 1):
        assert rise_then_cosine(step, steps, 0.0) == pytest.approx(cosine.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        cosine.step()


def test_the_learning_rate_rises_to_1_and_falls_to_0():
    factors = [rise_then_cosine(step, 100, 0.2) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 21)
    assert factors[10] - factors[9] == pytest.approx(factors[1] - factors[0])
    assert factors[20] == max(factors) == 1.0
    assert factors[60] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0, abs=1e-7)


@given(steps=st.integers(1, 200), warm_up=st.floats(0, 1))
def test_the_learning_rate_has_one_peak_and_stays_in_range(steps, warm_up):
    factors = [rise_then_cosine(step, steps, warm_up) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors == sorted(factors[: peak + 1]) + sorted(factors[peak + 1 :], reverse=True)


# --- fit ------------------------------------------------------------------------------------------------------------


def test_fit_against_a_plain_loop():
    split, steps = toy(20), 6
    ours, plain = linear(), linear()
    fit(ours, split, Recipe(epochs=steps, batch_size=20, learning_rate=0.05, weight_decay=0.1, warm_up=0))
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.1)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        cross_entropy(plain, *split).backward()
        optimizer.step()
    torch.testing.assert_close(flat(ours), flat(plain), rtol=1e-4, atol=1e-5)
    assert (flat(ours) - flat(linear())).abs().max() > 0.1


def test_weight_decay_is_decoupled_from_the_gradient():
    model = linear()
    before = flat(model)
    recipe = Recipe(epochs=1, batch_size=60, learning_rate=0.1, weight_decay=0.5, warm_up=0)
    fit(model, toy(), recipe, loss=lambda m, x, y: 0.0 * m(x).sum())
    torch.testing.assert_close(flat(model), before * (1 - 0.1 * 0.5))


def test_fit_learns():
    model = linear()
    history = fit(model, toy(600), Recipe(epochs=10, batch_size=20, learning_rate=0.05), validation=toy(200, seed=1))
    assert evaluate(linear(), toy(200, seed=2)).accuracy < 0.8
    assert evaluate(model, toy(200, seed=2)).accuracy > 0.9
    assert history.train_loss[-1] < history.train_loss[0] / 2


def test_without_a_step_the_training_loss_is_that_of_evaluate():
    history = fit(linear(), toy(50), Recipe(epochs=2, batch_size=20, learning_rate=0.0))  # batches of 20, 20 and 10
    assert history.train_loss == pytest.approx([evaluate(linear(), toy(50)).loss] * 2)
    assert len(history.seconds) == 2
    assert min(history.seconds) > 0
    assert history.validation_accuracy == []


def batches_seen(recipe: Recipe, split: Examples) -> list[torch.Tensor]:
    seen = []

    def loss(model, images, labels):
        assert model.training
        seen.append(images.clone())
        return cross_entropy(model, images, labels)

    fit(linear().eval(), split, recipe, loss=loss)
    return seen


def test_each_epoch_shows_every_image_once_in_a_new_order():
    ids = torch.arange(10.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    seen = batches_seen(Recipe(epochs=2, batch_size=4), Examples(ids, torch.zeros(10).long()))
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    first, second = (torch.cat(seen[i : i + 3])[:, 0, 0, 0].tolist() for i in (0, 3))
    assert sorted(first) == sorted(second) == list(range(10))
    assert len({tuple(first), tuple(second), tuple(range(10))}) == 3


def test_images_are_shifted_only_if_the_recipe_says_so():
    split = Examples(torch.ones(8, 1, 4, 4), torch.zeros(8).long())
    assert all(batch.sum() == 128 for batch in batches_seen(Recipe(epochs=2), split))
    shifted_sums = [batch.sum().item() for batch in batches_seen(Recipe(epochs=2, shift=2), split)]
    assert max(shifted_sums) < 128
    assert torch.equal(split.images, torch.ones(8, 1, 4, 4))


def test_one_seed_gives_one_network_and_another_seed_another():
    weights = []
    for seed in (3, 3, 4):
        model = linear()
        torch.manual_seed(len(weights))  # the recipe's seed decides, not the global generator
        fit(model, toy(), Recipe(epochs=3, batch_size=8, shift=1, seed=seed), validation=toy(20, seed=1))
        weights.append(flat(model))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_after_step_is_called_once_a_step_with_its_number():
    steps = []
    fit(linear(), toy(50), Recipe(epochs=3, batch_size=20), after_step=steps.append)
    assert steps == list(range(9))


def test_after_step_has_the_last_word_on_the_weights():
    model = linear()

    def prune(step):
        model[1].weight.data[:, :5] = 0

    fit(model, toy(), Recipe(epochs=2, batch_size=8, weight_decay=0.1), after_step=prune, validation=toy(20, seed=1))
    assert model[1].weight[:, :5].count_nonzero() == 0
    assert model[1].weight[:, 5:].count_nonzero() == 22


def test_the_weights_of_the_best_epoch_are_restored():
    model, snapshots = linear(), []
    good, bad = torch.tensor([[0.0] * 16, [-1.0] * 8 + [1.0] * 8]), torch.zeros(2, 16)

    def steer(step):  # one step an epoch: the second of four is the best
        model[1].weight.data = (good if step == 1 else bad) + 0.01 * step
        model[1].bias.data.zero_()
        snapshots.append(flat(model))

    history = fit(model, toy(), Recipe(epochs=4, batch_size=60), validation=toy(40, seed=1), after_step=steer)
    assert history.best_epoch == 1
    assert history.validation_accuracy[1] == evaluate(model, toy(40, seed=1)).accuracy == 1.0
    assert torch.equal(flat(model), snapshots[1])


def test_the_statistics_of_batch_norm_are_restored_with_the_weights():
    model = moody()
    validation = toy(40, seed=1)
    history = fit(model, toy(), Recipe(epochs=6, batch_size=16, learning_rate=0.05), validation=validation)
    assert len(history.validation_accuracy) == 6
    assert evaluate(model, validation).accuracy == max(history.validation_accuracy)
    assert model[1].num_batches_tracked == 4 * (history.best_epoch + 1)


def test_without_validation_the_last_weights_stay():
    model, snapshots = linear(), []
    fit(model, toy(), Recipe(epochs=3, batch_size=30), after_step=lambda step: snapshots.append(flat(model)))
    assert torch.equal(flat(model), snapshots[-1])
    assert not torch.equal(flat(model), snapshots[-2])


def test_the_best_epoch_is_the_earliest_of_equals():
    assert History(validation_accuracy=[0.5, 0.9, 0.9, 0.8]).best_epoch == 1
    with pytest.raises(ValueError, match="give fit a validation split"):
        _ = History().best_epoch


@pytest.mark.parametrize("validation", [None, toy(20, seed=1)])
def test_the_network_is_left_in_evaluation_mode(validation):
    model = moody()
    fit(model, toy(), Recipe(epochs=1), validation=validation)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_names_the_step(value):
    steps = []

    def loss(model, images, labels):
        steps.append(len(steps))
        return cross_entropy(model, images, labels) * (float(value) if steps[-1] == 5 else 1.0)

    with pytest.raises(ValueError, match=f"loss became {value} at step 5; try a learning_rate below 0.01"):
        fit(linear(), toy(), Recipe(epochs=3, batch_size=20, learning_rate=0.01), loss=loss)


@pytest.mark.parametrize(
    "loss",
    [lambda m, x, y: 1.0, lambda m, x, y: None, lambda m, x, y: nn.functional.cross_entropy(m(x), y, reduction="none")],
)
def test_a_loss_that_is_no_scalar_is_refused(loss):
    with pytest.raises(TypeError, match="loss must return a tensor of one value"):
        fit(linear(), toy(), Recipe(epochs=1), loss=loss)


@pytest.mark.parametrize("recipe", [None, {"epochs": 1}, Recipe])
def test_what_is_no_recipe_is_refused(recipe):
    with pytest.raises(TypeError, match="recipe must be a Recipe"):
        fit(linear(), toy(), recipe)


@pytest.mark.parametrize(("quiet", "after_s", "drawn"), [("1", 0.0, False), ("0", 0.0, True), ("0", 60.0, False)])
def test_no_progress_is_drawn_where_it_is_quiet_nor_of_a_short_training(monkeypatch, capsys, quiet, after_s, drawn):
    monkeypatch.setenv("WORKBOOK_QUIET", quiet)
    monkeypatch.setattr("utils.training.PROGRESS_AFTER_S", after_s)
    fit(linear(), toy(), Recipe(epochs=2))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("epoch" in printed.err) is drawn
    assert bool(printed.err) is drawn


# --- the shift ------------------------------------------------------------------------------------------------------


def moved_by(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Move one image of shape (channels, height, width), pixel by pixel."""
    moved = torch.zeros_like(image)
    channels, height, width = image.shape
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                if 0 <= y + down < height and 0 <= x + right < width:
                    moved[c, y + down, x + right] = image[c, y, x]
    return moved


@pytest.mark.parametrize("distance", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 5, 5), (2, 3, 6)])
def test_shifted_against_a_slow_loop(distance, shape):
    images = torch.rand(200, *shape) + 0.1
    moved = shifted(images, distance, torch.Generator().manual_seed(0))
    ways, drawn = range(-distance, distance + 1), []
    for before, after in zip(images, moved, strict=True):
        possible = [(d, r) for d in ways for r in ways if torch.equal(after, moved_by(before, d, r))]
        assert len(possible) == 1
        drawn += possible
    assert len(set(drawn)) == len(ways) ** 2  # of 200 images, some went each way


def test_shifted_follows_its_generator_and_leaves_its_input():
    images = torch.rand(20, 1, 6, 6)
    before = images.clone()
    first, again, other = (shifted(images, 1, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("images", "distance", "error", "match"),
    [
        (torch.ones(2, 1, 4, 4), -1, ValueError, "distance must be at least 0"),
        (torch.ones(2, 1, 4, 4), 0.5, TypeError, "distance must be an integer"),
        (torch.ones(1, 4, 4), 1, ValueError, r"must have shape \(N, channels, height, width\), got \(1, 4, 4\)"),
        (None, 1, TypeError, r"images must be a torch\.Tensor"),
    ],
)
def test_shifted_refuses_bad_arguments(images, distance, error, match):
    with pytest.raises(error, match=match):
        shifted(images, distance, torch.Generator())


def test_an_evaluation_is_read_by_name():
    assert Evaluation(0.5, 1.0, 5, 10)._asdict() == {"accuracy": 0.5, "loss": 1.0, "correct": 5, "total": 10}


@pytest.mark.parametrize(("way", "down", "right"), [(0, 1, 1), (1, 1, 0), (4, 0, 0), (5, 0, -1), (8, -1, -1)])
def test_an_image_moves_the_way_it_is_told(way, down, right):
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1.0
    moved = move(image, 1, torch.tensor([way]))
    assert moved.nonzero().tolist() == [[0, 0, 2 + down, 2 + right]]


def test_shifting_draws_a_way_for_each_image_and_moves_it():
    images = torch.rand(50, 2, 6, 7)
    ways = torch.randint(25, (50,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(shifted(images, 2, torch.Generator().manual_seed(3)), move(images, 2, ways))
