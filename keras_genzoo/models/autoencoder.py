"""The autoencoder h = f(x), r = g(h) (Hinton & Salakhutdinov 2006)."""

from typing import Literal

import keras
from keras import ops

from keras_genzoo import losses, networks
from keras_genzoo.models.base import CodingModel, check_count, check_spec


@keras.saving.register_keras_serializable("keras_genzoo")
class Autoencoder(CodingModel):
    """Undercomplete autoencoder: a code of `latent_dim` numbers, trained to give the image back.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of the code, >= 1.
        encoder, decoder: Network specs, e.g. `{"name": "mlp_encoder", "units": [300]}`; see `networks`.
        reconstruction: Loss per image: "squared_error" or "binary_cross_entropy", both sums over pixels.
        seed, dtype, name: See `ZooModel`.

    Example:
        >>> ae = Autoencoder(latent_dim=30, encoder={"name": "mlp_encoder", "units": [256]},
        ...                  decoder={"name": "mlp_decoder", "units": [256]})
        >>> ae.compile("adam")
        >>> ae.fit(keras_genzoo.data.load("mnist", "train"))
    """

    LOSSES = ("loss", "reconstruction_loss")

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        latent_dim: int,
        encoder: dict,
        decoder: dict,
        reconstruction: Literal["squared_error", "binary_cross_entropy"] = "squared_error",
        seed: int | None = None,
        dtype=None,
        name: str | None = "autoencoder",
    ):
        # === Config ===
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.latent_dim = check_count(latent_dim, "latent_dim")
        if reconstruction not in ("squared_error", "binary_cross_entropy"):
            raise ValueError(
                f"`reconstruction` must be 'squared_error' or 'binary_cross_entropy'. Received: {reconstruction!r}"
            )
        self.reconstruction = reconstruction
        self._config = {
            "latent_dim": latent_dim,
            "encoder": check_spec(encoder),
            "decoder": check_spec(decoder),
            "reconstruction": reconstruction,
        }

        # === Networks ===
        self.encoder = networks.build(
            encoder, name="encoder", dtype=self.dtype_policy, image_shape=self.image_shape, outputs={"z": latent_dim}
        )
        self.decoder = networks.build(
            decoder, name="decoder", dtype=self.dtype_policy, latent_dim=latent_dim, image_shape=self.image_shape
        )
        self.build()

    def call(self, images, training=False):
        """The reconstruction, `(n, H, W, C)` float32 in [0, 1]."""
        return ops.sigmoid(self._logits(images, training))

    # === Training ===

    def train_step(self, data):
        x = self.images_of(data)
        loss, _ = self.minimize(self.optimizer, lambda: (self._loss(x, training=True), None), self.trainable_variables)
        self.train_steps.assign_add(1)
        return self.track(loss=loss, reconstruction_loss=loss)

    def test_step(self, data):
        loss = self._loss(self.images_of(data), training=False)
        return self.track(loss=loss, reconstruction_loss=loss)

    def _loss(self, x, training):
        logits = self._logits(x, training)
        if self.reconstruction == "squared_error":
            return losses.squared_error(x, reconstruction=ops.sigmoid(logits))
        return losses.binary_cross_entropy(x, logits=logits)

    def _logits(self, x, training):
        return self.decoder(self.encoder(x, training=training)["z"], training=training)

    # === Use ===

    def endpoints(self):
        images, z = self.encoder.inputs[0], self.decoder.inputs[0]
        codes = self.encoder(images)
        return {
            "encode": keras.Model(images, codes, name="encode"),
            "decode": keras.Model(z, {"images": ops.sigmoid(self.decoder(z))}, name="decode"),
            "reconstruct": keras.Model(images, {"images": ops.sigmoid(self.decoder(codes["z"]))}, name="reconstruct"),
        }

    def encode(self, images):
        """The codes z of images in [0, 1]: `(n, latent_dim)` float32."""
        return self.run_endpoint("encode", self.check_images(images))["z"]

    def get_config(self):
        return {**super().get_config(), **self._config}
