"""data.py on the real bundled MNIST, and on Fashion-MNIST through the real TFDS where its files are at hand."""

import contextlib
import functools
import gzip
import hashlib
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_genzoo import data
from keras_genzoo.data import bundled, rendered, tfds
from keras_genzoo.errors import MissingDataError, ZooError
from keras_genzoo.models.face_swap import landmarks

ORIGINALS = Path(os.environ.get("KERAS_GENZOO_DATA") or Path(__file__).parents[2] / "shared" / "data").resolve()
FASHION_FILES = [file for file, _ in bundled.MNIST_FILES.values()]  # the same four names
HAS_FASHION = all((ORIGINALS / "fashion_mnist" / file).is_file() for file in FASHION_FILES)
needs_fashion = pytest.mark.skipif(
    not HAS_FASHION, reason=f"no original files in {ORIGINALS / 'fashion_mnist'}; set KERAS_GENZOO_DATA"
)

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
_HASH = np.random.default_rng(0).integers(-(2**62), 2**62, 784)


def _keys(images):
    """One int64 per image that tells it from every other: images in [0, 1], or uint8, to a random projection."""
    images = np.asarray(images)
    if images.dtype != "uint8":
        images = np.rint(images * 255)
    return images.reshape(len(images), 784).astype("int64") @ _HASH


@functools.cache
def _mnist_keys(split):
    images = data.arrays("mnist", split)[0]
    return np.concatenate([_keys(images[i : i + 5000]) for i in range(0, len(images), 5000)])


def _epoch(dataset):
    """The keys of one pass, in order."""
    return np.concatenate([_keys(batch) for batch in dataset.as_numpy_iterator()])


def _all(dataset):
    return np.concatenate(list(dataset.as_numpy_iterator()))


def _first(dataset, n=1):
    """The first n batches."""
    return list(dataset.take(n).as_numpy_iterator())


# === The bundled MNIST ===


@pytest.mark.parametrize(("split", "counts"), [("train", TRAIN_COUNTS), ("test", TEST_COUNTS)])
def test_mnist_is_mnist(split, counts):
    images, labels = data.arrays("mnist", split)
    assert (images.shape, images.dtype) == ((sum(counts), 28, 28, 1), "uint8")
    assert (labels.shape, labels.dtype) == ((sum(counts),), "int64")
    assert np.bincount(labels).tolist() == counts
    assert (images.min(), images.max()) == (0, 255)
    assert labels[0] == {"train": 5, "test": 7}[split]


def test_mnist_pixels_are_those_everybody_knows():
    """Mean 0.1307 and standard deviation 0.3081: the numbers in every tutorial's normalisation."""
    images = data.arrays("mnist", "train")[0] / np.float32(255)
    assert images.mean(dtype="float64") == pytest.approx(0.1307, abs=5e-5)
    assert images.std(dtype="float64") == pytest.approx(0.3081, abs=5e-5)
    assert len(np.unique(_mnist_keys("train"))) == 60_000  # no image twice, and the keys of these tests tell them apart


def test_mnist_labels_belong_to_their_images():
    """The nearest class mean is right for 82.03 % of the test images; shuffled labels would give 10 %."""
    images, labels = data.arrays("mnist", "train")
    means = np.stack([images[labels == digit].mean(axis=0, dtype="float64").ravel() for digit in range(10)])
    images, labels = data.arrays("mnist", "test")
    images = images.reshape(-1, 784).astype("float64")
    nearest = (images @ means.T - 0.5 * (means**2).sum(axis=1)).argmax(axis=1)
    assert (nearest == labels).mean() == pytest.approx(0.8203, abs=5e-5)


def test_mnist_images_are_upright():
    """Row by row: the first training image is a 5 whose strokes fill rows 5 to 24 and columns 4 to 23."""
    image = data.arrays("mnist", "train")[0][0, ..., 0]
    rows, columns = np.nonzero(image.any(axis=1))[0], np.nonzero(image.any(axis=0))[0]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 24, 4, 23)


def test_arrays_are_shared_and_cannot_be_changed():
    images, _ = data.arrays("mnist", "test")
    assert data.arrays("mnist", "test")[0] is images  # read and unpacked once
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_labels_are_shared_and_cannot_be_changed():
    assert not data.arrays("mnist", "test")[1].flags.writeable


def test_mnist_needs_neither_network_nor_folder(monkeypatch, no_network, tmp_path):
    monkeypatch.setenv("KERAS_GENZOO_DATA", str(tmp_path / "nowhere"))
    assert _first(data.load("mnist", "test", batch_size=2))[0].shape == (2, 28, 28, 1)
    assert no_network == []


# === Batches ===


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("binarize", [None, "dynamic"])
def test_batches_are_float32_in_0_1(split, binarize):
    dataset = data.load("mnist", split, batch_size=1000, binarize=binarize, labels=True)
    (image_spec, label_spec) = dataset.element_spec
    assert (image_spec.shape[1:], image_spec.dtype) == ((28, 28, 1), tf.float32)
    assert (label_spec.shape.rank, label_spec.dtype) == (1, tf.int64)
    for images, labels in _first(dataset, 2):
        assert (images.shape, images.dtype) == ((1000, 28, 28, 1), "float32")
        assert (labels.shape, labels.dtype) == ((1000,), "int64")
        assert (images.min(), images.max()) == (0.0, 1.0)
        assert (len(np.unique(images)) == 2) == (binarize == "dynamic")


def test_pixels_are_uint8_over_255():
    images = _first(data.load("mnist", "test", batch_size=500))[0]
    np.testing.assert_array_equal(images, data.arrays("mnist", "test")[0][:500].astype("float32") / 255)
    np.testing.assert_array_equal(images, data.to_unit(data.arrays("mnist", "test")[0][:500]))


