"""One training loop with a hook after every step, and the evaluation of a network."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from utils.datasets import Examples, require_examples
from utils.environment import progress_wanted
from utils.input_validation import (
    require_fraction,
    require_inputs,
    require_int,
    require_module,
    require_number,
    require_positive,
    require_seed,
)
from utils.models import evaluating

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
"""A function of (model, images, labels) that returns a scalar to minimise."""

TEMPERATURE = 2.0
"""By which the logits of teacher and student are divided in distillation."""

PROGRESS_AFTER_S = 2.0
"""Seconds after which a training shows a progress bar; a cell that trains dozens of networks would fill with them."""

# --- losses -----------------------------------------------------------------------------------------------------------


def cross_entropy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the model's logits, in nats."""
    return F.cross_entropy(model(images), labels)


def distillation(teacher: nn.Module, *, temperature: float = TEMPERATURE, teacher_share: float = 0.7) -> Loss:
    """Return a loss that follows the teacher's softened answers beside the labels.

    With the share `a` and the temperature `T` it is a T^2 KL(teacher / T || student / T) + (1 - a) cross-entropy; the
    factor T^2 keeps the gradients of both parts of one size (Hinton, Vinyals and Dean, 2015, section 2).

    Args:
        teacher: a trained network, on the student's device; it is asked in evaluation mode and not trained.
        temperature: by which the logits are divided, above 0.
        teacher_share: from 0, labels only, to 1, teacher only.

    Raises `TypeError` or `ValueError` if `teacher` is no network or a number is out of range.
    """
    require_module("teacher", teacher)
    require_fraction("teacher_share", teacher_share)
    require_positive("temperature", temperature)

    def loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        student = model(images)
        with torch.no_grad(), evaluating(teacher):
            target = F.softmax(teacher(images) / temperature, dim=1)
        follow = F.kl_div(F.log_softmax(student / temperature, dim=1), target, reduction="batchmean")
        return teacher_share * temperature**2 * follow + (1 - teacher_share) * F.cross_entropy(student, labels)

    return loss


