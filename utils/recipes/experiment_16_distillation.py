"""The long experiment of notebook 16: a network of 1,000 parameters with a teacher, without one, and with a wrong one.

`python -m utils experiments 16_distillation` writes `data/experiments/16_distillation.jsonl`: a row for each training
with the error on validation in per cent. Interrupted, the same command goes on from there. The teacher's logits of all
images are computed once; the loss is that of `utils.training.distillation`, and a test compares the two.
"""

import functools
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from utils import tiny_networks, training
from utils.checkpoint_files import CHECKPOINTS
from utils.datasets import Examples
from utils.environment import seed_everything
from utils.experiment_files import complete, digest_of, read_experiment
from utils.models import load_checkpoint
from utils.recipes.experiment_16_search import splits as _splits
from utils.tiny_networks import Design, TinyNet
from utils.training import Loss, Recipe, evaluate, fit, logits

NAME = "16_distillation"

MINUTES = 15

DESIGN = "full3-10s2 separable3-14/2 separable3-14/2 weighted"
"""The student: at most 1,000 parameters."""

SEEDS = range(5)

PASSES = (8, 2)
"""Over the images: for every question, and for the one whether a teacher needs time."""

TEMPERATURES = (1.0, 4.0, 8.0)

TEACHERS = ("LiteNetMLP", "LeNet5", "SmallResNet")

SHARES = (0.0, 0.7, 1.0)

TEACHER, TEMPERATURE, SHARE = "SmallResNet", 4.0, 1.0
"""What is held where the others vary."""

ANSWERS = ("its own", "another of its class", "another image")
"""Whose answer of the teacher an image comes with."""


def train_images() -> Examples:
    """Return what every student is trained on."""
    return _splits().train.take(10_000)


@functools.cache
def _teacher_s(name: str) -> torch.Tensor:
    return logits(load_checkpoint(name), train_images().images)


def answers(teacher: str, whose: str, seed: int) -> torch.Tensor:
    """Return the teacher's logits that each image comes with, shape (N, 10): its own, or, exchanged, another's."""
    own, labels = _teacher_s(teacher), train_images().labels
    if whose == "its own":
        return own
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(own), generator=generator)
    if whose == "another image":
        return own[order]
    exchanged = torch.empty_like(own)
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        exchanged[places] = own[order[labels[order] == label]]
    return exchanged


def following(temperature: float, share: float) -> Loss:
    """Return the loss of `training.distillation` where targets hold the label and, behind it, the teacher's logits."""

    def loss(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        student, labels, teacher = model(images), targets[:, 0].long(), targets[:, 1:]
        log_probabilities = F.log_softmax(student / temperature, dim=1)
        follow = F.kl_div(log_probabilities, F.softmax(teacher / temperature, dim=1), reduction="batchmean")
        return share * temperature**2 * follow + (1 - share) * F.cross_entropy(student, labels)

    return loss


def recipe(seed: int, passes: int) -> Recipe:
    """Return how every student is trained; the length and the seed differ."""
    return Recipe(epochs=passes, learning_rate=1e-2, seed=seed)


def student(design: str, teacher: str, temperature: float, share: float, whose: str, passes: int, seed: int) -> TinyNet:
    """Return a trained student; the seed draws its first weights, the order of the images, and whose answers come."""
    seed_everything(seed)
    network = TinyNet(Design.parse(design)).to(memory_format=torch.channels_last)  # separable blocks train faster so
    images, labels = train_images()
    targets = torch.cat([labels.unsqueeze(1).float(), answers(teacher, whose, seed)], dim=1)
    fit(network, Examples(images, targets), recipe(seed, passes), loss=following(temperature, share))
    return network


def tune(**case: object) -> float:
    """Train the student of a row and return its error on validation in per cent."""
    return 100 * (1 - evaluate(student(**case), _splits().validation).accuracy)


def case(seed: int, **varied: object) -> dict:
    """Return the row of a training, without its error: what is held still unless it is `varied`.

    >>> case(0, share=0.7)["teacher"]
    'SmallResNet'
    """
    held = {"design": DESIGN, "teacher": TEACHER, "temperature": TEMPERATURE, "share": SHARE, "whose": ANSWERS[0]}
    row = held | {"passes": PASSES[0]} | varied
    if unknown := varied.keys() - held.keys() - {"passes"}:
        raise TypeError(f"a case has no {', '.join(sorted(unknown))}; it has {', '.join(held)} and passes")
    return row | {"seed": seed}


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order; with few passes only a student and its twin."""
    for seed in SEEDS:
        yield from _each_once(seed)
        yield from (case(seed, share=share, passes=PASSES[1]) for share in (SHARES[0], SHARE))


def _each_once(seed: int) -> list[dict]:
    varied = [{"temperature": temperature} for temperature in TEMPERATURES]
    varied += [{"share": share} for share in SHARES]
    varied += [{"whose": ANSWERS[1]}, {"whose": ANSWERS[2], "share": 0.7}]
    varied += [{"teacher": teacher} for teacher in TEACHERS]
    rows = [case(seed, **each) for each in varied]
    return [row for index, row in enumerate(rows) if row not in rows[:index]]


def errors(**varied: object) -> list[float]:
    """Return the stored errors of a case, one for each seed, in per cent; see `case`.

    >>> len(errors(share=0.0))
    5
    """
    _, rows = read_experiment(NAME)
    stored = {tuple(row[name] for name in case(0)): row["error"] for row in rows}
    return [stored[tuple(case(seed, **varied).values())] for seed in SEEDS]


def digest() -> str:
    """Return a digest of what the rows depend on: this module, the student, its training, the teachers."""
    code = (
        train_images, answers, following, recipe, student, tune, tiny_networks.TinyNet, training.fit, training.Recipe,
        training.rise_then_cosine,
    )  # fmt: skip
    return digest_of(code, [CHECKPOINTS / f"{name}.safetensors" for name in TEACHERS])


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: tune(**wanted))
