"""One training loop with a hook after every step, and the evaluation of a network."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from utils.datasets import Examples, require_examples
from utils.environment import progress_wanted
from utils.input_validation import (
    require_fraction,
    require_int,
    require_module,
    require_number,
    require_seed,
    require_tensor,
)

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
"""A function of (model, images, labels) that returns a scalar to minimise."""


def cross_entropy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the model's logits, in nats."""
    return F.cross_entropy(model(images), labels)


def distillation(teacher: nn.Module, *, temperature: float = 2.0, teacher_share: float = 0.7) -> Loss:
    """Return a loss that follows the teacher's softened answers beside the labels.

    With the share `a` and the temperature `T` it is a T^2 KL(teacher / T || student / T) + (1 - a) cross-entropy; the
    factor T^2 keeps the gradients of both parts of one size (Hinton, Vinyals and Dean, 2015, section 2).

    Args:
        teacher: a trained network, on the student's device; it is used in evaluation mode and not trained.
        temperature: by which the logits are divided, above 0.
        teacher_share: from 0, labels only, to 1, teacher only.

    Raises:
        TypeError, ValueError: `teacher` is no network, or a value is out of range.
    """
    require_module("teacher", teacher).eval()
    require_fraction("teacher_share", teacher_share)
    if require_number("temperature", temperature, low=0.0) == 0.0:
        raise ValueError("temperature must be above 0; 1 leaves the logits as they are")

    def loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        student = model(images)
        with torch.no_grad():
            target = F.softmax(teacher(images) / temperature, dim=1)
        follow = F.kl_div(F.log_softmax(student / temperature, dim=1), target, reduction="batchmean")
        return teacher_share * temperature**2 * follow + (1 - teacher_share) * F.cross_entropy(student, labels)

    return loss


PROGRESS_AFTER_S = 2.0
"""Seconds after which a training shows a progress bar; a cell that trains dozens of networks would fill with them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: Adam with a learning rate that rises over the first steps and falls to zero along a cosine.

    Args:
        epochs: passes over the training split, at least 1.
        batch_size: images a step, at least 1.
        learning_rate: the highest value it reaches.
        weight_decay: as in AdamW (Loshchilov and Hutter, 2019), decoupled from the gradient.
        warm_up: share of the steps during which the learning rate rises, from 0 to 1.
        shift: every image is moved by up to this many pixels in each direction, anew in each epoch; 0 for none.
        seed: of the order of the images and of their shifts.

    Raises:
        TypeError, ValueError: a value of the wrong type or out of range.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warm_up: float = 0.1
    shift: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_int("epochs", self.epochs, minimum=1)
        require_int("batch_size", self.batch_size, minimum=1)
        require_number("learning_rate", self.learning_rate, low=0.0)
        require_number("weight_decay", self.weight_decay, low=0.0)
        require_fraction("warm_up", self.warm_up)
        require_int("shift", self.shift)
        require_seed(self.seed)


@dataclass
class History:
    """What happened in each epoch of one training run: mean loss, accuracy on validation, seconds."""

    train_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 0, with the highest validation accuracy; the earliest of equals.

        Raises:
            ValueError: there was no validation split.
        """
        if not self.validation_accuracy:
            raise ValueError("there is no best epoch without validation: give fit a validation split")
        return max(range(len(self.validation_accuracy)), key=self.validation_accuracy.__getitem__)


class Evaluation(NamedTuple):
    """Accuracy as a fraction, mean cross-entropy in nats, digits right, digits in all."""

    accuracy: float
    loss: float
    correct: int
    total: int


