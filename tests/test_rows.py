"""Folders that are larger than memory: images that stay in files, in the same order and with the same pixels."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import keras_genzoo as gz
from keras_genzoo import data
from keras_genzoo.data import folder, rows
from keras_genzoo.errors import ZooError

SHAPE = (16, 16, 3)
CACHES = ("memory", "disk", "none")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 40 pictures of mixed sizes, formats and channels, in two classes; and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for i in range(40):
        sides = rng.integers(8, 90, 2)
        channels = (3, 4, 1)[i % 3]
        low = rng.integers(0, 256, (4, 4, channels), "uint8")
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        image = Image.fromarray(low.squeeze(), mode).resize(tuple(map(int, sides)))
        path = tmp_path / "photos" / ("cats", "dogs")[i % 2] / f"{i:03}.{'png' if channels == 4 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    folder._decoded.cache_clear()
    yield f"folder:{tmp_path / 'photos'}"
    folder._decoded.cache_clear()


def _arrays(name, cache, split="train"):
    return data.arrays(name, split, image_shape=SHAPE, cache=cache)


def test_pixels_and_labels_are_the_same_wherever_they_lie(photos):
    expected, labels = _arrays(photos, "memory")
    assert isinstance(expected, np.ndarray)
    for cache, kind in (("disk", rows.DiskRows), ("none", rows.FileRows)):
        images, others = _arrays(photos, cache)
        assert type(images) is kind
        assert (images.shape, images.dtype, len(images)) == (expected.shape, expected.dtype, len(expected))
        np.testing.assert_array_equal(images[:], expected)
        np.testing.assert_array_equal(others, labels)
        for at in (3, -1, np.int64(2), slice(2, 9, 3), np.array([5, 1, 5]), np.arange(len(images)) % 3 == 0, [4, 2]):
            np.testing.assert_array_equal(images[at], expected[at])
        part = images.subset(np.array([7, 3, 9]))
        np.testing.assert_array_equal(part[np.array([2, 0])], expected[[9, 7]])
        np.testing.assert_array_equal(np.asarray(part), expected[[7, 3, 9]])


@pytest.mark.parametrize("more", [{}, {"augment": ["flip", "shift"]}, {"validation": 0.25}, {"n_held_out": 5}])
def test_batches_are_the_same_wherever_the_pixels_lie(photos, more):
    """Order, noise and what is held out are functions of seed, epoch and batch: so is a resumed run."""

    def batches(cache, first_epoch=0):
        stream, n = data.stream(
            photos, batch_size=6, seed=3, image_shape=SHAPE, labels=True, cache=cache, first_epoch=first_epoch, **more
        )
        return list(stream.take(2 * n).as_numpy_iterator()), n

    (expected, n) = batches("memory")
    for cache in ("disk", "none"):
        for (x, y), (x_memory, y_memory) in zip(batches(cache)[0], expected, strict=True):
            np.testing.assert_array_equal(x, x_memory)
            np.testing.assert_array_equal(y, y_memory)
        np.testing.assert_array_equal(batches(cache, first_epoch=1)[0][0][0], expected[n][0])


def test_a_folder_beyond_half_a_gigabyte_stays_in_its_files(photos, monkeypatch):
    assert isinstance(_arrays(photos, None)[0], np.ndarray)
    monkeypatch.setattr(rows, "MOST_IN_MEMORY", 10 * 16 * 16 * 3)
    folder._decoded.cache_clear()
    images, _ = _arrays(photos, None)
    assert isinstance(images, rows.FileRows)
    assert "decoded as they are needed" in data.summary(photos, image_shape=SHAPE)
    few = rows.in_memory(images, seed=1)
    assert len(few) == 10
    np.testing.assert_array_equal(few, images[rows.chosen(images, seed=1)])
    with pytest.raises(ZooError, match=r"more than the .* that are held in memory"):
        np.asarray(images)


def test_the_cache_on_disk_is_written_once_and_again_for_changed_files(photos, tmp_path):
    images, _ = _arrays(photos, "disk")
    written = images.path.stat().st_mtime_ns
    assert images.path.stat().st_size == images.nbytes
    assert images.path.is_relative_to(tmp_path / "cache")
    assert str(images.path) in data.summary(photos, image_shape=SHAPE, cache="disk")
    folder._decoded.cache_clear()
    again, _ = _arrays(photos, "disk")
    assert (again.path, again.path.stat().st_mtime_ns) == (images.path, written)
    changed = folder.Path(folder.readable_files(photos, "train", image_shape=SHAPE, resize="crop")[0])
    Image.fromarray(np.zeros((20, 20, 3), "uint8")).save(changed)
    other, _ = _arrays(photos, "disk")
    assert other.path != images.path
    assert not other[0].any()
    images.path.write_bytes(b"")
    with pytest.raises(ZooError, match="is shorter than it was; remove it"):
        images[5]


def test_too_little_disk_or_memory_is_said_before_anything_is_read(photos, monkeypatch):
    monkeypatch.setattr(rows, "_free", lambda _: 100)
    with pytest.raises(ZooError, match="GB too little room"):
        _arrays(photos, "disk")
    monkeypatch.setattr(rows, "available", lambda: 1000)
    with pytest.raises(ZooError, match=r"GB more than are free; use cache='disk'"):
        _arrays(photos, "memory")


def test_available_memory_is_known_here():
    assert 2**20 < rows.available() < 2**50 or sys.platform != "linux"


def test_a_file_that_breaks_in_its_midst_gives_its_place_to_the_next(photos):
    """The header was good when the folder was listed: the pixels show it only in training."""
    images, _ = _arrays(photos, "none")
    expected = images[:].copy()
    path = folder.Path(images.files[3])
    path.write_bytes(path.read_bytes()[:-40] if path.suffix == ".png" else path.read_bytes()[:60])
    with pytest.warns(UserWarning, match=rf"{path.name}.*the next image takes its place"):
        np.testing.assert_array_equal(images[3], expected[4])
    np.testing.assert_array_equal(images[2:5], expected[[2, 4, 4]])  # and no second warning


def test_files_that_are_no_images_are_named_at_the_door(photos):
    bad = folder.Path(photos.removeprefix("folder:")) / "cats" / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"(?s)skipped 1 of .*bad\.png"):
        images, _ = _arrays(photos, "none")
    with pytest.warns(UserWarning, match="skipped 1 of"):
        np.testing.assert_array_equal(images[:], _arrays(photos, "memory")[0])


@pytest.mark.parametrize("cache", CACHES)
def test_small_and_animated_pictures_are_said(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frames = [Image.fromarray(np.full((30, 30, 3), shade, "uint8")) for shade in (0, 200)]
    for split in ("train", "test"):
        (tmp_path / "photos" / split).mkdir(parents=True)
        frames[0].save(tmp_path / "photos" / split / "0.png")
    train = tmp_path / "photos" / "train"
    frames[0].resize((9, 30)).save(train / "small.png")
    frames[0].save(train / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    name = f"folder:{tmp_path / 'photos'}"
    line = data.summary(name, image_shape=SHAPE, cache=cache)
    assert "1 smaller than 16 x 16 pixels, which are magnified" in line
    assert "1 animated, of which the first frame is taken" in line
    assert data.arrays(name, "train", image_shape=SHAPE, cache=cache)[0][:].max() == 0  # the first, black frame


def test_a_preset_trains_from_files_and_goes_on_as_it_would_have(photos, tmp_path):
    """The whole way: pixels never in memory, a checkpoint, and the weights of an unbroken run."""
    updates = {
        "model.image_shape": [16, 16, 3], "data.cache": "none",
        "model.encoder": {"name": "mlp_encoder", "units": [8]}, "model.decoder": {"name": "mlp_decoder", "units": [8]},
    }  # fmt: skip
    options = {"data": photos, "updates": updates, "epochs": 2, "batch_size": 12, "verbose": 0, "patience": None}

    class Stop(gz.training.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    whole = gz.train("ae_mnist", tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        gz.train("ae_mnist", tmp_path / "broken", callbacks=[Stop()], **options)
    resumed = gz.train("ae_mnist", tmp_path / "broken", **options)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    rows_of = {row["metric"]: row["value"] for row in gz.evaluate(resumed, verbose=False)}
    assert rows_of["psnr"] > 0


def test_many_pixels_have_no_second_copy():
    """A dataset of 300 MB in memory takes no 300 MB more in the pipeline."""
    code = """
import numpy as np, tensorflow as tf, resource
from keras_genzoo.data import pipeline
images = np.ones((25_000, 64, 64, 3), "uint8")
tf.constant(1)
epochs = tf.data.Dataset.counter()
options = {"batch_size": 32, "binarize": None, "shuffle": True, "seed": 0, "drop_remainder": True}
list(pipeline.batches(images[:3000], None, epochs, **options).take(20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
list(pipeline.batches(images, None, epochs, **options).take(20))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    grown = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert grown < 100  # MiB