def follow_answers(model: nn.Module, images: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Return the loss T^2 KL(answers / T || logits / T), where the answers are the teacher's logits.

    The teacher is asked once about each image, before training, and not again in every step as in `distillation`: that
    spares its forward passes.

    >>> same = follow_answers(nn.Identity(), torch.eye(10), torch.eye(10))
    >>> abs(round(same.item(), 6))
    0.0
    """
    student = F.log_softmax(model(images) / TEMPERATURE, dim=1)
    teacher = F.log_softmax(answers / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


# --- what is trained, and on what -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: Adam with a learning rate that rises over the first steps and falls to zero along a cosine.

    Args:
        epochs: passes over the training split, at least 1.
        batch_size: images a step, at least 1.
        learning_rate: the highest value it reaches.
        weight_decay: as in AdamW (Loshchilov and Hutter, 2019), decoupled from the gradient.
        warm_up: share of the steps during which the learning rate rises, from 0 to 1.
        shift: every image is shifted by up to this many pixels in each direction, anew in each epoch; 0 for none.
        seed: of the order of the images and of their shifts.
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

    def steps(self, examples: int) -> int:
        """Return the number of updates in all; the last batch of an epoch may be smaller than the others.

        >>> Recipe(epochs=2, batch_size=100).steps(250)
        6
        """
        return self.epochs * -(-examples // self.batch_size)  # rounded up, in integers


class ShiftedAnswers(NamedTuple):
    """Images and the teacher's logits for each of their shifts: what a student learns from instead of labels.

    A student that sees shifted images must follow the answers to *them*: an answer to the image as it was would teach
    it that a shift does not matter, which at the border of the image is not true.

    Args:
        images: shape (N, channels, height, width), not shifted.
        answers: shape (shifts, N, classes), one row for each of `offsets_within(distance)`.
        distance: pixels, at most, in each direction.
    """

    images: torch.Tensor
    answers: torch.Tensor
    distance: int

    def to(self, device: torch.device) -> "ShiftedAnswers":
        """Return the same on `device`."""
        return ShiftedAnswers(self.images.to(device), self.answers.to(device), self.distance)


def answers_of(teacher: nn.Module, images: torch.Tensor) -> Examples:
    """Return the images with the teacher's logits, of shape (N, classes), in place of labels: for `follow_answers`.

    >>> answers_of(nn.Flatten(), torch.zeros(2, 1, 5, 2)).labels.shape
    torch.Size([2, 10])
    """
    return Examples(images, logits(teacher, images).cpu())


def shifted_answers(teacher: nn.Module, images: torch.Tensor, distance: int) -> ShiftedAnswers:
    """Ask the teacher about every image at every shift of up to `distance` pixels, once and for all.

    >>> shifted_answers(nn.Flatten(), torch.zeros(2, 1, 5, 2), distance=1).answers.shape
    torch.Size([9, 2, 10])
    """
    answers = [logits(teacher, shift(images, offset.expand(len(images), 2))) for offset in offsets_within(distance)]
    return ShiftedAnswers(images, torch.stack(answers).cpu(), distance)


# --- the loop ---------------------------------------------------------------------------------------------------------


@dataclass
class History:
    """What happened in each epoch of one training run: mean loss, accuracy on validation, seconds."""

    train_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 0, with the highest validation accuracy; the earliest of equals."""
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
    train: Examples | ShiftedAnswers,
    recipe: Recipe,
    *,
    validation: Examples | None = None,
    loss: Loss = cross_entropy,
    after_step: Callable[[int], None] | None = None,
) -> History:
    """Train `model` in place on its own device and leave it in evaluation mode.

    With a validation split the weights of the best epoch by validation accuracy are restored at the end, those of the
    earliest if several are equal; without one the last weights stay.

    Args:
        model: the network; the data is moved to where its parameters are. If it comes in training mode with a part in
            evaluation mode, such as a batch norm that is frozen (`model.train()`, `model.bn.eval()`), that part stays
            so.
        train: what to learn from; `ShiftedAnswers` go with `loss=follow_answers`.
        recipe: how.
        validation: what to choose the epoch by.
        loss: what to minimise, a function of (model, images, labels).
        after_step: called with the number of the step, counted from 0, after each update; pruning masks and the like
            are put back here.

    Raises `ValueError` if a split is empty or holds NaN, or if the loss becomes NaN or infinite (the step is named).
    """
    device = _device(require_module("model", model))
    if not isinstance(train, ShiftedAnswers):
        _require_some("train", train)
    if validation is not None:
        _require_some("validation", validation)
    train = train.to(device)
    count = len(train.images)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.steps(count)
    # What SequentialLR computes of LinearLR and CosineAnnealingLR, as one formula that a notebook can draw. Theirs goes
    # from step to step and differs in the last bits, so the shipped networks could not be trained again.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rise_then_cosine(step, steps, recipe.warm_up))
    frozen = [module for module in model.modules() if not module.training] if model.training else []
    history = History()
    best = None
    step = 0
    for epoch in _progress(recipe.epochs):
        started = time.perf_counter()
        total = 0.0
        model.train()
        for module in frozen:
            module.training = False
        for images, targets in _batches(train, recipe, generator):
            value = loss(model, images, targets)
            if not torch.isfinite(value):
                raise ValueError(
                    f"the loss became {value.item()} at step {step}; try a learning_rate below {recipe.learning_rate:g}"
                )
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step(step)
            step += 1
            total += value.item() * len(images)
        history.train_loss.append(total / count)
        history.seconds.append(time.perf_counter() - started)
        if validation is not None:
            history.validation_accuracy.append(evaluate(model, validation).accuracy)
            if history.best_epoch == epoch:
                best = copy.deepcopy(model.state_dict())
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return history


