"""The design of each evolution in notebook 16, trained for as long as the hand-made one: 56 passes in place of four.

In `16_search` the hand-made design is trained once for each seed over as many images as go through a whole search. Here
the design that evolution and then validation chose with that seed gets the same training, once, with the same seed, and
is judged on the same unseen images. `python -m utils experiments 16_as_long` writes
`data/experiments/16_as_long.jsonl`: two rows for each training, one for each split, with the error in per cent.
Interrupted, the same command goes on from there.

The test was written down before the first of these rows was there: one pair, five seeds, a paired t-test with two
sides, at 5 %.
"""

from collections.abc import Iterator

from utils.experiment_files import EXPERIMENTS, complete, digest_of, read_experiment
from utils.recipes import experiment_16_search as search
from utils.tiny_networks import Design

NAME = "16_as_long"

MINUTES = 8

WAY = "evolution, as long"

HAND_MADE = "hand-made, whole budget"
"""The way in `16_search` whose trainings these repeat with another design."""


def chosen(way: str, seed: int) -> Design:
    """Return the design of a search that had the least error on validation after a longer training.

    >>> str(chosen("evolution", 0))
    'full5-4/2 separable5-4/2 full3-7 weighted'
    """
    about = {"kind": "long", "way": way, "seed": seed, "time": 0, "split": "validation"}
    longer = [row for row in search.rows() if about.items() <= row.items()]
    return Design.parse(min(longer, key=lambda row: (row["error"], row["number"]))["design"])


def conditions() -> Iterator[dict]:
    """Yield what is trained, in order."""
    for seed in search.SEEDS:
        yield from search.long_rows(WAY, seed, chosen("evolution", seed), passes=search.WHOLE_BUDGET)


def errors() -> list[float]:
    """Return the stored errors on the unseen images in per cent, one for each seed.

    >>> len(errors())
    5
    """
    return [row["error"] for row in read_experiment(NAME)[1] if row["split"] == "unseen"]


def digest() -> str:
    """Return a digest of what the rows depend on: what those of the search do, and which designs it chose."""
    return f"{search.digest()}-{digest_of([chosen], [EXPERIMENTS / f'{search.NAME}.jsonl'])}"


def run() -> str:
    """Train what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), search.tune)
