"""The training loop and the evaluation, on sets so small that every step can be followed."""

import copy
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from utils.datasets import Examples, Splits
from utils.training import (
    TEMPERATURE,
    History,
    Recipe,
    answers_of,
    constant_rate,
    cross_entropy,
    distillation,
    evaluate,
    fit,
    follow_answers,
    logits,
    offsets_within,
    random_shifts,
    require_fitting,
    rise_then_cosine,
    shift,
    shifted_answers,
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


@pytest.mark.parametrize("batch_size", [7, 1000])
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


@pytest.mark.parametrize("function", [lambda m: evaluate(m, toy()), lambda m: logits(m, toy().images)])
def test_evaluating_leaves_the_network_as_it_was_also_a_batch_norm_frozen_on_purpose(function):
    model = moody().train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    function(model)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_logits_come_in_order_and_without_a_graph():
    model, images = moody().eval(), toy().images
    outputs = logits(model, images, batch_size=7)
    torch.testing.assert_close(outputs, model(images).detach())
    assert not outputs.requires_grad


BAD_SPLITS = [
    (toy().images, TypeError, "must be Examples, got Tensor"),
    (Splits(toy(), toy(), toy()), TypeError, r"got Splits; choose one of them, such as \.train"),
    (Examples(toy().images[:0], toy().labels[:0]), ValueError, "has 0 images and 0 labels"),
    (Examples(toy().images, toy().labels[:3]), ValueError, "has 60 images and 3 labels"),
    (Examples(toy().images * math.nan, toy().labels), ValueError, "images holds 960 NaN"),
    (Examples(toy().images, toy().labels.int()), TypeError, r"labels must be int64, got torch.int32; .*\.long\(\)"),
    (Examples(toy().images, toy().labels.float()), TypeError, "labels must be int64, got torch.float32"),
]


@pytest.mark.parametrize(("split", "error", "match"), BAD_SPLITS)
def test_every_function_refuses_a_bad_split(split, error, match):
    with pytest.raises(error, match=match):
        evaluate(linear(), split)
    with pytest.raises(error, match=match):
        fit(linear(), split, Recipe(epochs=1))
    with pytest.raises(error, match=match):
        fit(linear(), toy(), Recipe(epochs=1), validation=split)


def test_what_the_network_does_not_take_is_refused_with_the_way_out():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    images, labels = torch.rand(12, 1, 8, 8), torch.arange(12) % 10
    assert require_fitting("train", network, Examples(images, labels)).labels is labels
    for wrong, error, match in (
        (Examples(images[:, 0], labels), ValueError, r"shape \(8, 8\); .*images\.unsqueeze\(1\)"),
        (Examples(images.double(), labels), TypeError, r"torch.float64.*write images\.to\(torch\.float32\)"),
        (Examples((255 * images).byte(), labels), TypeError, r"torch.uint8.*write images\.to\(torch\.float32\)"),
        (Examples(images, labels + 1), ValueError, r"go from 1 to 10, and .* has 10 outputs.*labels\.min"),
        (Examples(images, 2 * labels), ValueError, "go from 0 to 18, and .* give it an output for each"),
    ):
        for function in (lambda s: evaluate(network, s), lambda s: require_fitting("train", network, s)):
            with pytest.raises(error, match=match):
                function(wrong)


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


class NamedInput(nn.Module):
    def forward(self, x):
        return x["signal"]


class Answering(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        return self.kind([x])


WRAPPED = "; wrap it in a module whose forward takes one tensor"


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize(
    ("network", "images", "labels", "error", "match"),
    [
        (TwoInputs(), torch.rand(4, 3), torch.arange(4) % 3, TypeError, f"called with one tensor.*'y'{WRAPPED}"),
        (NamedInput(), torch.rand(4, 3), torch.arange(4) % 3, IndexError, f"a dict{WRAPPED.replace(';', ',')}"),
        (nn.Embedding(9, 3), torch.arange(8).view(4, 2) + 9, torch.arange(4) % 3, IndexError, r"9 to 1[26]: .*a row"),
        (Answering(tuple), torch.rand(4, 3, 2), torch.arange(4) % 3, TypeError, f"answers with a tuple.*{WRAPPED}"),
        (
            nn.Identity(),
            {"signal": torch.rand(4, 3)},
            torch.arange(4) % 3,
            TypeError,
            "must be a torch.Tensor, got dict",
        ),
        (nn.Identity(), torch.rand(4, 3).numpy(), torch.arange(4) % 3, TypeError, "got ndarray; .*torch.from_numpy"),
        (nn.Identity(), torch.rand(4, 3), torch.eye(4)[:, :3], TypeError, r"int64.*\(4, 3\).*labels\.argmax\(dim=1\)"),
        (
            nn.Identity(),
            torch.rand(4, 3),
            torch.zeros(4, 1).long(),
            ValueError,
            r"\(4, 1\); write labels\.squeeze\(1\)",
        ),
        (nn.Flatten(0), torch.rand(4, 1), torch.arange(4) % 2, ValueError, "one number for each example; give it an"),
        (
            nn.Linear(5, 3),
            torch.rand(4, 3),
            torch.arange(4) % 3,
            RuntimeError,
            r"of shape \(3,\) and torch.float32: mat1",
        ),
        (nn.Embedding(9, 3), torch.rand(4, 2), torch.arange(4) % 3, RuntimeError, r"shape \(2,\) and torch.float32: "),
    ],
)
def test_what_no_tool_here_takes_is_refused_with_the_way_out(network, images, labels, error, match):
    for function in (partial(evaluate, network), partial(require_fitting, "train", network)):
        with pytest.raises(error, match=match):
            function(Examples(images, labels))


def test_a_hole_in_the_data_is_shown():
    images = torch.rand(6, 2, 3)
    images[4, 1, 2] = images[5] = torch.nan
    wrong = Examples(images, torch.arange(6) % 3)
    with pytest.raises(
        ValueError, match=r"validation\.images holds 7 NaN .* of 36 in 2 examples, the first number 4; fill"
    ):
        require_fitting("validation", nn.Flatten(), wrong)


def test_an_error_inside_a_network_of_tokens_is_not_blamed_on_their_dtype():
    network = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(7, 3))
    with pytest.raises(RuntimeError, match=r"does not take examples of shape \(2,\) and torch.int64: mat1"):
        require_fitting("train", network, Examples(torch.ones(4, 2).long(), torch.arange(4) % 3))


def test_a_signal_with_its_channels_last_is_told_to_turn():
    network = nn.Sequential(nn.Conv1d(3, 4, 5), nn.Flatten(), nn.LazyLinear(2))
    signals = torch.rand(6, 3, 20)
    network(signals)
    wrong = Examples(signals.transpose(1, 2), torch.tensor([0, 1] * 3))
    with pytest.raises(ValueError, match=r"shape \(20, 3\).*signals, a Conv1d takes .*images\.transpose\(1, 2\)"):
        require_fitting("train", network, wrong)
    require_fitting("train", network, Examples(wrong.images.transpose(1, 2), wrong.labels))


def test_tokens_are_trained_on_and_evaluated():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Linear(24, 5))
    tokens = torch.randint(5, (200, 3), generator=torch.Generator().manual_seed(1))
    split = Examples(tokens, tokens[:, 0])
    fit(network, split, Recipe(epochs=10, batch_size=20, learning_rate=0.02))
    assert evaluate(network, split).accuracy > 0.9