def test_labels_stay_with_their_images():
    label_of = dict(zip(_mnist_keys("train").tolist(), data.arrays("mnist", "train")[1].tolist(), strict=True))
    seen = 0
    for images, labels in data.load("mnist", "train", batch_size=4096, labels=True).as_numpy_iterator():
        assert [label_of[key] for key in _keys(images).tolist()] == labels.tolist()
        seen += len(labels)
    assert seen == 60_000


@pytest.mark.parametrize(
    ("split", "batch_size", "drop_remainder", "sizes"),
    [
        ("test", 3000, False, [3000] * 3 + [1000]),
        ("test", 3000, True, [3000] * 3),
        ("train", 25_000, False, [25_000] * 2 + [10_000]),
        ("train", 25_000, True, [25_000] * 2),
        ("test", 10_000, True, [10_000]),
        ("test", 70_000, False, [10_000]),
    ],
)
def test_batch_sizes_and_cardinality(split, batch_size, drop_remainder, sizes):
    dataset = data.load("mnist", split, batch_size=batch_size, drop_remainder=drop_remainder)
    assert [len(batch) for batch in dataset.as_numpy_iterator()] == sizes
    assert dataset.cardinality().numpy() == len(sizes)
    assert dataset.element_spec.shape[0] == (batch_size if drop_remainder else None)  # static: XLA needs it


def test_default_cardinality():
    assert data.load("mnist", "train").cardinality().numpy() == 469
    assert data.load("mnist", "train", drop_remainder=True).cardinality().numpy() == 468


# === Order ===


def test_train_is_shuffled_anew_every_epoch_and_the_same_in_every_run():
    first = data.load("mnist", "train", batch_size=5000, seed=3)
    epochs = [_epoch(first), _epoch(first)]
    again = data.load("mnist", "train", batch_size=5000, seed=3)
    for i in range(2):
        np.testing.assert_array_equal(_epoch(again), epochs[i])
        np.testing.assert_array_equal(np.sort(epochs[i]), np.sort(_mnist_keys("train")))  # every image exactly once
    other = _epoch(data.load("mnist", "train", batch_size=5000, seed=4))
    # Two random orders of n agree in one place on average (Poisson): 20 would be an order kept in part.
    for a, b in [(epochs[0], epochs[1]), (epochs[0], other), (epochs[1], other), (epochs[0], _mnist_keys("train"))]:
        assert (a == b).sum() < 20


def test_shuffling_reaches_over_the_whole_split():
    """A shuffle buffer smaller than the split leaves early images early: their places would correlate."""
    order = _epoch(data.load("mnist", "train", batch_size=5000))
    place = {key: i for i, key in enumerate(_mnist_keys("train").tolist())}
    places = [place[key] for key in order.tolist()]
    assert abs(np.corrcoef(np.arange(60_000), places)[0, 1]) < 4 / math.sqrt(60_000)


def test_order_does_not_depend_on_batch_size():
    by_100 = np.concatenate(_first(data.load("mnist", "train", batch_size=100), 6))
    by_300 = np.concatenate(_first(data.load("mnist", "train", batch_size=300), 2))
    np.testing.assert_array_equal(by_100, by_300)


