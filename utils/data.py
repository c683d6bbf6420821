"""MNIST from the files in `data/`, checked and split; larger torchvision sets by name on request.

Images are float32 tensors of shape (N, channels, height, width) with values in [0, 1]; labels are int64 of shape (N,).
"""

import functools
import gzip
import hashlib
import urllib.error
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from utils.arguments import require_int, require_seed
from utils.runtime import ROOT

VALIDATION_EVERY = 12
"""Every twelfth training image, in the order of the labels, goes to validation: 5,000 of 60,000, each digit alike."""

IDX_DIGESTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of each decompressed IDX file."""


class DataError(RuntimeError):
    """A data file is missing or is not what it should be; the message says which and how to restore it."""


class Split(NamedTuple):
    """Images of shape (N, channels, height, width), float32, and their labels of shape (N,), int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def take(self, count: int) -> "Split":
        """Return the first `count` examples (a view), or all of them if there are fewer."""
        count = require_int("count", count, minimum=1)
        return Split(self.images[:count], self.labels[:count])

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


class Splits(NamedTuple):
    """Train to learn from, validation to choose by, test to look at once."""

    train: Split
    validation: Split
    test: Split


def require_split(name: str, value: object) -> Split:
    """Return `value` if it is a `Split`, and say what to write where all three splits or bare tensors were given.

    Raises:
        TypeError: it is not a `Split`.
    """
    if isinstance(value, Split):
        return value
    remedy = "choose one of them, such as .train" if isinstance(value, Splits) else "write Split(images, labels)"
    raise TypeError(f"{name} must be a Split, got {type(value).__name__}; {remedy}")


