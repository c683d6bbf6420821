"""How the network in `data/checkpoints/keras/` was trained, for notebook 13; its images shift by up to a pixel.

TensorFlow is loaded only when something is trained: listing the recipes loads PyTorch, and one process never computes
with both.
"""

import importlib.metadata

from utils.dataset_files import GrayImages, mnist_arrays

NOTEBOOK = "13"

SEED = 0

RECIPES = {
    "MobileNetV2": {
        "epochs": 18,
        "batch_size": 128,
        "learning_rate": 4e-3,
        "weight_decay": 0.02,
        "batch_norm_momentum": 0.9,
    }
}
"""AdamW; the learning rate rises for half an epoch and falls to zero along a cosine."""

MINUTES = {"MobileNetV2": 30}


def needs(name: str) -> tuple[str, ...]:
    """Return the checkpoints that `train(name)` loads: none."""
    return ()


def train(name: str) -> dict[str, object]:
    """Train a Keras network of the course by its recipe, write its checkpoint and card, and return what the card says.

    The weights of the last epoch are kept, so nothing is chosen; the test split is looked at once, for the card.
    """
    from utils.keras_models import accuracy, keras, save_weights

    keras.utils.set_random_seed(SEED)
    training, validation, test = mnist_arrays()
    model = fit_mobilenet(training, RECIPES[name])
    about = {
        "seed": SEED,
        "recipe": RECIPES[name],
        "validation_accuracy": accuracy(model.predict_on_batch, *validation),
        "test_accuracy": accuracy(model.predict_on_batch, *test),
        "versions": {p: importlib.metadata.version(p) for p in ("tensorflow", "keras", "numpy", "safetensors")},
    }
    save_weights(model, name, **about)
    return about


def fit_mobilenet(digits: GrayImages, recipe: dict[str, float]):
    """Train a new MobileNetV2 by a recipe, as `RECIPES` holds it."""
    from utils.keras_models import ShiftedDigits, build_mobilenet, keras

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
