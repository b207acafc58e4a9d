"""Encoders, decoders, generators and discriminators from declarative specs.

A spec is a dict with the builder's `name` and its options, as it stands in a preset.yaml:

    {"name": "mlp_encoder", "units": [300, 300], "gated": True}

Every builder returns a Functional `keras.Model` whose outputs are float32 whatever the precision policy. Sizes that
the model decides (image shape, latent size, outputs) come as keyword arguments beside the spec.
"""

import math
from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers, ops

from keras_genzoo.layers import GatedDense


def build(spec, *, dtype=None, name=None, **shapes):
    """The network a spec describes.

    Args:
        spec: Dict with `name`, a key of `BUILDERS`, and that builder's options.
        dtype: Precision policy of the hidden layers, e.g. "mixed_bfloat16". None: Keras' global policy.
        name: Name of the returned model.
        **shapes: What the model decides: `image_shape`, `latent_dim`, `outputs`, `feature_shape`.

    Raises:
        ValueError: An unknown builder name.
    """
    builder, options = chosen(BUILDERS, spec, "network")
    inputs, outputs = builder(dtype=dtype, **shapes, **options)
    return keras.Model(inputs, outputs, name=name)


def chosen(kinds, spec, what):
    """The kind that a spec's `name` stands for in a dict of them, and the spec's options; `what` names it in errors."""
    if spec.get("name") not in kinds:
        raise ValueError(f"`name` of a {what} must be one of {sorted(kinds)}. Received: {spec.get('name')!r}")
    return kinds[spec["name"]], {key: value for key, value in spec.items() if key != "name"}


def mlp_encoder(*, image_shape, outputs, dtype=None, units: list[int], activation: str = "relu", gated: bool = False):
    """Images -> dense layers of `units` -> one linear head per entry of `outputs` (name -> size)."""
    images = keras.Input(image_shape, name="images")
    h = _dense_stack(layers.Flatten(dtype=dtype)(images), units, activation, gated, dtype)
    return images, _heads(h, outputs)


def mlp_decoder(
    *,
    latent_dim,
    image_shape,
    dtype=None,
    units: list[int],
    activation: str = "relu",
    gated: bool = False,
    unit_norm: bool = False,
):
    """Codes -> dense layers of `units` -> raw pixels (logits, or a mean before its activation).

    `unit_norm` holds what each unit paints, its weights to all pixels, at norm 1: else a penalty on the size of a code
    is met by a smaller code and larger weights.
    """
    z = keras.Input((latent_dim,), name="z")
    h = _dense_stack(z, units, activation, gated, dtype)
    constraint = keras.constraints.UnitNorm(axis=1) if unit_norm else None
    h = layers.Dense(math.prod(image_shape), kernel_constraint=constraint, dtype="float32", name="pixels")(h)
    return z, layers.Reshape(image_shape, dtype="float32", name="raw")(h)


def conv_encoder(
    *,
    image_shape,
    outputs,
    dtype=None,
    filters: list[int],
    units: Sequence[int] = (),
    kernel_size: int = 4,
    activation: str = "relu",
    gated: bool = False,
):
    """Images -> convolutions of stride 2 with `filters` channels -> dense layers of `units`, `gated` or not -> one
    linear head per entry of `outputs`.
    """
    images = keras.Input(image_shape, name="images")
    h = images
    for i, channels in enumerate(filters):
        h = layers.Conv2D(
            channels, kernel_size, strides=2, padding="same", activation=activation, dtype=dtype, name=f"conv_{i}"
        )(h)
    h = _dense_stack(layers.Flatten(dtype=dtype)(h), units, activation, gated, dtype)
    return images, _heads(h, outputs)


