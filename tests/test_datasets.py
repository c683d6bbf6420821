"""MNIST and Fashion-MNIST as they come with the course: splits, damage that is found, calibration batches; CIFAR-10."""

import gc
import gzip
import hashlib
import shutil
import urllib.error
import urllib.request
import weakref
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision import datasets

from utils.dataset_files import DataError, idx_splits, read_idx
from utils.datasets import FASHION_CLASSES, Examples, Splits, calibration_batches, load, noise_like, require_apart
from utils.files import ROOT

MNIST = ROOT / "data" / "mnist"
FASHION = ROOT / "data" / "fashion_mnist"
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
VALIDATION_DIGEST = "c54722a33319f0ece0824b7e77df1db627a25bca7f5f495449bd5b6481c82c82"


def raw(name: str) -> np.ndarray:
    """Read an IDX file without the course's code: a header of 16 bytes for images, of 8 for labels."""
    content = np.frombuffer(gzip.decompress((MNIST / name).read_bytes()), dtype=np.uint8)
    return content[16:].reshape(-1, 784) if "images" in name else content[8:]


def as_bytes(split: Examples) -> tuple[np.ndarray, np.ndarray]:
    pixels = (split.images * 255).round().to(torch.uint8).flatten(1).numpy()
    return pixels, split.labels.to(torch.uint8).numpy()


def numbered(count: int) -> Examples:
    """Images that hold nothing but their own number."""
    return Examples(
        torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4), torch.zeros(count, dtype=torch.long)
    )


# --- the splits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("train", 55_000), ("validation", 5_000), ("test", 10_000)])
def test_size_type_and_range_of_each_split(mnist, name, count):
    images, labels = getattr(mnist, name)
    assert (images.shape, images.dtype) == ((count, 1, 28, 28), torch.float32)
    assert (labels.shape, labels.dtype) == ((count,), torch.int64)
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert labels.unique().tolist() == list(range(10))


def test_the_test_split_is_the_published_one_in_its_order(mnist):
    pixels, labels = as_bytes(mnist.test)
    np.testing.assert_array_equal(pixels, raw(IMAGES))
    np.testing.assert_array_equal(labels, raw(LABELS))


def test_train_and_validation_share_out_the_published_training_images(mnist):
    def examples(pixels, labels):
        return Counter(p.tobytes() + bytes([d]) for p, d in zip(pixels, labels, strict=True))

    shared = examples(*as_bytes(mnist.train)) + examples(*as_bytes(mnist.validation))
    assert shared == examples(raw("train-images-idx3-ubyte.gz"), raw("train-labels-idx1-ubyte.gz"))


def test_validation_is_stratified(mnist):
    held_out = torch.bincount(mnist.validation.labels)
    share = (held_out + torch.bincount(mnist.train.labels)) / 12
    assert (held_out - share).abs().max() <= 1


def test_what_was_read_is_not_kept():
    images = weakref.ref(idx_splits("mnist")[2].images)
    gc.collect()
    assert images() is None


def test_validation_is_fixed(mnist):
    pixels, labels = as_bytes(mnist.validation)
    assert hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest() == VALIDATION_DIGEST


def test_normalized_pixels_have_mean_0_and_deviation_1():
    train = load("mnist", normalized=True).train.images
    assert train.mean().item() == pytest.approx(0.0, abs=2e-3)
    assert train.std().item() == pytest.approx(1.0, abs=2e-3)


