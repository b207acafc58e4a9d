"""Differentiable augmentations of a discriminator's images (DiffAugment, Zhao et al. 2020), in `keras.ops`.

Every function takes images `(batch, H, W, C)` and a `keras.random.SeedGenerator`, and returns images of the same shape.
Each image has a draw of its own.
"""

from collections.abc import Callable, Sequence

import keras
from keras import ops, random

from keras_genzoo import parts
from keras_genzoo.typing import Spec, Tensor

# The numbers of the authors' code.
_MOST_BRIGHTNESS = 0.5  # in intensity
_CONTRASTS = (0.5, 1.5)  # least and greatest factor
_SATURATIONS = (0.0, 2.0)  # least and greatest factor
_SIDE_PER_SHIFT = 8  # a side of the image over the greatest shift along it
_SIDE_PER_CUT = 2  # a side of the image over that of the square


def brightness(x: Tensor, *, seed: keras.random.SeedGenerator) -> Tensor:
    """Adds a number in [-0.5, 0.5) to each image (DiffAugment, Zhao et al. 2020).

    Args:
        x: Images, `(batch, H, W, C)` float32.
        seed: Generator of the draws.

    Returns:
        Images of x's shape, not clipped.
    """
    return x + random.uniform(
        (ops.shape(x)[0], 1, 1, 1), -_MOST_BRIGHTNESS, _MOST_BRIGHTNESS, dtype="float32", seed=seed
    )


def contrast(x: Tensor, *, seed: keras.random.SeedGenerator) -> Tensor:
    """Scales each image about its mean by a factor of 0.5 to 1.5 (DiffAugment).

    Args:
        x: Images, `(batch, H, W, C)` float32.
        seed: Generator of the draws.

    Returns:
        Images of x's shape, not clipped.
    """
    factor = random.uniform((ops.shape(x)[0], 1, 1, 1), *_CONTRASTS, dtype="float32", seed=seed)
    mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
    return mean + factor * (x - mean)


def translation(x: Tensor, *, seed: keras.random.SeedGenerator) -> Tensor:
    """Shifts each image by up to an eighth of its sides in whole pixels; zeros fill the gap (DiffAugment).

    Args:
        x: Images, `(batch, H, W, C)` float32.
        seed: Generator of the draws.

    Returns:
        Images of x's shape.
    """
    (batch, height, width) = ops.shape(x)[:3]
    u = random.uniform((2, batch), dtype="float32", seed=seed)
    shifts = []
    for size, draw in zip((height, width), (u[0], u[1]), strict=True):
        reach = (size + _SIDE_PER_SHIFT // 2) // _SIDE_PER_SHIFT  # rounded
        shifts.append(ops.cast(draw * (2 * reach + 1), "int32") - reach)
    for axis, size, shift in zip((1, 2), (height, width), shifts, strict=True):
        index = ops.arange(size)[None, :] - shift[:, None]
        inside = ops.logical_and(index >= 0, index < size)
        shape = (batch, size, 1, 1) if axis == 1 else (batch, 1, size, 1)
        # A matrix of 0 and 1 per image: a gather along one axis has no batched form in keras.ops.
        picks = ops.one_hot(ops.clip(index, 0, size - 1), size, dtype="float32")
        x = ops.einsum("bij,bjwc->biwc" if axis == 1 else "bij,bhjc->bhic", picks, x)
        x = x * ops.reshape(ops.cast(inside, "float32"), shape)
    return x


def cutout(x: Tensor, *, seed: keras.random.SeedGenerator) -> Tensor:
    """Sets a square of half the sides, centred anywhere in each image, to 0 (DiffAugment).

    Args:
        x: Images, `(batch, H, W, C)` float32.
        seed: Generator of the draws.

    Returns:
        Images of x's shape.
    """
    (batch, height, width) = ops.shape(x)[:3]
    u = random.uniform((2, batch, 1), dtype="float32", seed=seed)
    hidden = []
    for size, draw in zip((height, width), (u[0], u[1]), strict=True):
        centre = ops.floor(draw * size)
        distance = ops.abs(ops.cast(ops.arange(size), "float32")[None, :] - centre)
        hidden.append(distance < size / (2 * _SIDE_PER_CUT))
    square = ops.logical_and(hidden[0][:, :, None, None], hidden[1][:, None, :, None])
    return ops.where(square, 0.0, x)


def saturation(x: Tensor, *, seed: keras.random.SeedGenerator) -> Tensor:
    """Scales each pixel's distance from its grey by a factor of 0 to 2 (DiffAugment).

    Args:
        x: Images, `(batch, H, W, C)` float32; grey ones stay as they are.
        seed: Generator of the draws.

    Returns:
        Images of x's shape, not clipped.
    """
    factor = random.uniform((ops.shape(x)[0], 1, 1, 1), *_SATURATIONS, dtype="float32", seed=seed)
    grey = ops.mean(x, axis=3, keepdims=True)
    return grey + factor * (x - grey)


def flip(x: Tensor, *, seed: keras.random.SeedGenerator) -> Tensor:
    """Mirrors every other image, left to right, on average.

    G may then make mirrored images: D cannot tell them (Karras et al. 2020, ADA, section 2.2).

    Args:
        x: Images, `(batch, H, W, C)` float32.
        seed: Generator of the draws.

    Returns:
        Images of x's shape.
    """
    heads = random.uniform((ops.shape(x)[0], 1, 1, 1), dtype="float32", seed=seed) < 0.5
    return ops.where(heads, ops.flip(x, axis=2), x)


AUGMENTATIONS = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "translation": translation,
    "cutout": cutout,
    "flip": flip,
}


def build(specs: Sequence[Spec]) -> Callable:
    """Builds one function of the policies that specs describe.

    Gradients flow through all policies. For their sake the result is not clipped to [0, 1].

    Args:
        specs: Keys of `AUGMENTATIONS`, or dicts of `name` and options; none of them: images stay as they are.

    Returns:
        A function `(x, *, seed) -> x`: float32 images of x's shape.

    Raises:
        ZooError: Unknown policy or option.
    """
    policies = [parts.chosen("augmentation", spec, key="augment") for spec in specs]

    def augmented(x: Tensor, *, seed: keras.random.SeedGenerator) -> Tensor:
        for policy, options in policies:
            x = policy(ops.cast(x, "float32"), seed=seed, **options)
        return x

    return augmented