def test_test_order_is_that_of_the_files():
    dataset = data.load("mnist", "test", batch_size=999, seed=5)
    for _ in range(2):
        np.testing.assert_array_equal(_epoch(dataset), _mnist_keys("test"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_shuffle_overrides_the_split(split):
    shuffled = data.load("mnist", split, batch_size=2000, shuffle=True)
    assert (_keys(_first(shuffled)[0]) == _mnist_keys(split)[:2000]).sum() < 20
    unshuffled = data.load("mnist", split, batch_size=2000, shuffle=False)
    for _ in range(2):
        np.testing.assert_array_equal(_keys(_first(unshuffled)[0]), _mnist_keys(split)[:2000])


def test_order_depends_on_its_own_seed_only():
    orders = []
    for seed in (None, 1, 2):  # as keras.utils.set_random_seed in a user's script would
        tf.random.set_seed(seed)
        orders.append(_keys(_first(data.load("mnist", "train", batch_size=1000))[0]))
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[1], orders[2])


def test_stream_depends_on_its_own_seed_only():
    batches = []
    for seed in (None, 1, 2):
        tf.random.set_seed(seed)
        batches.append(_first(data.stream("mnist", batch_size=1000, binarize="dynamic")[0])[0])
    np.testing.assert_array_equal(batches[0], batches[1])
    np.testing.assert_array_equal(batches[1], batches[2])


# === Dynamic binarisation ===


def _check_is_bernoulli(drawn, grey):
    """`drawn` are independent Bernoulli draws with means `grey`, both `(n, 784)`."""
    grey = grey.astype("float64")
    variance, residual = grey * (1 - grey), drawn - grey
    assert abs(residual.sum()) < 4 * math.sqrt(variance.sum())  # four standard errors of the grand mean
    for axis in (0, 1):
        # Sums over images, then over pixels, in standard errors. Noise that several images or pixels share would
        # inflate their mean square, which is 1 within four standard errors (2 / m, and the draws' own kurtosis).
        enough = variance.sum(axis=axis) > 5
        z = residual.sum(axis=axis)[enough] / np.sqrt(variance.sum(axis=axis)[enough])
        assert len(z) > 300
        assert (z**2).mean() == pytest.approx(1, abs=4 * math.sqrt(2.2 / len(z)))
        assert abs(z).max() < 6
    assert not (drawn != grey)[(grey == 0) | (grey == 1)].any()  # black stays black and white white


def test_binarised_test_images_are_bernoulli_draws_of_the_grey_ones():
    drawn = _all(data.load("mnist", "test", batch_size=1000, binarize="dynamic")).reshape(-1, 784)
    _check_is_bernoulli(drawn, data.to_unit(data.arrays("mnist", "test")[0]).reshape(-1, 784))


def test_binarised_training_images_are_bernoulli_draws_of_the_grey_ones():
    options = {"batch_size": 500, "seed": 2}
    # The order is the same with and without binarisation: it has its own random numbers.
    grey = np.concatenate(_first(data.load("mnist", "train", **options), 20)).reshape(-1, 784)
    drawn = np.concatenate(_first(data.load("mnist", "train", binarize="dynamic", **options), 20)).reshape(-1, 784)
    _check_is_bernoulli(drawn, grey)


def test_binarised_test_images_are_always_the_same():
    """The numbers on the cards are of these very images: no batch size, pass or process may change them."""
    dataset = data.load("mnist", "test", batch_size=100, binarize="dynamic")
    images = _all(dataset)
    np.testing.assert_array_equal(images, _all(dataset))
    np.testing.assert_array_equal(images, _all(data.load("mnist", "test", batch_size=3333, binarize="dynamic")))
    fixed = data.binarize_fixed(data.arrays("mnist", "test")[0], seed=0)
    assert (fixed.dtype, set(np.unique(fixed))) == ("uint8", {0, 255})
    np.testing.assert_array_equal(images, fixed / np.float32(255))
    assert int(images.sum(dtype="float64")) == 1_038_819  # pinned: another draw would be another test set
    other = _all(data.load("mnist", "test", batch_size=100, binarize="dynamic", seed=1))
    assert 0.03 < (images != other).mean() < 0.07  # 2 p (1 - p), which is 5 % of all pixels on average


def test_binarised_training_images_are_redrawn_every_epoch():
    wanted = set(_mnist_keys("train")[:2000].tolist())
    grey = data.load("mnist", "train", batch_size=4000)
    binary = data.load("mnist", "train", batch_size=4000, binarize="dynamic")
    epochs = []
    for _ in range(2):
        drawn = {}
        for g, b in zip(grey.as_numpy_iterator(), binary.as_numpy_iterator(), strict=True):
            drawn.update((key, b[i].ravel()) for i, key in enumerate(_keys(g).tolist()) if key in wanted)
        assert len(drawn) == 2000
        epochs.append(np.stack([drawn[key] for key in sorted(drawn)]))
    p = data.to_unit(data.arrays("mnist", "train")[0][:2000]).astype("float64")
    differ = 2 * p * (1 - p)  # the probability that two independent draws differ
    error = math.sqrt((differ * (1 - differ)).sum())
    assert (epochs[0] != epochs[1]).sum() == pytest.approx(differ.sum(), abs=4 * error)


def test_binarised_training_images_repeat_in_the_next_run():
    batches = [_first(data.load("mnist", "train", batch_size=500, binarize="dynamic", seed=7), 3) for _ in range(2)]
    np.testing.assert_array_equal(batches[0], batches[1])


# === Streams ===


def test_stream_resumes_bit_for_bit():
    options = {"batch_size": 7000, "binarize": "dynamic", "labels": True, "seed": 5}
    stream, per_epoch = data.stream("mnist", **options)
    assert per_epoch == 8  # 56,000 of 60,000: full batches only
    unbroken = _first(stream, 3 * per_epoch)[2 * per_epoch :]
    resumed_stream, _ = data.stream("mnist", **options, first_epoch=2)
    resumed = _first(resumed_stream, per_epoch)
    for (images, labels), (images_again, labels_again) in zip(unbroken, resumed, strict=True):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(labels, labels_again)


def test_stream_epochs():
    stream, per_epoch = data.stream("mnist", batch_size=7000, seed=5)
    assert stream.element_spec.shape == (7000, 28, 28, 1)
    batches = _first(stream, 2 * per_epoch + 1)  # it does not end with an epoch
    assert len(batches) == 17
    keys = [_keys(batch) for batch in batches]
    epochs = [np.concatenate(keys[:8]), np.concatenate(keys[8:16])]
    known = set(_mnist_keys("train").tolist())
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 56_000  # no image twice
        assert set(epoch.tolist()) <= known
    assert set(epochs[0].tolist()) != set(epochs[1].tolist())  # the remainder is not always the same
    assert (epochs[0] == epochs[1]).sum() < 20
    np.testing.assert_array_equal(_first(stream)[0], batches[0])  # a second pass begins where the first began
    other = data.stream("mnist", batch_size=7000, seed=6)[0]
    assert (_keys(_first(other)[0]) == keys[0]).sum() < 20


def test_stream_noise_is_of_the_epoch_and_the_batch():
    """The same noise in two batches would show as correlated residuals at the same places of the batch."""
    options = {"batch_size": 1000, "seed": 0}
    grey = [_first(data.stream("mnist", **options, first_epoch=e)[0], 2) for e in (0, 1)]
    drawn = [_first(data.stream("mnist", **options, first_epoch=e, binarize="dynamic")[0], 2) for e in (0, 1)]
    residuals = [(d - g).ravel() for d_epoch, g_epoch in zip(drawn, grey, strict=True)
                 for d, g in zip(d_epoch, g_epoch, strict=True)]  # fmt: skip
    correlations = np.corrcoef(residuals)[np.triu_indices(4, k=1)]
    # A tenth of the 784,000 pixels are grey: chance correlations stay within a few times 1 / sqrt(784,000 / 10).
    assert abs(correlations).max() < 5 / math.sqrt(78_400)


@pytest.mark.parametrize(
    "make",
    [
        lambda: data.load("mnist", "train"),
        lambda: data.load("mnist", "test"),
        lambda: data.stream("mnist", batch_size=64)[0],
        lambda: data.stream(("mnist", "mnist"), batch_size=64)[0],
    ],
)
def test_no_tuner_keeps_fit_waiting(make):
    """Closing an iterator waits for TensorFlow's tuner, which sleeps as long again as the iterator has lived."""
    assert make().options().autotune.enabled is False


# === Bad input ===


def test_unknown_split():
    with pytest.raises(ZooError, match=r"mnist has the splits train, test\. Received: 'validation'"):
        data.load("mnist", "validation")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("binarize", ["static", "Dynamic", True])
def test_bad_binarize(split, binarize):
    with pytest.raises(ZooError, match=rf"`binarize` must be None or 'dynamic'\. Received: {binarize!r}"):
        data.load("mnist", split, binarize=binarize)


@pytest.mark.parametrize(("batch_size", "drop_remainder"), [(0, False), (-1, False), (0, True), (10_001, True)])
def test_bad_batch_size(batch_size, drop_remainder):
    with pytest.raises(ZooError, match=rf"`batch_size` must be in 1\.\.10000 .* Received: {batch_size}"):
        data.load("mnist", "test", batch_size=batch_size, drop_remainder=drop_remainder)


def test_what_a_stream_holds_out_is_the_same_share_of_every_class():
    """And is drawn: rows of a sorted set come in no order, and other seeds hold out others."""
    labels = np.repeat([0, 1, 7], [300, 90, 1])
    rows = data.held_out(391, 39, labels=labels, seed=0)
    assert len(set(rows)) == 39
    assert np.bincount(labels[rows], minlength=8).tolist() == [30, 9, 0, 0, 0, 0, 0, 0]
    assert (np.diff(rows) < 0).any()
    assert rows.tolist() == data.held_out(391, 39, labels=labels, seed=0).tolist()
    assert set(rows) != set(data.held_out(391, 39, labels=labels, seed=1))
    assert len(set(data.held_out(100, 30, labels=None, seed=0))) == 30

    held = {"n_held_out": 59_000, "seed": 3}
    stream, steps = data.stream("mnist", batch_size=100, **held)
    assert steps == 10
    labels = data.arrays("mnist", "train")[1]
    apart = data.held_out(60_000, 59_000, labels=labels, seed=3)
    seen = np.concatenate([_keys(batch) for batch in stream.take(10).as_numpy_iterator()])
    np.testing.assert_array_equal(np.sort(seen), np.sort(np.delete(_mnist_keys("train"), apart)))
    with_labels, _ = data.stream("mnist", batch_size=100, labels=True, **held)
    counts = sum(np.bincount(y, minlength=10) for _, y in with_labels.take(10).as_numpy_iterator())
    np.testing.assert_allclose(counts, np.bincount(labels) / 60, atol=1)
    with pytest.raises(ZooError, match="60000 images are to be held out, and mnist has 60000"):
        data.stream("mnist", batch_size=100, n_held_out=60_000)


def test_stream_of_fewer_images_than_a_batch_is_one_batch():
    batches, steps = data.stream("mnist", batch_size=60_001)
    assert steps == 1
    assert batches.element_spec.shape[0] == 60_000


def _flip(packed):
    return packed[:1000] + bytes([packed[1000] ^ 1]) + packed[1001:]


def _cut(packed):
    return packed[:-1]


def _repack(packed):
    return gzip.compress(gzip.decompress(packed))


@pytest.mark.parametrize("damage", [_flip, _cut, _repack, lambda packed: b""])
def test_a_damaged_idx_file_is_named(tmp_path, damage):
    file, sha256 = bundled.MNIST_FILES["test", "labels"]
    path = tmp_path / file
    shutil.copy(bundled.BUNDLED / "mnist" / file, path)
    assert bundled.read_idx(path, sha256).shape == (10_000,)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ZooError, match=f"{path} is damaged.*reinstall"):
        bundled.read_idx(path, sha256)