def test_splits_that_hold_the_same_examples_are_refused():
    data, labels = torch.rand(30, 2, 4), torch.arange(30) % 3
    parts = [Examples(data[at : at + 10], labels[at : at + 10]) for at in (0, 10, 20)]
    assert require_apart(Splits(*parts)) == Splits(*parts)
    by_chance = Examples(torch.cat([parts[1].images[:6], parts[0].images[:4]]), parts[1].labels)
    require_apart(Splits(parts[0], by_chance, parts[2]))
    for wrong, match in (
        (Splits(parts[0], parts[2], parts[2]), "10 examples of validation are in test, too; cut the training part"),
        (Splits(parts[0], parts[0], parts[2]), "10 examples of validation are in train, too"),
        (Splits(Examples(data, labels), parts[1], parts[2]), "10 examples of validation are in train, too"),
        (Splits(parts[0], parts[1], parts[0]), "10 examples of test are in train, too"),
    ):
        with pytest.raises(ValueError, match=match):
            require_apart(wrong)


# --- damage ---------------------------------------------------------------------------------------------------------


def flip_a_pixel(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[len(content) // 2] ^= 1
    path.write_bytes(gzip.compress(bytes(content), compresslevel=1))


def break_the_stream(path):
    content = path.read_bytes()
    path.write_bytes(content[:40] + b"\xff" * 40 + content[80:])  # no gzip block begins or goes on like this


DAMAGE = {
    "missing": (lambda path: path.unlink(), "is missing"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "is truncated"),
    "a pixel flipped": (flip_a_pixel, "wrong SHA-256"),
    "a broken stream": (break_the_stream, "cannot be read: Error -3 while decompressing"),
    "swapped": (lambda path: shutil.copy(MNIST / LABELS, path), f"holds the content of {LABELS} of mnist"),
    "of the other data set": (
        lambda path: shutil.copy(FASHION / IMAGES, path),
        f"content of {IMAGES} of fashion_mnist",
    ),
    "trailing bytes": (lambda path: path.write_bytes(path.read_bytes() + b"more"), "cannot be read"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, damage):
    shutil.copy(MNIST / IMAGES, path := tmp_path / IMAGES)
    harm, wrong = DAMAGE[damage]
    harm(path)
    with pytest.raises(DataError, match=wrong) as caught:
        read_idx(path)
    assert IMAGES in str(caught.value)
    assert "git checkout" in str(caught.value)


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_no_bytes_pass_for_the_labels(tmp_path, noise):
    for content in (noise, gzip.compress(noise)):
        (tmp_path / LABELS).write_bytes(content)
        with pytest.raises(DataError, match=LABELS):
            read_idx(tmp_path / LABELS)


def test_load_checks_every_file_of_another_folder(tmp_path, mnist):
    shutil.copytree(MNIST, tmp_path / "copy")
    assert torch.equal(load("mnist", root=tmp_path / "copy").validation.images, mnist.validation.images)
    shutil.copytree(MNIST, tmp_path / "damaged")
    flip_a_pixel(tmp_path / "damaged" / LABELS)
    with pytest.raises(DataError, match=f"{LABELS} in damaged/"):
        load("mnist", root=tmp_path / "damaged")


def test_a_file_of_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"labels\.gz is not a file of mnist"):
        read_idx(tmp_path / "labels.gz")


# --- larger sets ----------------------------------------------------------------------------------------------------


def test_fashion_mnist_comes_with_the_course_and_is_split_like_the_digits(mnist):
    clothes = load("fashion_mnist")
    assert [len(split.labels) for split in clothes] == [55_000, 5_000, 10_000]
    assert clothes.train.images.shape == mnist.train.images.shape
    assert torch.bincount(clothes.validation.labels).tolist() == [500] * 10
    assert round(clothes.train.images.mean().item(), 3) == 0.286  # published: 0.2860 over the 60,000
    names = [FASHION_CLASSES[label] for label in clothes.test.labels[:4]]
    assert names == ["ankle boot", "pullover", "trouser", "trouser"], "the first four of the published test set"


def test_a_missing_file_of_fashion_mnist_names_its_own_folder(tmp_path):
    with pytest.raises(DataError, match="git checkout -- data/fashion_mnist"):
        load("fashion_mnist", root=tmp_path)


def test_without_a_network_a_larger_set_says_so(tmp_path, monkeypatch):
    def no_network(*_args, **_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(DataError, match=r"(?s)could not be downloaded.*load\(.mnist.\)"):
        load("cifar10", root=tmp_path)


def test_a_colour_set_is_split_and_turned_channels_first(tmp_path, monkeypatch):
    class FakeCIFAR10:
        def __init__(self, root, train, download):
            generator = np.random.default_rng(train)
            self.data = generator.integers(0, 256, (240 if train else 20, 32, 32, 3), dtype=np.uint8)
            self.targets = [i % 10 for i in range(len(self.data))]

    monkeypatch.setattr(datasets, "CIFAR10", FakeCIFAR10)
    splits = load("cifar10", root=tmp_path)
    assert [len(split.labels) for split in splits] == [220, 20, 20]
    assert torch.bincount(splits.validation.labels).tolist() == [2] * 10
    expected = FakeCIFAR10(tmp_path, False, False).data[7, 30, 1, 2] / 255
    assert splits.test.images[7, 2, 30, 1].item() == pytest.approx(expected)


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="unknown data set 'mnst'; known are cifar10, fashion_mnist, mnist"):
        load("mnst")


# --- calibration batches ---------------------------------------------------------------------------------------------


@given(batches=st.integers(1, 6), batch_size=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_calibration_batches_are_disjoint_and_drawn_from_train(batches, batch_size, seed):
    drawn = calibration_batches(numbered(48), batches=batches, batch_size=batch_size, seed=seed)
    assert [tuple(batch.shape) for batch in drawn] == [(batch_size, 1, 4, 4)] * batches
    ids = torch.cat(drawn)[:, 0, 0, 0].tolist()
    assert len(set(ids)) == batches * batch_size
    assert set(ids) <= set(range(48))


def test_calibration_batches_follow_the_seed():
    first, again, other = (
        torch.cat(calibration_batches(numbered(100), batches=2, batch_size=10, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, numbered(100).images[:20])


def test_calibration_refuses_more_images_than_there_are_and_all_three_splits():
    with pytest.raises(ValueError, match="the 20 there are"):
        calibration_batches(numbered(20), batches=3, batch_size=7, seed=0)
    with pytest.raises(TypeError, match="got Splits; choose one of them"):
        calibration_batches(Splits(*[numbered(20)] * 3), batches=2, batch_size=4, seed=0)


def test_noise_fills_the_range_of_the_inputs_and_no_more():
    for low, high in ((0.0, 1.0), (-20.0, 12.5)):
        batches = [
            low + (high - low) * torch.rand(8, 3, 50, generator=torch.Generator().manual_seed(s)) for s in (1, 2)
        ]
        noise = noise_like(batches)
        assert [each.shape for each in noise] == [(8, 3, 50)] * 2
        lowest, highest = torch.cat(noise).min().item(), torch.cat(noise).max().item()
        assert torch.cat(batches).min() <= lowest < low + 0.05 * (high - low)
        assert torch.cat(batches).max() >= highest > high - 0.05 * (high - low)
        assert not torch.equal(*noise)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_noise_for_tokens_is_tokens_of_their_type(dtype):
    batches = list(torch.randint(2, 9, (4, 50, 12), generator=torch.Generator().manual_seed(0)).to(dtype))
    noise = torch.stack(noise_like(batches))
    assert noise.dtype == dtype
    assert noise.unique().tolist() == list(range(2, 9))


def test_noise_between_0_and_1_is_what_torch_draws_for_images():
    torch.manual_seed(5)
    wanted = torch.rand(4, 1, 3, 3)
    torch.manual_seed(5)
    assert torch.equal(noise_like([torch.linspace(0, 1, 36).view(4, 1, 3, 3)])[0], wanted)


def test_take_gives_the_first_examples_or_all_there_are():
    split = numbered(5)
    assert split.take(2).images[:, 0, 0, 0].tolist() == [0, 1]
    assert len(split.take(99).labels) == 5
