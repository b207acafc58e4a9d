"""Augmentations of training images: each image of each batch has a draw of its own, a function of (seed, epoch, batch).

They make more of few images. A model learns to make what they make: flip where a mirrored image is as good as another.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_genzoo.errors import ZooError, nearest

_REACH = 16  # a side of the image over the greatest shift along it
_BRIGHTNESS = 0.1  # greatest change, in intensity
_CONTRAST = _SATURATION = 0.2  # greatest change, as a share


def flip(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors every other image, left to right, on average.

    Args:
        x: Images, `(batch, H, W, C)` float32 in [0, 1].
        seed: Seed of the draws, int64 `(2,)`.

    Returns:
        Images of x's shape.
    """
    heads = tf.random.stateless_uniform(_per_image(x, 4), seed) < 0.5
    return tf.where(heads, x[:, :, ::-1], x)


def shift(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Shifts each image by up to a sixteenth of its sides in whole pixels; the image's edge goes on into the gap.

    Args:
        x: Images, `(batch, H, W, C)` float32 in [0, 1].
        seed: Seed of the draws, int64 `(2,)`.

    Returns:
        Images of x's shape.
    """
    for axis, draw in zip((1, 2), _seeds(seed, 2), strict=True):
        size = int(x.shape[axis] or 0)
        reach = max(size // _REACH, 1)
        moved = tf.random.stateless_uniform(_per_image(x, 2), draw, -reach, reach + 1, "int32")
        x = tf.gather(x, tf.clip_by_value(tf.range(size)[None] - moved, 0, size - 1), axis=axis, batch_dims=1)
    return x


def colour(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness by up to 0.1, contrast and saturation by up to a fifth.

    Args:
        x: Images, `(batch, H, W, C)` float32 in [0, 1].
        seed: Seed of the draws, int64 `(2,)`.

    Returns:
        Images of x's shape, clipped to [0, 1].
    """

    def drawn(draw, reach):
        return tf.random.stateless_uniform(_per_image(x, 4), draw, -reach, reach)

    brightness, contrast, saturation = _seeds(seed, 3)
    mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
    x = mean + (1 + drawn(contrast, _CONTRAST)) * (x - mean) + drawn(brightness, _BRIGHTNESS)
    grey = tf.reduce_mean(x, axis=3, keepdims=True)
    return tf.clip_by_value(grey + (1 + drawn(saturation, _SATURATION)) * (x - grey), 0, 1)


AUGMENTATIONS = {"flip": flip, "shift": shift, "colour": colour}


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Names of augmentations.

    Raises:
        ZooError: An unknown name, or one that stands twice.
    """
    if isinstance(names, str):
        raise ZooError(f"`augment` must be a list of {', '.join(AUGMENTATIONS)}. Received: {names!r}")
    for name in names:
        if name not in AUGMENTATIONS:
            raise ZooError(
                f"`augment` must be a list of {', '.join(AUGMENTATIONS)}. Received: {name!r}"
                + nearest(str(name), AUGMENTATIONS)
            )
    if len(set(names)) < len(names):
        raise ZooError(f"Each augmentation stands once in `augment`. Received: {list(names)}")
    return tuple(names)


def of(names: Sequence[str]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """One function `(images, seed) -> images` of all augmentations, one after the other."""
    functions = [AUGMENTATIONS[name] for name in checked(names)]

    def augmented(x, seed):
        for i, function in enumerate(functions):
            x = function(x, tf.random.experimental.stateless_fold_in(seed, i + 1))  # pyright: ignore[reportAttributeAccessIssue]
        return x

    return augmented


def _per_image(x, n_axes):
    """The shape of one draw for each image."""
    return tf.stack([tf.shape(x)[0], *[1] * (n_axes - 1)])


def _seeds(seed, n):
    return [tf.random.experimental.stateless_fold_in(seed, i) for i in range(n)]  # pyright: ignore[reportAttributeAccessIssue]