def test_a_missing_idx_file_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=f"{tmp_path / 'gone.gz'} is missing.*reinstall"):
        bundled.read_idx(tmp_path / "gone.gz", "0" * 64)


# === Through TensorFlow Datasets ===


@pytest.fixture
def no_network(monkeypatch):
    """Every way of Python to the network raises at once; the list it returns names the attempts."""
    return _forbid_network(monkeypatch)


def _forbid_network(monkeypatch):
    attempts = []

    def refuse(*args, timeout=None, **kwargs):
        attempts.append((args, timeout))
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


def _tfds_home(monkeypatch, folder):
    """TFDS with `folder` as its default data_dir, whatever lies in the user's own, and a fresh cache of ours.

    `tfds.builder` without data_dir looks in `constants.DATA_DIR` and in the folders registered by `add_data_dir`.
    """
    from tensorflow_datasets.core import constants
    from tensorflow_datasets.core.utils import file_utils

    monkeypatch.setattr(constants, "DATA_DIR", str(folder))
    monkeypatch.setattr(file_utils, "_REGISTERED_DATA_DIRS", set())
    monkeypatch.delenv("KERAS_GENZOO_DATA", raising=False)
    tfds._arrays.cache_clear()


@pytest.fixture
def empty_home(monkeypatch, no_network, tmp_path):
    """A machine without network and without prepared data sets: the folder where TFDS looks."""
    _tfds_home(monkeypatch, tmp_path / "tfds")
    yield tmp_path / "tfds"
    tfds._arrays.cache_clear()


@pytest.fixture(scope="module")
def fashion_home(tmp_path_factory):
    """The folder where TFDS has prepared Fashion-MNIST from its original files, without a network: 17 s, by night."""
    home = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as monkeypatch:
        attempts = _forbid_network(monkeypatch)
        _tfds_home(monkeypatch, home)
        data.arrays("fashion_mnist", "test", data_dir=ORIGINALS)
    tfds._arrays.cache_clear()
    assert attempts == []
    assert not list(ORIGINALS.glob("fashion_mnist/[0-9]*"))  # the originals' folder is only read
    return home


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("fashion_mnits", "fashion_mnist"),
        ("cifar_10", "cifar10"),
        ("MNIST", "mnist"),
    ],
)
def test_unknown_data_set_gets_the_nearest_name(empty_home, no_network, name, nearest):
    with pytest.raises(ZooError, match=f"Unknown data set '{name}'. Did you mean .*\\b{nearest}\\b") as error:
        data.load(name, "train")
    assert not isinstance(error.value, MissingDataError)
    assert no_network == []


