"""Networks of dense layers."""

import math
from collections.abc import Mapping
from typing import Literal

import keras
from keras import layers, ops

from keras_genzoo.networks import common
from keras_genzoo.typing import DType, Shape, Tensor

_MOST_FREQUENCIES = 20  # waves; float32 knows no phase of a faster one


def mlp_encoder(
    *,
    image_shape: Shape,
    outputs: Mapping[str, int],
    dtype: DType = None,
    units: list[int],
    activation: str = "relu",
    gated: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Images -> dense layers -> one linear head per output.

    Args:
        image_shape: `(H, W, C)`.
        outputs: Name of each head -> its size.
        dtype: Precision policy of the hidden layers.
        units: Widths of the dense layers.
        activation: Activation of the dense layers; unused where `gated`.
        gated: Whether they are `GatedDense` layers.

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)`, and name of each head -> `(batch, size)`.
    """
    images = keras.Input(image_shape, name="images")
    h = common.dense_stack(layers.Flatten(dtype=dtype)(images), units, activation, gated, dtype)
    return images, common.heads(h, outputs)


def mlp_decoder(
    *,
    latent_dim: int,
    image_shape: Shape,
    dtype: DType = None,
    units: list[int],
    activation: str = "relu",
    gated: bool = False,
    unit_norm: bool = False,
) -> tuple[Tensor, Tensor]:
    """Codes -> dense layers -> raw pixels (logits, or a mean before its activation).

    Args:
        latent_dim: Length of a code.
        image_shape: `(H, W, C)`.
        dtype: Precision policy of the hidden layers.
        units: Widths of the dense layers.
        activation: Activation of the dense layers; unused where `gated`.
        gated: Whether they are `GatedDense` layers.
        unit_norm: Whether the weights from each unit to all pixels are held at norm 1. Without it a penalty on the size
            of a code can be met by a smaller code and larger weights.

    Returns:
        `(inputs, outputs)` of the network: `(batch, latent_dim)` and `(batch, H, W, C)`.
    """
    z = keras.Input((latent_dim,), name="z")
    h = common.dense_stack(z, units, activation, gated, dtype)
    constraint = keras.constraints.UnitNorm(axis=1) if unit_norm else None
    h = layers.Dense(math.prod(image_shape), kernel_constraint=constraint, dtype="float32", name="pixels")(h)
    return z, layers.Reshape(image_shape, dtype="float32", name="raw")(h)


def mlp_generator(
    *,
    latent_dim: int,
    image_shape: Shape,
    dtype: DType = None,
    units: list[int],
    activation: str = "relu",
    batch_norm: bool = False,
) -> tuple[Tensor, Tensor]:
    """Codes -> dense layers -> images, by a sigmoid.

    Args:
        latent_dim: Length of a code.
        image_shape: `(H, W, C)`.
        dtype: Precision policy of the hidden layers.
        units: Widths of the dense layers.
        activation: Activation of the dense layers.
        batch_norm: Whether each dense layer has BatchNorm before its activation.

    Returns:
        `(inputs, outputs)` of the network: `(batch, latent_dim)` and `(batch, H, W, C)` in [0, 1].
    """
    z = keras.Input((latent_dim,), name="z")
    h = z
    for i, width in enumerate(units):
        h = layers.Dense(width, dtype=dtype, name=f"hidden_{i}")(h)
        if batch_norm:
            h = layers.BatchNormalization(momentum=common.MOMENTUM, dtype=dtype)(h)
        h = layers.Activation(activation, dtype=dtype)(h)
    h = layers.Dense(math.prod(image_shape), activation="sigmoid", dtype="float32", name="pixels")(h)
    return z, layers.Reshape(image_shape, dtype="float32", name="images")(h)


def mlp_discriminator(
    *,
    image_shape: Shape,
    dtype: DType = None,
    units: list[int],
    activation: str = "leaky_relu",
    maxout: int = 1,
    norm: Literal["spectral", "none"] = "none",
    dropout: float = 0.0,
    frequencies: int = 0,
) -> tuple[Tensor, Tensor]:
    """Images -> dense layers -> one logit.

    Args:
        image_shape: `(H, W, C)`.
        dtype: Precision policy of the hidden layers.
        units: Widths of the dense layers.
        activation: Activation of the dense layers; unused where `maxout` > 1.
        maxout: Number of linear pieces per unit, >= 1. Above 1 the largest piece takes the place of the activation
            (Goodfellow et al. 2013).
        norm: Normalisation. "spectral" bounds every layer's Lipschitz constant (Miyato et al. 2018); "none".
        dropout: Rate after each dense layer, in [0, 1).
        frequencies: Number of waves, in 0..20. The first layer takes the images' values x, moved to [-1, 1], and sin
            and cos of 2^k pi x for k < frequencies (Mildenhall et al. 2020, eq. 4). Without them dense layers learn
            coarse functions of a few coordinates, and details late or never (Tancik et al. 2020). 0: the values in
            [0, 1].

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)` and `(batch,)`.

    Raises:
        ValueError: `norm`, `maxout`, `dropout` or `frequencies` is none of these.
    """
    common.check_dropout(dropout)
    if norm not in ("spectral", "none"):
        raise ValueError(f"`norm` must be 'spectral' or 'none'. Received: {norm!r}")
    if maxout < 1:
        raise ValueError(f"`maxout` must be >= 1. Received: {maxout}")
    if not 0 <= frequencies <= _MOST_FREQUENCIES:
        raise ValueError(f"`frequencies` must be in 0..{_MOST_FREQUENCIES}. Received: {frequencies}")

    images = keras.Input(image_shape, name="images")
    h = layers.Flatten(dtype="float32" if frequencies else dtype)(images)
    if frequencies:  # in float32: half precision would round the last wave's phase away
        x = 2 * h - 1
        waves = [wave(2**k * math.pi * x) for k in range(frequencies) for wave in (ops.sin, ops.cos)]
        h = layers.Concatenate(dtype="float32")([x, *waves])
    for i, width in enumerate(units):
        h = common.bounded(layers.Dense(width * maxout, dtype=dtype, name=f"hidden_{i}"), norm, dtype)(h)
        if maxout > 1:
            h = layers.Reshape((width, maxout), dtype=dtype)(h)
            h = ops.max(h, axis=-1)
        else:
            h = layers.Activation(activation, dtype=dtype)(h)
        if dropout:
            h = layers.Dropout(dropout, dtype=dtype)(h)
    return images, common.logit(h, norm)
