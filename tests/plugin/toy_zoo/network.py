import math

import keras


def linear_decoder(*, latent_dim, image_shape, dtype=None, use_bias: bool = True):
    """Codes -> one dense layer -> raw pixels. A preset.yaml may set `use_bias`; the model decides the rest."""
    z = keras.Input((latent_dim,), name="z")
    pixels = keras.layers.Dense(math.prod(image_shape), use_bias=use_bias, dtype="float32", name="pixels")(z)
    return z, keras.layers.Reshape(image_shape, dtype="float32", name="raw")(pixels)