def test_suggestions_do_not_repeat(empty_home):
    with pytest.raises(ZooError) as error:
        data.load("mnits", "train")
    names = str(error.value).partition("Did you mean ")[2].rstrip("?").split(", ")
    assert len(names) == len(set(names))


@pytest.mark.parametrize("given", ["argument", "environment", None])
def test_missing_data_set(empty_home, no_network, tmp_path, monkeypatch, given):
    """TFDS alone would wait 205 seconds here, and then print forty lines."""
    folder = tmp_path / "data"
    if given == "environment":
        monkeypatch.setenv("KERAS_GENZOO_DATA", str(folder))
    start = time.monotonic()
    with pytest.raises(MissingDataError) as error:
        data.load("fashion_mnist", "train", data_dir=folder if given == "argument" else None)
    assert time.monotonic() - start < 15
    message = str(error.value)
    assert isinstance(error.value, FileNotFoundError)
    assert "'fashion_mnist' is missing" in message  # what
    assert str(empty_home / "fashion_mnist") in message  # where it looked
    assert (str(folder / "fashion_mnist") if given else "$KERAS_GENZOO_DATA (not set)") in message
    assert "tfds.load('fashion_mnist')" in message  # the command that gets it
    assert "DIR/fashion_mnist/" in message
    assert "KERAS_GENZOO_DATA=DIR" in message
    assert "no network in tests" in message  # the reason
    assert "\n" not in message
    # One probe, with a time limit: a firewall that swallows packets must not make it wait.
    [(address, timeout)] = no_network
    assert address == (("fashion-mnist.s3-website.eu-central-1.amazonaws.com", 80),)
    assert 0 < timeout <= 10


def test_some_of_the_original_files_are_not_enough(empty_home, tmp_path):
    folder = tmp_path / "data" / "fashion_mnist"
    folder.mkdir(parents=True)
    for file in FASHION_FILES[:3]:
        (folder / file).write_bytes(b"")
    with pytest.raises(MissingDataError, match="'fashion_mnist' is missing"):
        data.load("fashion_mnist", "train", data_dir=folder.parent)


@needs_fashion
def test_a_damaged_original_file_is_named(empty_home, tmp_path):
    folder = tmp_path / "data" / "fashion_mnist"
    folder.mkdir(parents=True)
    for file in FASHION_FILES:
        (folder / file).symlink_to(ORIGINALS / "fashion_mnist" / file)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    packed = path.read_bytes()
    path.unlink()
    path.write_bytes(_flip(packed))
    with pytest.raises(ZooError, match=str(path)):
        data.load("fashion_mnist", "train", data_dir=folder.parent)


HOLD = "import filelock, sys, time; a = filelock.FileLock(sys.argv[1]); a.acquire(); print(flush=True); time.sleep(60)"


def _described():
    """What TFDS tells of a set of one image."""
    splits = {split: SimpleNamespace(num_examples=1) for split in ("train", "test")}
    return SimpleNamespace(splits=splits, features={"image": SimpleNamespace(shape=(2, 2, 1))})


def test_a_data_set_is_prepared_by_one_at_a_time(tmp_path, monkeypatch):
    """Who comes second waits, says so, and finds it prepared. A process that is killed meanwhile holds up nobody."""
    folder, prepared = tmp_path / "slow_set" / "1.0.0", []

    class Builder:
        name, data_path, url_infos, info = "slow_set", folder, {}, _described()

        def is_prepared(self):
            return folder.is_dir()

        def download_and_prepare(self, **_):
            prepared.append(True)
            time.sleep(0.2)
            folder.mkdir()  # FileExistsError where another was faster, as from TFDS

        def as_dataset(self, **_):
            return tf.data.Dataset.from_tensors({"image": np.zeros((1, 2, 2, 1), "uint8")}).get_single_element()

    monkeypatch.setattr(tfds, "_builder", lambda name, data_dir: Builder())
    folder.parent.mkdir()
    command = [sys.executable, "-c", HOLD, str(folder.parent / ".keras_genzoo.lock")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as other,
        ThreadPoolExecutor() as pool,
        contextlib.ExitStack() as at_end,
        warnings.catch_warnings(record=True) as told,
    ):
        at_end.callback(other.kill)  # also where the test fails, or it would wait for the sleeper
        warnings.simplefilter("always")
        assert other.stdout.readline() == b"\n"
        waiting = [pool.submit(tfds.arrays, "slow_set", "train", data_dir=str(tmp_path / str(i))) for i in range(2)]
        time.sleep(0.3)
        assert not [future.exception() for future in waiting if future.done()]
        assert not prepared
        other.kill()
        shapes = [future.result(timeout=60)[0].shape for future in waiting]
    assert shapes == [(1, 2, 2, 1)] * 2
    assert prepared == [True]
    assert "Another process prepares slow_set; waiting for it" in {str(warning.message) for warning in told}
    tfds._arrays.cache_clear()


@pytest.mark.nightly
@needs_fashion
def test_two_processes_prepare_fashion_mnist(tmp_path):
    code = "from keras_genzoo import data; print(len(data.arrays('fashion_mnist', 'test')[0]))"
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path), "KERAS_GENZOO_DATA": str(ORIGINALS)}
    command = [sys.executable, "-c", code]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, encoding="utf-8")
        for _ in range(2)
    ]
    assert [process.communicate(timeout=300)[0].split()[-1] for process in both] == ["10000", "10000"]


