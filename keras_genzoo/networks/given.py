"""Networks that are Keras models of a user's own: taken as they are, checked, kept as plain data."""

import copy
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_genzoo import parts
from keras_genzoo.errors import ZooError
from keras_genzoo.typing import Tensor

_FAR, _PROBED = 100.0, 4  # size and number of the inputs by which the range of a user's network is seen


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


def deserialized(spec, key):
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