def test_a_class_is_not_taken_for_a_network():
    for function in (lambda m: fit(m, toy(), Recipe(epochs=1)), lambda m: evaluate(m, toy()), distillation):
        with pytest.raises(TypeError, match="class Flatten, not a network"):
            function(nn.Flatten)


# --- the recipe and its learning rate -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": math.nan}, "learning_rate must be finite"),
        ({"warm_up": 10}, r"warm_up must be .*, got 10; write 80 % as 0\.8"),
        ({"shift": -1}, "shift must be at least 0"),
    ],
)
def test_a_bad_recipe_names_the_ingredient(wrong, match):
    with pytest.raises(ValueError, match=match):
        Recipe(**{"epochs": 1} | wrong)


@given(examples=st.integers(1, 300), batch_size=st.integers(1, 100), epochs=st.integers(1, 3))
def test_a_recipe_counts_the_steps_that_a_data_loader_would_take(examples, batch_size, epochs):
    loader = torch.utils.data.DataLoader(range(examples), batch_size=batch_size)
    assert Recipe(epochs=epochs, batch_size=batch_size).steps(examples) == epochs * len(loader)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.0), (57, 0.0), (100, 0.2), (430, 0.1), (4, 0.5)])
def test_the_learning_rate_is_that_of_pytorchs_schedulers(steps, warm_up):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    rising = round(warm_up * steps)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - rising)
    if rising:
        linear_part = lr_scheduler.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
        schedule = lr_scheduler.SequentialLR(optimizer, [linear_part, schedule], milestones=[rising])
    for step in range(steps):
        assert rise_then_cosine(step, steps, warm_up) == pytest.approx(schedule.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        schedule.step()


@given(steps=st.integers(1, 200), warm_up=st.floats(0, 1))
def test_the_learning_rate_has_one_peak_and_stays_in_range(steps, warm_up):
    factors = [rise_then_cosine(step, steps, warm_up) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors == sorted(factors[: peak + 1]) + sorted(factors[peak + 1 :], reverse=True)


def test_a_constant_rate_holds_inside_the_block_alone():
    layer, rates = nn.Linear(1, 1), []
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))

    def step():
        before = layer.bias.item()
        layer.bias.grad = torch.ones(1)
        optimizer.step()
        schedule.step()
        rates.append(before - layer.bias.item())

    step()
    with constant_rate(0.3):
        step()
        step()
    step()
    assert rates == pytest.approx([1.0, 0.3, 0.3, 0.25], abs=1e-6)


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
    sums = [batch.sum().item() for batch in batches_seen(Recipe(epochs=2, shift=2), split)]
    assert max(sums) < 128
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