def _raw_idx(file):
    path = ORIGINALS / "fashion_mnist" / file
    return bundled.read_idx(path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.nightly
@needs_fashion
@pytest.mark.parametrize(("split", "n"), [("train", 60_000), ("test", 10_000)])
def test_fashion_mnist_is_in_the_original_files(monkeypatch, no_network, fashion_home, split, n):
    """TFDS shuffles once when it prepares: the pairs of image and label are compared, not their order."""
    _tfds_home(monkeypatch, fashion_home)
    images, labels = data.arrays("fashion_mnist", split)
    assert (images.shape, images.dtype) == ((n, 28, 28, 1), "uint8")
    assert (labels.shape, labels.dtype) == ((n,), "int64")
    assert np.bincount(labels).tolist() == [n // 10] * 10
    original_images, original_labels = (_raw_idx(bundled.MNIST_FILES[split, kind][0]) for kind in ("images", "labels"))
    pairs, original_pairs = (
        np.sort(np.concatenate([_keys(x[i : i + 5000]) for i in range(0, n, 5000)]) * 10 + y.astype("int64"))
        for x, y in ((images, labels), (original_images, original_labels))
    )
    np.testing.assert_array_equal(pairs, original_pairs)
    assert no_network == []


@pytest.mark.nightly
@needs_fashion
def test_fashion_mnist_loads_like_mnist(monkeypatch, no_network, fashion_home):
    _tfds_home(monkeypatch, fashion_home)
    dataset = data.load("fashion_mnist", "test", batch_size=1000, labels=True, binarize="dynamic")
    assert dataset.cardinality().numpy() == 10
    passes = [_first(dataset)[0], _first(dataset)[0]]
    assert passes[0][0].shape == (1000, 28, 28, 1)
    assert set(np.unique(passes[0][0])) == {0.0, 1.0}
    for a, b in zip(*passes, strict=True):
        np.testing.assert_array_equal(a, b)
    tfds._arrays.cache_clear()  # as in the next process
    again = data.load("fashion_mnist", "test", batch_size=1000, labels=True, binarize="dynamic")
    for a, b in zip(_first(again)[0], passes[0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.nightly
@needs_fashion
def test_a_prepared_folder_may_be_given(monkeypatch, empty_home, no_network, fashion_home):
    """KERAS_GENZOO_DATA may be a folder that TFDS has prepared on another machine."""
    monkeypatch.setenv("KERAS_GENZOO_DATA", str(fashion_home))
    assert data.arrays("fashion_mnist", "test")[0].shape == (10_000, 28, 28, 1)
    assert not empty_home.exists()
    assert no_network == []


@pytest.mark.nightly
@needs_fashion
def test_unknown_split_of_a_tfds_data_set(monkeypatch, no_network, fashion_home):
    _tfds_home(monkeypatch, fashion_home)
    with pytest.raises(ZooError, match=r"fashion_mnist has the splits train, test\. Received: 'validation'"):
        data.load("fashion_mnist", "validation")


@pytest.fixture
def pets(monkeypatch, no_network, tmp_path):
    """A folder where TFDS has "cats_vs_dogs" of many sizes, prepared elsewhere: its train split."""
    import tensorflow_datasets

    _tfds_home(monkeypatch, tmp_path / "tfds")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    features = tensorflow_datasets.features
    version = str(tensorflow_datasets.builder("cats_vs_dogs").version)
    examples = [
        {"image": np.full((20 + i, 30, 3), (5 * i, 40, 90), "uint8"), "label": i % 2, "image/filename": str(i)}
        for i in range(40)
    ]
    described = features.FeaturesDict(
        {
            "image": features.Image(shape=(None, None, 3)),
            "label": features.ClassLabel(names=["cat", "dog"]),
            "image/filename": features.Text(),
        }
    )
    signature = {
        "image": tf.TensorSpec((None, None, 3), "uint8"),
        "label": tf.TensorSpec((), "int64"),
        "image/filename": tf.TensorSpec((), "string"),
    }
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        name="cats_vs_dogs", version=version, features=described, data_dir=tmp_path / "own", disable_shuffling=True,
        split_datasets={"train": tf.data.Dataset.from_generator(lambda: examples, output_signature=signature)},
    )  # fmt: skip
    yield {"name": "cats_vs_dogs", "data_dir": tmp_path / "own"}
    tfds._arrays.cache_clear()


def test_tfds_images_of_many_sizes_are_brought_to_one(pets):
    """As a folder's are; and a set without "test" has the last tenth in its place."""
    images, labels = data.arrays(**pets, split="train", image_shape=(8, 12, 3))
    assert (images.shape, images.dtype) == ((36, 8, 12, 3), "uint8")
    np.testing.assert_array_equal(images[:, 4, 6], [(5 * i, 40, 90) for i in range(36)])
    np.testing.assert_array_equal(labels, np.arange(36) % 2)
    apart, labels = data.arrays(**pets, split="test", image_shape=(8, 12, 3))
    np.testing.assert_array_equal(apart[:, 4, 6, 0], [5 * i for i in range(36, 40)])
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])
    grey = data.arrays(**pets, split="test", image_shape=(30, 30, 1), resize="pad", ground="white")[0]
    assert grey.shape == (4, 30, 30, 1)
    assert data.class_names(**pets) == ["cat", "dog"]
    assert "36 images to train with, 2 classes, ? x ? x 3 brought to 8 x 12 x 3" in data.summary(
        **pets, image_shape=(8, 12, 3)
    )
    with pytest.raises(ZooError, match=r"are of many shapes; `image_shape` says to which"):
        data.arrays(**pets, split="train")
    with pytest.raises(ZooError, match=r"`cache` is memory or disk\. Received: 'none'"):
        data.arrays(**pets, split="train", image_shape=(8, 12, 3), cache="none")


def test_tfds_images_that_memory_does_not_hold_lie_on_disk(pets, monkeypatch):
    """Pixels, labels and batches are those of memory; the second process reads the file of the first."""

    def read_again(*_):
        pytest.fail("read again")
        yield

    options = {**pets, "image_shape": (8, 12, 3)}
    images, labels = data.arrays(**options, split="train")
    batches, _ = data.stream(**options, batch_size=7, labels=True)
    in_memory = [(x.numpy(), y.numpy()) for x, y in batches.take(8)]
    for _ in range(2):
        tfds._arrays.cache_clear()
        monkeypatch.setattr(data.rows, "MOST_IN_MEMORY", 5000)
        on_disk, again = data.arrays(**options, split="train")
        assert isinstance(on_disk, data.rows.DiskRows)
        np.testing.assert_array_equal(on_disk[np.arange(36)], images)
        np.testing.assert_array_equal(again, labels)
        monkeypatch.setattr(tfds, "_pieces", read_again)
    batches, _ = data.stream(**options, batch_size=7, labels=True)
    for (x, y), (a, b) in zip(batches.take(8), in_memory, strict=True):
        np.testing.assert_array_equal(x, a)
        np.testing.assert_array_equal(y, b)
    assert "pixels kept in" in data.summary(**options)


# === The static binarisation ===


@pytest.fixture
def packed(tmp_path):
    """A data folder with a small file of packed bits, and the bits."""
    bits = {key: np.random.default_rng(i).integers(0, 2, (n, 784)) for i, (key, n) in enumerate(
        {"train": 7, "valid": 3, "test": 4}.items())}  # fmt: skip
    (tmp_path / "binarized_mnist").mkdir()
    np.savez(
        tmp_path / "binarized_mnist" / "binarized_mnist_packed.npz",
        **{key: np.packbits(value.astype("uint8"), axis=1) for key, value in bits.items()},
    )
    return tmp_path, bits


def test_static_mnist_is_read_from_packed_bits(packed):
    folder, bits = packed
    for split, key in (("train", "train"), ("validation", "valid"), ("test", "test")):
        images, labels = data.arrays("binarized_mnist", split, data_dir=folder)
        assert labels is None
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images.reshape(-1, 784), 255 * bits[key])
    (batch,) = data.load("binarized_mnist", "test", data_dir=folder)
    np.testing.assert_array_equal(batch.numpy().reshape(-1, 784), bits["test"])
    with pytest.raises(ZooError, match=r"binarized_mnist has the splits train, validation, test. Received: 'dev'"):
        data.arrays("binarized_mnist", "dev", data_dir=folder)
    with pytest.raises(ZooError, match="binarized_mnist has no labels"):
        data.load("binarized_mnist", "train", labels=True, data_dir=folder)


