"""The autoencoder h = f(x), r = g(h) (Hinton & Salakhutdinov 2006): undercomplete, sparse, contractive, denoising."""

from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from keras_genzoo import engine, losses, networks
from keras_genzoo.errors import ZooError
from keras_genzoo.models.autoencoder import corruptions, regularizers
from keras_genzoo.models.base import CodingModel, Count, ImageShape
from keras_genzoo.typing import ArrayLike, DType, Spec, Tensor

_TEST_SEED = 0  # seed of the noise in validation: every epoch is measured on the same noise


@keras.saving.register_keras_serializable("keras_genzoo")
class Autoencoder(CodingModel):
    """An autoencoder: a code of `latent_dim` numbers, and a decoder that is trained to reconstruct the image from it.

    A constraint keeps it from copying its input: the size of the code alone (undercomplete), a `regularizer`, a
    `corruption` that it has to undo (denoising), or several of them.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of the code, >= 1.
        encoder: Network spec, e.g. `{"name": "mlp_encoder", "units": [300]}`; see `networks`. Or a Keras model of your
            own, see `networks.own`.
        decoder: Network spec, e.g. `{"name": "mlp_decoder", "units": [300]}`, or a Keras model of your own.
        reconstruction: Loss per image: "squared_error" or "binary_cross_entropy", both sums over dimensions.
        regularizer: Spec of a regularizer: `{"name": "l1", "weight": 0.05}`, `{"name": "kl", "rho": 0.05, "weight":
            1.0}`, `{"name": "k_sparse", "k": 25, "alpha": 3.0}` or `{"name": "contractive", "weight": 0.1}`; see
            `regularizers`. None: none.
        corruption: Spec of a corruption: `{"name": "gaussian", "level": [0.0, 0.6]}`, or "masking", "salt_and_pepper",
            "affine"; see `corruptions`. Each image of a batch has a level of its own, uniform in the range; the target
            is clean. None: none.
        seed, dtype, name: See `ZooModel`.

    Raises:
        ZooError: A bad value, an unknown part, or a bad option of one.
        ValueError: A regularizer's option out of range, or one that does not fit the code.

    Example:
        >>> import keras_genzoo as gz
        >>> ae = gz.Autoencoder(latent_dim=30, encoder={"name": "mlp_encoder", "units": [256]},
        ...                     decoder={"name": "mlp_decoder", "units": [256]})
        >>> ae.compile("adam")
        >>> history = ae.fit(gz.data.load("mnist", "train").take(10), verbose=0)
    """

    LOSSES = ("loss", "reconstruction_loss", "penalty")
    takes_targets = True
    REFUSES_METRICS = None
    PARTS: ClassVar = {
        "encoder": "network", "decoder": "network", "regularizer": "regularizer", "corruption": "corruption",
    }  # fmt: skip
    STEP_COUNTS = ("regularizer.anneal_steps",)

    def __init__(
        self,
        *,
        image_shape: ImageShape = (28, 28, 1),
        latent_dim: Count,
        encoder: Spec,
        decoder: Spec,
        reconstruction: Literal["squared_error", "binary_cross_entropy"] = "squared_error",
        regularizer: Spec = None,
        corruption: Spec = None,
        seed: int | None = None,
        dtype: DType = None,
        name: str | None = "autoencoder",
    ):
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.configure(locals())
        self.regularizer = regularizers.build(regularizer)
        self.regularizer.check(latent_dim=self.latent_dim, compute_dtype=self.dtype_policy.compute_dtype)
        self.corruption = corruptions.build(corruption)
        if self.corruption and not self.corruption.is_compilable:
            self.supports_jit = False  # with it jit_compile="auto" means False
        self.encoder = networks.build(
            encoder,
            key="encoder",
            name="encoder",
            dtype=self.dtype_policy,
            image_shape=self.image_shape,
            outputs={"z": self.latent_dim},
        )
        self.decoder = networks.build(
            decoder,
            key="decoder",
            name="decoder",
            dtype=self.dtype_policy,
            latent_dim=self.latent_dim,
            image_shape=self.image_shape,
        )
        self.build()

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Reconstructions.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            training: Whether dropout and batch statistics are on, and the code has its form of training.

        Returns:
            `(n, H, W, C)` float32, in [0, 1].
        """
        return ops.sigmoid(self.decoder(self._code(images, training), training=training))

    # === Training ===

    def train_step(self, data: Any) -> dict[str, Tensor]:
        images, target, weights = self._images_and_target(data)
        inputs = self._corrupted(images, seed=self.seed_generator)
        loss, (reconstruction_loss, penalty) = self.minimize(
            self.optimizer,
            lambda: self._loss_terms(target, inputs=inputs, training=True),
            self.trainable_variables,
            weights=weights,
        )
        self.train_steps.assign_add(1)
        logs = self.track(loss=loss, reconstruction_loss=reconstruction_loss, penalty=penalty, weights=weights)
        return logs | self.track_metrics(target, lambda: self(inputs), weights)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        images, target, weights = self._images_and_target(data)
        inputs = self._corrupted(images, seed=_TEST_SEED)
        loss, (reconstruction_loss, penalty) = self._loss_terms(target, inputs=inputs, training=False)
        loss = self.with_added_loss(loss)
        logs = self.track(loss=loss, reconstruction_loss=reconstruction_loss, penalty=penalty, weights=weights)
        return logs | self.track_metrics(target, lambda: self(inputs), weights)

    def refuses_weights(self) -> str | None:
        return self.regularizer.of_the_whole_batch

    def _images_and_target(self, batch):
        """The parts of a batch: `(images, target, weights)`; the target is y where y is images."""
        x, y, weights = self.parts_of(batch)
        return x, x if y is None or len(y.shape) != 4 else y, weights

    def _loss_terms(self, x, *, inputs, training):
        """The loss of reconstructing x from inputs, and its two terms: `(loss, (reconstruction_loss, penalty))`."""
        z = self._code(inputs, training)
        logits = self.decoder(z, training=training)
        if self.reconstruction == "squared_error":
            reconstruction_loss = losses.squared_error(x, reconstruction=ops.sigmoid(logits))
        else:
            reconstruction_loss = losses.binary_cross_entropy(x, logits=logits)
        penalty = self.regularizer.penalty(
            z,
            x=inputs,
            encode=lambda images: self._code(images, training),
            seed=self.seed_generator if training else _TEST_SEED,
        )
        return reconstruction_loss + penalty, (reconstruction_loss, penalty)

    def _code(self, images, training=False):
        z = self.encoder(images, training=training)["z"]
        return self.regularizer.activate(z, training=training, step=self.train_steps)

    def _corrupted(self, x, *, seed):
        return x if self.corruption is None else self.corruption(ops.cast(x, "float32"), seed=seed)

    # === Use ===

    def endpoints(self) -> dict[str, keras.Model]:
        images, z = self.encoder.inputs[0], self.decoder.inputs[0]
        codes = {"z": self._code(images)}
        return {
            "encode": keras.Model(images, codes, name="encode"),
            "decode": keras.Model(z, {"images": ops.sigmoid(self.decoder(z))}, name="decode"),
            "reconstruct": keras.Model(images, {"images": ops.sigmoid(self.decoder(codes["z"]))}, name="reconstruct"),
        }

    def encode(self, images: ArrayLike) -> np.ndarray:
        """The codes z of images in [0, 1]: `(n, latent_dim)` float32, after the regularizer's activation."""
        return self.codes(images)

    @property
    def is_denoising(self) -> bool:
        """Whether the model was trained to undo a corruption."""
        return self.corruption is not None

    def corrupt(self, images: ArrayLike, *, level: float | None = None, seed: int = 0) -> np.ndarray:
        """Images with the corruption that the model was trained to undo.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            level: Noise level of all images; None: a draw per image from the model's range.
            seed: Seed of the noise; the same integer gives the same noise.

        Returns:
            `(n, H, W, C)` float32, in [0, 1].

        Raises:
            ZooError: Bad images, or the model has no corruption.
        """
        if self.corruption is None:
            raise ZooError(f"{self.name} has no `corruption`: it was not trained to denoise")
        x = ops.convert_to_tensor(self.check_images(images))
        return engine.array(self.corruption(x, level=level, seed=seed))