def fit(
    model: nn.Module,
    train: Examples,
    recipe: Recipe,
    *,
    validation: Examples | None = None,
    loss: Loss = cross_entropy,
    after_step: Callable[[int], None] | None = None,
) -> History:
    """Train `model` in place on its own device and leave it in evaluation mode.

    With a validation split the weights of the best epoch by validation accuracy are restored at the end; without one
    the last weights stay.

    Args:
        model: the network; the data is moved to where its parameters are.
        train: what to learn from.
        recipe: how.
        validation: what to choose the epoch by.
        loss: what to minimise, a function of (model, images, labels).
        after_step: called with the number of the step, counted from 0, after each update; pruning masks and the like
            are put back here.

    Raises:
        TypeError: `model` is no network, `recipe` no Recipe, a split no Examples, or the loss no scalar.
        ValueError: no examples, NaN in them, or the loss became NaN or infinite (the step is named).
    """
    device = _device(require_module("model", model))
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, such as Recipe(epochs=1), got {type(recipe).__name__}")
    train = _require_some("train", train).to(device)
    if validation is not None:
        _require_some("validation", validation)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps_an_epoch = -(-len(train.labels) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rise_then_cosine(step, recipe.epochs * steps_an_epoch, recipe.warm_up)
    )
    history, best = History(), None
    for epoch in _progress(recipe.epochs):
        started, total = time.perf_counter(), 0.0
        model.train()
        order = torch.randperm(len(train.labels), generator=generator).to(device)
        for index, chosen in enumerate(order.split(recipe.batch_size)):
            images = shifted(train.images[chosen], recipe.shift, generator) if recipe.shift else train.images[chosen]
            value = loss(model, images, train.labels[chosen])
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                raise TypeError(f"loss must return a tensor of one value, got {value!r}")
            if not torch.isfinite(value):
                raise ValueError(
                    f"the loss became {value.item()} at step {epoch * steps_an_epoch + index}; "
                    f"try a learning_rate below {recipe.learning_rate:g}"
                )
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step(epoch * steps_an_epoch + index)
            total += value.item() * len(chosen)
        history.train_loss.append(total / len(train.labels))
        history.seconds.append(time.perf_counter() - started)
        if validation is not None:
            history.validation_accuracy.append(evaluate(model, validation).accuracy)
            if history.best_epoch == epoch:
                best = copy.deepcopy(model.state_dict())
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return history


@torch.no_grad()
def evaluate(model: nn.Module, split: Examples, *, batch_size: int = 1000) -> Evaluation:
    """Compute accuracy and mean cross-entropy in evaluation mode; the model's mode is restored afterwards.

    Raises:
        TypeError: `model` is no network, or `split` no Examples of float images and integer labels.
        ValueError: no examples, or NaN in them.
    """
    labels = _require_some("split", split).labels
    if labels.is_floating_point():
        raise TypeError(f"the labels must be integers, got {labels.dtype}; convert them with .long()")
    outputs = logits(model, split.images, batch_size=batch_size)
    labels = labels.to(outputs.device)
    correct = int((outputs.argmax(dim=1) == labels).sum())
    return Evaluation(correct / len(labels), F.cross_entropy(outputs, labels).item(), correct, len(labels))


@torch.no_grad()
def logits(model: nn.Module, images: torch.Tensor, *, batch_size: int = 1000) -> torch.Tensor:
    """Return the model's outputs for all images, computed batch by batch in evaluation mode; shape (N, classes).

    Raises:
        TypeError: `model` is no network, or `images` no floating-point tensor.
        ValueError: `images` is empty or holds NaN.
    """
    device = _device(require_module("model", model))
    require_tensor("images", images)
    require_int("batch_size", batch_size, minimum=1)
    training = model.training
    model.eval()
    try:
        return torch.cat([model(batch.to(device)) for batch in images.split(batch_size)])
    finally:
        model.train(training)