def conv_decoder(
    *,
    latent_dim,
    image_shape,
    dtype=None,
    filters: list[int],
    units: Sequence[int] = (),
    kernel_size: int = 4,
    activation: str = "relu",
    gated: bool = False,
):
    """Codes -> dense layers of `units`, `gated` or not -> a dense map -> transposed convolutions of stride 2
    (`filters`, first to last) -> raw pixels.
    """
    z = keras.Input((latent_dim,), name="z")
    h = _dense_stack(z, units, activation, gated, dtype)
    h = _project(h, image_shape, filters, dtype)
    h = layers.Activation(activation, dtype=dtype)(h)
    for i, channels in enumerate(filters[1:]):
        h = layers.Conv2DTranspose(
            channels, kernel_size, strides=2, padding="same", activation=activation, dtype=dtype, name=f"deconv_{i}"
        )(h)
    return z, layers.Conv2DTranspose(
        image_shape[-1], kernel_size, strides=2, padding="same", dtype="float32", name="raw"
    )(h)


def dcgan_generator(*, latent_dim, image_shape, dtype=None, filters: list[int], kernel_size: int = 5):
    """The generator of Radford, Metz & Chintala 2016 (section 3): dense, BatchNorm, ReLU, strided transposed
    convolutions, no pooling. The paper's tanh in [-1, 1] is a sigmoid here: images are in [0, 1].
    """
    z = keras.Input((latent_dim,), name="z")
    h = _project(z, image_shape, filters, dtype, use_bias=False)
    h = _batch_norm_relu(h, dtype)
    for i, channels in enumerate(filters[1:]):
        h = layers.Conv2DTranspose(
            channels, kernel_size, strides=2, padding="same", use_bias=False, dtype=dtype, name=f"deconv_{i}"
        )(h)
        h = _batch_norm_relu(h, dtype)
    return z, layers.Conv2DTranspose(
        image_shape[-1], kernel_size, strides=2, padding="same", activation="sigmoid", dtype="float32", name="images"
    )(h)


def dcgan_discriminator(
    *,
    image_shape,
    dtype=None,
    filters: list[int],
    kernel_size: int = 5,
    norm: Literal["batch", "spectral", "none"] = "batch",
    dropout: float = 0.0,
):
    """The discriminator of Radford, Metz & Chintala 2016: strided convolutions, LeakyReLU(0.2), one logit.

    `norm`: "batch" normalises all convolutions but the first, as the paper does; "spectral" bounds every layer's
    Lipschitz constant (Miyato et al. 2018); "none". `dropout`: a rate in [0, 1) after each convolution.
    """
    _check_dropout(dropout)
    if norm not in ("batch", "spectral", "none"):
        raise ValueError(f"`norm` must be 'batch', 'spectral' or 'none'. Received: {norm!r}")

    images = keras.Input(image_shape, name="images")
    h = images
    for i, channels in enumerate(filters):
        conv = layers.Conv2D(channels, kernel_size, strides=2, padding="same", dtype=dtype, name=f"conv_{i}")
        h = _bounded(conv, norm, dtype)(h)
        if norm == "batch" and i > 0:
            h = layers.BatchNormalization(momentum=0.9, dtype=dtype)(h)
        h = layers.LeakyReLU(0.2, dtype=dtype)(h)
        if dropout:
            h = layers.Dropout(dropout, dtype=dtype)(h)
    return images, _logit(h, norm)


def cnn_classifier(*, image_shape, outputs, dtype=None, filters: list[int], units: int, dropout: float = 0.0):
    """Images -> pairs of 3x3 convolutions with BatchNorm, halved after each pair -> `features` -> heads."""
    _check_dropout(dropout)
    images = keras.Input(image_shape, name="images")
    h = images
    for channels in filters:
        for strides in (1, 2):
            h = layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False, dtype=dtype)(h)
            h = _batch_norm_relu(h, dtype)
    h = layers.Dropout(dropout, dtype=dtype)(layers.Flatten(dtype=dtype)(h))
    features = layers.Dense(units, activation="relu", dtype="float32", name="features")(h)
    return images, {"features": features, **_heads(layers.Dropout(dropout, dtype="float32")(features), outputs)}