@pytest.mark.parametrize(("quiet", "after_s", "drawn"), [("1", 0.0, False), ("0", 0.0, True), ("0", 60.0, False)])
def test_no_progress_is_drawn_where_it_is_quiet_nor_of_a_short_training(monkeypatch, capsys, quiet, after_s, drawn):
    monkeypatch.setenv("WORKBOOK_QUIET", quiet)
    monkeypatch.setattr("utils.training.PROGRESS_AFTER_S", after_s)
    fit(linear(), toy(), Recipe(epochs=2))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("epoch" in printed.err) is drawn
    assert bool(printed.err) is drawn


# --- following a teacher ---------------------------------------------------------------------------------------------


def test_following_answers_has_the_gradient_of_distillation_with_the_teacher_alone():
    teacher, student, images = moody(), linear(), toy(5).images
    loss = distillation(teacher, temperature=TEMPERATURE, teacher_share=1.0)
    parameters = list(student.parameters())
    answers = answers_of(teacher, images).labels
    ours = torch.autograd.grad(follow_answers(student, images, answers), parameters)
    theirs = torch.autograd.grad(loss(student, images, torch.zeros(5, dtype=torch.long)), parameters)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_a_student_of_shifted_answers_sees_every_image_with_the_answer_to_its_shift():
    teacher, split = linear(), toy(30)
    targets = shifted_answers(teacher, split.images, 2)
    assert targets.answers.shape == (25, 30, 2)
    seen = []

    def loss(model, images, answers):
        torch.testing.assert_close(answers, logits(teacher, images))  # other sizes of batch may round otherwise
        seen.append(len(images))
        return follow_answers(model, images, answers)

    fit(moody(), targets, Recipe(epochs=2, batch_size=8), loss=loss)
    assert seen == [8, 8, 8, 6] * 2


