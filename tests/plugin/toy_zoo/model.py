from typing import ClassVar

import keras

from keras_genzoo import losses, networks
from keras_genzoo.models.base import CodingModel, Count, ImageShape
from keras_genzoo.typing import Spec


@keras.saving.register_keras_serializable("toy_zoo")
class Coder(CodingModel):
    """A linear autoencoder, which also tells the squared error of an image."""

    PARTS: ClassVar = {"encoder": "network", "decoder": "network"}

    def __init__(self, *, image_shape: ImageShape = (8, 8, 1), latent_dim: Count, encoder: Spec, decoder: Spec,
                 seed: int | None = None, dtype=None, name: str | None = "coder"):  # fmt: skip
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.configure(locals())
        sizes = {"image_shape": self.image_shape, "dtype": self.dtype_policy}
        self.encoder = networks.build(encoder, key="encoder", name="encoder", outputs={"z": latent_dim}, **sizes)
        self.decoder = networks.build(decoder, key="decoder", name="decoder", latent_dim=latent_dim, **sizes)
        self.build()

    def call(self, images):
        return keras.ops.sigmoid(self.decoder(self.encoder(images)["z"]))

    def train_step(self, data):
        x = self.images_of(data)
        loss, _ = self.minimize(self.optimizer, lambda: (self._error(x), None), self.trainable_variables)
        self.train_steps.assign_add(1)
        return self.track(loss=loss)

    def test_step(self, data):
        return self.track(loss=self._error(self.images_of(data)))

    def _error(self, x):
        return losses.squared_error(x, reconstruction=self(x))

    def endpoints(self):
        images, z = self.encoder.inputs[0], self.decoder.inputs[0]
        return {
            "encode": keras.Model(images, {"z": self.encoder(images)["z"]}),
            "decode": keras.Model(z, {"images": keras.ops.sigmoid(self.decoder(z))}),
            "reconstruct": keras.Model(images, {"images": self(images)}),
            "error": keras.Model(images, {"squared_error": self._error(images)}),
        }
