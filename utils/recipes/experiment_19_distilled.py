"""The second experiment of notebook 19: pruned transformers that are trained again, and their twins.

`python -m utils experiments 19_distilled` writes `data/experiments/19_distilled.jsonl`, in three parts:

- "sets": what the network loses without each set of branches that holds at least a quarter of their weights, and none
  to spare;
- "small": without the best of these sets, distilled from the whole network; and beside it the same with half of the
  loss from the text's labels, with the labels alone, the same shape from scratch, and a network of as many weights that
  was made narrower instead;
- "masks": 70 % of single weights pruned in three ways, and none pruned, all trained for the same few steps.

All is judged as in `experiment_19_one_shot`, on validation. Interrupted, the same command goes on.
"""

import copy
import itertools
import sys

import torch
from torch import nn

from utils import language_models, sparsegpt, transformer
from utils import transformer_pruning as pruned
from utils.characters import load_shakespeare
from utils.experiment_files import complete, digest_of, read_experiment
from utils.language_models import TextRecipe, distillation_loss, fit_text, next_character_loss
from utils.recipes import experiment_19_one_shot as one_shot
from utils.transformer import LANGUAGE, Transformer
from utils.transformer_pruning import Branch

NAME = "19_distilled"

MINUTES = 30

STEPS, MASKED_STEPS = 600, 20
"""Of training after branches or channels were taken out, and with masks."""

SEEDS = range(5)
"""Of calibration and of training, for the masks."""

DROPOUT = 0.1
"""In all trainings here."""

SHARES = {
    "distilled": 1.0, "teacher and labels": 0.5, "labels": 0.0, "from scratch": 0.0, "narrower, distilled": 1.0
}  # fmt: skip
"""By the name of a smaller network's training: the teacher's share of the loss."""

SMALL = tuple(SHARES)

MASKED = ("dense", "magnitude", "Wanda", "SparseGPT")

SPARSITY = "70 %"


# --- which branches ---------------------------------------------------------------------------------------------------


def sets() -> list[tuple[Branch, ...]]:
    """List the smallest sets of branches that hold a quarter of their weights.

    Two feed-forward branches, 26.4 % of the weights; one with two attentions, 26.8 %; or four attentions, 27.1 %. The
    first attention stays.
    """
    attentions = [(number, "attention") for number in range(1, 5)]
    feed_forwards = [(number, "feed_forward") for number in range(5)]
    pairs = list(itertools.combinations(attentions, 2))
    both = list(itertools.combinations(feed_forwards, 2))
    return [*both, *((*pair, other) for other in feed_forwards for pair in pairs), tuple(attentions)]


def name_of(gone: tuple[Branch, ...]) -> str:
    """Return a set's name in the table.

    >>> name_of(((1, "attention"), (2, "feed_forward")))
    'attention 1, feed_forward 2'
    """
    return ", ".join(f"{branch} {number}" for number, branch in gone)


def chosen() -> tuple[Branch, ...]:
    """Return the set that costs least, as the table says."""
    _, rows = read_experiment(NAME)
    cost = {row["way"]: sum(row["nats"]) for row in rows if row["part"] == "sets"}
    return min(sets(), key=lambda gone: cost[name_of(gone)])


# --- smaller networks -------------------------------------------------------------------------------------------------


def shallower(model: Transformer) -> Transformer:
    """Return a network without the chosen branches."""
    return pruned.without_branches(model, chosen())


def narrower() -> Transformer:
    """Return the network with four of five heads, and as many hidden channels as make its size that of `shallower`."""
    model = one_shot.network()
    norms = pruned.written_norms(model, one_shot.calibration(0)[0].split(8))
    heads, hidden = {}, {}
    blocks = len(model.blocks)
    surplus = count(model) - count(shallower(model)) - blocks * count(model.blocks[0].attention) // 5
    left = 416 - round(surplus / (3 * 160 * blocks))
    for number in range(blocks):
        of_heads = norms[f"blocks.{number}.attention.output"].view(5, 32).norm(dim=1)
        heads[number] = sorted(of_heads.topk(4).indices.tolist())
        hidden[number] = norms[f"blocks.{number}.feed_forward.down"].topk(left).indices.sort().values
    return pruned.keep_hidden(pruned.keep_heads(model, heads), hidden)


def count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def train_small(way: str, seed: int, *, steps: int = STEPS) -> Transformer:
    """Return a smaller network, trained as its name says."""
    torch.manual_seed(seed)
    if way == "from scratch":
        model = shallower(Transformer())
    else:
        model = narrower() if way.startswith("narrower") else shallower(one_shot.network())
    rate = 3e-3 if way == "from scratch" else 1e-3
    recipe = TextRecipe(steps=steps, batch_size=8, learning_rate=rate, warm_up=0.1, seed=seed, bfloat16=True)
    share = SHARES[way]
    loss = distillation_loss(one_shot.network(), share=share) if share else next_character_loss
    fit_text(with_dropout(model), load_shakespeare().train, recipe, loss=loss)
    return model


def train_masked(way: str, seed: int, *, steps: int = MASKED_STEPS) -> Transformer:
    """Return the network with 70 % of its weights pruned and the rest trained on; or with all of them trained on."""
    model = copy.deepcopy(one_shot.network() if way == "dense" else one_shot.METHODS[way].prune(SPARSITY, seed))
    recipe = TextRecipe(steps=steps, batch_size=8, learning_rate=1e-3, warm_up=0.1, seed=seed, bfloat16=True)
    pruned.hold_zeros(model)
    fit_text(with_dropout(model), load_shakespeare().train, recipe)
    pruned.let_go(model)
    return model


def with_dropout(model: Transformer) -> Transformer:
    """Set the dropout of a network and return it."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = DROPOUT
    return model


# --- the table --------------------------------------------------------------------------------------------------------


def make(wanted: dict) -> Transformer:
    """Return the network of a row."""
    if wanted["part"] == "sets":
        gone = {name_of(each): each for each in sets()}[wanted["way"]]
        return pruned.without_branches(one_shot.network(), gone)
    train = train_small if wanted["part"] == "small" else train_masked
    return train(wanted["way"], wanted["seed"])


def conditions() -> list[dict]:
    """List part, way and seed of every row."""
    rows = [("sets", name_of(gone), 0) for gone in sets()]
    rows += [("small", way, 0) for way in SMALL]
    rows += [("masks", way, seed) for seed in SEEDS for way in MASKED]
    return [dict(zip(("part", "way", "seed"), row, strict=True)) for row in rows]


def digest() -> str:
    """Return a digest of what the rows depend on: these two modules, the library's pruning, the shipped network."""
    code = (
        sys.modules[__name__], one_shot, sparsegpt, transformer.Transformer, transformer.Block, transformer.Attention,
        transformer.FeedForward, language_models.evaluate_text, language_models.fit_text, language_models._Training,
        language_models.distillation_loss, pruned.without_branches, pruned.ShortBlock, pruned.keep_heads,
        pruned.keep_hidden, pruned.written_norms, pruned.hold_zeros,
    )  # fmt: skip
    return digest_of(code, [LANGUAGE / f"{one_shot.CHECKPOINT}.safetensors"])


def run() -> str:
    """Measure what the table lacks, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: one_shot.nats_by_part(make(wanted)), result="nats")