def test_the_shifts_of_the_epoch_are_drawn_before_the_order():
    """Another order of the draws would train other networks than those that are shipped."""
    split, recipe = toy(30), Recipe(epochs=1, batch_size=8, seed=3)
    targets = shifted_answers(linear(), split.images, 1)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(9, (30,), generator=generator)
    order = torch.randperm(30, generator=generator)
    wanted = shift(split.images, offsets_within(1)[drawn])[order]
    seen = []
    fit(moody(), targets, recipe, loss=lambda m, x, y: seen.append(x) or follow_answers(m, x, y))
    assert torch.equal(torch.cat(seen), wanted)


# --- the shift ------------------------------------------------------------------------------------------------------


def shifted_pixel_by_pixel(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Shift one image of shape (channels, height, width)."""
    result = torch.zeros_like(image)
    channels, height, width = image.shape
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                if 0 <= y + down < height and 0 <= x + right < width:
                    result[c, y + down, x + right] = image[c, y, x]
    return result


@pytest.mark.parametrize("shape", [(1, 5, 5), (2, 3, 6)])
def test_shift_against_a_slow_loop(shape):
    offsets = torch.cartesian_prod(torch.arange(-4, 5), torch.arange(-4, 5))  # some shift all of it out
    images = torch.rand(len(offsets), *shape) + 0.1
    for image, result, (down, right) in zip(images, shift(images, offsets), offsets.tolist(), strict=True):
        assert torch.equal(result, shifted_pixel_by_pixel(image, down, right))


@pytest.mark.parametrize("distance", [0, 1, 2])
def test_random_shifts_draw_as_the_shipped_networks_saw_them(distance):
    """The formula in full: way 0 is down and right by `distance`, and the next ones go less and less to the right."""
    images = torch.rand(50, 2, 6, 7)
    before = images.clone()
    ways = torch.randint((2 * distance + 1) ** 2, (50,), generator=torch.Generator().manual_seed(3))
    padded, wanted = F.pad(images, (distance,) * 4), torch.empty_like(images)
    for way in range((2 * distance + 1) ** 2):
        top, left = divmod(way, 2 * distance + 1)
        wanted[ways == way] = padded[ways == way, :, top : top + 6, left : left + 7]
    assert torch.equal(random_shifts(images, distance, torch.Generator().manual_seed(3)), wanted)
    assert torch.equal(images, before)


# --- a batch norm that is frozen --------------------------------------------------------------------------------------


def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(100, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8), nn.Linear(8, 10))


def test_a_batch_norm_that_is_frozen_stays_frozen_while_the_rest_is_trained():
    torch.manual_seed(0)
    split, model = Examples(torch.rand(30, 1, 10, 10), torch.randint(10, (30,))), normed().train()
    model[2].eval()
    before = copy.deepcopy(model.state_dict())
    fit(model, split, Recipe(epochs=2, batch_size=10), validation=split)
    assert torch.equal(model[2].running_mean, before["2.running_mean"])
    assert torch.equal(model[2].running_var, before["2.running_var"])
    assert not torch.equal(model[3].running_mean, before["3.running_mean"])
    assert not torch.equal(model[1].weight, before["1.weight"])
    assert not any(module.training for module in model.modules())


def test_a_network_in_evaluation_mode_is_trained_whole():
    torch.manual_seed(0)
    split, model = Examples(torch.rand(30, 1, 10, 10), torch.randint(10, (30,))), normed().eval()
    fit(model, split, Recipe(epochs=1, batch_size=10))
    assert (model[2].running_mean != 0).all()


def test_a_teacher_is_asked_in_evaluation_mode_and_keeps_its_own():
    teacher, images, labels = normed().train(), torch.rand(6, 1, 10, 10), torch.zeros(6, dtype=torch.long)
    teacher[2].eval()
    before = copy.deepcopy(teacher.state_dict())
    value = distillation(teacher, teacher_share=1.0)(teacher.eval(), images, labels)
    teacher.train()[2].eval()
    loss = distillation(teacher, teacher_share=1.0)(copy.deepcopy(teacher).eval(), images, labels)
    assert loss == value
    assert abs(loss.item()) < 1e-6  # the student is the teacher
    assert [module.training for module in teacher] == [True, True, False, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
