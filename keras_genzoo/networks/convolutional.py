"""Networks of strided convolutions, the DCGAN among them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import keras
from keras import layers

from keras_genzoo.networks import common
from keras_genzoo.typing import DType, Shape, Tensor

_DCGAN_SLOPE = 0.2  # slope of LeakyReLU below 0 (Radford, Metz & Chintala 2016, section 4)


def conv_encoder(
    *,
    image_shape: Shape,
    outputs: Mapping[str, int],
    dtype: DType = None,
    filters: list[int],
    units: Sequence[int] = (),
    kernel_size: int = 4,
    activation: str = "relu",
    gated: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Images -> convolutions of stride 2 -> dense layers -> one linear head per output.

    Args:
        image_shape: `(H, W, C)`.
        outputs: Name of each head -> its size.
        dtype: Precision policy of the hidden layers.
        filters: Channels of the convolutions.
        units: Widths of the dense layers.
        kernel_size: Sides of the convolutions' kernels, in pixels.
        activation: Activation of the convolutions, and of the dense layers unless `gated`.
        gated: Whether the dense layers are `GatedDense` layers.

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)`, and name of each head -> `(batch, size)`.
    """
    images = keras.Input(image_shape, name="images")
    h = images
    for i, channels in enumerate(filters):
        h = layers.Conv2D(
            channels, kernel_size, strides=2, padding="same", activation=activation, dtype=dtype, name=f"conv_{i}"
        )(h)
    h = common.dense_stack(layers.Flatten(dtype=dtype)(h), units, activation, gated, dtype)
    return images, common.heads(h, outputs)


def conv_decoder(
    *,
    latent_dim: int,
    image_shape: Shape,
    dtype: DType = None,
    filters: list[int],
    units: Sequence[int] = (),
    kernel_size: int = 4,
    activation: str = "relu",
    gated: bool = False,
    upsampling: Literal["transposed", "resize"] = "transposed",
) -> tuple[Tensor, Tensor]:
    """Codes -> dense layers -> a small feature map -> convolutions that double its sides -> raw pixels.

    Args:
        latent_dim: Length of a code.
        image_shape: `(H, W, C)`; H and W divisible by 2 ** len(filters).
        dtype: Precision policy of the hidden layers.
        filters: Channels of the feature maps, the smallest map first; at least one.
        units: Widths of the dense layers.
        kernel_size: Sides of the convolutions' kernels, in pixels.
        activation: Activation of the feature maps, and of the dense layers unless `gated`.
        gated: Whether the dense layers are `GatedDense` layers.
        upsampling: Way in which a map's sides double: "transposed" for transposed convolutions of stride 2; "resize"
            for the nearest neighbour and a convolution (Odena et al. 2016), which leaves no checkerboard, and which
            phones' GPUs and 4-bit files prefer.

    Returns:
        `(inputs, outputs)` of the network: `(batch, latent_dim)` and `(batch, H, W, C)`.

    Raises:
        ValueError: `filters` is empty, or does not fit the sides of the images; or `upsampling` is none of these.
    """
    z = keras.Input((latent_dim,), name="z")
    h = common.dense_stack(z, units, activation, gated, dtype)
    h = common.project(h, image_shape, filters, dtype)
    h = layers.Activation(activation, dtype=dtype)(h)
    for i, channels in enumerate(filters[1:]):
        h = common.doubled(h, channels, kernel_size, upsampling, activation=activation, dtype=dtype, name=f"deconv_{i}")
    return z, common.doubled(h, image_shape[-1], kernel_size, upsampling, dtype="float32", name="raw")


