"""The second experiment of notebook 20: the smaller transformer learns from the larger one, or from the text alone.

`python -m utils experiments 20_distilled` writes `data/experiments/20_distilled.jsonl`, a row for each training.
Interrupted, the same command goes on from there. Both ways go on from the shipped smaller network and read the same
windows of a text that is new to both networks; the rate of each is chosen on validation with a seed of its own.
"""

from collections.abc import Iterator

import torch
from torch import nn

from utils import language_models, transformer
from utils.experiment_files import digest_of
from utils.language_models import TextRecipe, fit_text, following, nats_of_targets
from utils.recipes.experiment_20_adapters import CHOOSING_SEED, complete_rows, judged, part
from utils.transformer import LANGUAGE, load_transformer

NAME = "20_distilled"

MINUTES = 3

TEACHER, STUDENT = "Shakespeare-transformer", "Shakespeare-draft"

SHARES = {"alone": 0.0, "half": 0.5, "following": 1.0}
"""Of the teacher in the loss."""

TRIED = (2e-4, 5e-4, 1e-3)

SEEDS = range(3)

STEPS = 100


def student(share: float, rate: float, seed: int) -> nn.Module:
    """Return the smaller network after more training, in which the teacher has a share of the loss."""
    model = load_transformer(STUDENT)
    loss = following(load_transformer(TEACHER), share=share) if share else nats_of_targets
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
    return {way: min((r for r in tried if r["way"] == way), key=lambda row: row["nats"])["rate"] for way in SHARES}


def conditions(rows: list[dict]) -> Iterator[dict]:
    """Yield what is trained, in order; what follows the rates needs their rows."""
    for way in SHARES:
        for rate in TRIED:
            yield {"way": way, "rate": rate, "seed": CHOOSING_SEED}
    best = chosen_rates(rows)
    for seed in SEEDS:
        for way in SHARES:
            yield {"way": way, "rate": best[way], "seed": seed}


def measured(wanted: dict) -> dict:
    """Train what a row is about and return the row: nats on validation, agreement with the teacher."""
    model = student(SHARES[wanted["way"]], wanted["rate"], wanted["seed"])
    return wanted | _judged(model)


def _judged(model: nn.Module) -> dict[str, float]:
    return {"nats": judged(model, "validation", ""), "agreement": agreement(model)}


def digest() -> str:
    """Return a digest of what the rows depend on: the training, its loss, the two shipped networks."""
    code = (
        student, agreement, part, judged, language_models.following, language_models.nats_of_targets,
        language_models.evaluate_text, transformer.Transformer, transformer.Block, transformer.Attention,
        transformer.FeedForward,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{name}.safetensors" for name in (TEACHER, STUDENT)])


def run() -> str:
    """Train what the table lacks, write it after each row, and return a line that says how much it holds."""
    before = {name: _judged(load_transformer(name)) for name in (TEACHER, STUDENT)}
    return complete_rows(NAME, {"digest": digest(), "before": before}, conditions, measured)
