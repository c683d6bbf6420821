"""How the small networks trained from scratch in `data/checkpoints/` were made: the control of notebook 16.

Each has the shape of a network of `pruned_checkpoints` and its whole training: images, epochs, learning rate, teacher.
Only the start differs: new weights instead of channels of the dense network.
"""

from utils.datasets import load
from utils.environment import pick_device, seed_everything
from utils.models import MODELS, load_checkpoint, save_checkpoint
from utils.recipes.dense import how_it_went
from utils.recipes.narrow import PRUNED, answers_of, follow_answers
from utils.training import fit

SEED = 1000
"""Of the new weights; not 0, the seed of the dense networks, which would be correlated with them."""

SCRATCH = {"LeNet5-scratch-3-12-64": "LeNet5-pruned-3-12-64", "LeNet300100-scratch-80-40": "LeNet300100-pruned-80-40"}
"""The shipped networks by name, and the pruned network whose shape and training each of them shares."""


def train_scratch_checkpoint(name: str) -> dict[str, object]:
    """Train a narrow network from new weights by the recipe of its pruned twin; write its checkpoint and card.

    The epoch is chosen on validation; the test split is looked at once, for the card.

    Returns:
        What the card says beside the digest: twin, arguments of the constructor, seed, training, accuracies, versions.

    Raises:
        ValueError: there is no recipe of that name.
    """
    if name not in SCRATCH:
        raise ValueError(f"there is no recipe for {name!r}; there are: {', '.join(SCRATCH)}")
    twin, splits, device = PRUNED[SCRATCH[name]], load(), pick_device()
    seed_everything(SEED)
    answers = answers_of(load_checkpoint(twin.source).to(device), splits.train.images)
    model = MODELS[twin.source](**twin.arguments).to(device)
    history = fit(model, answers, twin.training, validation=splits.validation, loss=follow_answers)
    about = {
        "twin": SCRATCH[name],
        "arguments": dict(twin.arguments),
        "seed": SEED,
        "recipe": {**vars(twin.training)},
        "distilled": True,
        **how_it_went(model, history, splits),
    }
    save_checkpoint(model, name, **about)
    return about
