"""The ladder of tiny networks: what is shipped is what its recipe says, and trains to the same file again."""

import pytest

from utils.checkpoint_files import checkpoint_card
from utils.datasets import Splits
from utils.recipes import ladder
from utils.recipes.ladder import RECIPES, RUNGS, SEEDS, Rung
from utils.tiny_networks import LADDER, Design, deployed_parameters, load_tiny_network
from utils.training import evaluate


@pytest.mark.parametrize("most", RUNGS)
def test_a_rung_is_within_its_budget_and_uses_it(most):
    assert 0.95 * most <= deployed_parameters(Design.parse(RUNGS[most].design)) <= most


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_card_says_what_the_recipe_does(name):
    rung, seed = RECIPES[name]
    card = checkpoint_card(name, folder=LADDER)
    assert card["design"] == rung.design
    assert card["deployed_parameters"] == deployed_parameters(Design.parse(rung.design))
    assert card["recipe"]["epochs"] * ladder.VERSIONS == card["passes"]
    assert (card["seed"], card["recipe"]["learning_rate"]) == (seed, rung.learning_rate)
    assert (tuple(card["teachers"]), card["warp"]) == (ladder.TEACHERS, rung.warp._asdict())


@pytest.mark.parametrize("most", RUNGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_shipped_network_is_as_good_as_its_card_says(most, seed, mnist):
    card = checkpoint_card(f"TinyNet-{most}-seed{seed}", folder=LADDER)
    network = load_tiny_network(most, seed)
    assert evaluate(network, mnist.validation).accuracy == pytest.approx(card["validation_accuracy"], abs=4e-4)
    assert evaluate(network, mnist.test).accuracy == pytest.approx(card["test_accuracy"], abs=2e-4)


def test_training_again_gives_the_same_file_as_good_as_its_card_says(monkeypatch, tmp_path, mnist):
    small = Splits(*(split.take(300) for split in mnist))
    monkeypatch.setattr(ladder, "load", lambda: small)
    monkeypatch.setitem(RECIPES, "TinyNet-800-seed3", (Rung("full3-8s2 separable3-16/2 weighted", epochs=6), 3))
    ladder._answered.cache_clear()
    cards = []
    for folder in (tmp_path / "first", tmp_path / "again"):
        monkeypatch.setattr(ladder, "LADDER", folder)
        about = ladder.train("TinyNet-800-seed3")
        cards.append(checkpoint_card("TinyNet-800-seed3", folder=folder))
    ladder._answered.cache_clear()
    assert cards[0] == cards[1]
    network = load_tiny_network(800, 3, folder=folder)
    assert evaluate(network, small.test).accuracy == about["test_accuracy"] > 0.3