def mlp_generator(
    *,
    latent_dim,
    image_shape,
    dtype=None,
    units: list[int],
    activation: str = "relu",
    batch_norm: bool = False,
):
    """Codes -> dense layers of `units`, with BatchNorm or not -> images in [0, 1], by a sigmoid."""
    z = keras.Input((latent_dim,), name="z")
    h = z
    for i, width in enumerate(units):
        h = layers.Dense(width, dtype=dtype, name=f"hidden_{i}")(h)
        if batch_norm:
            h = layers.BatchNormalization(momentum=0.9, dtype=dtype)(h)
        h = layers.Activation(activation, dtype=dtype)(h)
    h = layers.Dense(math.prod(image_shape), activation="sigmoid", dtype="float32", name="pixels")(h)
    return z, layers.Reshape(image_shape, dtype="float32", name="images")(h)


def mlp_discriminator(
    *,
    image_shape,
    dtype=None,
    units: list[int],
    activation: str = "leaky_relu",
    maxout: int = 1,
    norm: Literal["spectral", "none"] = "none",
    dropout: float = 0.0,
    frequencies: int = 0,
):
    """Images -> dense layers of `units` -> one logit.

    `frequencies`: beside the images' values x, moved to [-1, 1], the layers see sin and cos of 2^k pi x for k <
    frequencies (Mildenhall et al. 2020, eq. 4): of a few coordinates dense layers learn the coarse first, and detail
    late or never (Tancik et al. 2020). 0: the values in [0, 1] alone.
    `maxout`: of so many linear pieces per unit the largest (Goodfellow et al. 2013), in place of the activation.
    `dropout`: a rate in [0, 1) after each layer.
    """
    _check_dropout(dropout)
    if norm not in ("spectral", "none"):
        raise ValueError(f"`norm` must be 'spectral' or 'none'. Received: {norm!r}")
    if maxout < 1:
        raise ValueError(f"`maxout` must be >= 1. Received: {maxout}")
    if frequencies < 0:
        raise ValueError(f"`frequencies` must be >= 0. Received: {frequencies}")

    images = keras.Input(image_shape, name="images")
    h = layers.Flatten(dtype="float32" if frequencies else dtype)(images)
    if frequencies:  # in float32: the last wave's phase is what half precision would round away
        x = 2 * h - 1
        waves = [wave(2**k * math.pi * x) for k in range(frequencies) for wave in (ops.sin, ops.cos)]
        h = layers.Concatenate(dtype="float32")([x, *waves])
    for i, width in enumerate(units):
        h = _bounded(layers.Dense(width * maxout, dtype=dtype, name=f"hidden_{i}"), norm, dtype)(h)
        if maxout > 1:
            h = layers.Reshape((width, maxout), dtype=dtype)(h)
            h = ops.max(h, axis=-1)
        else:
            h = layers.Activation(activation, dtype=dtype)(h)
        if dropout:
            h = layers.Dropout(dropout, dtype=dtype)(h)
    return images, _logit(h, norm)


