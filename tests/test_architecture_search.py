"""The search: what it draws is within the budget, what it does is what its source says."""

import random

import pytest

from utils.architecture_search import LEAST_SHARE, Found, best, draw, evolution, mutate, random_search
from utils.tiny_networks import Design, deployed_parameters, macs

MOST = 2_000


def small(design):
    return macs(design) < 300_000


def distance(design):
    """An error that a search can lower step by step: how far the number of blocks and the MACs are from a target."""
    return abs(len(design.blocks) - 5) + abs(macs(design) - 200_000) / 1e5


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_and_what_mutates_stays_within_the_budget(seed):
    generator = random.Random(seed)
    design = draw(MOST, generator, fits=small)
    for _ in range(30):
        changed = mutate(design, MOST, generator, fits=small)
        assert changed != design
        assert LEAST_SHARE * MOST <= deployed_parameters(changed) <= MOST
        assert small(changed)
        assert Design.parse(str(changed)) == changed
        design = changed


def test_evolution_begins_with_what_random_search_draws():
    arguments = {"most": MOST, "trainings": 12, "seed": 3, "fits": small}
    drawn = random_search(distance, **arguments)
    evolved = evolution(distance, **arguments, population=8)
    assert evolved[:8] == drawn[:8]
    assert evolved[8:] != drawn[8:]
    assert len(drawn) == len(evolved) == 12


def test_a_parent_comes_from_the_youngest_and_is_the_best_of_a_tournament(monkeypatch):
    parents = []

    def remember(design, most, generator, fits):
        parents.append(design)
        return mutate(design, most, generator, fits=fits)

    monkeypatch.setattr("utils.architecture_search.mutate", remember)
    found = evolution(distance, MOST, trainings=30, seed=0, fits=small, population=4, tournament=4)
    for index, parent in enumerate(parents, start=4):
        error = best(found[index - 4 : index]).error
        assert distance(parent) == error


def test_evolution_finds_more_than_chance_where_small_steps_help():
    drawn, evolved = [], []
    for seed in range(10):
        arguments = {"most": MOST, "trainings": 60, "seed": seed, "fits": small}
        drawn.append(best(random_search(distance, **arguments)).error)
        evolved.append(best(evolution(distance, **arguments)).error)
    assert sum(e <= d for d, e in zip(drawn, evolved, strict=True)) >= 8
    assert sum(evolved) < 0.8 * sum(drawn)


def test_the_first_of_equals_is_the_best():
    first, second = draw(MOST, random.Random(0)), draw(MOST, random.Random(1))
    assert best([Found(first, 1.0), Found(second, 1.0)]).design == first


def test_what_cannot_fit_is_said():
    with pytest.raises(ValueError, match="tries"):
        draw(MOST, random.Random(0), fits=lambda design: False)
    with pytest.raises(ValueError, match="trainings"):
        random_search(distance, MOST, trainings=0, seed=0, fits=small)


def test_evolution_measures_no_design_twice():
    measured = []

    def remember(design):
        measured.append(design)
        return distance(design)

    evolution(remember, MOST, trainings=120, seed=0, fits=small, population=4, tournament=4)
    assert len(measured) == len(set(measured)) == 120
