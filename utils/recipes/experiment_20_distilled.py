"""The second experiment of notebook 20: the smaller transformer learns from the larger one, or from the text alone.

`python -m utils experiments 20_distilled` writes `data/experiments/20_distilled.jsonl`, a row for each training.
Both ways go on from the shipped smaller network and read the same windows of the original text, which both networks
have learned from; the rate of each is chosen on validation with a seed of its own. Interrupted, the same command goes
on.
"""

from collections.abc import Iterator

import torch
from torch import nn

from utils import language_models, transformer
from utils.experiment_files import digest_of
from utils.language_models import TextRecipe, distillation_loss, fit_text, next_character_loss
from utils.recipes.experiment_20_adapters import CHOOSING_SEED, SEEDS, STEPS, complete_rows, judged, part
from utils.transformer import LANGUAGE, Transformer, load_transformer

NAME = "20_distilled"

MINUTES = 3

TEACHER, STUDENT = "Shakespeare-transformer", "Shakespeare-draft"

WAYS = ("labels", "distilled")
"""The text alone, or the teacher's probabilities alone."""

TRIED = (5e-5, 2e-4, 8e-4)
"""Highest learning rates that are tried for each."""


def student(way: str, rate: float, seed: int) -> Transformer:
    """Return the smaller network after more training; the seed draws the windows."""
    model = load_transformer(STUDENT)
    loss = distillation_loss(load_transformer(TEACHER)) if way == "distilled" else next_character_loss
    recipe = TextRecipe(
        steps=STEPS, batch_size=4, context=128, learning_rate=rate, weight_decay=0.0, warm_up=0.1, seed=seed
    )  # fmt: skip
    fit_text(model, part("train", ""), recipe, every=STEPS, loss=loss)
    return model


@torch.no_grad()
def agreement(model: nn.Module) -> float:
    """Return the mean of sum(min(p, q)) over the validation text: how much of the teacher's probability a model shares.

    As a draft of speculative decoding (notebook 21) it would have this share of its characters accepted.
    """
    texts = part("validation", "")[:-1].view(-1, 256)
    teacher, shared = load_transformer(TEACHER), []
    for some in texts.split(10):
        p, q = (each(some).softmax(dim=-1) for each in (teacher, model))
        shared.append(torch.minimum(p, q).sum(dim=-1).mean().item())
    return round(sum(shared) / len(shared), 5)


def chosen_rates(rows: list[dict]) -> dict[str, float]:
    """Return the rate of each way with the lowest nats on validation among those that were tried."""
    tried = [row for row in rows if row["seed"] == CHOOSING_SEED]
    return {way: min((r for r in tried if r["way"] == way), key=lambda row: row["nats"])["rate"] for way in WAYS}


def conditions(rows: list[dict]) -> Iterator[dict]:
    """Yield what is trained, in order; what follows the rates needs their rows."""
    for way in WAYS:
        for rate in TRIED:
            yield {"way": way, "rate": rate, "seed": CHOOSING_SEED}
    best = chosen_rates(rows)
    for seed in SEEDS:
        for way in WAYS:
            yield {"way": way, "rate": best[way], "seed": seed}


def measured(wanted: dict) -> dict:
    """Train what a row is about and return the row: nats on validation, agreement, and nats on test for a seed."""
    model = student(wanted["way"], wanted["rate"], wanted["seed"])
    row = wanted | marks(model)
    return row | ({"test": judged(model, "test", "")} if wanted["seed"] in SEEDS else {})


def marks(model: nn.Module) -> dict[str, float]:
    """Return nats on validation and agreement with the teacher."""
    return {"nats": judged(model, "validation", ""), "agreement": agreement(model)}


def digest() -> str:
    """Return a digest of what the rows depend on: the training, its loss, the two shipped networks."""
    code = (
        student, agreement, measured, part, judged, language_models.distillation_loss,
        language_models.next_character_loss, language_models.evaluate_text, transformer.Transformer, transformer.Block,
        transformer.Attention, transformer.FeedForward,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{name}.safetensors" for name in (TEACHER, STUDENT)])


def run() -> str:
    """Train what the table lacks, write it after each row, and return a line that says how much it holds."""
    networks = {name: load_transformer(name) for name in (TEACHER, STUDENT)}
    about = {name: marks(model) | {"test": judged(model, "test", "")} for name, model in networks.items()}
    return complete_rows(NAME, {"digest": digest(), "before": about}, conditions, measured)
