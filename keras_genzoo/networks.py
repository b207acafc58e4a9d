"""Encoders, decoders, generators and discriminators from declarative specs.

A spec is a dict with the builder's `name` and its options, as it stands in a preset.yaml:

    {"name": "mlp_encoder", "units": [300, 300], "gated": True}

Every builder returns a Functional `keras.Model` whose outputs are float32 whatever the precision policy. Sizes that
the model decides (image shape, latent size, outputs) come as keyword arguments beside the spec.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from keras_genzoo import parts
from keras_genzoo.errors import ZooError
from keras_genzoo.layers import GatedDense, LeashedSigmoid, NearestUpsampling
from keras_genzoo.typing import DType, Shape, Spec, Tensor

_MOMENTUM = 0.9  # share of BatchNorm's running means that a step keeps, PyTorch's 0.1; Keras' 0.99 lags in short runs
_DCGAN_SLOPE = 0.2  # slope of LeakyReLU below 0 (Radford, Metz & Chintala 2016, section 4)
_FAR, _PROBED = 100.0, 4  # size and number of the inputs by which the range of a user's network is seen
_FACE_SLOPE = 0.1  # slope of LeakyReLU below 0 in the face swaps of 2017
_MOST_FREQUENCIES = 20  # waves; float32 knows no phase of a faster one
_LEAST_VARIANCE = 1e-4  # added to a channel's variance, which is 0 in a flat image: a deviation of 2.6 grey levels


def build(
    spec: Spec, *, key: str = "network", dtype: DType = None, name: str | None = None, **shapes: Any
) -> keras.Model:
    """Builds the network that a spec describes.

    Args:
        spec: Name of a builder, a key of `BUILDERS`, or a dict of `name` and that builder's options; or a Keras model
            of your own, see `own`.
        key: Path of the spec in errors, such as "encoder".
        dtype: Precision policy of the hidden layers, e.g. "mixed_bfloat16". None: Keras' global policy.
        name: Name of the returned model.
        **shapes: Sizes that the model decides: `image_shape`, `latent_dim`, `outputs`, `feature_shape`, whichever the
            builder takes.

    Returns:
        A Functional `keras.Model`.

    Raises:
        ZooError: An unknown builder or option, or a builder that does not fit these sizes.
        ValueError: An option out of range.

    Example:
        >>> from keras_genzoo import networks
        >>> spec = {"name": "mlp_encoder", "units": [8]}
        >>> encoder = networks.build(spec, image_shape=(28, 28, 1), outputs={"z_mean": 2, "z_log_var": 2})
        >>> encoder.count_params()  # 784 * 8 + 8, and two heads of 8 * 2 + 2
        6316
    """
    if isinstance(spec, keras.Model):
        inputs, outputs = own(spec, key=key, **shapes)
    elif parts.is_own("network", spec):
        inputs, outputs = own(_deserialized(spec, key), key=key, **shapes)
    else:
        inputs, outputs = parts.build("network", spec, key=key, dtype=dtype, **shapes)
    return keras.Model(inputs, outputs, name=name)


def plain(spec: Any) -> Any:
    """A spec as plain data: a Keras model as the dict from which `build` makes it anew, another spec as it is.

    Args:
        spec: A spec, or a Keras model.

    Raises:
        ZooError: The model cannot be described by a configuration, as most subclassed ones cannot.
    """
    if not isinstance(spec, keras.Model):
        return spec
    try:
        config = keras.saving.serialize_keras_object(spec)
        twin = keras.saving.deserialize_keras_object(copy.deepcopy(config))  # Keras empties what it reads
        if [w.shape for w in twin.weights] != [w.shape for w in spec.weights]:
            raise ValueError("its copy has other weights")
    except Exception as error:  # whatever a user's get_config raises
        raise ZooError(
            f"The {type(spec).__name__} {spec.name!r} cannot be saved: {' '.join(str(error).split())[:200]}; write its "
            "get_config and register it with @keras.saving.register_keras_serializable, or build it as a Functional "
            "model"
        ) from error
    return {"name": parts.OWN, "config": config}


def copied(spec: Any) -> Any:
    """A spec for one more network like that of `spec`: a Keras model as a copy, with weights of its own."""
    return plain(spec) if isinstance(spec, keras.Model) else spec


def own(model: Any, *, key: str, **shapes: Any) -> tuple[Tensor, Any]:
    """The inputs and outputs of a network that is a Keras model of the user's.

    An encoder or a classifier takes images `(batch, H, W, C)` and gives one output per head, as a dict, a list in the
    order of the heads, or one tensor where there is one head. A decoder takes codes and gives raw pixels, without an
    activation; a generator gives images in [0, 1], by a sigmoid. A discriminator takes images and gives a logit,
    `(batch,)` or `(batch, 1)`.

    Args:
        model: Built model.
        key: Place of the network, such as "encoder".
        **shapes: Sizes that the model around it decides, as in `build`.

    Returns:
        `(inputs, outputs)`.

    Raises:
        ZooError: The model does not fit, with the shapes that it should have.
    """
    heads, image_shape = shapes.get("outputs"), tuple(shapes["image_shape"])
    if "feature_shape" in shapes or (heads is None and key == "encoder"):
        raise ZooError(f"`{key}` of this family must be a spec such as {{'name': 'face_{key}', ...}}, no keras.Model")
    makes_pixels = heads is None and "latent_dim" in shapes
    inputs = keras.Input((shapes["latent_dim"],), name="z") if makes_pixels else keras.Input(image_shape, name="images")
    try:
        outputs = model(inputs)
    except Exception as error:  # Keras has errors of many types for a shape that does not fit
        raise ZooError(
            f"`{key}`: {model.name!r} does not take inputs of shape {inputs.shape}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    _check_activation(model, key)
    _check_range(model, key, inputs.shape[1:])
    if makes_pixels:
        return inputs, _fitting(outputs, (None, *image_shape), model, key)
    if heads is None:
        logits = _fitting(outputs, (None, 1) if len(getattr(outputs, "shape", ())) == 2 else (None,), model, key)
        return inputs, layers.Reshape((), dtype="float32", name="logits")(logits)
    if not isinstance(outputs, dict):
        tensors = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        if len(tensors) != len(heads):
            raise ZooError(
                f"`{key}`: {model.name!r} must have the outputs {_shapes_of(heads)}. Received: {len(tensors)} of shape "
                f"{', '.join(str(tuple(tensor.shape)) for tensor in tensors)}"
            )
        outputs = dict(zip(heads, tensors, strict=True))
    if not set(heads) <= set(outputs):
        raise ZooError(
            f"`{key}`: {model.name!r} must have the outputs {_shapes_of(heads)}. Received: {sorted(outputs)}"
        )
    found = {name: _fitting(outputs[name], (None, size), model, key) for name, size in heads.items()}
    if key == "network":  # a classifier's features: its own, or what its logits are
        found = {"features": layers.Flatten(dtype="float32")(outputs.get("features", outputs["logits"])), **found}
    return inputs, found


def _fitting(output, shape, model, key):
    """An output in float32, whose shape must be `shape`."""
    received = tuple(getattr(output, "shape", ()))
    if received != shape:
        raise ZooError(f"`{key}`: {model.name!r} must have an output of shape {shape}. Received: {received}")
    return ops.cast(output, "float32")


def _check_activation(model, key):
    """Refuses a last activation that the model around would apply again, or would miss."""
    last = model.layers[-1] if model.layers else None
    activation = getattr(last, "activation", None)
    if last is None or (activation is None and not isinstance(last, (layers.Conv2DTranspose, layers.Dense))):
        return  # nothing is known of it
    name = getattr(activation, "__name__", "linear")
    if key == "decoder" and name != "linear":
        raise ZooError(
            f"`{key}`: {model.name!r} ends with the activation {name!r}, and a decoder gives raw pixels, to which the "
            "likelihood applies its own; leave it out"
        )
    if key == "discriminator" and name != "linear":
        raise ZooError(
            f"`{key}`: {model.name!r} ends with the activation {name!r}, and a discriminator gives logits; leave it out"
        )
    if key == "generator" and name not in ("sigmoid", "hard_sigmoid"):
        raise ZooError(
            f"`{key}`: {model.name!r} ends with the activation {name!r}, and images are in [0, 1]; end it with "
            "'sigmoid'"
        )


def _check_range(model, key, shape):
    """Looks at outputs for large inputs, which show an activation that stands inside a layer, or before a reshape."""
    outputs = model(
        ops.convert_to_tensor(_FAR * np.random.default_rng(0).standard_normal((_PROBED, *shape), "float32"))
    )
    if key == "network":
        outputs = outputs["logits"] if isinstance(outputs, dict) else outputs
        outputs = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    if isinstance(outputs, (dict, list, tuple)):
        return  # heads of an encoder, which may be anything
    values = ops.convert_to_numpy(ops.cast(outputs, "float32"))
    is_in_unit = values.min() >= 0 and values.max() <= 1 and np.ptp(values) > 0
    sums_to_one = values.ndim == 2 and values.shape[1] > 1 and np.allclose(values.sum(1), 1, atol=1e-3)
    if key == "generator" and not (values.min() >= 0 and values.max() <= 1):
        raise ZooError(
            f"`{key}`: {model.name!r} gives values of {values.min():.3g} to {values.max():.3g}, and images are in "
            "[0, 1]; end it with a sigmoid"
        )
    if key in ("decoder", "discriminator") and is_in_unit:
        wanted = "raw pixels" if key == "decoder" else "logits"
        raise ZooError(
            f"`{key}`: {model.name!r} gives values in [0, 1] for inputs of any size, as behind a sigmoid, and a {key} "
            f"gives {wanted}; leave the activation out"
        )
    if key == "network" and is_in_unit and sums_to_one:
        raise ZooError(f"`{key}`: {model.name!r} gives probabilities, and a classifier gives logits; leave softmax out")


def _shapes_of(heads):
    return ", ".join(f"{name} (batch, {size})" for name, size in heads.items())


def _deserialized(spec, key):
    """The Keras model that `plain` has described."""
    config = spec.get("config")
    if set(spec) != {"name", "config"} or not isinstance(config, dict):
        raise ZooError(
            f"`{key}` with the name {parts.OWN!r} has one option, `config`, a mapping that Keras has written"
        )
    try:
        model = keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)
    except Exception as error:  # of all types: a configuration of a stranger's
        raise ZooError(f"`{key}.config`: Keras cannot build it: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(model, keras.Model):
        raise ZooError(f"`{key}.config` must describe a keras.Model. Received: a {type(model).__name__}")
    return model


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
    h = _dense_stack(layers.Flatten(dtype=dtype)(images), units, activation, gated, dtype)
    return images, _heads(h, outputs)


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
    h = _dense_stack(z, units, activation, gated, dtype)
    constraint = keras.constraints.UnitNorm(axis=1) if unit_norm else None
    h = layers.Dense(math.prod(image_shape), kernel_constraint=constraint, dtype="float32", name="pixels")(h)
    return z, layers.Reshape(image_shape, dtype="float32", name="raw")(h)


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
    h = _dense_stack(layers.Flatten(dtype=dtype)(h), units, activation, gated, dtype)
    return images, _heads(h, outputs)


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
    h = _dense_stack(z, units, activation, gated, dtype)
    h = _project(h, image_shape, filters, dtype)
    h = layers.Activation(activation, dtype=dtype)(h)
    for i, channels in enumerate(filters[1:]):
        h = _doubled(h, channels, kernel_size, upsampling, activation=activation, dtype=dtype, name=f"deconv_{i}")
    return z, _doubled(h, image_shape[-1], kernel_size, upsampling, dtype="float32", name="raw")


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
    h = _project(z, image_shape, filters, dtype, use_bias=False)
    h = _batch_norm_relu(h, dtype)
    for i, channels in enumerate(filters[1:]):
        h = _doubled(h, channels, kernel_size, upsampling, use_bias=False, dtype=dtype, name=f"deconv_{i}")
        h = _batch_norm_relu(h, dtype)
    return z, _doubled(
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
    _check_dropout(dropout)
    if norm not in ("batch", "spectral", "none"):
        raise ValueError(f"`norm` must be 'batch', 'spectral' or 'none'. Received: {norm!r}")

    images = keras.Input(image_shape, name="images")
    h = images
    for i, channels in enumerate(filters):
        conv = layers.Conv2D(channels, kernel_size, strides=2, padding="same", dtype=dtype, name=f"conv_{i}")
        h = _bounded(conv, norm, dtype)(h)
        if norm == "batch" and i > 0:
            h = layers.BatchNormalization(momentum=_MOMENTUM, dtype=dtype)(h)
        h = layers.LeakyReLU(_DCGAN_SLOPE, dtype=dtype)(h)
        if dropout:
            h = layers.Dropout(dropout, dtype=dtype)(h)
    return images, _logit(h, norm)


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
            h = layers.BatchNormalization(momentum=_MOMENTUM, dtype=dtype)(h)
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
    _check_dropout(dropout)
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
    image_shape: Shape,
    latent_dim: int,
    dtype: DType = None,
    filters: list[int],
    channels: int,
    kernel_size: int = 5,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The encoder that two faces share, as in the first face swaps of 2017.

    Images -> convolutions of stride 2 with LeakyReLU(0.1) -> a dense code `z` -> a map `features` with twice the sides
    of the last convolution's. Each image is first brought to mean 0 and deviation 1 in each channel, measured over its
    middle. This removes the colours of skin, light and camera; two people then differ by their shapes alone, and their
    codes fall together.

    Args:
        image_shape: `(H, W, C)`; H and W divisible by 2 ** len(filters).
        latent_dim: Length of the code.
        dtype: Precision policy of the hidden layers.
        filters: Channels of the convolutions; at least one.
        channels: Channels of `features`.
        kernel_size: Sides of the convolutions' kernels, in pixels.

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)`, and a dict of `z`, `(batch, latent_dim)`, and
        `features`, `(batch, h, w, channels)`.

    Raises:
        ValueError: `filters` is empty, or does not fit the sides of the images.
    """
    images = keras.Input(image_shape, name="images")
    height, width, _ = image_shape
    middle = layers.Cropping2D((height // 6, width // 6), dtype="float32")(images)
    mean = ops.mean(middle, axis=(1, 2), keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(middle - mean), axis=(1, 2), keepdims=True) + _LEAST_VARIANCE)
    h = (images - mean) / deviation
    for i, width in enumerate(filters):
        h = layers.Conv2D(width, kernel_size, strides=2, padding="same", dtype=dtype, name=f"conv_{i}")(h)
        h = layers.LeakyReLU(_FACE_SLOPE, dtype=dtype)(h)
    z = layers.Dense(latent_dim, dtype="float32", name="z")(layers.Flatten(dtype=dtype)(h))
    h = _project(z, image_shape, [channels] * len(filters), dtype)  # with the sides of the last convolution's map
    features = layers.Activation("linear", dtype="float32", name="features")(_upscaled(h, channels, dtype))
    return images, {"z": z, "features": features}


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


def _doubled(h, channels, kernel_size, upsampling, *, dtype, name, **options):
    """A feature map of twice the sides."""
    if upsampling not in ("transposed", "resize"):
        raise ValueError(f"`upsampling` must be 'transposed' or 'resize'. Received: {upsampling!r}")
    if upsampling == "transposed":
        return layers.Conv2DTranspose(
            channels, kernel_size, strides=2, padding="same", dtype=dtype, name=name, **options
        )(h)
    h = NearestUpsampling(dtype=dtype, name=f"{name}_resize")(h)
    return layers.Conv2D(channels, kernel_size, padding="same", dtype=dtype, name=name, **options)(h)


def _bounded(layer, norm, dtype):
    """The layer, with its Lipschitz constant bounded where the norm is "spectral"."""
    if norm != "spectral":
        return layer
    return layers.SpectralNormalization(layer, dtype=dtype, name=f"spectral_{layer.name}")


def _logit(h, norm):
    """One number per image, in float32. A conditional GAN projects its labels on the output of the layer `features`."""
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
    shape = (height // factor, width // factor, filters[0])
    h = layers.Dense(math.prod(shape), use_bias=use_bias, dtype=dtype, name="project")(z)
    return layers.Reshape(shape, dtype=dtype)(h)


def _batch_norm_relu(h, dtype):
    return layers.ReLU(dtype=dtype)(layers.BatchNormalization(momentum=_MOMENTUM, dtype=dtype)(h))


BUILDERS: dict[str, Callable[..., tuple[Tensor, Any]]] = {
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
