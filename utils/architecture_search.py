"""Search for a network under a budget: draw designs at random, or let good ones mutate.

Both spend the same number of trainings; what a design is worth is a function that the caller brings. Sides are halved
by pooling only.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from utils.input_validation import require_int
from utils.tiny_networks import (
    HEADS,
    KERNELS,
    KINDS,
    SMALLEST_SIDE,
    Block,
    Design,
    deployed_parameters,
    fill,
    side_after,
)

Measure = Callable[[Design], float]
"""Trains a design and returns its error on validation."""

Fits = Callable[[Design], bool]
"""Whether a design is within what is allowed beside its parameters, such as a time on a table of latencies."""

MOST_BLOCKS = 6

LEAST_SHARE = 0.85
"""Of the budget: a design that uses less of it is drawn again."""

TRIES = 1000


class Found(NamedTuple):
    """A design that was measured, and its error."""

    design: Design
    error: float


def draw(most: int, generator: random.Random, *, fits: Fits = lambda design: True) -> Design:
    """Draw a design of at most `most` parameters: blocks, kinds, kernels, pooling, widths and head, then fill it.

    Raises `ValueError` if nothing that fits is found in 1,000 tries.

    >>> design = draw(1000, random.Random(0))
    >>> 850 <= deployed_parameters(design) <= 1000
    True
    """

    def candidate() -> Design:
        blocks, channels = [], 1.0
        for index in range(generator.randint(2, MOST_BLOCKS)):
            channels *= generator.choice((1.0, 1.5, 2.0))
            kind = "full" if index == 0 else generator.choice(KINDS)
            blocks.append(Block(kind, generator.choice(KERNELS), round(8 * channels), generator.random() < 0.5))
        return Design(tuple(blocks), generator.choice(HEADS))

    return _first_that_fits(candidate, most, fits)


def mutate(design: Design, most: int, generator: random.Random, *, fits: Fits = lambda design: True) -> Design:
    """Change one thing of a design - a kind, a kernel, a width, pooling, the head, a block more or less - and fill it.

    The result differs from `design`. Raises `ValueError` if nothing that fits is found in 1,000 tries.

    >>> parent = draw(1000, random.Random(0))
    >>> mutate(parent, 1000, random.Random(1)) == parent
    False
    """
    changes = (_other_kind, _other_kernel, _other_width, _other_pooling, _one_more, _one_less, _other_head)

    def candidate() -> Design:
        return generator.choice(changes)(design, generator)

    return _first_that_fits(candidate, most, lambda found: found != design and fits(found))


def random_search(measure: Measure, most: int, *, trainings: int, seed: int, fits: Fits) -> list[Found]:
    """Draw and measure designs; return them all in order.

    Args:
        measure: see `Measure`.
        most: parameters that a design may have.
        trainings: designs to measure, at least 1.
        seed: of the drawing.
        fits: see `Fits`.
    """
    require_int("trainings", trainings, minimum=1)
    generator = random.Random(seed)
    designs = (draw(most, generator, fits=fits) for _ in range(trainings))
    return [Found(design, measure(design)) for design in designs]


def evolution(
    measure: Measure, most: int, *, trainings: int, seed: int, fits: Fits, population: int = 8, tournament: int = 3
) -> list[Found]:
    """Regularized evolution: the best of a few that are drawn from the youngest is mutated; the oldest leaves.

    No design is measured twice: a mutant that was measured before is drawn again. The first `population` designs are
    those of `random_search` with the same seed. Source: Real, Aggarwal, Huang and Le, "Regularized Evolution for Image
    Classifier Architecture Search", AAAI 2019, algorithm 1.

    Args:
        population: designs that are alive at a time.
        tournament: designs that are drawn to become a parent; the best of them does.
        (the others: see `random_search`)

    Returns:
        All that were measured, in order.
    """
    require_int("trainings", trainings, minimum=1)
    generator = random.Random(seed)
    found: list[Found] = []
    for index in range(trainings):
        if index < population:
            design = draw(most, generator, fits=fits)
        else:
            parent = min(generator.sample(found[-population:], tournament), key=lambda each: each.error)
            known = {each.design for each in found}
            design = mutate(parent.design, most, generator, fits=lambda new, old=known: new not in old and fits(new))
        found.append(Found(design, measure(design)))
    return found


def best(found: list[Found]) -> Found:
    """Return what has the smallest error, the first of equals."""
    return min(found, key=lambda each: each.error)


def _first_that_fits(candidate: Callable[[], Design], most: int, fits: Fits) -> Design:
    for _ in range(TRIES):
        design = candidate()
        if side_after(design.blocks) < SMALLEST_SIDE:
            continue
        try:
            design = fill(design, most)
        except ValueError:
            continue
        if deployed_parameters(design) >= LEAST_SHARE * most and fits(design):
            return design
    raise ValueError(f"no design of {LEAST_SHARE:.0%} to 100 % of {most} parameters fits in {TRIES} tries")


def _change(design: Design, index: int, **what: object) -> Design:
    blocks = list(design.blocks)
    blocks[index] = blocks[index]._replace(**what)
    return design._replace(blocks=tuple(blocks))


def _other_kind(design: Design, generator: random.Random) -> Design:
    index = generator.randrange(1, len(design.blocks)) if len(design.blocks) > 1 else 0
    kinds = KINDS if index else ("full",)
    return _change(design, index, kind=generator.choice(kinds))


def _other_kernel(design: Design, generator: random.Random) -> Design:
    return _change(design, generator.randrange(len(design.blocks)), kernel=generator.choice(KERNELS))


def _other_width(design: Design, generator: random.Random) -> Design:
    index = generator.randrange(len(design.blocks))
    factor = generator.choice((0.5, 0.7, 1.4, 2.0))
    return _change(design, index, channels=max(1, round(factor * design.blocks[index].channels)))


def _other_pooling(design: Design, generator: random.Random) -> Design:
    index = generator.randrange(len(design.blocks))
    return _change(design, index, pool=not design.blocks[index].pool)


def _one_more(design: Design, generator: random.Random) -> Design:
    if len(design.blocks) == MOST_BLOCKS:
        return design
    after = generator.randrange(len(design.blocks))
    block = Block(generator.choice(KINDS), generator.choice(KERNELS), design.blocks[after].channels, pool=False)
    blocks = design.blocks
    return design._replace(blocks=(*blocks[: after + 1], block, *blocks[after + 1 :]))


def _one_less(design: Design, generator: random.Random) -> Design:
    if len(design.blocks) == 2:
        return design
    index = generator.randrange(1, len(design.blocks))
    return design._replace(blocks=design.blocks[:index] + design.blocks[index + 1 :])


def _other_head(design: Design, generator: random.Random) -> Design:
    return design._replace(head=generator.choice(HEADS))
