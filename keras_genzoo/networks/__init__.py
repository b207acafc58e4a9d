"""Encoders, decoders, generators and discriminators from declarative specs.

A spec is a dict with the builder's `name` and its options, as it stands in a preset.yaml:

    {"name": "mlp_encoder", "units": [300, 300], "gated": True}

Every builder returns a Functional `keras.Model` whose outputs are float32 whatever the precision policy. Sizes that
the model decides (image shape, latent size, outputs) come as keyword arguments beside the spec.
"""

from collections.abc import Callable
from typing import Any

import keras

from keras_genzoo import parts
from keras_genzoo.networks.convolutional import (
    cnn_classifier,
    conv_decoder,
    conv_encoder,
    dcgan_discriminator,
    dcgan_generator,
)
from keras_genzoo.networks.faces import face_decoder, face_encoder
from keras_genzoo.networks.given import copied, deserialized, own, plain
from keras_genzoo.networks.perceptrons import mlp_decoder, mlp_discriminator, mlp_encoder, mlp_generator
from keras_genzoo.networks.residual import (
    r3gan_discriminator,
    r3gan_generator,
    residual_decoder,
    residual_encoder,
)
from keras_genzoo.typing import DType, Spec, Tensor

__all__ = ["BUILDERS", "build", "copied", "own", "plain"]

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
    "residual_encoder": residual_encoder,
    "residual_decoder": residual_decoder,
    "r3gan_generator": r3gan_generator,
    "r3gan_discriminator": r3gan_discriminator,
}


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
        inputs, outputs = own(deserialized(spec, key), key=key, **shapes)
    else:
        inputs, outputs = parts.build("network", spec, key=key, dtype=dtype, **shapes)
    return keras.Model(inputs, outputs, name=name)
