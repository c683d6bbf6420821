"""MNIST and Fashion-MNIST as arrays, from the gzipped IDX files in `data/`, checked and split.

PyTorch and TensorFlow read them alike.
"""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.files import ROOT

DATA = ROOT / "data"

VALIDATION_EVERY = 12
"""Every twelfth training image, in the order of the labels, goes to validation: 5,000 of 60,000, each digit alike."""

IDX_DIGESTS = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
"""SHA-256 of each decompressed IDX file of each data set; the files of both have the same names."""


class DataError(RuntimeError):
    """A data file is missing or is not what it should be; the message says which and how to restore it."""


class GrayImages(NamedTuple):
    """Images of shape (N, 28, 28), uint8 from 0 to 255, and their labels of shape (N,), uint8."""

    images: np.ndarray
    labels: np.ndarray


def mnist_arrays(root: Path | None = None) -> tuple[GrayImages, GrayImages, GrayImages]:
    """Return the course's three splits of MNIST: see `idx_splits`.

    >>> [len(digits.labels) for digits in mnist_arrays()]
    [55000, 5000, 10000]
    """
    return idx_splits("mnist", root)


def idx_splits(data_set: str, root: Path | None = None) -> tuple[GrayImages, GrayImages, GrayImages]:
    """Return the course's three splits: 55,000 to learn from, 5,000 to choose by, 10,000 to look at once.

    The files are read, and their digests checked, at each call: kept, the bytes of one set would hold 55 MB of a
    notebook's memory.

    Args:
        data_set: "mnist" or "fashion_mnist".
        root: the folder with its four files; by default `data/<data_set>` of the course.

    Raises:
        DataError: a file is missing, truncated, corrupted or swapped.
    """
    folder = DATA / data_set if root is None else Path(root)
    images, labels, test_images, test_labels = (
        read_idx(folder / f"{name}.gz", data_set=data_set) for name in IDX_DIGESTS[data_set]
    )
    held_out = held_out_for_validation(labels)
    return (
        GrayImages(images[~held_out], labels[~held_out]),
        GrayImages(images[held_out], labels[held_out]),
        GrayImages(test_images, test_labels),
    )


def held_out_for_validation(labels: np.ndarray) -> np.ndarray:
    """Return the mask of a fixed, stratified validation split: every twelfth image in the stable order of the labels.

    >>> int(held_out_for_validation(np.arange(24) % 2).sum())
    2
    """
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[np.argsort(labels, kind="stable")[::VALIDATION_EVERY]] = True
    return held_out


def read_idx(path: str | Path, *, data_set: str = "mnist") -> np.ndarray:
    """Read one of the four gzipped IDX files of MNIST or of Fashion-MNIST after checking its digest.

    Format: two zero bytes, a type byte (8 for uint8), the number of dimensions, each dimension as a big-endian int32,
    then the values (LeCun, Cortes and Burges, "The MNIST database", section "File formats").

    Raises:
        DataError: missing, truncated, corrupted or swapped.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz")
    digests = IDX_DIGESTS[data_set]
    if name not in digests:
        raise ValueError(f"{path.name} is not a file of {data_set}; they are {', '.join(n + '.gz' for n in digests)}")
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise data_error(data_set, path, "is missing") from None
    except EOFError:
        raise data_error(data_set, path, "is truncated: its gzip stream ends too early") from None
    except (OSError, zlib.error) as error:
        raise data_error(data_set, path, f"cannot be read: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != digests[name]:
        known = {sha: f"{other}.gz of {of}" for of, files in IDX_DIGESTS.items() for other, sha in files.items()}
        wrong = f"holds the content of {known[digest]}" if digest in known else "has the wrong SHA-256 digest"
        raise data_error(data_set, path, wrong)
    dimensions = np.frombuffer(content, dtype=">i4", count=content[3], offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * content[3]).reshape(tuple(dimensions))


def data_error(data_set: str, path: Path, wrong: str) -> DataError:
    """Return the error that says what is wrong with a file of a data set, and how to restore it."""
    return DataError(
        f"{path.name} in {path.parent.name}/ {wrong}. To restore it: git checkout -- data/{data_set} "
        "(or copy the file from the source named in data/README.md)"
    )