def _batches(
    train: Examples | ShiftedAnswers, recipe: Recipe, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the images and targets of one epoch, in a new order and at new shifts.

    What is drawn when decides what is trained: the order and then the shifts of each batch, or, with a teacher's
    answers, the shifts of the whole epoch and then the order.
    """
    count = len(train.images)
    device = train.images.device
    if isinstance(train, ShiftedAnswers):
        drawn = torch.randint(len(train.answers), (count,), generator=generator).to(device)
        images = shift(train.images, offsets_within(train.distance).to(device)[drawn])
        answers = train.answers[drawn, torch.arange(count, device=device)]
        for chosen in torch.randperm(count, generator=generator).to(device).split(recipe.batch_size):
            yield images[chosen], answers[chosen]
        return
    for chosen in torch.randperm(count, generator=generator).to(device).split(recipe.batch_size):
        images = train.images[chosen]
        yield random_shifts(images, recipe.shift, generator) if recipe.shift else images, train.labels[chosen]


@torch.no_grad()
def evaluate(model: nn.Module, split: Examples, *, batch_size: int = 1000) -> Evaluation:
    """Compute accuracy and mean cross-entropy in evaluation mode; each module gets its own mode back.

    Raises `ValueError` if there are no examples, or NaN in them, or if a label has no output.
    """
    labels = _require_classes("split", _require_some("split", split).labels)
    outputs = logits(model, split.images, batch_size=batch_size)
    _require_outputs_for("split", labels, outputs)
    labels = labels.to(outputs.device)
    correct = int((outputs.argmax(dim=1) == labels).sum())
    return Evaluation(correct / len(labels), F.cross_entropy(outputs, labels).item(), correct, len(labels))


@torch.no_grad()
def logits(model: nn.Module, images: torch.Tensor, *, batch_size: int = 1000) -> torch.Tensor:
    """Return the model's outputs for all images, computed batch by batch in evaluation mode; shape (N, classes).

    Raises `TypeError` or `ValueError` if `model` is no network, if `images` is empty, no numbers or holds NaN, or if
    their dtype or shape is not what the network takes.
    """
    device = _device(require_module("model", model))
    require_inputs("images", images)
    require_int("batch_size", batch_size, minimum=1)
    with evaluating(model):
        return torch.cat([_answers(model, batch.to(device)) for batch in images.split(batch_size)])


def require_fitting(name: str, model: nn.Module, split: Examples) -> Examples:
    """Return `split` if the network takes its first examples and has an output for each of its labels.

    Args:
        name: of the split, for the message.
        model: the network.
        split: its examples.

    Raises `TypeError` or `ValueError`, which says what to write instead.

    >>> require_fitting("train", nn.Flatten(), Examples(torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 3]))).labels
    tensor([0, 1, 3])
    """
    _require_some(name, split)
    _require_classes(name, split.labels)
    _require_outputs_for(name, split.labels, logits(model, split.images[:2]))
    return split


def _answers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return what the network answers; an error of its own is explained where dtype or shape is the likely cause."""
    problem: Exception | None = None
    try:
        outputs = model(images)
    except Exception as error:  # it is the network's own code that runs
        problem = error
    else:
        if not isinstance(outputs, torch.Tensor):
            raise TypeError(
                f"the network answers with a {type(outputs).__name__}, and the tools take one tensor; {WRAP}"
            )
        if outputs.ndim > 0 and len(outputs) == len(images):
            return outputs
    wanted = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    embeds = any(isinstance(module, nn.Embedding) for module in model.modules())
    takes = getattr(model, "dtype", torch.int64 if embeds else wanted)  # a file of ONNX says what it takes
    if images.dtype not in (wanted, takes) and not (problem is None or isinstance(problem, IndexError)):
        raise TypeError(
            f"images are {images.dtype}, and the weights of the network {wanted}: write images.to({takes}); "
            f"only an embedding takes integers, and it takes them as int64 ({problem})"
        ) from problem
    if images.ndim == 3:
        raise ValueError(
            f"the network does not take examples of shape {tuple(images.shape[1:])}; if they are gray images, they "
            "need a channel: images.unsqueeze(1), of shape (N, 1, height, width); if they are signals, a Conv1d takes "
            f"(N, channels, length): images.transpose(1, 2){f' ({problem})' if problem else ''}"
        ) from problem
    examples = f"examples of shape {tuple(images.shape[1:])} and {images.dtype}"
    if type(problem) is TypeError:  # as where it wants a second input, or a key of a dict
        raise TypeError(f"the network cannot be called with one tensor, of {examples}: {problem}; {WRAP}") from problem
    if type(problem) is RuntimeError:  # PyTorch's, whose shapes are those in the middle of the network
        raise RuntimeError(f"the network does not take {examples}: {problem}") from problem
    if type(problem) is IndexError:  # a token without a row in the embedding, or a key of a dict
        span = f"from {images.min().item():g} to {images.max().item():g}"
        raise IndexError(
            f"the network does not take {examples}, {span}: {problem}; an embedding needs a row for each token; if the "
            f"network wants a dict, {WRAP}"
        ) from problem
    if problem is not None:
        raise problem
    return outputs


WRAP = "wrap it in a module whose forward takes one tensor and returns the tensor of the answers"
"""The way out for a network with several inputs or outputs."""


# --- shifts and the learning rate -------------------------------------------------------------------------------------


