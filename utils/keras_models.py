"""TensorFlow, Keras and LiteRT for notebooks 13 and 14: the only module that imports them, and it does so quietly.

TensorFlow computes with one thread, as all timing in the course does; set `TF_NUM_INTRAOP_THREADS` before the import
for more. PyTorch is not loaded: one kernel computes with one of the two. Keras lays images out as (N, height, width,
channels), PyTorch as (N, channels, height, width).
"""

import contextlib
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from utils.checkpoint_files import CHECKPOINTS, CheckpointError, read_checkpoint, write_checkpoint
from utils.dataset_files import GrayImages, mnist_arrays


@contextlib.contextmanager
def standard_error_held_back() -> Iterator[None]:
    """Keep back what is written to the process's standard error inside the block; show it only if the block fails.

    TensorFlow's C++ parts write to file descriptor 2 directly, past Python's `sys.stderr`, whatever their log level.
    """
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with standard_error_held_back():
    import keras
    import tensorflow as tf

THREADS = int(os.environ.get("TF_NUM_INTRAOP_THREADS") or 1)
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(1)
keras.config.disable_interactive_logging()  # no progress bars in stored outputs
logging.getLogger("absl").setLevel(logging.ERROR)  # Keras calls .h5 a legacy format through it; notebook 13 says so
tf.get_logger().setLevel(logging.ERROR)  # strategies tell of every all-reduce through it

KERAS_CHECKPOINTS = CHECKPOINTS / "keras"
"""Apart from PyTorch's checkpoints, but in the same form: tensors in safetensors, everything about them in JSON."""

SIDE = 32
"""Pixels: MobileNetV2 halves its input five times, so that 32 is the smallest side."""

WIDTH = 0.35
"""The width multiplier, Keras's `alpha`: every layer has 0.35 of its channels (rounded to a multiple of eight)."""

Form = StrEnum("Form", {"FLOAT": "float", "FLOAT16": "float16", "DYNAMIC": "dynamic", "INT8": "int8"})
"""What LiteRT stores and computes: float32; float16 weights; int8 weights; int8 weights and activations."""


def grow_gpu_memory() -> int:
    """Let TensorFlow take a GPU's memory as it needs it, not all at once, and return how many GPUs there are.

    Without a GPU nothing happens. It must be called before anything is computed on a GPU.
    """
    devices = tf.config.list_physical_devices("GPU")
    for device in devices:
        tf.config.experimental.set_memory_growth(device, True)
    return len(devices)


# --- data -------------------------------------------------------------------------------------------------------------


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Return grey digits as MobileNetV2 wants them: padded to 32x32, three equal channels, values in [-1, 1].

    Args:
        images: shape (N, 28, 28), uint8 from 0 to 255.

    Returns:
        Shape (N, 32, 32, 3), float32: `image / 127.5 - 1`, as `keras.applications.mobilenet_v2.preprocess_input`.

    >>> to_rgb(np.zeros((2, 28, 28), np.uint8)).shape
    (2, 32, 32, 3)
    """
    if images.dtype != np.uint8:  # digits from 0 to 1 would all come out nearly black
        raise TypeError(f"images must be uint8 from 0 to 255, as mnist_arrays returns them, got {images.dtype}")
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(f"images must have the shape (N, 28, 28), got {images.shape}")
    margin = (SIDE - 28) // 2
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin))).astype(np.float32) / 127.5 - 1
    return np.repeat(padded[..., None], 3, axis=-1)


def accuracy(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of digits whose largest logit is the right one, computed in batches of 100.

    Args:
        predict: anything that maps images to logits: a model's `predict_on_batch`, a `tf.function`, a `LiteModel`.
        images: shape (N, 28, 28), uint8; they go through `to_rgb` batch by batch.
        labels: shape (N,).
    """
    if len(images) != len(labels):
        raise ValueError(f"as many labels as images are needed, got {len(images)} images and {len(labels)} labels")
    right = 0
    for start in range(0, len(images), 100):  # a LiteRT model keeps the memory of its last batch
        logits = np.asarray(predict(to_rgb(images[start : start + 100])))
        right += int((logits.argmax(axis=1) == labels[start : start + 100]).sum())
    return right / len(images)


# --- networks and checkpoints -----------------------------------------------------------------------------------------


def build_mobilenet() -> keras.Model:
    """Make an untrained MobileNetV2 of width 0.35 for images of shape (N, 32, 32, 3), with ten logits.

    Source: Sandler et al., "MobileNetV2", CVPR 2018, table 2; the implementation is Keras's.
    """
    return keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), alpha=WIDTH, weights=None, classes=10, classifier_activation=None
    )