def shifted(images: torch.Tensor, distance: int, generator: torch.Generator) -> torch.Tensor:
    """Move each image by up to `distance` pixels in each direction, drawn for each; zeros come in at the border.

    Args:
        images: shape (N, channels, height, width).
        distance: pixels, at least 0.
        generator: draws the movements.

    Raises:
        TypeError, ValueError: no tensor of four dimensions, or a distance that is not an integer of at least 0.

    >>> moved = shifted(torch.ones(4, 1, 5, 5), 1, torch.Generator().manual_seed(0))
    >>> moved.shape, bool(moved.sum() < 100)
    (torch.Size([4, 1, 5, 5]), True)
    """
    distance = require_int("distance", distance)
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"images must be a torch.Tensor, got {type(images).__name__}")
    if images.ndim != 4:
        raise ValueError(f"images must have shape (N, channels, height, width), got {tuple(images.shape)}")
    drawn = torch.randint((2 * distance + 1) ** 2, (len(images),), generator=generator).to(images.device)
    return move(images, distance, drawn)


def move(images: torch.Tensor, distance: int, ways: torch.Tensor) -> torch.Tensor:
    """Move each image in its own way, of the (2 distance + 1)^2 that there are; zeros come in at the border.

    Args:
        images: shape (N, channels, height, width).
        distance: pixels that an image moves at most in each direction.
        ways: shape (N,), integers; way 0 moves down and right by `distance`, the next ones less and less to the right.

    >>> move(torch.eye(3).view(1, 1, 3, 3), 1, torch.tensor([8]))[0, 0]
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (distance,) * 4)
    moved = torch.empty_like(images)
    for way in range((2 * distance + 1) ** 2):
        top, left = divmod(way, 2 * distance + 1)
        here = ways == way
        moved[here] = padded[here, :, top : top + height, left : left + width]
    return moved


def rise_then_cosine(step: int, steps: int, warm_up: float) -> float:
    """Return the factor on the learning rate: linear from 0 to 1 over the warm-up, then a half cosine down to 0."""
    rising = warm_up * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    through = (step - rising) / max(1.0, steps - rising)
    return 0.5 * (1.0 + float(torch.cos(torch.tensor(through * torch.pi))))


TEMPERATURE = 2.0
"""By which the logits of teacher and student are divided in the distillation."""


def answers_of(teacher: nn.Module, images: torch.Tensor) -> Examples:
    """Return the images with the teacher's logits, of shape (N, classes), in place of labels: for `follow_answers`.

    >>> answers_of(LeNet300100(), torch.zeros(2, 1, 28, 28)).labels.shape
    torch.Size([2, 10])
    """
    return Examples(images, logits(teacher, images).cpu())


def follow_answers(model: nn.Module, images: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Return the loss T^2 KL(answers / T || logits / T), where the answers are the teacher's logits.

    The teacher is asked once about each image, before training, and not again about every shifted copy as in
    `training.distillation`: that spares its forward pass in every step.

    >>> same = follow_answers(nn.Identity(), torch.eye(10), torch.eye(10))
    >>> abs(round(same.item(), 6))
    0.0
    """
    student, teacher = F.log_softmax(model(images) / TEMPERATURE, dim=1), F.log_softmax(answers / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def moved_answers(teacher: nn.Module, images: torch.Tensor, distance: int) -> torch.Tensor:
    """Ask the teacher about each image in each of its ways to move, once and for all.

    A student that learns from moved images must follow the answers to *them*: an answer to the image as it was would
    teach it that the move does not matter, which at the border of the image is not true.

    Returns:
        logits of shape (ways, N, classes); the ways are those of `training.move`.
    """
    ways = range((2 * distance + 1) ** 2)
    return torch.stack([logits(teacher, move(images, distance, torch.full((len(images),), way))) for way in ways])


def _progress(epochs: int) -> range:
    if not progress_wanted():
        return range(epochs)
    from tqdm.auto import tqdm  # draws in a notebook or on a terminal, and is gone when the loop is done

    return tqdm(range(epochs), unit="epoch", leave=False, delay=PROGRESS_AFTER_S)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _require_some(name: str, split: Examples) -> Examples:
    if len(require_examples(name, split).labels) == 0 or len(split.labels) != len(split.images):
        counts = f"{len(split.images)} images and {len(split.labels)} labels"
        raise ValueError(f"a split needs as many images as labels, one or more; {name} has {counts}")
    require_tensor(f"{name}.images", split.images)
    return split
