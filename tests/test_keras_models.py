"""TensorFlow and LiteRT: a quiet start, digits as MobileNetV2 wants them, checkpoints, conversion, calls that go wrong.

TensorFlow is loaded beside PyTorch here, in the process of the tests; no notebook does that.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from utils import keras_models
from utils.dataset_files import GrayImages, mnist_arrays
from utils.keras_models import (
    CheckpointError,
    Form,
    LiteModel,
    ModelFileError,
    accuracy,
    as_graph,
    grow_gpu_memory,
    keras,
    load_mobilenet,
    load_weights,
    save_weights,
    tf,
    to_litert,
    to_rgb,
)

GENERATOR = np.random.default_rng(0)


def small_net(classes=4):
    """A convolution with batch norm for images of 6x6 pixels with two channels, its moments away from 0 and 1."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(3, 3, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, name="dense"),
        ],
        name="small",
    )
    model.layers[1].moving_mean.assign([0.1, -0.2, 0.3])
    return model


def images(count):
    return GENERATOR.uniform(-1, 1, (count, 6, 6, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    return small_net()


@pytest.fixture(scope="module")
def graph(net):
    return as_graph(net)


@pytest.fixture(scope="module")
def contents(graph):
    return {form: to_litert(graph, form, samples=images(50) if form is Form.INT8 else None) for form in Form}


# --- the start --------------------------------------------------------------------------------------------------------


def test_the_import_is_quiet_on_one_thread_and_without_pytorch():
    script = """
import sys
from utils.keras_models import tf
from utils.environment import computes_with_tensorflow, environment
assert "torch" not in sys.modules and computes_with_tensorflow()
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
assert "1 threads used by TensorFlow" in environment()["cores"]
sys.stderr.write("still there")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "still there")


def test_what_was_held_back_is_shown_if_the_block_fails(capfd):
    with keras_models.standard_error_held_back():
        print("kept back", file=sys.__stderr__, flush=True)
    assert capfd.readouterr().err == ""
    with pytest.raises(ZeroDivisionError), keras_models.standard_error_held_back():
        print(print("the reason", file=sys.__stderr__, flush=True) or 1 / 0)
    assert "the reason" in capfd.readouterr().err


def test_every_gpu_is_told_to_grow(monkeypatch):
    told = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", told.__setitem__)
    assert grow_gpu_memory() == 2
    assert told == {"GPU:0": True, "GPU:1": True}


# --- data -------------------------------------------------------------------------------------------------------------


@given(arrays_of.arrays(np.uint8, st.tuples(st.integers(0, 3), st.just(28), st.just(28))))
def test_the_digits_come_back_from_the_middle_of_what_mobilenet_gets(digits):
    rgb = to_rgb(digits)
    assert rgb.shape == (len(digits), 32, 32, 3)
    assert rgb.dtype == np.float32
    for channel in range(3):
        assert np.array_equal(np.rint((rgb[:, 2:-2, 2:-2, channel] + 1) * 127.5).astype(np.uint8), digits)
    rgb[:, 2:-2, 2:-2] = -1
    assert (rgb == -1).all()


def test_the_values_are_those_of_keras_own_preprocessing():
    digits = mnist_arrays()[1].images[:3]
    padded = np.repeat(np.pad(digits, ((0, 0), (2, 2), (2, 2)))[..., None], 3, axis=-1)
    theirs = keras.applications.mobilenet_v2.preprocess_input(padded.astype(np.float32))
    np.testing.assert_allclose(to_rgb(digits), theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        (np.zeros((28, 28), np.uint8), ValueError, r"\(N, 28, 28\)"),
        (np.ones((1, 28, 28)), TypeError, "uint8 from 0 to"),
    ],
)
def test_other_digits_than_those_of_mnist_arrays_are_refused(wrong, error, match):
    with pytest.raises(error, match=match):
        to_rgb(wrong)


def test_accuracy_counts_over_uneven_batches():
    digits, labels = np.zeros((1001, 28, 28), np.uint8), np.arange(1001) % 2
    assert accuracy(lambda x: np.tile([1.0, 0.0], (len(x), 1)), digits, labels) == 501 / 1001
    with pytest.raises(ValueError, match="got 1001 images and 1000 labels"):
        accuracy(len, digits, labels[:1000])


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_to_the_bit_and_twice_the_same_file(net, tmp_path):
    path = save_weights(net, "net", folder=tmp_path, seed=0)
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["bytes"] == path.stat().st_size
    assert (card["seed"], card["parameters"]) == (0, sum(int(np.prod(v.shape)) for v in net.trainable_variables))
    other = small_net()
    for variable in other.variables:
        variable.assign(variable + 1)
    assert load_weights(other, "net", folder=tmp_path) is other
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights(), net.get_weights(), strict=True))
    assert save_weights(other, "again", folder=tmp_path).read_bytes() == path.read_bytes()


def test_an_optimizer_is_not_saved(tmp_path):
    net = small_net()
    before = save_weights(net, "net", folder=tmp_path).stat().st_size
    net.compile("adam", "mse")
    net.optimizer.build(net.trainable_variables)
    assert save_weights(net, "net", folder=tmp_path).stat().st_size == before


def test_a_checkpoint_of_another_form_leaves_the_model_alone(net, tmp_path):
    save_weights(net, "net", folder=tmp_path)
    other = small_net(classes=5)
    before = other.get_weights()
    with pytest.raises(CheckpointError, match=r"does not fit.*dense.*in the file"):
        load_weights(other, "net", folder=tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights(), before, strict=True))


# --- MobileNetV2 ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_other_features_get_a_layer_for_the_digits(monkeypatch):
    """Without a network, random features stand for ImageNet's; least squares reads digits in them all the same."""
    keras.utils.set_random_seed(0)

    def features():
        images = keras.Input((32, 32, 3))
        return keras.Model(images, keras.layers.Dense(256, "relu")(keras.layers.Flatten()(images)))

    monkeypatch.setattr(keras_models, "_imagenet_features", features)
    validation = mnist_arrays()[1]
    assert accuracy(as_graph(load_mobilenet("imagenet")), validation.images[:500], validation.labels[:500]) > 0.5


def test_an_epoch_shows_every_digit_once_moved_by_at_most_a_pixel():
    digits = GrayImages(*(a[:50] for a in mnist_arrays()[0]))
    batches = keras_models.ShiftedDigits(digits, 16, seed=0)
    assert len(batches) == 4
    shown = np.concatenate([batches[i][0] for i in range(4)])
    labels = np.concatenate([batches[i][1] for i in range(4)])
    assert sorted(labels) == sorted(digits.labels)
    for image, number in zip(shown, batches.order, strict=True):
        around = np.pad(to_rgb(digits.images)[number], ((1, 1), (1, 1), (0, 0)), constant_values=-1)
        moved = [around[top : top + 32, left : left + 32] for top in range(3) for left in range(3)]
        assert any(np.array_equal(image, m) for m in moved)


# --- graphs and LiteRT ------------------------------------------------------------------------------------------------


def test_a_graph_is_traced_once_for_all_batch_sizes(net):
    graph = as_graph(net)
    for count in (1, 3, 2, 7):
        batch = images(count)
        np.testing.assert_allclose(graph(batch), net(batch, training=False), atol=1e-5)
    assert graph.experimental_get_tracing_count() == 1
    two = [keras.Input((2,)), keras.Input((2,))]
    with pytest.raises(ValueError, match="one input, got 2"):
        as_graph(keras.Model(two, keras.layers.Add()(two)))


@pytest.mark.parametrize(("form", "tolerance"), [("float", 1e-5), ("float16", 5e-3), ("dynamic", 0.1), ("int8", 0.15)])
def test_every_form_answers_as_its_source_for_any_batch_size(net, contents, form, tolerance):
    model = LiteModel(contents[Form(form)])
    assert model.input_shape == (None, 6, 6, 2)
    for count in (1, 5, 2, 2, 64):
        batch = images(count)
        np.testing.assert_allclose(model(batch), net(batch, training=False), atol=tolerance)


def test_the_operations_are_those_of_the_file_without_what_the_runtime_adds(contents):
    operations = LiteModel(contents[Form.FLOAT]).operations
    assert "CONV_2D" in operations
    assert "DELEGATE" not in operations


def test_other_kernels_give_the_same_answers(contents):
    batch, content = images(5), contents[Form.FLOAT]
    library, own = LiteModel(content), LiteModel(content, xnnpack=False)
    np.testing.assert_allclose(own(batch), library(batch), atol=1e-5)
    assert own.operations == library.operations
    names = [[each["op_name"] for each in model._interpreter._get_ops_details()] for model in (library, own)]
    assert ["DELEGATE" in each for each in names] == [True, False]


@settings(max_examples=25)
@given(count=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_batch_is_answered_as_its_images_one_by_one(contents, count, seed):
    model = LiteModel(contents[Form.FLOAT])
    batch = np.random.default_rng(seed).uniform(-1, 1, (count, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(model(batch), np.concatenate([model(image[None]) for image in batch]), atol=1e-5)


def test_an_answer_is_not_overwritten_by_the_next(contents):
    model = LiteModel(contents[Form.FLOAT])
    first = model(images(2))
    before = first.copy()
    model(images(2))
    assert np.array_equal(first, before)


def test_converting_needs_no_second_tracing(net):
    graph = as_graph(net)
    for _ in range(2):
        to_litert(graph)
    assert graph.experimental_get_tracing_count() == 1


def test_conversion_is_quiet(graph, capfd, recwarn):
    LiteModel(to_litert(graph, "int8", samples=images(3)))(images(1))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.parametrize(("form", "count"), [("int8", 0), ("float", 3)])
def test_samples_are_for_int8_and_needed_there(graph, form, count):
    with pytest.raises(ValueError, match="representative samples"):
        to_litert(graph, form, samples=images(count))


@pytest.mark.parametrize("shape", [(6, 6, 2), (1, 6, 6, 3), (0, 6, 6, 2)])
def test_a_wrong_batch_is_refused_and_the_model_still_works(contents, shape):
    model = LiteModel(contents[Form.INT8])
    with pytest.raises(ValueError, match=r"\(None, 6, 6, 2\)"):
        model(np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match="must be float32"):
        model(np.zeros((1, 6, 6, 2)))
    assert model(images(2)).shape == (2, 4)


def test_a_model_comes_from_a_file_too(contents, tmp_path):
    path = tmp_path / "net.tflite"
    with pytest.raises(ModelFileError, match=r"net\.tflite cannot be read"):
        LiteModel(path)
    path.write_bytes(contents[Form.FLOAT])
    batch = images(3)
    assert np.array_equal(LiteModel(path)(batch), LiteModel(contents[Form.FLOAT])(batch))


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_model_is_refused(contents, share):
    content = contents[Form.FLOAT]
    for damaged in (content[: int(share * len(content))], b"0000TFL3" + bytes(1000)):
        with pytest.raises(ModelFileError, match="the content is no LiteRT model or is damaged"):
            LiteModel(damaged)