def face_encoder(
    *,
    image_shape,
    latent_dim,
    dtype=None,
    filters: list[int],
    channels: int,
    kernel_size: int = 5,
):
    """The encoder that two faces share (the first face swaps of 2017): strided convolutions, LeakyReLU(0.1), a dense
    code `z`, and back to a map `features` of `channels`, twice as wide as the last convolution's.

    It sees every image with mean 0 and deviation 1 in each channel, taken over the middle: two people then look alike
    to it but for their shapes, whatever their skin and the camera's colours, and their codes fall together.
    """
    images = keras.Input(image_shape, name="images")
    height, width, _ = image_shape
    middle = layers.Cropping2D((height // 6, width // 6), dtype="float32")(images)
    mean = ops.mean(middle, axis=(1, 2), keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(middle - mean), axis=(1, 2), keepdims=True) + 1e-4)
    h = (images - mean) / deviation
    for i, width in enumerate(filters):
        h = layers.Conv2D(width, kernel_size, strides=2, padding="same", dtype=dtype, name=f"conv_{i}")(h)
        h = layers.LeakyReLU(0.1, dtype=dtype)(h)
    z = layers.Dense(latent_dim, dtype="float32", name="z")(layers.Flatten(dtype=dtype)(h))
    h = _project(z, image_shape, [channels] * len(filters), dtype)  # of the last convolution's sides
    features = layers.Activation("linear", dtype="float32", name="features")(_upscaled(h, channels, dtype))
    return images, {"z": z, "features": features}


def face_decoder(*, feature_shape, image_shape, dtype=None, filters: list[int]):
    """A map of `face_encoder` -> doubled once per entry of `filters` -> images in [0, 1], by a sigmoid."""
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
    h = layers.Conv2D(image_shape[-1], 5, padding="same", activation="sigmoid", dtype="float32", name="images")(h)
    return features, h


def _upscaled(h, channels, dtype):
    """A map of twice the sides: a convolution to four times the channels, each four of which become 2 x 2 pixels."""
    h = layers.Conv2D(4 * channels, 3, padding="same", dtype=dtype)(h)
    h = layers.LeakyReLU(0.1, dtype=dtype)(h)
    return ops.depth_to_space(h, 2)


def _bounded(layer, norm, dtype):
    """The layer, its Lipschitz constant bounded where the norm is "spectral"."""
    if norm != "spectral":
        return layer
    return layers.SpectralNormalization(layer, dtype=dtype, name=f"spectral_{layer.name}")


def _logit(h, norm):
    """One number per image, in float32. The input of the layer `features` are the features of a projection."""
    h = layers.Flatten(dtype="float32", name="features")(h)
    h = _bounded(layers.Dense(1, dtype="float32", name="logit"), norm, "float32")(h)
    return layers.Reshape((), dtype="float32", name="logits")(h)


def _check_dropout(dropout):
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}")


def _dense_stack(h, units, activation, gated, dtype):
    for i, width in enumerate(units):
        if gated:
            h = GatedDense(width, dtype=dtype, name=f"hidden_{i}")(h)
        else:
            h = layers.Dense(width, activation=activation, dtype=dtype, name=f"hidden_{i}")(h)
    return h


def _heads(h, outputs):
    return {name: layers.Dense(size, dtype="float32", name=name)(h) for name, size in outputs.items()}


def _project(z, image_shape, filters, dtype, use_bias=True):
    """Codes -> the smallest feature map, which a stride of 2 per entry of `filters` brings to the image's size."""
    if not filters:
        raise ValueError("`filters` must have at least one entry. Received: []")
    height, width, _ = image_shape
    factor = 2 ** len(filters)
    if height % factor or width % factor:
        raise ValueError(
            f"`filters` has {len(filters)} entries, so image sides must be divisible by {factor}. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    shape = (height // factor, width // factor, filters[0])
    h = layers.Dense(math.prod(shape), use_bias=use_bias, dtype=dtype, name="project")(z)
    return layers.Reshape(shape, dtype=dtype)(h)


def _batch_norm_relu(h, dtype):
    return layers.ReLU(dtype=dtype)(layers.BatchNormalization(momentum=0.9, dtype=dtype)(h))


BUILDERS = {
    "mlp_encoder": mlp_encoder,
    "mlp_decoder": mlp_decoder,
    "conv_encoder": conv_encoder,
    "conv_decoder": conv_decoder,
    "dcgan_generator": dcgan_generator,
    "dcgan_discriminator": dcgan_discriminator,
    "mlp_generator": mlp_generator,
    "mlp_discriminator": mlp_discriminator,
    "cnn_classifier": cnn_classifier,
    "face_encoder": face_encoder,
    "face_decoder": face_decoder,
}
