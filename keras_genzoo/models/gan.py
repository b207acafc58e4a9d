"""The generative adversarial network (Goodfellow et al. 2014), with an averaged generator."""

from typing import ClassVar, Literal

import keras
from keras import ops

from keras_genzoo import losses, networks
from keras_genzoo.models.base import ZooModel, check_count, check_spec


@keras.saving.register_keras_serializable("keras_genzoo")
class GAN(ZooModel):
    """min_G max_D V(D, G): a generator G(z), z ~ N(0, I), against a discriminator D.

    Each training step moves D once, then G once against the D just moved. G(z) is computed once and serves both.
    Samples, `predict` and exports come from `ema_generator`, an exponential moving average of G's weights and
    BatchNorm statistics.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of z, >= 1.
        generator, discriminator: Network specs, e.g. `{"name": "dcgan_generator", "filters": [128, 64]}`.
        game: "non_saturating" (G maximises log D(G(z))) or "minimax" (G minimises log(1 - D(G(z)))).
        ema_decay: Decay of the average per step, in [0, 1). It ramps up: min(ema_decay, (1 + t) / (10 + t)).
        seed, dtype, name: See `ZooModel`.

    Example:
        >>> gan = GAN(latent_dim=64, generator={"name": "dcgan_generator", "filters": [64, 32]},
        ...           discriminator={"name": "dcgan_discriminator", "filters": [32, 64]})
        >>> gan.compile(g_optimizer="adam", d_optimizer="adam")
        >>> gan.fit(keras_genzoo.data.load("mnist", "train"))
    """

    OPTIMIZERS: ClassVar = {"g_optimizer": "generator_variables", "d_optimizer": "discriminator_variables"}
    LOSSES = ("g_loss", "d_loss", "real_logits", "fake_logits")

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        latent_dim: int,
        generator: dict,
        discriminator: dict,
        game: Literal["non_saturating", "minimax"] = "non_saturating",
        ema_decay: float = 0.999,
        seed: int | None = None,
        dtype=None,
        name: str | None = "gan",
    ):
        # === Config ===
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.latent_dim = check_count(latent_dim, "latent_dim")
        if game not in losses.GENERATOR_LOSSES:
            raise ValueError(f"`game` must be one of {sorted(losses.GENERATOR_LOSSES)}. Received: {game!r}")
        if not 0 <= ema_decay < 1:
            raise ValueError(f"`ema_decay` must be in [0, 1). Received: {ema_decay}")
        self.game, self.ema_decay = game, ema_decay
        self._config = {
            "latent_dim": latent_dim,
            "generator": check_spec(generator),
            "discriminator": check_spec(discriminator),
            "game": game,
            "ema_decay": ema_decay,
        }

        # === Networks ===
        shapes = {"dtype": self.dtype_policy, "image_shape": self.image_shape}
        self.generator = networks.build(generator, name="generator", latent_dim=latent_dim, **shapes)
        self.discriminator = networks.build(discriminator, name="discriminator", **shapes)
        self.ema_generator = networks.build(generator, name="ema_generator", latent_dim=latent_dim, **shapes)
        self.ema_generator.trainable = False
        self.ema_generator.set_weights(self.generator.get_weights())
        self.build()

    @property
    def generator_variables(self):
        return self.generator.trainable_variables

    @property
    def discriminator_variables(self):
        return self.discriminator.trainable_variables

    def call(self, z):
        """Images of codes z from the averaged generator, `(n, H, W, C)` float32 in [0, 1]."""
        return self.ema_generator(z, training=False)

    # === Training ===

    def train_step(self, data):
        real = self.images_of(data)
        n = ops.shape(real)[0]
        z = keras.random.normal((n, self.latent_dim), seed=self.seed_generator, dtype="float32")

        def g_loss_fn():
            fake = self.generator(z, training=True)
            # D moves inside G's step: it needs these very images, and G's tape needs the D that has seen them.
            d_losses = self.minimize(
                self.d_optimizer, lambda: self._d_loss(real, ops.stop_gradient(fake)), self.discriminator_variables
            )
            fake_logits = self.discriminator(fake, training=True)
            return losses.GENERATOR_LOSSES[self.game](fake_logits=fake_logits), d_losses

        g_loss, (d_loss, (real_logits, fake_logits)) = self.minimize(
            self.g_optimizer, g_loss_fn, self.generator_variables
        )
        self.train_steps.assign_add(1)
        self._update_average()
        return self.track(g_loss=g_loss, d_loss=d_loss, real_logits=real_logits, fake_logits=fake_logits)

    def test_step(self, data):
        real = self.images_of(data)
        state = ops.copy(self.seed_generator.state.value)  # validating must not change what training would draw
        z = keras.random.normal((ops.shape(real)[0], self.latent_dim), seed=self.seed_generator, dtype="float32")
        self.seed_generator.state.assign(state)
        real_logits = self.discriminator(real, training=False)
        fake_logits = self.discriminator(self.generator(z, training=False), training=False)
        return self.track(
            g_loss=losses.GENERATOR_LOSSES[self.game](fake_logits=fake_logits),
            d_loss=losses.discriminator_loss(real_logits=real_logits, fake_logits=fake_logits),
            real_logits=real_logits,
            fake_logits=fake_logits,
        )

    def _d_loss(self, real, fake):
        # In two batches, not one: a discriminator with BatchNorm must not mix real statistics with fake ones.
        real_logits = self.discriminator(real, training=True)
        fake_logits = self.discriminator(fake, training=True)
        return losses.discriminator_loss(real_logits=real_logits, fake_logits=fake_logits), (real_logits, fake_logits)

    def _update_average(self):
        t = ops.cast(self.train_steps, "float32")
        decay = ops.minimum(self.ema_decay, (1.0 + t) / (10.0 + t))
        for average, variable in zip(self.ema_generator.weights, self.generator.weights, strict=True):
            average.assign(average + (1.0 - decay) * (variable - average))

    # === Use ===

    def endpoints(self):
        z = self.ema_generator.inputs[0]
        return {"generate": keras.Model(z, {"images": self.ema_generator(z, training=False)}, name="generate")}

    def generate(self, z):
        """The images of codes z `(n, latent_dim)`: `(n, H, W, C)` float32 in [0, 1]."""
        return self.run_endpoint("generate", self.check_latents(z))["images"]

    def sample(self, n, seed=None):
        """G(z), z ~ N(0, I): `(n, H, W, C)` float32 in [0, 1]. The same images for the same integer seed."""
        return self.run_endpoint("generate", self.normal_noise(n, seed))["images"]

    def get_config(self):
        return {**super().get_config(), **self._config}