def load_mobilenet(weights: str = "mnist") -> keras.Model:
    """Return MobileNetV2 of width 0.35 with ten logits, ready to classify digits.

    Args:
        weights: "mnist" for the course's checkpoint; "imagenet" for the features learnt there, which Keras downloads,
            with a linear layer on top that is fitted to 5,000 training digits by least squares.
    """
    if weights == "mnist":
        return load_weights(build_mobilenet(), "MobileNetV2")
    if weights != "imagenet":
        raise ValueError(f'weights must be "mnist" or "imagenet", got {weights!r}')
    with warnings.catch_warnings():  # Keras warns that 32x32 gets the weights of 224x224: exactly what we want
        warnings.simplefilter("ignore")
        features = _imagenet_features()
    digits = mnist_arrays()[0]
    known = features.predict(to_rgb(digits.images[:5000]), batch_size=500)
    known = np.hstack([known, np.ones((len(known), 1))])  # a column of ones for the bias
    squared = known.T @ known + np.eye(known.shape[1])  # ridge: without it the solution is not unique
    solution = np.linalg.solve(squared, known.T @ np.eye(10)[digits.labels[:5000]])
    head = keras.layers.Dense(10, name="predictions")
    model = keras.Model(features.input, head(features.output))
    head.set_weights([solution[:-1], solution[-1]])
    return model


def _imagenet_features() -> keras.Model:
    return keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), alpha=WIDTH, weights="imagenet", include_top=False, pooling="avg"
    )


def save_weights(model: keras.Model, name: str, *, folder: Path = KERAS_CHECKPOINTS, **about: object) -> Path:
    """Write `<name>.safetensors` with every weight, and `<name>.json` with its digest and whatever `about` says.

    An optimizer's state is not written. Weights are named by their `path`, so give layers and a `keras.Sequential`
    names: Keras's own count up with every model of the process.
    """
    arrays = {path: np.ascontiguousarray(variable.numpy()) for path, variable in _variables(model).items()}
    parameters = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return write_checkpoint(folder, name, save_tensors(arrays), model=name, parameters=parameters, **about)


def load_arrays(name: str, *, folder: Path = CHECKPOINTS) -> dict[str, np.ndarray]:
    """Read a checkpoint of the course, PyTorch's or Keras's, as arrays by name, after checking its digest.

    >>> load_arrays("LiteNetCNN")["conv1.weight"].shape
    (10, 1, 5, 5)
    """
    return read_checkpoint(folder, name, load_tensors)


