"""The long experiment of notebook 16: random search, evolution and a hand-made design, under one budget.

`python -m utils experiments 16_search` writes `data/experiments/16_search.jsonl`: a row for each training with the
error in per cent. Interrupted, the same command goes on from there.

A search trains `TRAININGS` designs for one short pass each and ranks them by their error on validation. The best two
are trained for longer, and the better of these, again by validation, is judged on `UNSEEN` images, the last of the
training split, which nothing was trained on or chosen by. It is the design that is judged and not the luck of one
training, so it is trained `TIMES` times. Two controls do without a search: a hand-made design, shrunk evenly until it
fits, gets the same longer trainings; and, as "whole budget", one over all the images that a search went through.

Which designs fit the budget of time says the table `16_latencies`. It is read when a search runs; each of its rows then
says how long the network takes by that table, and a table measured anew does not make the rows stale.
"""

import functools
from collections.abc import Iterator

import torch

from utils import architecture_search, block_latencies, datasets, tiny_networks, training
from utils.architecture_search import Found, Measure, evolution, random_search
from utils.block_latencies import microseconds, stored_table
from utils.datasets import Examples
from utils.environment import seed_everything
from utils.experiment_files import EXPERIMENTS, complete, condition, digest_of, read_experiment
from utils.tiny_networks import Design, TinyNet, fill
from utils.training import Recipe, evaluate, fit

NAME = "16_search"

MINUTES = 20

MOST = 1000
"""Parameters that a design may have, batch norms folded."""

LIMIT = 50.0
"""Microseconds an image that it may take by the table."""

SEEDS = range(5)

TRAININGS = 80
"""Designs that a search trains."""

POPULATION, TOURNAMENT = 20, 5

DRAWING = 1000
"""Added to a seed where designs are drawn: population and tournament were chosen on searches with smaller seeds."""

SHORT_IMAGES = 6_000
"""Images that a candidate is trained on, once."""

LONG_IMAGES = 10_000

LONG_PASSES = 4

UNSEEN = 10_000
"""Images at the end of the training split on which the winners are judged."""

TAKEN = 2
"""Designs of a search that are trained for longer."""

TIMES = 3
"""Longer trainings of what is judged, each with another seed; the first is the one that validation chose by."""

DRAWN = 3
"""Designs of each search, the first, that are trained for longer however good they are."""

WHOLE_BUDGET = (TRAININGS * SHORT_IMAGES + TAKEN * LONG_PASSES * LONG_IMAGES) // LONG_IMAGES
"""Passes over `LONG_IMAGES` that go through as many images as a search and its longer trainings."""

HAND_MADE = "full3-8/2 separable3-16/2 separable3-32/2 weighted"
"""Channels double where the sides halve; what is left is to shrink it."""

SPLITS = ("validation", "unseen")


@functools.cache
def _splits() -> datasets.Splits:
    return datasets.load("mnist")


splits = _splits
"""The digits, loaded once: notebook 16 and its two other long experiments take the same tensors, 220 MB in all."""


@functools.cache
def _table() -> block_latencies.Table:
    return stored_table()


def fits(design: Design) -> bool:
    """Say whether a design is within the limit on its time; one with a part that no table has is not."""
    try:
        return microseconds(_table(), design) <= LIMIT
    except ValueError:
        return False


def shrunk(text: str) -> Design:
    """Return a hand-made design, its channels all scaled by one factor, at the largest size within both limits."""
    sizes = (fill(Design.parse(text), most) for most in range(MOST, 0, -1))
    return next(design for design in sizes if fits(design))


def recipe(seed: int, passes: int) -> Recipe:
    """Return how every network here is trained; the length and the seed differ."""
    return Recipe(epochs=passes, batch_size=64, learning_rate=1e-2, seed=seed)


def trained(design: str, seed: int, images: int, passes: int) -> TinyNet:
    """Return the network of a design after its training; the seed draws its first weights and the order."""
    seed_everything(seed)
    network = TinyNet(Design.parse(design)).to(memory_format=torch.channels_last)  # separable blocks train faster so
    fit(network, _splits().train.take(images), recipe(seed, passes))
    return network


@functools.lru_cache(maxsize=1)  # two rows, one for each split, are of one training
def _long(design: str, seed: int, images: int, passes: int) -> TinyNet:
    return trained(design, seed, images, passes)


def unseen() -> Examples:
    """Return the images on which winners are judged: the last of the training split."""
    train = _splits().train
    return Examples(train.images[-UNSEEN:], train.labels[-UNSEEN:])


def error(network: TinyNet, split: str) -> float:
    """Return the error on one of SPLITS in per cent."""
    examples = _splits().validation if split == "validation" else unseen()
    return 100 * (1 - evaluate(network, examples).accuracy)


