"""The shared encoder and the decoders of the face swaps of 2017."""

import keras
from keras import layers, ops

from keras_genzoo import parts
from keras_genzoo.layers import LeashedSigmoid
from keras_genzoo.networks import common
from keras_genzoo.typing import DType, Shape, Tensor

_FACE_SLOPE = 0.1  # slope of LeakyReLU below 0 in the face swaps of 2017
_LEAST_VARIANCE = 1e-4  # added to a channel's variance, which is 0 in a flat image: a deviation of 2.6 grey levels


def face_encoder(
    *,
    image_shape: Shape,
    latent_dim: int,
    dtype: DType = None,
    filters: list[int],
    channels: int,
    kernel_size: int = 5,
    normalize: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The encoder that two faces share, as in the first face swaps of 2017.

    Images -> convolutions of stride 2 with LeakyReLU(0.1) -> a dense code `z` -> a map `features` with twice the sides
    of the last convolution's. Each image is first brought to mean 0 and deviation 1 in each channel, measured over its
    middle. This removes the colours of skin, light and camera; two people then differ by their shapes alone, and their
    codes fall together. Drawings, whose colours say what they show, keep them by `normalize: false`.

    Args:
        image_shape: `(H, W, C)`; H and W divisible by 2 ** len(filters).
        latent_dim: Length of the code.
        dtype: Precision policy of the hidden layers.
        filters: Channels of the convolutions; at least one.
        channels: Channels of `features`.
        kernel_size: Sides of the convolutions' kernels, in pixels.
        normalize: Whether each image is brought to mean 0 and deviation 1.

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)`, and a dict of `z`, `(batch, latent_dim)`, and
        `features`, `(batch, h, w, channels)`.

    Raises:
        ValueError: `filters` is empty, or does not fit the sides of the images.
    """
    images = keras.Input(image_shape, name="images")
    h = _normalized(images, image_shape) if normalize else images
    for i, width in enumerate(filters):
        h = layers.Conv2D(width, kernel_size, strides=2, padding="same", dtype=dtype, name=f"conv_{i}")(h)
        h = layers.LeakyReLU(_FACE_SLOPE, dtype=dtype)(h)
    z = layers.Dense(latent_dim, dtype="float32", name="z")(layers.Flatten(dtype=dtype)(h))
    h = common.project(z, image_shape, [channels] * len(filters), dtype)  # with the sides of the last convolution's map
    features = layers.Activation("linear", dtype="float32", name="features")(_upscaled(h, channels, dtype))
    return images, {"z": z, "features": features}


def _normalized(images, image_shape):
    """Images of mean 0 and deviation 1 in each channel, measured over the middle."""
    height, width, _ = image_shape
    middle = layers.Cropping2D((height // 6, width // 6), dtype="float32")(images)
    mean = ops.mean(middle, axis=(1, 2), keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(middle - mean), axis=(1, 2), keepdims=True) + _LEAST_VARIANCE)
    return (images - mean) / deviation


def face_decoder(
    *,
    feature_shape: Shape,
    image_shape: Shape,
    dtype: DType = None,
    filters: list[int],
    leash: parts.NonNegative = 0.0,
) -> tuple[Tensor, Tensor]:
    """The map of a `face_encoder` -> maps of doubled sides -> images, by a sigmoid.

    Args:
        feature_shape: `(h, w, channels)` of the encoder's map.
        image_shape: `(H, W, C)`, where H = h 2 ** len(filters) and W = w 2 ** len(filters).
        dtype: Precision policy of the hidden layers.
        filters: Channels of the maps; each doubles the sides.
        leash: Weight of the loss that keeps the logits in reach, see `layers.LeashedSigmoid`; 0: none.

    Returns:
        `(inputs, outputs)` of the network: `(batch, h, w, channels)` and `(batch, H, W, C)` in [0, 1].

    Raises:
        ValueError: `filters` does not bring the map to the sides of the images.
    """
    features = keras.Input(feature_shape, name="features")
    sides = tuple(side * 2 ** len(filters) for side in feature_shape[:2])
    if sides != tuple(image_shape[:2]):
        raise ValueError(
            f"`filters` of a face_decoder has {len(filters)} entries, which bring {tuple(feature_shape[:2])} to "
            f"{sides}; the images have {tuple(image_shape[:2])}"
        )
    h = features
    for width in filters:
        h = _upscaled(h, width, dtype)
    h = layers.Conv2D(image_shape[-1], 5, padding="same", dtype="float32", name="images")(h)
    return features, LeashedSigmoid(weight=leash, dtype="float32", name="pixels")(h)


def _upscaled(h, channels, dtype):
    """A map of twice the sides: a convolution to four times the channels, of which each four become 2 x 2 pixels."""
    h = layers.Conv2D(4 * channels, 3, padding="same", dtype=dtype)(h)
    h = layers.LeakyReLU(_FACE_SLOPE, dtype=dtype)(h)
    return ops.depth_to_space(h, 2)