def dcgan_generator(
    *,
    latent_dim: int,
    image_shape: Shape,
    dtype: DType = None,
    filters: list[int],
    kernel_size: int = 5,
    upsampling: Literal["transposed", "resize"] = "transposed",
) -> tuple[Tensor, Tensor]:
    """The generator of Radford, Metz & Chintala 2016 (section 3).

    A dense map and transposed convolutions of stride 2, each with BatchNorm and ReLU, and no pooling. The paper's last
    activation is tanh, in [-1, 1]; it is a sigmoid here, as images are in [0, 1].

    Args:
        latent_dim: Length of a code.
        image_shape: `(H, W, C)`; H and W divisible by 2 ** len(filters).
        dtype: Precision policy of the hidden layers.
        filters: Channels of the feature maps, the smallest map first; at least one.
        kernel_size: Sides of the convolutions' kernels, in pixels.
        upsampling: "transposed", as the paper has it, or "resize", see `conv_decoder`.

    Returns:
        `(inputs, outputs)` of the network: `(batch, latent_dim)` and `(batch, H, W, C)` in [0, 1].

    Raises:
        ValueError: `filters` is empty, or does not fit the sides of the images; or `upsampling` is none of these.
    """
    z = keras.Input((latent_dim,), name="z")
    h = common.project(z, image_shape, filters, dtype, use_bias=False)
    h = common.batch_norm_relu(h, dtype)
    for i, channels in enumerate(filters[1:]):
        h = common.doubled(h, channels, kernel_size, upsampling, use_bias=False, dtype=dtype, name=f"deconv_{i}")
        h = common.batch_norm_relu(h, dtype)
    return z, common.doubled(
        h, image_shape[-1], kernel_size, upsampling, activation="sigmoid", dtype="float32", name="images"
    )


def dcgan_discriminator(
    *,
    image_shape: Shape,
    dtype: DType = None,
    filters: list[int],
    kernel_size: int = 5,
    norm: Literal["batch", "spectral", "none"] = "batch",
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The discriminator of Radford, Metz & Chintala 2016: convolutions of stride 2, LeakyReLU(0.2), one logit.

    Args:
        image_shape: `(H, W, C)`.
        dtype: Precision policy of the hidden layers.
        filters: Channels of the convolutions.
        kernel_size: Sides of the convolutions' kernels, in pixels.
        norm: Normalisation. "batch" normalises all convolutions but the first, as the paper does; "spectral" bounds
            every layer's Lipschitz constant (Miyato et al. 2018); "none".
        dropout: Rate after each convolution, in [0, 1).

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)` and `(batch,)`.

    Raises:
        ValueError: `norm` or `dropout` is none of these.
    """
    common.check_dropout(dropout)
    if norm not in ("batch", "spectral", "none"):
        raise ValueError(f"`norm` must be 'batch', 'spectral' or 'none'. Received: {norm!r}")

    images = keras.Input(image_shape, name="images")
    h = images
    for i, channels in enumerate(filters):
        conv = layers.Conv2D(channels, kernel_size, strides=2, padding="same", dtype=dtype, name=f"conv_{i}")
        h = common.bounded(conv, norm, dtype)(h)
        if norm == "batch" and i > 0:
            h = layers.BatchNormalization(momentum=common.MOMENTUM, dtype=dtype)(h)
        h = layers.LeakyReLU(_DCGAN_SLOPE, dtype=dtype)(h)
        if dropout:
            h = layers.Dropout(dropout, dtype=dtype)(h)
    return images, common.logit(h, norm)


def cnn_classifier(
    *,
    image_shape: Shape,
    outputs: Mapping[str, int],
    dtype: DType = None,
    filters: list[int],
    units: int,
    dropout: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Images -> pairs of 3x3 convolutions with BatchNorm -> a dense layer `features` -> one linear head per output.

    Args:
        image_shape: `(H, W, C)`.
        outputs: Name of each head -> its size.
        dtype: Precision policy of the hidden layers.
        filters: Channels of the pairs. The second convolution of each pair halves the sides.
        units: Width of `features`.
        dropout: Rate before and after `features`, in [0, 1).

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)`, and name -> `(batch, size)` of `features` and the heads.

    Raises:
        ValueError: `dropout` is out of range.
    """
    common.check_dropout(dropout)
    images = keras.Input(image_shape, name="images")
    h = images
    for channels in filters:
        for strides in (1, 2):
            h = layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False, dtype=dtype)(h)
            h = common.batch_norm_relu(h, dtype)
    h = layers.Dropout(dropout, dtype=dtype)(layers.Flatten(dtype=dtype)(h))
    features = layers.Dense(units, activation="relu", dtype="float32", name="features")(h)
    return images, {"features": features, **common.heads(layers.Dropout(dropout, dtype="float32")(features), outputs)}
