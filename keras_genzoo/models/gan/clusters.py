"""Clusters of training images, found without labels: the discrete part of a GAN's code."""

import itertools
import statistics
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import ArrayLike, Shape, Tensor

_MOST_SIDE = 16  # pixels of a thumbnail's side, where the sides of the images can be divided so far
_TURNS = 100  # of k-means; it has settled long before


def thumbnails(images: Tensor) -> Tensor:
    """Images as rows of numbers in which clusters are sought: means over squares, 16 pixels a side at most.

    Args:
        images: Images, `(n, H, W, C)` float32; H and W are known.

    Returns:
        `(n, h * w * C)` float32.
    """
    _, height, width, channels = images.shape
    factor = _factor(height, width)
    squares = ops.reshape(images, (-1, height // factor, factor, width // factor, factor * channels))
    rows = ops.reshape(ops.mean(squares, axis=2), (-1, height // factor, width // factor, factor, channels))
    return ops.reshape(ops.mean(rows, axis=3), (-1, size((height, width, channels))))


def size(image_shape: tuple[int, int, int]) -> int:
    """The numbers of a thumbnail of images of a shape."""
    height, width, channels = image_shape
    factor = _factor(height, width)
    return (height // factor) * (width // factor) * channels


def fit(rows: np.ndarray, n_clusters: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The clusters of thumbnails by k-means (Lloyd 1982, begun by k-means++).

    Args:
        rows: Thumbnails, `(n, size)` float32.
        n_clusters: Number of clusters, >= 2.
        seed: Seed of the beginning, >= 0.

    Returns:
        `(centres, shares)`: `(n_clusters, size)` float32, and the share of the rows that each has, `(n_clusters,)`.

    Raises:
        ZooError: Fewer different images than clusters, or scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise ZooError("Clusters need scikit-learn: pip install 'keras-genzoo[probes]'") from None
    different = len(np.unique(rows, axis=0))
    if different < n_clusters:
        raise ZooError(f"`n_clusters` must be <= {different}, the number of different images. Received: {n_clusters}")
    options: Any = {"n_init": 1, "max_iter": _TURNS, "random_state": seed}
    found: Any = KMeans(n_clusters, **options).fit(rows)
    counts = np.bincount(found.labels_, minlength=n_clusters)
    return found.cluster_centers_.astype("float32"), counts / counts.sum()


def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """The cluster of each thumbnail.

    Args:
        rows: Thumbnails, `(n, size)`.
        centres: Centres, `(n_clusters, size)`.

    Returns:
        `(n,)` int32.
    """
    distances = ops.sum(ops.square(centres), axis=1) - 2 * ops.matmul(rows, ops.transpose(centres))
    return ops.cast(ops.argmin(distances, axis=1), "int32")


def bounds(shares: ArrayLike) -> np.ndarray:
    """The numbers between which a normal draw falls with the probability of each cluster.

    Args:
        shares: Probabilities of the clusters, `(n_clusters,)`, in (0, 1), of sum 1.

    Returns:
        `(n_clusters - 1,)` float32, ascending.
    """
    normal = statistics.NormalDist()
    sums = itertools.accumulate(np.asarray(shares, "float64")[:-1])
    return np.array([normal.inv_cdf(min(max(total, 1e-9), 1 - 1e-9)) for total in sums], "float32")


def one_hot(draws: Tensor, bounds: Tensor) -> Tensor:
    """The cluster that each normal draw chooses, as ones and zeros.

    Args:
        draws: Normal draws, `(n, 1)`.
        bounds: See `bounds`, `(n_clusters - 1,)`.

    Returns:
        `(n, n_clusters)` float32.
    """
    passed = ops.cast(draws >= bounds, "float32")  # (n, n_clusters - 1), ones and then zeros
    ones = ops.ones_like(draws)
    return ops.concatenate([ones, passed], axis=1) - ops.concatenate([passed, 0 * ones], axis=1)


@keras.saving.register_keras_serializable("keras_genzoo")
class ClusterChoice(keras.layers.Layer):
    """The cluster that a normal draw chooses, see `one_hot`; the bounds between the clusters are its weight.

    Shapes: `(batch, 1)` -> `(batch, n_clusters)`, in float32.

    Args:
        n_clusters: Number of clusters, >= 2.
        **kwargs: Options of every Keras layer but `dtype` and `trainable`.
    """

    def __init__(self, n_clusters: int, **kwargs: Any):
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.n_clusters = n_clusters

    def build(self, input_shape: Shape) -> None:
        self.bounds = self.add_weight(name="bounds", shape=(self.n_clusters - 1,), initializer="zeros")
        self.built = True

    def call(self, draws: Tensor) -> Tensor:
        return one_hot(draws, self.bounds)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.n_clusters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n_clusters": self.n_clusters}


def _factor(height, width):
    """The sides of the squares that become one pixel of a thumbnail: a power of 2 that divides both sides."""
    factor = 1
    while max(height, width) // factor > _MOST_SIDE and height % (2 * factor) == 0 and width % (2 * factor) == 0:
        factor *= 2
    return factor