def test_a_damaged_file_of_bits_is_named(packed):
    folder, _ = packed
    path = folder / "binarized_mnist" / "binarized_mnist_packed.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ZooError, match=r"binarized_mnist_packed.npz is damaged"):
        data.arrays("binarized_mnist", "train", data_dir=folder)


@pytest.mark.skipif(
    not (ORIGINALS / "binarized_mnist").is_dir(),
    reason=f"no statically binarised MNIST in {ORIGINALS}; set KERAS_GENZOO_DATA",
)
def test_static_mnist_is_larochelles():
    """Their sizes, and what all papers on it train on: 13 % of the pixels are on."""
    sizes = {
        split: data.arrays("binarized_mnist", split, data_dir=ORIGINALS)[0] for split in ("train", "validation", "test")
    }
    assert {split: len(images) for split, images in sizes.items()} == {
        "train": 50_000,
        "validation": 10_000,
        "test": 10_000,
    }
    for images in sizes.values():
        assert set(np.unique(images)) == {0, 255}
        assert 0.12 < (images > 0).mean() < 0.14


# === Two rendered people ===

RENDERED = ORIGINALS / "faces" / "faces_ab.npz"
PEOPLE = tuple(rendered.PEOPLE)


@pytest.fixture
def rendered_home(tmp_path):
    """A file of the shape of the rendered people's, small: 96 x 96 pixels, a bright square where landmark 30 is."""
    rng, stored = np.random.default_rng(0), {}
    for split, n in (("train", 60), ("test", 8)):
        for side in "ab":
            places = rng.integers(10, 80, (n, 2))
            images = np.full((n, 96, 96, 3), 20, "uint8")
            for image, (x, y) in zip(images, places, strict=True):
                image[y - 4 : y + 5, x - 4 : x + 5] = 230
            points = np.broadcast_to(places[:, None], (n, 68, 2)).astype("float16")
            stored |= {
                f"{split}_{side}": images,
                f"{split}_{side}_landmarks68": points,
                f"{split}_{side}_pose": rng.uniform(-0.5, 0.5, (n, 3)).astype("float32"),
            }
    (tmp_path / "faces").mkdir()
    np.savez(tmp_path / "faces" / "faces_ab.npz", **stored)
    return tmp_path


def test_rendered_faces_come_in_the_size_asked_for_and_their_marks_with_them(rendered_home):
    images, labels = data.arrays("rendered_faces_a", "test", data_dir=rendered_home)
    assert (images.shape, images.dtype, labels) == ((8, 96, 96, 3), "uint8", None)
    images, _ = data.arrays("rendered_faces_a", "test", data_dir=rendered_home, image_shape=(64, 64, 3))
    points, pose = landmarks.of_data("rendered_faces_a", "test", data_dir=rendered_home, image_shape=(64, 64, 3))
    assert images.shape == (8, 64, 64, 3)
    assert (points.shape, pose.shape) == ((8, 68, 2), (8, 3))
    assert 5 < np.abs(pose).max() < 30  # degrees
    rows, columns = np.mgrid[:64, :64]
    for image, (x, y) in zip(images[..., 0].astype("float64") - 20, points[:, 30], strict=True):
        image = image.clip(0)
        assert (image * columns).sum() / image.sum() == pytest.approx(x, abs=0.1)
        assert (image * rows).sum() / image.sum() == pytest.approx(y, abs=0.1)


def test_two_people_come_in_pairs_of_batches_each_in_its_own_order(rendered_home):
    options = {"batch_size": 16, "data_dir": rendered_home, "image_shape": (8, 8, 3)}
    batches, steps = data.stream(PEOPLE, **options)
    assert steps == 3
    epochs = [[x.numpy() for x in pair] for pair in batches.take(6)]
    assert all(x.shape == (16, 8, 8, 3) for pair in epochs for x in pair)
    from_second, _ = data.stream(PEOPLE, **options, first_epoch=1)
    for pair, again in zip(epochs[3:], from_second.take(3), strict=True):
        for x, y in zip(pair, again, strict=True):
            np.testing.assert_array_equal(x, y)
    for i, name in enumerate(("rendered_faces_a", "rendered_faces_b")):
        known = data.to_unit(data.arrays(name, "train", data_dir=rendered_home, image_shape=(8, 8, 3))[0])
        seen = np.concatenate([pair[i] for pair in epochs[:3]])
        distances = np.abs(seen[:, None] - known).max((2, 3, 4))
        assert np.all(distances.min(1) == 0)  # of the right person
        assert len(set(distances.argmin(1))) > 40  # and not one again and again: squares may lie alike


