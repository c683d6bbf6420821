"""An experiment of notebook 21: what it costs that the heads of the shipped transformer share keys and values.

`python -m utils experiments 21_shared_keys` converts the network, trains it on for a while, and writes
`data/experiments/21_shared_keys.jsonl`. Beside it, for the same steps on the same windows, is trained the network whose
heads share nothing: without it one would take what further training brings or spoils for the price of sharing. Each
training has three seeds. All is judged by the last weights, on the whole validation part, cut into twenty stretches.
The test part is not read.
"""

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn

from utils import language_models, shared_keys, transformer
from utils.characters import load_shakespeare
from utils.experiment_files import complete, digest_of
from utils.language_models import TextRecipe, evaluate_text, fit_text
from utils.shared_keys import first_head, mean_of_heads, share_keys
from utils.training import rise_then_cosine
from utils.transformer import LANGUAGE, Transformer, load_transformer

NAME = "21_shared_keys"

MINUTES = 6

CHECKPOINT = "Shakespeare-transformer"

POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"mean": mean_of_heads, "first": first_head}

SEEDS = range(3)
"""Of the windows and of dropout: the same for each form."""

STEPS = 40
"""Of 8 windows: 81,920 characters, 0.25 % of what the network was first trained on."""

DROPOUT = 0.2
"""As in the first training."""

PARTS = 20
"""Stretches of the validation part."""


class Condition(NamedTuple):
    """How many keys and values, what is made of a group's matrices, steps of training, and its seed."""

    key_heads: int
    pool: str
    steps: int
    seed: int


def conditions() -> list[Condition]:
    """List every row: the forms untrained, with either way to make one matrix of several, and trained on."""
    untrained = [Condition(5, "mean", 0, 0)]
    untrained += [Condition(heads, pool, 0, 0) for heads in (2, 1) for pool in POOLS]
    return untrained + [Condition(heads, "mean", STEPS, seed) for seed in SEEDS for heads in (5, 2, 1)]


def recipe(steps: int, seed: int) -> TextRecipe:
    """Return how a network is trained on: half the windows a step and half the rate of its first training.

    Of two rates, 0.0005 and 0.001, the second left two keys and values better off after 40 steps, by 0.16 nats.
    """
    return TextRecipe(steps=steps, batch_size=8, learning_rate=1e-3, warm_up=0.1, seed=seed)


def trained_on(condition: Condition) -> Transformer:
    """Convert the shipped network and train it on; return it in evaluation mode, without dropout."""
    model = share_keys(load_transformer(CHECKPOINT), condition.key_heads, POOLS[condition.pool])
    if condition.steps:
        _set_dropout(model, DROPOUT)
        fit_text(model, load_shakespeare().train, recipe(condition.steps, condition.seed), every=condition.steps)
        _set_dropout(model, 0.0)
    return model.eval()


def _set_dropout(model: nn.Module, share: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share


def nats_by_part(model: Transformer, parts: Iterable[torch.Tensor] | None = None) -> list[float]:
    """Return the nats a character of each of twenty stretches of the validation part, in windows side by side."""
    if parts is None:
        parts = load_shakespeare().validation.tensor_split(PARTS)
    return [round(evaluate_text(model, part, stride=model.context).nats, 5) for part in parts]


def digest() -> str:
    """Return a digest of what the rows depend on: this module, network, training, the shipped weights."""
    code = (
        sys.modules[__name__], shared_keys, transformer.Transformer, transformer.Block, transformer.Attention,
        transformer.FeedForward, language_models.evaluate_text, language_models.strided_windows,
        language_models.TextRecipe, language_models.fit_text, language_models._Training, rise_then_cosine,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{CHECKPOINT}.safetensors"])


def run() -> str:
    """Train what the table lacks, and return a line that says how much it holds."""
    torch.set_num_threads(1)
    wanted = [each._asdict() for each in conditions()]
    return complete(NAME, digest(), wanted, lambda row: nats_by_part(trained_on(Condition(**row))), result="nats")
