"""Pieces that the builders share."""

import math

from keras import layers

from keras_genzoo.layers import GatedDense, NearestUpsampling

MOMENTUM = 0.9  # share of BatchNorm's running means that a step keeps, PyTorch's 0.1; Keras' 0.99 lags in short runs


def dense_stack(h, units, activation, gated, dtype):
    for i, width in enumerate(units):
        if gated:
            h = GatedDense(width, dtype=dtype, name=f"hidden_{i}")(h)
        else:
            h = layers.Dense(width, activation=activation, dtype=dtype, name=f"hidden_{i}")(h)
    return h


def heads(h, outputs):
    return {name: layers.Dense(size, dtype="float32", name=name)(h) for name, size in outputs.items()}


def project(z, image_shape, filters, dtype, use_bias=True):
    """Codes -> the smallest feature map; doubled once per entry of `filters` it has the image's sides."""
    if not filters:
        raise ValueError("`filters` must have at least one entry. Received: []")
    height, width, _ = image_shape
    factor = 2 ** len(filters)
    if height % factor or width % factor:
        raise ValueError(
            f"`filters` has {len(filters)} entries, so image sides must be divisible by {factor}. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    return first_map(z, (height // factor, width // factor, filters[0]), dtype, use_bias)


def first_map(z, shape, dtype, use_bias=True):
    """Codes -> a feature map of a shape, by a dense layer."""
    h = layers.Dense(math.prod(shape), use_bias=use_bias, dtype=dtype, name="project")(z)
    return layers.Reshape(shape, dtype=dtype)(h)


def doubled(h, channels, kernel_size, upsampling, *, dtype, name, **options):
    """A feature map of twice the sides."""
    if upsampling not in ("transposed", "resize"):
        raise ValueError(f"`upsampling` must be 'transposed' or 'resize'. Received: {upsampling!r}")
    if upsampling == "transposed":
        return layers.Conv2DTranspose(
            channels, kernel_size, strides=2, padding="same", dtype=dtype, name=name, **options
        )(h)
    h = NearestUpsampling(dtype=dtype, name=f"{name}_resize")(h)
    return layers.Conv2D(channels, kernel_size, padding="same", dtype=dtype, name=name, **options)(h)


def bounded(layer, norm, dtype):
    """The layer, with its Lipschitz constant bounded where the norm is "spectral"."""
    if norm != "spectral":
        return layer
    return layers.SpectralNormalization(layer, dtype=dtype, name=f"spectral_{layer.name}")


def logit(h, norm):
    """One number per image, in float32. A conditional GAN projects its labels on the output of the layer `features`."""
    h = layers.Flatten(dtype="float32", name="features")(h)
    h = bounded(layers.Dense(1, dtype="float32", name="logit"), norm, "float32")(h)
    return layers.Reshape((), dtype="float32", name="logits")(h)


def check_dropout(dropout):
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}")


def batch_norm_relu(h, dtype):
    return layers.ReLU(dtype=dtype)(layers.BatchNormalization(momentum=MOMENTUM, dtype=dtype)(h))