def test_factors_stay_with_their_images(rendered_home):
    known = [np.arange(60.0)[:, None] + [0, 100 * i] for i in range(2)]
    options = {"batch_size": 16, "data_dir": rendered_home, "image_shape": (96, 96, 3)}
    batches, _ = data.stream(PEOPLE, **options, targets=known)
    with pytest.raises(ZooError, match="with `labels` or with `targets`"):
        data.stream(PEOPLE, **options, targets=known, labels=True)
    images = [data.arrays(name, "train", data_dir=rendered_home)[0] for name in rendered.PEOPLE]
    for pair in batches.take(3):
        for i, (batch, rows) in enumerate(pair):
            rows = rows.numpy()
            np.testing.assert_array_equal(rows[:, 1] - rows[:, 0], 100 * i)
            expected = data.to_unit(images[i][rows[:, 0].astype(int)])
            np.testing.assert_array_equal(batch.numpy(), expected)


def face_file(path, i, text=None, pixels=None):
    """A picture of grey i whose text says that its face has points where i says; or of pixels and with a text given."""
    from PIL import Image, PngImagePlugin

    if pixels is None:
        pixels = np.full((32, 32, 3), i, "uint8")
    info = PngImagePlugin.PngInfo()
    if text is None:
        text = landmarks.text(np.array([[i / 32, 0.5], [0.5, i / 64]]), pixels)
    info.add_itxt("face_landmarks", text)
    Image.fromarray(pixels).save(path / f"{i}.png", pnginfo=info)


def test_landmarks_of_a_folder_are_those_of_its_images_in_order(tmp_path):
    for i in range(16):
        face_file(tmp_path, i)
    (tmp_path / "11a.png").write_bytes(b"no picture")
    for split in ("train", "test"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images, _ = data.arrays(f"folder:{tmp_path}", split, image_shape=(16, 16, 3))
            points, pose = landmarks.of_data(f"folder:{tmp_path}", split, image_shape=(16, 16, 3))
        assert pose is None
        i = images[:, 0, 0, 0].astype("float64")
        expected = np.stack([[i / 2 - 0.5, 0 * i + 7.5], [0 * i + 7.5, i / 4 - 0.5]]).transpose(2, 0, 1)
        np.testing.assert_allclose(points, expected, atol=2e-3)
    assert landmarks.of_data("mnist", "train", image_shape=(28, 28, 1)) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "{}",
        "[1, 2]",
        '{"points": [[0.5, NaN]], "pixels": 0}',
        '{"points": 1e999, "pixels": 0}',
        "[" * 9_999,
    ],
)
def test_whatever_else_stands_there_is_no_landmarks_and_no_broken_image(text, tmp_path):
    for i in range(12):
        face_file(tmp_path, i, text=None if i % 4 else text)
    splits = [data.arrays(f"folder:{tmp_path}", split, image_shape=(16, 16, 3))[0] for split in ("train", "test")]
    assert sum(map(len, splits)) == 12
    with pytest.warns(UserWarning, match=r"\d of \d+ files carry no landmarks.* The first: .*\.png"):
        assert landmarks.of_data(f"folder:{tmp_path}", "train", image_shape=(16, 16, 3)) == (None, None)


def test_landmarks_of_an_image_that_was_changed_are_not_believed(tmp_path):
    """Programs that mirror or crop a picture keep its texts."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    text = landmarks.text(np.array([[0.2, 0.3]]), pixels)
    for name, changed in (("as it was", pixels), ("mirrored", pixels[:, ::-1])):
        (tmp_path / name).mkdir()
        for i in range(4):
            face_file(tmp_path / name, i, text=text, pixels=np.ascontiguousarray(changed))
    known, unknown = (
        landmarks.of_data(f"folder:{tmp_path / name}", "train", image_shape=(32, 32, 3))[0]
        for name in ("as it was", "mirrored")
    )
    np.testing.assert_allclose(known, np.broadcast_to([[5.9, 9.1]], known.shape), rtol=1e-5)
    assert unknown is None


def test_missing_and_damaged_rendered_faces_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_GENZOO_DATA", raising=False)
    with pytest.raises(MissingDataError, match=r"'rendered_faces_b' is missing; looked for DIR/faces/faces_ab.npz"):
        data.arrays("rendered_faces_b", "train")
    with pytest.raises(ZooError, match=r"has the splits train, test. Received: 'valid'"):
        data.arrays("rendered_faces_b", "valid", data_dir=tmp_path)
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "faces_ab.npz").write_bytes(b"PK no archive")
    with pytest.raises(ZooError, match=r"faces_ab.npz is damaged"):
        data.arrays("rendered_faces_b", "train", data_dir=tmp_path)


@pytest.mark.skipif(not RENDERED.is_file(), reason=f"no rendered faces in {RENDERED}; set KERAS_GENZOO_DATA")
def test_test_images_of_both_people_are_pairs():
    poses = [
        landmarks.of_data(name, "test", data_dir=ORIGINALS, image_shape=(64, 64, 3))[1] for name in rendered.PEOPLE
    ]
    np.testing.assert_array_equal(*poses)
    trained = [
        landmarks.of_data(name, "train", data_dir=ORIGINALS, image_shape=(64, 64, 3))[1] for name in rendered.PEOPLE
    ]
    assert np.abs(trained[0] - trained[1]).mean() > 5  # unpaired
