"""How the language models in `data/checkpoints/language/` were trained, for notebooks 17 to 21.

Two transformers, and an LSTM as the control of the larger. All learn from the first 85 % of Tiny Shakespeare; the
weights are chosen on the next 5 %, and the last tenth is looked at once, for the card. A training takes hours. It is
kept in `build/training/` at every validation, and the same command goes on from there.

What a step takes (16 windows of 256 characters), in seconds of one core of an EPYC with AVX-512: 0.82 for the larger
transformer, 0.17 for the smaller, 0.47 for the LSTM. With autocast to bfloat16 (`avx512_bf16`) they are 0.64, 0.14 and
0.30; the larger transformer was trained so, the two others in float32. Where a processor has no bfloat16 that is far
slower, and `bfloat16=False` is the recipe to take. `torch.compile` brings nothing here. Side by side, beside other
work, the trainings took 111, 31 and 81 minutes.

The validation part follows what is learned from and chooses the weights; the last tenth begins in the middle of a play
of which the first scenes are in that part. With the same strength, counting four characters together needs 1.90 nats
there, and 1.76 if the validation part is counted, too.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from utils.characters import load_shakespeare
from utils.environment import library_versions, pick_device
from utils.files import ROOT
from utils.language_models import CharacterLSTM, TextHistory, TextRecipe, evaluate_text, fit_text
from utils.models import save_checkpoint
from utils.transformer import LANGUAGE, Transformer

NOTEBOOK = "17"

UNDER_WAY = ROOT / "build" / "training"
"""Where a training that is not at its end is kept."""


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe:
    """A network by its class and the arguments of its form, its dropout, and how it is trained.

    Args:
        network: the class; it takes `dropout` too.
        arguments: its form, which the card repeats.
        dropout: while it is trained.
        training: how.
        every: steps from one validation to the next.
    """

    network: Callable[..., nn.Module]
    arguments: dict[str, int]
    dropout: float
    training: TextRecipe
    every: int = 250


RECIPES = {
    "Shakespeare-transformer": LanguageRecipe(
        network=Transformer,
        arguments={"characters": 65, "width": 160, "blocks": 5, "heads": 5, "hidden": 416, "context": 256},
        dropout=0.2,
        training=TextRecipe(steps=8_000, learning_rate=2e-3, weight_decay=0.1, average=0.999, bfloat16=True),
    ),
    "Shakespeare-draft": LanguageRecipe(
        network=Transformer,
        arguments={"characters": 65, "width": 96, "blocks": 2, "heads": 3, "hidden": 320, "context": 256},
        dropout=0.05,
        training=TextRecipe(steps=8_000, learning_rate=3e-3, weight_decay=0.1, average=0.999),
    ),
    "Shakespeare-lstm": LanguageRecipe(
        network=CharacterLSTM,
        arguments={"characters": 65, "width": 304, "layers": 2},
        dropout=0.3,
        training=TextRecipe(steps=8_000, learning_rate=2e-3, weight_decay=0.1, average=0.999),
    ),
}
"""1,532,960, 271,008 and 1,523,040 parameters. Each sees 33 million characters, each of the text some 35 times: so much
repetition is why there is dropout, and an average of the weights."""

MINUTES = {"Shakespeare-transformer": 85, "Shakespeare-draft": 22, "Shakespeare-lstm": 63}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: none."""
    return ()


def train(name: str, *, folder: Path = LANGUAGE, under_way: Path = UNDER_WAY) -> dict[str, object]:
    """Train one of the language models, or go on with it; write its checkpoint and card, return what the card says."""
    recipe = RECIPES[name]
    text = load_shakespeare()
    torch.manual_seed(recipe.training.seed)
    model = recipe.network(**recipe.arguments, dropout=recipe.dropout).to(pick_device())
    history = fit_text(
        model,
        text.train,
        recipe.training,
        validation=text.validation,
        every=recipe.every,
        state=under_way / f"{name}.safetensors",
        report=Progress(name, recipe),
    )
    context = recipe.training.context
    validated = evaluate_text(model, text.validation, context=context)
    tested = evaluate_text(model, text.test, context=context)
    side_by_side = evaluate_text(model, text.test, context=context, stride=min(context, len(text.test) - 1))
    about = {
        "arguments": recipe.arguments,
        "dropout": recipe.dropout,
        "recipe": asdict(recipe.training),
        "characters_seen": recipe.training.characters,
        "best_step": history.steps[history.best],
        "training_minutes": round(sum(history.seconds) / 60, 1),
        "validation_nats": validated.nats,
        "test_nats": tested.nats,
        "test_bits": tested.bits,
        "test_nats_in_windows_side_by_side": side_by_side.nats,
        "validation_accuracy": validated.accuracy,
        "test_accuracy": tested.accuracy,
        "versions": library_versions(),
    }
    save_checkpoint(model, name, folder=folder, **about)
    return about


class Progress:
    """Prints a line after each validation: nats, characters a second, minutes that are left."""

    def __init__(self, name: str, recipe: LanguageRecipe):
        self.name, self.recipe = name, recipe
        self.last = time.perf_counter()

    def __call__(self, history: TextHistory) -> None:
        now, step = time.perf_counter(), history.steps[-1]
        steps = step - (history.steps[-2] if len(history.steps) > 1 else 0)
        training = self.recipe.training
        rate = steps / (now - self.last)
        print(
            f"{self.name}, step {step:,} of {training.steps:,}: {history.train_nats[-1]:.3f} nats in training, "
            f"{history.validation_nats[-1]:.4f} in validation (best {min(history.validation_nats):.4f}), "
            f"{rate * training.batch_size * training.context:,.0f} characters/s, "
            f"{(training.steps - step) / rate / 60:.0f} minutes left",
            flush=True,
        )
        self.last = now
