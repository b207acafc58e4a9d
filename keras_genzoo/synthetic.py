"""Data sets that are made, not read: mixtures of Gaussians in the plane, and Stacked-MNIST. Made to count modes."""

from typing import NamedTuple

import numpy as np

from keras_genzoo.errors import ZooError

_POINTS = {"train": 100_000, "test": 10_000}
_SEEDS = {"train": 0, "test": 1}
STACKED_MNIST = "stacked_mnist"  # Metz et al. 2017: three digits, one per colour; 1,000 modes
STACKED_CLASSES = 1_000


class Mixture(NamedTuple):
    """Equal Gaussians in the plane. A point is an image of one pixel and two channels: [-reach, reach] is [0, 1].

    Attributes:
        centres: `(k, 2)` float64.
        std: Standard deviation of each Gaussian along each axis.
        reach: Half the width of the square that images can show.
    """

    centres: np.ndarray
    std: float
    reach: float

    def to_images(self, points):
        """Points `(n, 2)` -> `(n, 1, 1, 2)` float32 in [0, 1]."""
        return np.clip((np.asarray(points) / self.reach + 1) / 2, 0, 1).astype("float32").reshape(-1, 1, 1, 2)

    def to_points(self, images):
        """Images `(n, 1, 1, 2)` in [0, 1] -> points `(n, 2)` float64."""
        return (2 * np.asarray(images, "float64").reshape(-1, 2) - 1) * self.reach

    def modes_of(self, images):
        """The mode of each image, `(n,)` integers in `range(k)`; -1 beyond 3 standard deviations of all centres."""
        squared = np.sum((self.to_points(images)[:, None] - self.centres) ** 2, axis=-1)
        return np.where(squared.min(1) <= (3 * self.std) ** 2, squared.argmin(1), -1)


_ANGLES = 2 * np.pi * np.arange(8) / 8
MIXTURES = {  # with the numbers of Lin et al. 2018 (PacGAN), section 4.1
    "ring2d": Mixture(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), std=0.01, reach=1.25),
    "grid2d": Mixture(np.stack(np.meshgrid(*2 * [np.arange(-4.0, 5, 2)]), axis=-1).reshape(-1, 2), std=0.05, reach=5.0),
}


def mixture_images(name, split):
    """Points of a mixture as images, and which Gaussian each is of: float32 `(n, 1, 1, 2)`, int64 `(n,)`."""
    if split not in _POINTS:
        raise ZooError(f"{name} has the splits {', '.join(_POINTS)}. Received: {split!r}")
    mixture, rng = MIXTURES[name], np.random.default_rng(_SEEDS[split])
    labels = rng.integers(len(mixture.centres), size=_POINTS[split])
    points = mixture.centres[labels] + mixture.std * rng.standard_normal((len(labels), 2))
    return mixture.to_images(points), labels


def stacked(images, labels, split):
    """Digits of a split, each in each of three colours once, in random company: uint8 `(n, H, W, 3)`, int64 `(n,)`.

    The label reads red, green, blue as a number of three digits.
    """
    rng = np.random.default_rng(_SEEDS[split])
    orders = [rng.permutation(len(images)) for _ in range(3)]
    red, green, blue = (labels[order] for order in orders)
    return np.concatenate([images[order] for order in orders], axis=-1), 100 * red + 10 * green + blue
