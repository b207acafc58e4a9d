"""Data sets that are generated, for counting modes: mixtures of Gaussians in the plane, and Stacked-MNIST."""

import functools
from typing import Any, NamedTuple

import numpy as np

from keras_genzoo.data import bundled
from keras_genzoo.errors import ZooError
from keras_genzoo.typing import ArrayLike

STACKED_MNIST = "stacked_mnist"  # Metz et al. 2017: three digits, one per colour
STACKED_CLASSES = 1_000  # number of its modes
_N_POINTS = {"train": 100_000, "test": 10_000}  # of a mixture
_SEEDS = {"train": 0, "test": 1}
_NEAR = 3  # standard deviations around a centre within which a point belongs to its mode


class Mixture(NamedTuple):
    """Equal Gaussians in the plane. A point is an image of one pixel and two channels; [-reach, reach] becomes [0, 1].

    Attributes:
        centres: Means of the Gaussians, `(k, 2)` float64.
        std: Standard deviation of each Gaussian along each axis.
        reach: Half the width of the square that images can show.
    """

    centres: np.ndarray
    std: float
    reach: float

    def to_images(self, points: ArrayLike) -> np.ndarray:
        """Points `(n, 2)` -> `(n, 1, 1, 2)` float32 in [0, 1]."""
        return np.clip((np.asarray(points) / self.reach + 1) / 2, 0, 1).astype("float32").reshape(-1, 1, 1, 2)

    def to_points(self, images: ArrayLike) -> np.ndarray:
        """Images `(n, 1, 1, 2)` in [0, 1] -> points `(n, 2)` float64."""
        return (2 * np.asarray(images, "float64").reshape(-1, 2) - 1) * self.reach

    def modes_of(self, images: ArrayLike) -> np.ndarray:
        """The mode of each image, `(n,)` integers in `range(k)`; -1 beyond 3 standard deviations of all centres."""
        squared = np.sum((self.to_points(images)[:, None] - self.centres) ** 2, axis=-1)
        return np.where(squared.min(1) <= (_NEAR * self.std) ** 2, squared.argmin(1), -1)


_ANGLES = 2 * np.pi * np.arange(8) / 8  # of the centres on the ring
MIXTURES = {  # the numbers are those of Lin et al. 2018 (PacGAN), section 4.1
    "ring2d": Mixture(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), std=0.01, reach=1.25),
    "grid2d": Mixture(np.stack(np.meshgrid(*2 * [np.arange(-4.0, 5, 2)]), axis=-1).reshape(-1, 2), std=0.05, reach=5.0),
}


@functools.lru_cache(maxsize=4)
def _mixture(name, split):
    """Points of a mixture as images, and their Gaussians."""
    if split not in _N_POINTS:
        raise ZooError(f"{name} has the splits {', '.join(_N_POINTS)}. Received: {split!r}")
    mixture, rng = MIXTURES[name], np.random.default_rng(_SEEDS[split])
    labels = rng.integers(len(mixture.centres), size=_N_POINTS[split])
    points = mixture.centres[labels] + mixture.std * rng.standard_normal((len(labels), 2))
    return mixture.to_images(points), labels


def mixture(name: str, split: str, **_: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points of a mixture as images.

    Args:
        name: Key of `MIXTURES`.
        split: "train" or "test".

    Returns:
        `(images, labels)`: float32 `(n, 1, 1, 2)`, and the Gaussian of each point, int64 `(n,)`.

    Raises:
        ZooError: No such split.
    """
    return _mixture(name, split)


def stacked_mnist(name: str, split: str, **_: Any) -> tuple[np.ndarray, np.ndarray]:
    """Stacked-MNIST, see `stacked`.

    Args:
        name: Unused, see `data.SOURCES`.
        split: "train" or "test".

    Returns:
        `(images, labels)`: uint8 `(n, 28, 28, 3)`, int64 `(n,)`.

    Raises:
        ZooError: No such split.
    """
    return _stacked_mnist(split)


@functools.lru_cache(maxsize=2)
def _stacked_mnist(split):
    return stacked(*bundled.mnist("mnist", split), split)


def stacked(images: np.ndarray, labels: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Stacks digits as the three colours of an image. Each digit occurs once in each colour, in random company.

    Args:
        images: Digits, uint8 `(n, H, W, 1)`.
        labels: Their classes, `(n,)`.
        split: "train" or "test", which decides the seed.

    Returns:
        `(images, labels)`: uint8 `(n, H, W, 3)`; int64 `(n,)`, see `class_of_digits`.
    """
    rng = np.random.default_rng(_SEEDS[split])
    orders = [rng.permutation(len(images)) for _ in range(3)]
    red, green, blue = (labels[order] for order in orders)
    return np.concatenate([images[order] for order in orders], axis=-1), class_of_digits(red, green, blue)


def class_of_digits(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """The classes of stacked digits: the digits of red, green and blue read as one number, 0 to 999.

    Args:
        red: Digits of the red channel, `(n,)` integers.
        green: Digits of the green channel, same shape.
        blue: Digits of the blue channel, same shape.

    Returns:
        `(n,)` integers.
    """
    return 100 * red + 10 * green + blue