def load_weights(model: keras.Model, name: str, *, folder: Path = KERAS_CHECKPOINTS) -> keras.Model:
    """Fill a model with a checkpoint of `save_weights` and return it.

    Raises:
        CheckpointError: missing, damaged, or of another form than `model`; the model is then left as it was.
    """
    variables = _variables(model)
    arrays = load_arrays(name, folder=folder)
    wanted = {path: tuple(variable.shape) for path, variable in variables.items()}
    found = {path: array.shape for path, array in arrays.items()}
    if found != wanted:
        differing = min(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
        raise CheckpointError(
            f"{name}.safetensors does not fit this model; pass one of the form it was saved from. "
            f"{differing} is {found.get(differing)} in the file, {wanted.get(differing)} in the model"
        )
    for path, variable in variables.items():
        variable.assign(arrays[path])
    return model


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    return {variable.path: variable for variable in model.variables if "seed_generator" not in variable.path}


# --- graphs and LiteRT ------------------------------------------------------------------------------------------------


def as_graph(model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """Return the model's inference as a `tf.function` for any batch size, traced once when it is first called.

    The signature has a free batch dimension. Without it TensorFlow traces anew for every new size.
    """
    if len(model.inputs) != 1:
        raise ValueError(f"model must have one input, got {len(model.inputs)}")
    signature = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    return tf.function(lambda images: model(images, training=False), input_signature=[signature])


def to_litert(
    graph: tf.types.experimental.PolymorphicFunction,
    form: Form | str = Form.FLOAT,
    *,
    samples: np.ndarray | None = None,
) -> bytes:
    """Convert a function of `as_graph` and return the content of a `.tflite` file.

    In every form the model takes and gives float32; with INT8 it converts inside, by ranges found in calibration.

    Args:
        graph: it is traced at most once, however many forms are made of it.
        form: a `Form` or its name.
        samples: for INT8, and only for it, representative inputs, shape (N, ...) with N at least 1.
    """
    form = Form(form)
    if (form is Form.INT8) != (samples is not None and len(samples) > 0):
        raise ValueError(f"form {form.value!r} needs {'' if form is Form.INT8 else 'no '}representative samples")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()], graph)
    if form is not Form.FLOAT:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form is Form.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if form is Form.INT8:
        converter.representative_dataset = lambda: ([sample[None].astype(np.float32)] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with standard_error_held_back(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow warns that calibration finds the ranges of the inputs too
        return converter.convert()


class ModelFileError(RuntimeError):
    """A `.tflite` file is missing or is no model; the message says which and what to do."""


class LiteModel:
    """A LiteRT model with one input and one output, called like a function, for any batch size, on one thread.

    `model.input_shape` is what it takes, `(None, 32, 32, 3)`; `None` stands for any batch size. Memory is planned for
    one batch size and kept while it stays the same. The format has no checksum: a file whose structure is damaged is
    refused, one whose weights were changed is not.

    Args:
        source: the content of a file, or its path.
        xnnpack: whether XNNPACK computes, the library of kernels that LiteRT takes by default, or LiteRT's own kernels.

    Raises:
        ModelFileError: the file is missing, empty, truncated or no LiteRT model.
    """

    def __init__(self, source: bytes | str | Path, *, xnnpack: bool = True):
        kernels = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        name = "the content" if isinstance(source, bytes) else Path(source).name
        try:
            self.content = source if isinstance(source, bytes) else Path(source).read_bytes()
            if self.content[4:8] != b"TFL3":
                raise ValueError("it does not begin as a LiteRT model does")
            with standard_error_held_back():
                self._interpreter = Interpreter(
                    model_content=self.content, num_threads=1, experimental_op_resolver_type=kernels
                )
                self._interpreter.allocate_tensors()
        except OSError as error:
            raise ModelFileError(f"{name} cannot be read ({error.strerror}); write it first, from to_litert") from None
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(f"{name} is no LiteRT model or is damaged: {error}; convert the model again") from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if (len(inputs), len(outputs)) != (1, 1):
            raise ModelFileError(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs; one each is wanted")
        self._input = inputs[0]["index"]
        self._output = outputs[0]["index"]
        self.input_dtype = inputs[0]["dtype"]
        self.input_shape = tuple(None if size < 0 else int(size) for size in inputs[0]["shape_signature"])
        self._planned_shape = tuple(inputs[0]["shape"])

    @property
    def operations(self) -> list[str]:
        """The names of the operations in the file, in their order, whatever a library makes of them when it runs."""
        details = self._interpreter._get_ops_details()
        return [each["op_name"] for each in details if each["op_name"] != "DELEGATE"]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the model's answers to a batch of its input's dtype and shape."""
        images = np.asarray(images)
        if images.dtype != self.input_dtype:
            wanted = np.dtype(self.input_dtype).name
            raise TypeError(f"images must be {wanted}, got {images.dtype}; convert them with .astype({wanted!r})")
        fits = len(images.shape) == len(self.input_shape) and all(
            wanted in (None, size) for size, wanted in zip(images.shape, self.input_shape, strict=True)
        )
        if not fits or images.shape[0] == 0:
            raise ValueError(f"images must have the shape {self.input_shape}, at least one image, got {images.shape}")
        if images.shape != self._planned_shape:
            self._interpreter.resize_tensor_input(self._input, images.shape)
            self._interpreter.allocate_tensors()
            self._planned_shape = images.shape
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


# --- training ---------------------------------------------------------------------------------------------------------


class ShiftedDigits(keras.utils.PyDataset):
    """Batches of digits for MobileNetV2, in a new order and each shifted anew by up to one pixel in every epoch."""

    def __init__(self, digits: GrayImages, batch_size: int, seed: int):
        super().__init__()
        self.digits = digits
        self.batch_size = batch_size
        self.generator = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the order and the shifts of the next epoch."""
        self.order = self.generator.permutation(len(self.digits.labels))
        self.images = _random_shifts(self.digits.images, self.generator)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return to_rgb(self.images[chosen]), self.digits.labels[chosen].astype(np.int64)


def _random_shifts(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the images (N, 28, 28), each shifted by -1, 0 or 1 pixels in both directions; zeros come in."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    shifted = np.empty_like(images)
    drawn = generator.integers(0, 9, len(images))
    for number in range(9):
        top, left = divmod(number, 3)
        here = drawn == number
        shifted[here] = padded[here][:, top : top + 28, left : left + 28]
    return shifted
