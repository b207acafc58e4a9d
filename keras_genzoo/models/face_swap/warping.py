"""Pictures of a face moved, tinted and warped at random: the training images of a face swap, in `keras.ops`."""

import math

import keras
from keras import ops, random

from keras_genzoo.typing import Tensor

# The numbers of the first face swaps (2017).
_GRID = 5  # points along each side of the grid that warps an image
_MOST_TURN = math.radians(10)
_MOST_SCALING = 0.05  # deviation of the scale from 1
_MOST_SHIFT = 0.05  # in sides of the image
_GREY = 0.5  # intensity about which contrast changes


def warped_pair(
    x: Tensor,
    *,
    warp: float,
    tint: float,
    seed: keras.random.SeedGenerator,
    weights: Tensor | None = None,
    strength: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A picture of a face, moved and tinted at random, as the target; and the same picture warped, as the input.

    The augmentation is that of the first face swaps. The picture is flipped by a coin, turned by up to 10 degrees,
    scaled and shifted by up to 5 %, and each channel's contrast and brightness change. For the input, Gaussian noise
    then moves the points of a grid of 5 x 5, and all pixels between them move along. Beyond the border the outermost
    pixels are repeated.

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1].
        warp: Standard deviation of the grid's points, as a share of the image's sides, >= 0.
        tint: Greatest change of contrast, >= 0; brightness changes by up to half as much.
        seed: Generator of the draws.
        weights: Weights of the pixels, `(batch, H, W, 1)`, which move as the target does; None: none.
        strength: Scalar in [0, 1] that scales every change but flip and shift. At 0 shifts are of whole pixels, and
            input and target hold the pixels of x themselves: resampling would blur the targets.

    Returns:
        `(warped, target, weights)`, float32 in [0, 1], shaped as x, x and `weights`.
    """
    x = ops.cast(x, "float32")
    batch, height, width, channels = ops.shape(x)
    u = random.uniform((5, batch, 1, 1), -1.0, 1.0, dtype="float32", seed=seed)
    angle, scale, mirror = strength * _MOST_TURN * u[0], 1 + strength * _MOST_SCALING * u[1], ops.sign(u[4])
    rows = ops.linspace(-0.5, 0.5, height)[None, :, None]
    columns = ops.linspace(-0.5, 0.5, width)[None, None, :] * mirror
    # Source of each pixel of the target, in sides of the image from its centre.
    shifts = [_in_pixels(_MOST_SHIFT * u[2], height, strength), _in_pixels(_MOST_SHIFT * u[3], width, strength)]
    source_rows = scale * (ops.cos(angle) * rows + ops.sin(angle) * columns) + shifts[0]
    source_columns = scale * (ops.cos(angle) * columns - ops.sin(angle) * rows) + shifts[1]
    push = strength * warp * random.normal((batch, _GRID, _GRID, 2), dtype="float32", seed=seed)
    push = ops.einsum("bhlc,wl->bhwc", ops.einsum("hk,bklc->bhlc", _interpolation(height), push), _interpolation(width))
    colour = strength * random.uniform((2, batch, 1, 1, channels), -tint, tint, dtype="float32", seed=seed)

    tinted = ops.clip(_GREY + (1 + colour[0]) * (x - _GREY) + colour[1] / 2, 0, 1)
    target = _resampled(tinted, source_rows, source_columns)
    warped = _resampled(tinted, source_rows + push[..., 0], source_columns + push[..., 1])
    return warped, target, None if weights is None else _resampled(weights, source_rows, source_columns)


def _in_pixels(shift, size, strength):
    """A shift in sides of the image, moved towards the nearest number of whole pixels by `1 - strength` of the way."""
    whole = ops.round(shift * (size - 1)) / (size - 1)
    return whole + strength * (shift - whole)


def _interpolation(size):
    """Shares of the `_GRID` points in each of `size` pixels between them, linear: `(size, _GRID)`."""
    places = ops.linspace(0.0, _GRID - 1.0, size)
    return ops.maximum(0.0, 1 - ops.abs(places[:, None] - ops.arange(_GRID, dtype="float32")[None, :]))


def _resampled(x, rows, columns):
    """Images at the places `(batch, H, W)` in sides of the image from its centre, bilinearly."""
    batch, height, width, channels = ops.shape(x)
    rows = ops.clip((rows + 0.5) * (height - 1), 0, height - 1)
    columns = ops.clip((columns + 0.5) * (width - 1), 0, width - 1)
    top = ops.minimum(ops.floor(rows), height - 2)
    left = ops.minimum(ops.floor(columns), width - 2)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    first = ops.cast(top, "int32") * width + ops.cast(left, "int32")
    first = first + ops.reshape(ops.arange(batch) * (height * width), (-1, 1, 1))
    pixels = ops.reshape(ops.cast(x, "float32"), (-1, channels))

    def row(start):
        return (1 - right) * ops.take(pixels, start, axis=0) + right * ops.take(pixels, start + 1, axis=0)

    return (1 - down) * row(first) + down * row(first + width)
