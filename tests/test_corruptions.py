"""Corruptions: the distributions they claim, seeds, ranges, and what a bad spec is told."""

import keras
import numpy as np
import pytest
from keras import ops, random

from keras_genzoo.models.autoencoder import corruptions
from keras_genzoo.models.gan import augmentations

GREY = np.full((4, 100, 100, 1), 0.5, "float32")
NOISES = ["gaussian", "masking", "salt_and_pepper"]  # of the pixels; `affine` is of their places


def _apply(name, x=GREY, **options):
    return ops.convert_to_numpy(corruptions.CORRUPTIONS[name](ops.convert_to_tensor(x), **{"seed": 0, **options}))


def test_gaussian_noise_has_its_level_where_nothing_clips():
    noise = _apply("gaussian", level=0.1) - 0.5
    n = noise.size
    assert abs(noise.mean()) < 5 * 0.1 / np.sqrt(n)
    assert abs(noise.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * n)


def test_gaussian_noise_clips_as_a_sensor_does():
    """On black, half of the noise is cut off: P(0) = 1/2, and the mean is sigma / sqrt(2 pi)."""
    noisy = _apply("gaussian", x=np.zeros_like(GREY), level=0.2)
    n = noisy.size
    assert abs((noisy == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(n)
    assert abs(noisy.mean() - 0.2 / np.sqrt(2 * np.pi)) < 5 * 0.2 / np.sqrt(n)
    assert noisy.max() <= 1


@pytest.mark.parametrize(("name", "on"), [("masking", 0.0), ("salt_and_pepper", 0.5)])
def test_impulses_come_as_often_as_the_level_says(name, on):
    noisy = _apply(name, level=0.3)
    hit = noisy != 0.5
    assert abs(hit.mean() - 0.3) < 5 * np.sqrt(0.21 / noisy.size)
    assert set(np.unique(noisy[hit])) <= {0.0, 1.0}
    assert abs(noisy[hit].mean() - on) < 5 * 0.5 / np.sqrt(hit.sum())


@pytest.mark.parametrize("name", ["masking", "salt_and_pepper"])
def test_impulses_hit_all_channels_of_a_position(name):
    noisy = _apply(name, x=np.full((2, 50, 50, 3), 0.5, "float32"), level=0.5)
    hit = noisy != 0.5
    assert np.all(hit == hit[..., :1])


def _blob(cx, cy, side=28):
    """A soft dot, centred at (cx, cy)."""
    y, x = np.mgrid[:side, :side]
    return np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8)[None, ..., None].astype("float32")


def _centre(images):
    weights = images[..., 0] / images.sum((1, 2, 3))[:, None, None]
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    return np.stack([(weights * x).sum((1, 2)), (weights * y).sum((1, 2))], axis=1)


def test_affine_shifts_turns_and_scales_as_far_as_it_says():
    """A dot in the middle moves by the shift alone, up to 2 pixels per axis; one at the edge also by the others."""
    middle = _centre(_apply("affine", x=np.repeat(_blob(13.5, 13.5), 4000, 0), level=1.0)) - 13.5
    assert np.abs(middle).max() <= 2 * 1.5  # a shift of the source; turned, scaled and sheared on its way
    assert np.abs(middle).max() > 1.7
    np.testing.assert_allclose(middle.mean(0), 0, atol=5 * 1.2 / np.sqrt(4000))
    edge = _centre(_apply("affine", x=np.repeat(_blob(20, 13.5), 4000, 0), level=1.0)) - (20, 13.5)
    assert edge.std(0)[1] > 1.2 * middle.std(0)[1]
    half = _centre(_apply("affine", x=np.repeat(_blob(13.5, 13.5), 4000, 0), level=0.5)) - 13.5
    assert half.std() == pytest.approx(middle.std() / 2, rel=0.1)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
class TestEveryCorruption:
    def test_level_zero_leaves_the_images(self, name):
        x = np.random.default_rng(0).random((4, 9, 9, 3)).astype("float32")
        # Interpolating between float32 positions rounds.
        np.testing.assert_allclose(_apply(name, x=x, level=0.0), x, atol=0 if name in NOISES else 1e-5)

    def test_the_seed_decides(self, name):
        x = _blob(10, 15)
        np.testing.assert_array_equal(_apply(name, x=x, level=0.3), _apply(name, x=x, level=0.3))
        assert np.any(_apply(name, x=x, level=0.3) != _apply(name, x=x, level=0.3, seed=1))

    def test_stays_in_range(self, name):
        x = np.random.default_rng(0).random((4, 9, 9, 3)).astype("float32")
        noisy = _apply(name, x=x, level=0.9)
        assert (noisy.shape, noisy.dtype) == (x.shape, "float32")
        assert noisy.min() >= 0
        assert noisy.max() <= 1

    def test_apply_draws_a_level_for_each_image(self, name):
        if name not in NOISES:
            pytest.skip("a flat image tells nothing of its distortion")
        spec = {"name": name, "level": [0.0, 0.8]}
        noisy = corruptions.build(spec)(ops.repeat(GREY[:1], 64, axis=0), seed=random.SeedGenerator(3))
        strength = np.abs(ops.convert_to_numpy(noisy) - 0.5).mean((1, 2, 3))
        half, full = (np.abs(_apply(name, level=level) - 0.5).mean() for level in (0.4, 0.8))
        assert strength.min() < 0.15 * full
        assert 0.85 * full < strength.max() <= 1.05 * full
        assert abs((strength < half).mean() - 0.5) < 5 * np.sqrt(0.25 / 64)  # uniform: half of them below half


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"name": "fog", "level": [0, 1]},
            "`corruption.name` must be one of affine, gaussian, masking, salt_and_pepper. Received: 'fog'",
        ),
        ({"name": "masking"}, "key `corruption.level` is missing"),
        ({"name": "masking", "level": [0.5, 0.1]}, r"a range \[low, high\].* Received: \[0.5, 0.1\]"),
        ({"name": "masking", "level": [0, 1.5]}, r"<= 1. Received: \[0, 1.5\]"),
        ({"name": "gaussian", "level": 0.5}, "Received: 0.5"),
        ({"name": "gaussian", "level": [-0.1, 0.5]}, "0 <= low"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(ValueError, match=message):
        corruptions.build(spec)


def test_gaussian_levels_may_pass_one():
    assert corruptions.build({"name": "gaussian", "level": [0, 2]})


# === DiffAugment ===


@pytest.mark.parametrize("name", augmentations.AUGMENTATIONS)
def test_augmentations_draw_for_each_image_and_let_gradients_through(name, mnist):
    import tensorflow as tf

    coloured = np.stack([mnist[0], mnist[1], mnist[2]], axis=-1)[..., 0, :]
    x = tf.constant(np.repeat(coloured[None], 40, axis=0))
    seed = keras.random.SeedGenerator(0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = augmentations.build([name])(x, seed=seed)
        total = tf.reduce_sum(tf.square(y))
    assert y.shape == x.shape
    assert y.dtype == "float32"
    assert len(np.unique(y.numpy().reshape(40, -1), axis=0)) > (1 if name == "flip" else 20)
    assert np.any(tape.gradient(total, x).numpy() != 0)
    assert np.any(augmentations.build([name])(x, seed=seed).numpy() != y.numpy())


def test_flip_mirrors_every_other_image_and_saturation_keeps_the_grey():
    x = np.random.default_rng(0).random((400, 4, 6, 3), "float32")
    flipped = np.array(augmentations.flip(x, seed=0))
    mirrored = (flipped == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 0.4 < mirrored.mean() < 0.6
    np.testing.assert_array_equal(flipped[~mirrored], x[~mirrored])
    saturated = np.array(augmentations.saturation(x, seed=0))
    grey = x.mean(axis=3, keepdims=True)
    np.testing.assert_allclose(saturated.mean(axis=3, keepdims=True), grey, atol=1e-5)
    factors = ((saturated - grey) / (x - grey))[:, 0, 0, 0]
    assert factors.min() < 0.1
    assert factors.max() > 1.9
    greys = np.repeat(grey, 3, axis=3)
    np.testing.assert_allclose(augmentations.saturation(greys, seed=0), greys, atol=1e-6)


def test_translation_moves_whole_images_and_cutout_hides_a_square(mnist):
    x = np.zeros((200, 28, 28, 1), "float32")
    x[:, 14, 14] = 1
    moved = np.array(augmentations.translation(x, seed=0))
    assert np.all(moved.sum(axis=(1, 2, 3)) == 1)
    rows, columns = np.nonzero(moved)[1:3]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 18, 10, 18)  # an eighth: (28 + 4) // 8
    hidden = np.array(augmentations.cutout(np.ones((200, 28, 28, 1), "float32"), seed=0)) == 0
    assert hidden.sum(axis=(1, 2, 3)).max() == 13 * 13  # |i - centre| < 7
    assert hidden.mean(axis=0).min() > 0.02  # anywhere
    np.testing.assert_array_equal(augmentations.build([])(x, seed=None), x)