def load(name: str = "mnist", *, root: Path | None = None, normalized: bool = False) -> Splits:
    """Load a data set by name and split it.

    MNIST (train 55,000, validation 5,000, test 10,000) comes with the course and needs no network; the digest of each
    file is checked once per process. "fashion_mnist" and "cifar10" are downloaded by torchvision at the first call.

    Args:
        name: "mnist", "fashion_mnist" or "cifar10".
        root: the folder that holds the files; by default `data/<name>` of the course.
        normalized: shift and scale each channel so that its pixels have mean 0 and standard deviation 1 over the
            training split. The course's networks take values in [0, 1], as they come without.

    Raises:
        ValueError: unknown name.
        DataError: a file is missing, truncated, corrupted or swapped, or cannot be downloaded.

    >>> [len(split.labels) for split in load("mnist")]
    [55000, 5000, 10000]
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(sorted(_LOADERS))}")
    root = ROOT / "data" / name if root is None else Path(root)
    splits = _LOADERS[name](root)
    if not normalized:
        return splits
    pixels = splits.train.images
    mean, std = pixels.mean(dim=(0, 2, 3), keepdim=True), pixels.std(dim=(0, 2, 3), keepdim=True)
    return Splits(*(Split((s.images - mean) / std, s.labels) for s in splits))


def calibration_batches(train: Split, *, batches: int, batch_size: int, seed: int) -> list[torch.Tensor]:
    """Draw `batches` disjoint batches of images from the training split, for choosing quantization ranges and the like.

    Returns:
        A list of tensors of shape (batch_size, channels, height, width).

    Raises:
        TypeError: `train` is no split, or a number is not an integer.
        ValueError: more images are asked for than there are, or a number is out of range.

    >>> images = torch.zeros(100, 1, 28, 28)
    >>> [b.shape[0] for b in calibration_batches(Split(images, torch.zeros(100)), batches=2, batch_size=8, seed=0)]
    [8, 8]
    """
    require_split("train", train)
    batches = require_int("batches", batches, minimum=1)
    batch_size = require_int("batch_size", batch_size, minimum=1)
    if batches * batch_size > len(train.images):
        raise ValueError(f"{batches} batches of {batch_size} images need more than the {len(train.images)} there are")
    chosen = np.random.default_rng(require_seed(seed)).permutation(len(train.images))[: batches * batch_size]
    return list(train.images[torch.from_numpy(chosen)].split(batch_size))


def as_rgb32(images: torch.Tensor) -> torch.Tensor:
    """Turn (N, 1, 28, 28) images into (N, 3, 32, 32): two pixels of zeros around, the one channel three times.

    This is what networks made for small colour images, such as MobileNetV2, take.

    Raises:
        TypeError: no tensor.
        ValueError: another shape.

    >>> as_rgb32(torch.ones(2, 1, 28, 28)).shape
    torch.Size([2, 3, 32, 32])
    """
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"images must be a torch.Tensor, got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28):
        raise ValueError(f"images must have shape (N, 1, 28, 28), got {tuple(images.shape)}")
    return F.pad(images, (2, 2, 2, 2)).repeat(1, 3, 1, 1)


def _splits(images: np.ndarray, labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray) -> Splits:
    """Hold out a fixed, stratified validation split: every twelfth image in the stable order of the labels."""
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[np.argsort(labels, kind="stable")[::VALIDATION_EVERY]] = True
    return Splits(
        _split(images[~held_out], labels[~held_out]),
        _split(images[held_out], labels[held_out]),
        _split(test_images, test_labels),
    )


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    pixels = torch.tensor(images, dtype=torch.float32).div_(255.0)
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)  # (N, 28, 28) -> (N, 1, 28, 28)
    return Split(pixels, torch.tensor(labels, dtype=torch.int64))


# --- MNIST: the IDX files -------------------------------------------------------------------------------------------


def _load_mnist(root: Path) -> Splits:
    return _splits(*_mnist_arrays(root))


@functools.cache
def _mnist_arrays(root: Path) -> tuple[np.ndarray, ...]:
    """Return training images and labels, test images and labels as uint8; cached, so checked once per process."""
    return tuple(read_idx(root / f"{name}.gz") for name in IDX_DIGESTS)


def read_idx(path: str | Path) -> np.ndarray:
    """Read one of the four gzipped IDX files of MNIST after checking its digest.

    Format: two zero bytes, a type byte (8 for uint8), the number of dimensions, each dimension as a big-endian int32,
    then the values (LeCun, Cortes and Burges, "The MNIST database", section "File formats").

    Raises:
        ValueError: the file's name is not one of the four.
        DataError: missing, truncated, corrupted or swapped.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz")
    if name not in IDX_DIGESTS:
        raise ValueError(f"{path.name} is not a file of MNIST; they are {', '.join(n + '.gz' for n in IDX_DIGESTS)}")
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise _data_error(path, "is missing") from None
    except EOFError:
        raise _data_error(path, "is truncated: its gzip stream ends too early") from None
    except (OSError, zlib.error) as error:
        raise _data_error(path, f"cannot be read: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != IDX_DIGESTS[name]:
        others = [other for other, known in IDX_DIGESTS.items() if known == digest]
        raise _data_error(path, f"holds the content of {others[0]}.gz" if others else "has the wrong SHA-256 digest")
    dimensions = np.frombuffer(content, dtype=">i4", count=content[3], offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * content[3]).reshape(tuple(dimensions))


def _data_error(path: Path, wrong: str) -> DataError:
    return DataError(
        f"{path.name} in {path.parent.name}/ {wrong}. To restore it: git checkout -- data/mnist "
        "(or copy the file from the source named in data/README.md)"
    )


# --- larger sets, through torchvision --------------------------------------------------------------------------------


def _load_torchvision(class_name: str, root: Path) -> Splits:
    from torchvision import datasets  # a second to import, and only these sets need it

    data_set = getattr(datasets, class_name)
    try:
        train, test = (data_set(str(root), train=flag, download=True) for flag in (True, False))
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"{class_name} is not in {root.name}/ and could not be downloaded ({error}). It needs a network once; "
            'without one, use load("mnist"), which comes with the course'
        ) from error
    images, labels = np.asarray(train.data), np.asarray(train.targets)
    test_images, test_labels = np.asarray(test.data), np.asarray(test.targets)
    if images.ndim == 4:  # CIFAR10 keeps its channels last
        images, test_images = (np.ascontiguousarray(a.transpose(0, 3, 1, 2)) for a in (images, test_images))
    return _splits(images, labels, test_images, test_labels)


_LOADERS = {
    "mnist": _load_mnist,
    "fashion_mnist": functools.partial(_load_torchvision, "FashionMNIST"),
    "cifar10": functools.partial(_load_torchvision, "CIFAR10"),
}
