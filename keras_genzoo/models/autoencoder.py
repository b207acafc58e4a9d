"""The autoencoder h = f(x), r = g(h) (Hinton & Salakhutdinov 2006): undercomplete, sparse, contractive, denoising."""

from typing import Literal

import keras
from keras import ops

from keras_genzoo import corruptions, losses, networks, regularizers
from keras_genzoo.errors import ZooError
from keras_genzoo.models.base import CodingModel, check_count, check_spec

_TEST_SEED = 0  # of the corruption while validating: every epoch is measured on the same noise


@keras.saving.register_keras_serializable("keras_genzoo")
class Autoencoder(CodingModel):
    """An autoencoder: a code of `latent_dim` numbers, trained to give the image back.

    What keeps it from copying its input is a part: the size of the code alone (undercomplete), a `regularizer`, a
    `corruption` that it has to undo (denoising), or several of them.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of the code, >= 1.
        encoder, decoder: Network specs, e.g. `{"name": "mlp_encoder", "units": [300]}`; see `networks`.
        reconstruction: Loss per image: "squared_error" or "binary_cross_entropy", both sums over pixels.
        regularizer: None, or a spec: `{"name": "l1", "weight": 0.05}`, `{"name": "kl", "rho": 0.05, "weight": 1.0}`,
            `{"name": "k_sparse", "k": 25, "alpha": 3.0}`, `{"name": "contractive", "weight": 0.1}`; see
            `regularizers`.
        corruption: None, or a spec: `{"name": "gaussian", "level": [0.0, 0.6]}` ("masking", "salt_and_pepper"); see
            `corruptions`. Each image of a batch gets a level of its own, uniform in the range; the target is clean.
        seed, dtype, name: See `ZooModel`.

    Example:
        >>> ae = Autoencoder(latent_dim=30, encoder={"name": "mlp_encoder", "units": [256]},
        ...                  decoder={"name": "mlp_decoder", "units": [256]})
        >>> ae.compile("adam")
        >>> ae.fit(keras_genzoo.data.load("mnist", "train"))
    """

    LOSSES = ("loss", "reconstruction_loss", "penalty")

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        latent_dim: int,
        encoder: dict,
        decoder: dict,
        reconstruction: Literal["squared_error", "binary_cross_entropy"] = "squared_error",
        regularizer: dict | None = None,
        corruption: dict | None = None,
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
        self.regularizer = regularizers.build(regularizer)
        self.regularizer.check(latent_dim=latent_dim, compute_dtype=self.dtype_policy.compute_dtype)
        self.corruption = corruptions.check_spec(corruption)
        if corruption and corruption["name"] == "affine":
            self.supports_jit = False  # XLA has no word for its op; jit_compile="auto" means no here
        self._config = {
            "latent_dim": latent_dim,
            "encoder": check_spec(encoder),
            "decoder": check_spec(decoder),
            "reconstruction": reconstruction,
            "regularizer": check_spec(regularizer),
            "corruption": check_spec(corruption),
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
        return ops.sigmoid(self.decoder(self._code(images, training), training=training))

    # === Training ===

    def train_step(self, data):
        x = self.images_of(data)
        seen = self._corrupted(x, seed=self.seed_generator)
        loss, (reconstruction_loss, penalty) = self.minimize(
            self.optimizer, lambda: self._loss_terms(x, seen=seen, training=True), self.trainable_variables
        )
        self.train_steps.assign_add(1)
        return self.track(loss=loss, reconstruction_loss=reconstruction_loss, penalty=penalty)

    def test_step(self, data):
        x = self.images_of(data)
        seen = self._corrupted(x, seed=_TEST_SEED)
        loss, (reconstruction_loss, penalty) = self._loss_terms(x, seen=seen, training=False)
        return self.track(loss=loss, reconstruction_loss=reconstruction_loss, penalty=penalty)

    def _loss_terms(self, x, *, seen, training):
        z = self._code(seen, training)
        logits = self.decoder(z, training=training)
        if self.reconstruction == "squared_error":
            reconstruction_loss = losses.squared_error(x, reconstruction=ops.sigmoid(logits))
        else:
            reconstruction_loss = losses.binary_cross_entropy(x, logits=logits)
        penalty = self.regularizer.penalty(
            z,
            x=seen,
            encode=lambda images: self._code(images, training),
            seed=self.seed_generator if training else _TEST_SEED,
        )
        return reconstruction_loss + penalty, (reconstruction_loss, penalty)

    def _code(self, images, training=False):
        z = self.encoder(images, training=training)["z"]
        return self.regularizer.activate(z, training=training, step=self.train_steps)

    def _corrupted(self, x, *, seed):
        return x if self.corruption is None else corruptions.apply(self.corruption, ops.cast(x, "float32"), seed=seed)

    # === Use ===

    def endpoints(self):
        images, z = self.encoder.inputs[0], self.decoder.inputs[0]
        codes = {"z": self._code(images)}
        return {
            "encode": keras.Model(images, codes, name="encode"),
            "decode": keras.Model(z, {"images": ops.sigmoid(self.decoder(z))}, name="decode"),
            "reconstruct": keras.Model(images, {"images": ops.sigmoid(self.decoder(codes["z"]))}, name="reconstruct"),
        }

    def encode(self, images):
        """The codes z of images in [0, 1]: `(n, latent_dim)` float32, after the regularizer's activation."""
        return self.codes(images)

    def corrupt(self, images, *, level=None, seed=0):
        """Images in [0, 1] as a denoising autoencoder sees them in training: `(n, H, W, C)` float32 in [0, 1].

        Args:
            images: `(n, H, W, C)` in [0, 1].
            level: Noise level for all; None draws one per image from the model's range.
            seed: Integer; the same noise for the same seed.

        Raises:
            ZooError: The model was built without `corruption`.
        """
        if self.corruption is None:
            raise ZooError(f"{self.name} has no `corruption`: it was not trained to denoise")
        spec = self.corruption if level is None else {**self.corruption, "level": [level, level]}
        x = ops.convert_to_tensor(self.check_images(images))
        return ops.convert_to_numpy(corruptions.apply(corruptions.check_spec(spec), x, seed=seed))

    def get_config(self):
        return {**super().get_config(), **self._config}
