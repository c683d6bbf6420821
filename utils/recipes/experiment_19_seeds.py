"""The third experiment of notebook 19: the smaller networks with further seeds, and the whole one trained as long.

`python -m utils experiments 19_seeds` writes `data/experiments/19_seeds.jsonl`. The first seed of the smaller networks
stands in `experiment_19_distilled`, whose trainings these repeat with other windows and another dropout. The control is
the whole network, with nothing taken out, trained on the text's labels for as many steps with the same recipe: what it
gains or loses is the training, and no merit or fault of what was taken out. All is judged as in the first experiment,
on validation. Interrupted, the same command goes on.
"""

import copy
import sys

from utils import language_models, transformer
from utils import transformer_pruning as pruned
from utils.characters import load_shakespeare
from utils.experiment_files import complete, digest_of
from utils.language_models import TextRecipe, fit_text
from utils.recipes import experiment_19_distilled as smaller
from utils.recipes import experiment_19_one_shot as one_shot
from utils.transformer import LANGUAGE, Transformer

NAME = "19_seeds"

MINUTES = 30

WAYS = ("distilled", "teacher and labels", "labels")
"""The smaller networks that are compared with each other over seeds."""

WHOLE = "whole, labels"
"""The control."""


def train_whole(seed: int, *, steps: int = smaller.STEPS) -> Transformer:
    """Return the whole network, trained on the labels as the smaller ones are."""
    model = copy.deepcopy(one_shot.network())
    recipe = TextRecipe(steps=steps, batch_size=8, learning_rate=1e-3, warm_up=0.1, seed=seed, bfloat16=True)
    fit_text(smaller.with_dropout(model), load_shakespeare().train, recipe)
    return model


def make(wanted: dict) -> Transformer:
    """Return the network of a row."""
    way, seed = wanted["way"], wanted["seed"]
    return train_whole(seed) if way == WHOLE else smaller.train_small(way, seed)


def conditions() -> list[dict]:
    """List way and seed of every row; seed 0 of the smaller networks stands in `experiment_19_distilled`."""
    rows = [(WHOLE, 0), *((way, 1) for way in WAYS), ("distilled", 2)]
    return [dict(zip(("way", "seed"), row, strict=True)) for row in rows]


def digest() -> str:
    """Return a digest of what the rows depend on: this module and the two before, the training, the shipped network."""
    code = (
        sys.modules[__name__], smaller, one_shot, transformer.Transformer, transformer.Block, transformer.Attention,
        transformer.FeedForward, language_models.evaluate_text, language_models.fit_text, language_models._Training,
        language_models.distillation_loss, pruned.without_branches, pruned.ShortBlock,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{one_shot.CHECKPOINT}.safetensors"])


def run() -> str:
    """Measure what the table lacks, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: one_shot.nats_by_part(make(wanted)), result="nats")