def tune(row: dict) -> float:
    """Train what a row says and return its error."""
    if row["kind"] == "short":
        return error(trained(row["design"], row["seed"], row["images"], 1), "validation")
    if row["kind"] == "short again":
        return error(trained(row["design"], 100 + row["seed"], row["images"], 1), "validation")
    seed = row["seed"] + 100 * row["time"]
    return error(_long(row["design"], seed, row["images"], row["passes"]), row["split"])


def stored(row: dict) -> float:
    """Return the error of a row, which is trained and added to the table if it is not there."""
    complete(NAME, _digest(), [row], tune)
    return next(each["error"] for each in rows() if condition(each) == row)


def short_row(way: str, seed: int, number: int, design: Design) -> dict:
    """Return the row of a candidate; the first of both searches are the same, and stand in the table once."""
    about = {"kind": "short", "way": "both" if number < POPULATION else way, "seed": seed, "number": number}
    about |= {"images": SHORT_IMAGES}
    return about | {"design": str(design), "microseconds": round(microseconds(_table(), design), 3)}


def long_rows(
    way: str, seed: int, design: Design, *, number: int = 0, passes: int = LONG_PASSES, time: int = 0
) -> Iterator[dict]:
    """Yield the rows of a longer training, one for each split; `number` tells those of one search apart."""
    about = {"kind": "long", "way": way, "seed": seed, "number": number, "time": time, "design": str(design)}
    about |= {"images": LONG_IMAGES, "passes": passes}
    for split in SPLITS:
        yield about | {"split": split}


def _judge(way: str, seed: int, designs: list[Design]) -> None:
    """Train designs for longer, and the one that validation chooses again."""
    chosen_by = []
    for number, design in enumerate(designs):
        errors = [stored(row) for row in long_rows(way, seed, design, number=number)]
        chosen_by.append(errors[SPLITS.index("validation")])
    number = chosen_by.index(min(chosen_by))
    for time in range(1, TIMES):
        for row in long_rows(way, seed, designs[number], number=number, time=time):
            stored(row)


def searched(way: str, seed: int) -> list[Found]:
    """Run a search; what the table has is not trained again."""
    found: list[Found] = []

    def measure(design: Design) -> float:
        row = short_row(way, seed, len(found), design)
        found.append(Found(design, stored(row)))
        return found[-1].error

    _run(way, measure, seed)
    return found


def _run(way: str, measure: Measure, seed: int) -> list[Found]:
    budget = {"trainings": TRAININGS, "seed": DRAWING + seed, "fits": fits}
    if way == "evolution":
        return evolution(measure, MOST, population=POPULATION, tournament=TOURNAMENT, **budget)
    return random_search(measure, MOST, **budget)


WAYS = ("random", "evolution")


def rows() -> list[dict]:
    """Return the rows of the stored table."""
    return read_experiment(NAME)[1]


def rows_in_all() -> int:
    """Return how many rows the whole table has."""
    short = POPULATION + len(WAYS) * (TRAININGS - POPULATION)
    long = len(SPLITS) * (len(WAYS) * (TAKEN + TIMES - 1) + TIMES + 1) + (1 + len(SPLITS)) * DRAWN
    return len(SEEDS) * (short + long)


def digest() -> str:
    """Return a digest of what the rows depend on: this module, the search, the networks, the training."""
    code = (
        recipe, trained, unseen, error, tune, _run, _judge, shrunk, architecture_search, tiny_networks.TinyNet,
        tiny_networks.fill, training.fit, training.Recipe, training.rise_then_cosine,
    )  # fmt: skip
    return digest_of(code)


_digest = functools.cache(digest)


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    if (EXPERIMENTS / f"{NAME}.jsonl").exists():
        about, found = read_experiment(NAME)
        if about["digest"] == _digest() and len(found) == rows_in_all():
            return f"{NAME}: {len(found)} trainings, {about['minutes']:.1f} minutes"
    for seed in SEEDS:
        for way in WAYS:
            best = sorted(searched(way, seed), key=lambda each: each.error)[:TAKEN]
            _judge(way, seed, [each.design for each in best])
        _judge("hand-made", seed, [shrunk(HAND_MADE)])
    for seed in SEEDS:
        for number, each in enumerate(searched("random", seed)[:DRAWN]):
            stored(short_row("random", seed, number, each.design) | {"kind": "short again"})
            for row in long_rows("drawn", seed, each.design, number=number):
                stored(row)
    for seed in SEEDS:
        for row in long_rows("hand-made, whole budget", seed, shrunk(HAND_MADE), passes=WHOLE_BUDGET):
            stored(row)
    return f"{NAME}: {len(rows())} trainings"
