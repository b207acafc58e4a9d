"""Arrays -> `tf.data` of batches. Order and noise are functions of (seed, epoch, batch), so that a run can go on.

The pixels stay uint8 where they are, in memory or in files. Shuffling, casting and binarising happen per batch, on the
way.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_genzoo.data import augment as augmenting
from keras_genzoo.errors import ZooError

_MOST_COPIED = 64 * 2**20  # bytes of images of which TensorFlow has a copy, which it gathers from without Python


def batches(
    images: Any,
    targets: np.ndarray | None,
    epochs: tf.data.Dataset,
    *,
    batch_size: int,
    binarize: str | None,
    shuffle: bool,
    seed: int,
    drop_remainder: bool,
    n_batches: int | None = None,
    augment: Sequence[str] = (),
) -> tf.data.Dataset:
    """Batches of images, or of images and targets, for each epoch of a dataset of epoch numbers.

    Args:
        images: Images, `(n, H, W, C)`, uint8 or float32 in [0, 1]; or `rows.Rows`.
        targets: Rows beside the images, `(n, ...)`; None: images alone.
        epochs: Dataset of int64 scalars.
        batch_size: Number of images per batch, in 1..n where `drop_remainder`.
        binarize: Kind of binarisation: None for none, or "dynamic": a pixel is 1 with the probability of its grey
            value, drawn anew in every batch.
        shuffle: Whether every epoch has an order of its own.
        seed: Seed of order and noise, >= 0.
        drop_remainder: Whether a last, smaller batch is left out.
        n_batches: Number of batches per epoch; None: all.
        augment: Names of augmentations, see `augment.AUGMENTATIONS`.

    Returns:
        A dataset of float32 `(batch, H, W, C)` in [0, 1]; with targets, of pairs.

    Raises:
        ZooError: `batch_size` is out of its range.
    """
    n = len(images)
    if not isinstance(batch_size, int) or batch_size < 1 or (drop_remainder and batch_size > n):
        raise ZooError(f"`batch_size` must be in 1..{n} for {n} images. Received: {batch_size}")
    n_batches = n_batches or (n // batch_size if drop_remainder else -(-n // batch_size))
    gathered = _gatherer(images)
    labels = None if targets is None else tf.constant(targets)
    augmented = augmenting.of(augment)
    random = tf.random.experimental  # pyright: ignore[reportAttributeAccessIssue]  # TensorFlow's types lack it

    def indices_of_epoch(epoch):
        epoch_seed = random.stateless_fold_in(tf.constant([seed, 0], "int64"), epoch)
        order = tf.range(n)
        if shuffle:
            order = random.stateless_shuffle(order, seed=epoch_seed)

        def batch(i):
            noise_seed = random.stateless_fold_in(epoch_seed, i + 1)
            return order[i * batch_size : tf.minimum((i + 1) * batch_size, n)], noise_seed

        return tf.data.Dataset.range(n_batches).map(batch)

    def batch_of_indices(indices, noise_seed):
        x = gathered(indices)
        if x.dtype == tf.uint8:
            x = tf.cast(x, "float32") / 255
        if augment:
            x = augmented(x, random.stateless_fold_in(noise_seed, 1))
        if binarize:
            x = tf.cast(tf.random.stateless_uniform(tf.shape(x), noise_seed) < x, "float32")
        if drop_remainder:
            x = tf.ensure_shape(x, (batch_size, *images.shape[1:]))
        if labels is None:
            return x
        y = tf.gather(labels, indices)
        return x, tf.ensure_shape(y, (batch_size, *labels.shape[1:])) if drop_remainder else y

    # TensorFlow 2.21's tuner sleeps through an iterator's end: a fit of 6 s would return after 10, when it wakes next.
    options = tf.data.Options()
    options.autotune.enabled = False  # all cores map, and prefetch still finds its own depth: measured no slower
    return (
        epochs.flat_map(indices_of_epoch)
        .map(batch_of_indices, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def _gatherer(images: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function from numbers to images that lie where they are: there is no second copy of many pixels."""
    if isinstance(images, np.ndarray) and images.nbytes <= _MOST_COPIED:
        pixels = tf.constant(images)
        return lambda indices: tf.gather(pixels, indices)

    def taken(indices):
        return images[indices]

    def gathered(indices):
        x = tf.numpy_function(taken, [indices], tf.as_dtype(images.dtype), stateful=False)
        return tf.ensure_shape(x, (None, *images.shape[1:]))

    return gathered
