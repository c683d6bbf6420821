"""MobileNetV2 of notebook 13: the shipped file and its card, and that training follows the recipe.

TensorFlow is loaded beside PyTorch here, in the process of the tests; no notebook does that.
"""

import json

import numpy as np
import pytest

from utils import keras_models
from utils.dataset_files import GrayImages, mnist_arrays
from utils.keras_models import accuracy, as_graph, keras, load_mobilenet
from utils.recipes.keras_mobilenet import RECIPES, fit_mobilenet

CARD = json.loads((keras_models.KERAS_CHECKPOINTS / "MobileNetV2.json").read_text(encoding="utf-8"))


def test_the_shipped_mobilenet_fits_and_was_trained_by_its_recipe():
    assert CARD["recipe"] == RECIPES["MobileNetV2"]
    assert CARD["bytes"] < 1_750_000
    model = load_mobilenet()
    assert model.input_shape == (None, 32, 32, 3)
    assert CARD["parameters"] == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    validation = mnist_arrays()[1]
    assert accuracy(as_graph(model), validation.images[:1000], validation.labels[:1000]) > 0.98


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_the_shipped_mobilenet_is_as_good_as_its_card_says():
    graph, (_, validation, test) = as_graph(load_mobilenet()), mnist_arrays()
    assert abs(accuracy(graph, *validation) - CARD["validation_accuracy"]) <= 3 / 5000
    assert abs(accuracy(graph, *test) - CARD["test_accuracy"]) <= 3 / 10_000
    assert CARD["test_accuracy"] >= 0.99


def test_training_follows_the_recipe(monkeypatch):
    """In a small network of the same kind of layers: tracing MobileNetV2's training would take most of a minute."""
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=4), keras.layers.BatchNormalization()]
    layers += [keras.layers.ReLU(), keras.layers.Flatten(), keras.layers.Dense(10)]
    monkeypatch.setattr(keras_models, "build_mobilenet", lambda: keras.Sequential(layers))
    digits = GrayImages(*(a[:300] for a in mnist_arrays()[0]))
    model = fit_mobilenet(digits, RECIPES["MobileNetV2"] | {"epochs": 2})
    assert model.optimizer.iterations == 6  # two epochs of 300 digits in batches of 128
    assert float(model.optimizer.learning_rate) < 1e-6
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert [layer.momentum for layer in norms] == [0.9]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