def shift(images: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Shift each image by its own offset; what leaves is lost, and zeros come in.

    Args:
        images: shape (N, channels, height, width).
        offsets: shape (N, 2), integers, in pixels: down and right; a negative one shifts up or left.

    >>> shift(torch.eye(3).view(1, 1, 3, 3), torch.tensor([[0, 1]]))[0, 0]
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [0., 0., 0.]])
    """
    height, width = images.shape[2:]
    reach = int(offsets.abs().max())
    padded = F.pad(images, (reach,) * 4)
    shifted = torch.empty_like(images)
    kinds, kind = offsets.unique(dim=0, return_inverse=True)
    for index, (down, right) in enumerate(kinds.tolist()):
        here = kind == index
        top = reach - down
        left = reach - right
        shifted[here] = padded[here, :, top : top + height, left : left + width]
    return shifted


def offsets_within(distance: int) -> torch.Tensor:
    """Return the (2 distance + 1)^2 offsets of at most `distance` pixels down and right, the largest first.

    >>> offsets_within(1)[:4].tolist()
    [[1, 1], [1, 0], [1, -1], [0, 1]]
    """
    along = torch.arange(distance, -distance - 1, -1)
    return torch.cartesian_prod(along, along)


def random_shifts(images: torch.Tensor, distance: int, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by an offset of its own, drawn evenly from `offsets_within(distance)`.

    >>> shifted = random_shifts(torch.ones(4, 1, 5, 5), 1, torch.Generator().manual_seed(0))
    >>> shifted.shape, bool(shifted.sum() < 100)
    (torch.Size([4, 1, 5, 5]), True)
    """
    offsets = offsets_within(distance)
    drawn = torch.randint(len(offsets), (len(images),), generator=generator)
    return shift(images, offsets[drawn].to(images.device))


def rise_then_cosine(step: int, steps: int, warm_up: float) -> float:
    """Return the factor on the learning rate: linear from 0 to 1 over the warm-up, then a half cosine down to 0."""
    rising = warm_up * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    through = (step - rising) / max(1.0, steps - rising)
    return 0.5 * (1.0 + float(torch.cos(torch.tensor(through * torch.pi))))


@contextmanager
def constant_rate(rate: float) -> Iterator[None]:
    """Hold the learning rate of every optimizer at `rate`, whatever a schedule says: for a control within `with`.

    >>> layer = nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    >>> layer(torch.ones(1, 1)).sum().backward()
    >>> before = layer.bias.item()
    >>> with constant_rate(0.25):
    ...     optimizer.step()
    >>> round(before - layer.bias.item(), 6)
    0.25
    """

    def hold(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate

    handle = register_optimizer_step_pre_hook(hold)
    try:
        yield
    finally:
        handle.remove()


def _progress(epochs: int) -> range:
    if not progress_wanted():
        return range(epochs)
    from tqdm.auto import tqdm  # draws in a notebook or on a terminal, and is gone when the loop is done

    return tqdm(range(epochs), unit="epoch", leave=False, delay=PROGRESS_AFTER_S)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _require_some(name: str, split: Examples) -> Examples:
    images = require_examples(name, split).images
    if not isinstance(images, torch.Tensor):
        require_inputs(f"{name}.images", images)  # refuses it, and not its length
    if len(split.labels) == 0 or len(split.labels) != len(split.images):
        counts = f"{len(split.images)} images and {len(split.labels)} labels"
        raise ValueError(f"a split needs as many images as labels, one or more; {name} has {counts}")
    if images.is_floating_point() and not (finite := images.isfinite()).all():
        examples = (~finite.flatten(1).all(dim=1)).nonzero().flatten().tolist() if images.ndim > 1 else []
        where = f" in {len(examples)} examples, the first number {examples[0]}" if examples else ""
        raise ValueError(
            f"{name}.images holds {int((~finite).sum())} NaN or infinite values of {images.numel()}{where}; "
            "fill them in, or leave these examples out of images and labels"
        )
    require_inputs(f"{name}.images", images)
    labels = split.labels
    if not (labels.dtype == torch.int64 or (labels.is_floating_point() and labels.ndim > 1)):  # or a teacher's answers
        raise TypeError(f"{name}.labels must be int64, got {labels.dtype}; convert them with .long()")
    return split


def _require_classes(name: str, labels: torch.Tensor) -> torch.Tensor:
    if labels.is_floating_point():
        raise TypeError(
            f"{name}.labels must be int64, got {labels.dtype} of shape {tuple(labels.shape)}; if they have a one for "
            "each class, write labels.argmax(dim=1)"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        raise ValueError(f"{name}.labels are of shape {tuple(labels.shape)}; write labels.squeeze(1), of shape (N,)")
    return labels


def _require_outputs_for(name: str, labels: torch.Tensor, outputs: torch.Tensor) -> None:
    if labels.is_floating_point():
        return
    if outputs.ndim < 2:
        raise ValueError("the network answers with one number for each example; give it an output for each class")
    low, high, count = int(labels.min()), int(labels.max()), outputs.shape[1]
    if low < 0 or high >= count:
        remedy = "subtract the lowest: labels - labels.min()" if high - low < count else "give it an output for each"
        raise ValueError(
            f"{name}.labels go from {low} to {high}, and the network has {count} outputs, for labels 0 to {count - 1}; "
            f"{remedy}"
        )
