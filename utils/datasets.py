"""MNIST and Fashion-MNIST from the files in `data/`, checked and split; CIFAR-10 through torchvision on request.

Images are float32 tensors of shape (N, channels, height, width) with values in [0, 1]; labels are int64 of shape (N,).
"""

import functools
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from utils.dataset_files import DataError, held_out_for_validation, idx_splits
from utils.files import ROOT
from utils.input_validation import require_int

FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""What the labels 0 to 9 of Fashion-MNIST stand for (Xiao, Rasul and Vollgraf, 2017, table 2)."""


class Examples(NamedTuple):
    """Images of shape (N, channels, height, width), float32, and their labels of shape (N,), int64.

    Other inputs stand in the place of images: vectors of shape (N, features) or sequences (N, length, features), both
    float32, or tokens of shape (N, length), int64, for a network that begins with an embedding. Labels count
    from 0.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def take(self, count: int) -> "Examples":
        """Return the first `count` examples (a view), or all of them if there are fewer."""
        require_int("count", count, minimum=1)
        return Examples(self.images[:count], self.labels[:count])

    def to(self, device: torch.device | str) -> "Examples":
        """Return the examples on `device`."""
        return Examples(self.images.to(device), self.labels.to(device))


class Splits(NamedTuple):
    """Train to learn from, validation to choose by, test to look at once."""

    train: Examples
    validation: Examples
    test: Examples


def require_examples(name: str, value: object) -> Examples:
    """Return `value` if it is `Examples`, and say what to write where all three splits or bare tensors were given."""
    if isinstance(value, Examples):
        return value
    remedy = "choose one of them, such as .train" if isinstance(value, Splits) else "write Examples(images, labels)"
    raise TypeError(f"{name} must be Examples, got {type(value).__name__}; {remedy}")


def require_apart(splits: Splits) -> Splits:
    """Return `splits` if no two of them hold the same examples: what is chosen by must be new, and so must the test.

    A few that are in two of them, as by chance, are let pass.

    Raises `ValueError`, which names the two, if half of the smaller one is in the other.

    >>> digits = Examples(torch.arange(8.0).view(4, 2), torch.tensor([0, 1, 0, 1]))
    >>> others = Examples(digits.images + 9, digits.labels)
    >>> require_apart(Splits(digits, digits.take(2), others))
    Traceback (most recent call last):
        ...
    ValueError: 2 examples of validation are in train, too; cut the training part in two before you train
    """
    inside = {
        name: {row.tobytes() for row in require_examples(name, split).images.flatten(1).cpu().numpy()}
        for name, split in zip(splits._fields, splits, strict=True)
    }
    for one, other in (("validation", "train"), ("test", "train"), ("validation", "test")):
        both = len(inside[one] & inside[other])
        if 2 * both >= min(len(inside[one]), len(inside[other])):
            raise ValueError(
                f"{both:,} examples of {one} are in {other}, too; cut the training part in two before you train"
            )
    return splits


def load(name: str = "mnist", *, root: Path | None = None, normalized: bool = False) -> Splits:
    """Load a data set by name and split it.

    MNIST and Fashion-MNIST (each: train 55,000, validation 5,000, test 10,000) come with the course and need no
    network; the digest of each file is checked at each call. "cifar10" is downloaded by torchvision at the first call.

    Args:
        name: "mnist", "fashion_mnist" or "cifar10".
        root: the folder that holds the files; by default `data/<name>` of the course.
        normalized: shift and scale each channel so that its pixels have mean 0 and standard deviation 1 over the
            training split. The course's networks take values in [0, 1], as they come without.

    Raises:
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
    mean = pixels.mean(dim=(0, 2, 3), keepdim=True)  # (1, channels, 1, 1)
    std = pixels.std(dim=(0, 2, 3), keepdim=True)
    return Splits(*(Examples((s.images - mean) / std, s.labels) for s in splits))


def calibration_batches(train: Examples, *, batches: int, batch_size: int, seed: int) -> list[torch.Tensor]:
    """Draw `batches` disjoint batches of images from the training split, for choosing quantization ranges and the like.

    Returns:
        A list of tensors of shape (batch_size, channels, height, width).

    >>> images = torch.zeros(100, 1, 28, 28)
    >>> [b.shape[0] for b in calibration_batches(Examples(images, torch.zeros(100)), batches=2, batch_size=8, seed=0)]
    [8, 8]
    """
    require_examples("train", train)
    if batches * batch_size > len(train.images):
        raise ValueError(f"{batches} batches of {batch_size} images need more than the {len(train.images)} there are")
    chosen = np.random.default_rng(seed).permutation(len(train.images))[: batches * batch_size]
    return list(train.images[torch.from_numpy(chosen)].split(batch_size))


def noise_like(batches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Draw noise of the range of the batches, in their place: the control for what only the right inputs can show.

    It is uniform between the lowest and the highest value of all batches. Where all of these are whole numbers, as
    tokens are, so is the noise. Noise between 0 and 1 would be no control for other inputs: for tokens it is always
    token 0, and for a signal between -20 and 20 a range that cuts the signal off.

    >>> [sorted(set(noise.tolist())) for noise in noise_like([torch.tensor([3, 4] * 50), torch.tensor([5, 3] * 50)])]
    [[3, 4, 5], [3, 4, 5]]
    """
    low, high = min(batch.min().item() for batch in batches), max(batch.max().item() for batch in batches)
    if all(bool((batch == batch.round()).all()) for batch in batches):
        return [torch.randint(int(low), int(high) + 1, batch.shape).to(batch.dtype) for batch in batches]
    return [low + (high - low) * torch.rand(batch.shape, dtype=batch.dtype) for batch in batches]


def _load_idx(data_set: str, root: Path) -> Splits:
    return Splits(*(_examples(split.images, split.labels) for split in idx_splits(data_set, root)))


def _examples(images: np.ndarray, labels: np.ndarray) -> Examples:
    pixels = torch.tensor(images, dtype=torch.float32).div_(255.0)
    # (N, height, width) of gray images, (N, height, width, channels) of CIFAR10 -> (N, channels, height, width)
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return Examples(pixels, torch.tensor(labels, dtype=torch.int64))


# --- through torchvision --------------------------------------------------------------------------------------------


def _load_torchvision(class_name: str, root: Path) -> Splits:
    from torchvision import datasets  # a second to import, and only these sets need it

    data_set = getattr(datasets, class_name)
    try:
        train, test = (data_set(str(root), train=flag, download=True) for flag in (True, False))
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"{class_name} is not in {root.name}/ and could not be downloaded ({error}). It needs a network once; "
            'without one, use load("mnist") or load("fashion_mnist"), which come with the course'
        ) from error
    images = np.asarray(train.data)
    labels = np.asarray(train.targets)
    held_out = held_out_for_validation(labels)
    return Splits(
        _examples(images[~held_out], labels[~held_out]),
        _examples(images[held_out], labels[held_out]),
        _examples(np.asarray(test.data), np.asarray(test.targets)),
    )


_LOADERS = {
    "mnist": functools.partial(_load_idx, "mnist"),
    "fashion_mnist": functools.partial(_load_idx, "fashion_mnist"),
    "cifar10": functools.partial(_load_torchvision, "CIFAR10"),
}
