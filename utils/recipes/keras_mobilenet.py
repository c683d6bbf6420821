"""How the network in `data/checkpoints/keras/` was trained; `python -m utils checkpoints MobileNetV2` does it again."""

import importlib.metadata
import math

import numpy as np

from utils.dataset_files import Digits, mnist_arrays
from utils.keras_models import accuracy, build_mobilenet, keras, save_weights, to_rgb

SEED = 0

KERAS_RECIPES = {
    "MobileNetV2": {
        "epochs": 18,
        "batch_size": 128,
        "learning_rate": 4e-3,
        "weight_decay": 0.02,
        "batch_norm_momentum": 0.9,
    }
}
"""AdamW; the learning rate rises for half an epoch and falls to zero along a cosine; images shift by up to a pixel."""


class ShiftedDigits(keras.utils.PyDataset):
    """Batches of digits for MobileNetV2, in a new order and each shifted anew by up to one pixel in every epoch."""

    def __init__(self, digits: Digits, batch_size: int, seed: int):
        super().__init__()
        self.digits, self.batch_size = digits, batch_size
        self.generator = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the order and the shifts of the next epoch."""
        self.order = self.generator.permutation(len(self.digits.labels))
        self.images = _shifted(self.digits.images, self.generator)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return to_rgb(self.images[chosen]), self.digits.labels[chosen].astype(np.int64)


def _shifted(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the images (N, 28, 28), each moved by -1, 0 or 1 pixels in both directions."""
    padded, moved = np.pad(images, ((0, 0), (1, 1), (1, 1))), np.empty_like(images)
    ways = generator.integers(0, 9, len(images))
    for way in range(9):
        top, left = divmod(way, 3)
        moved[ways == way] = padded[ways == way][:, top : top + 28, left : left + 28]
    return moved


def train_keras_checkpoint(name: str) -> dict[str, object]:
    """Train a Keras network of the course by its recipe and write its checkpoint and card; about half an hour.

    The weights of the last epoch are kept, so nothing is chosen; the test split is looked at once, for the card.

    Returns:
        What the card says beside the digest: seed, recipe, accuracies, versions.

    Raises:
        ValueError: there is no recipe of that name.
    """
    if name not in KERAS_RECIPES:
        raise ValueError(f"there is no recipe for {name!r}; there are: {', '.join(KERAS_RECIPES)}")
    keras.utils.set_random_seed(SEED)
    training, validation, test = mnist_arrays()
    model = fit_mobilenet(training, KERAS_RECIPES[name])
    about = {
        "seed": SEED,
        "recipe": KERAS_RECIPES[name],
        "validation_accuracy": accuracy(model.predict_on_batch, *validation),
        "test_accuracy": accuracy(model.predict_on_batch, *test),
        "versions": {p: importlib.metadata.version(p) for p in ("tensorflow", "keras", "numpy", "safetensors")},
    }
    save_weights(model, name, **about)
    return about


def fit_mobilenet(digits: Digits, recipe: dict[str, float]) -> keras.Model:
    """Train a new MobileNetV2 by a recipe, as `KERAS_RECIPES` holds it."""
    batches = ShiftedDigits(digits, recipe["batch_size"], SEED)
    warm_up = len(batches) // 2
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4,  # where the warm-up begins
        recipe["epochs"] * len(batches) - warm_up,
        warmup_target=recipe["learning_rate"],
        warmup_steps=warm_up,
    )
    model = build_mobilenet()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe["batch_norm_momentum"]  # Keras's 0.999 lags thousands of steps behind: chance level
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=recipe["weight_decay"]), loss)
    model.fit(batches, epochs=recipe["epochs"], shuffle=False, verbose=0)
    return model
