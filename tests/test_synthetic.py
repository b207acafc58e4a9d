"""The data sets that are made: their modes, by the numbers they promise."""

import numpy as np
import pytest

from keras_genzoo import data, metrics
from keras_genzoo.data import made
from keras_genzoo.errors import ZooError


@pytest.mark.parametrize(("name", "k"), [("ring2d", 8), ("grid2d", 25)])
def test_a_mixture_has_its_modes(name, k):
    images, labels = data.arrays(name, "train")
    assert images.shape == (100_000, 1, 1, 2)
    assert images.dtype == "float32"
    assert 0 < images.min() < images.max() < 1  # nothing clipped
    mixture = made.MIXTURES[name]
    points = mixture.to_points(images)
    for mode, centre in enumerate(mixture.centres):
        mine = points[labels == mode]
        assert len(mine) == pytest.approx(100_000 / k, rel=0.05)
        assert mine.mean(0) == pytest.approx(centre, abs=mixture.std / 10)
        assert mine.std(0) == pytest.approx(2 * [mixture.std], rel=0.05)
    found = metrics.mode_coverage(points, centres=mixture.centres, std=mixture.std)
    assert found["modes"] == k
    assert found["high_quality"] == pytest.approx(1 - np.exp(-4.5), abs=1e-3)  # a Gaussian of the plane within 3 sigma
    assert found["reverse_kl"] < 1e-3


def test_modes_lie_where_the_literature_has_them():
    ring, grid = (made.MIXTURES[name].centres for name in ("ring2d", "grid2d"))
    assert np.linalg.norm(ring, axis=1) == pytest.approx(np.ones(8))
    assert np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1) == pytest.approx(np.full(8, 2 * np.sin(np.pi / 8)))
    assert {tuple(centre) for centre in grid} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}


def test_points_survive_being_images():
    mixture = made.MIXTURES["grid2d"]
    points = np.array([[-4.0, 2.5], [0, 0], [4.99, -4.99]])
    assert mixture.to_points(mixture.to_images(points)) == pytest.approx(points, abs=1e-6)


def test_the_mode_of_a_point_ends_at_three_sigma():
    mixture = made.MIXTURES["ring2d"]
    away = np.array([[0, 0], [0.029, 0], [0.022, 0.022], [0.5, 0.5]])
    points = mixture.centres[3] + away
    assert mixture.modes_of(mixture.to_images(points)).tolist() == [3, 3, -1, -1]


def test_splits_are_different_points_and_always_the_same():
    train, test = (data.arrays("ring2d", split)[0] for split in ("train", "test"))
    assert len(test) == 10_000
    assert not np.isin(test[:, 0, 0, 0], train[:, 0, 0, 0]).all()
    assert (made.mixture("ring2d", "test")[0] == test).all()
    with pytest.raises(ZooError, match=r"ring2d has the splits train, test. Received: 'valid'"):
        data.arrays("ring2d", "valid")
    with pytest.raises(ZooError, match="no grey levels to binarise"):
        data.load("ring2d", "train", binarize="dynamic")


def test_points_reach_fit_as_they_are():
    images = data.arrays("grid2d", "test")[0]
    batches = list(data.load("grid2d", "test", batch_size=3000).as_numpy_iterator())
    assert (np.concatenate(batches) == images).all()


def test_stacked_mnist_is_mnist_in_three_colours():
    digits, labels = data.arrays("mnist", "test")
    images, numbers = data.arrays("stacked_mnist", "test")
    assert images.shape == (10_000, 28, 28, 3)
    assert images.dtype == "uint8"
    by_pixels = {digit.tobytes(): label for digit, label in zip(digits, labels, strict=True)}
    for colour, place in enumerate((100, 10, 1)):
        layer = images[..., colour : colour + 1]
        assert np.sort(numbers // place % 10).tolist() == np.sort(labels).tolist()  # each digit once
        for image, number in zip(layer[:200], numbers[:200], strict=True):
            assert by_pixels[image.tobytes()] == number // place % 10
    assert len(np.unique(data.arrays("stacked_mnist", "train")[1])) == made.STACKED_CLASSES
