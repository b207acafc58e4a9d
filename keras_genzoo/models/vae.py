"""The variational autoencoder (Kingma & Welling 2014)."""

import math
from typing import Literal, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_genzoo import distributions, losses, networks
from keras_genzoo.models.base import CodingModel, check_count, check_spec


class Posterior(NamedTuple):
    """The parameters of q(z|x) = N(z_mean, diag(exp(z_log_var))), each `(n, latent_dim)` float32."""

    z_mean: np.ndarray
    z_log_var: np.ndarray


@keras.saving.register_keras_serializable("keras_genzoo")
class VAE(CodingModel):
    """VAE with q(z|x) a diagonal Gaussian, p(z) = N(0, I), and a Bernoulli or Gaussian p(x|z).

    Minimises the negative ELBO (Kingma & Welling 2014, eq. 3) in nats per image: sums over pixels and latents.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of z, >= 1.
        encoder, decoder: Network specs, e.g. `{"name": "mlp_encoder", "units": [300, 300]}`; see `networks`.
        likelihood: "bernoulli" (pixels 0 or 1) or "gaussian".
        sigma: Standard deviation of the Gaussian likelihood, > 0; unused by Bernoulli.
        bounded_mean: Whether the Gaussian mean passes a sigmoid; unused by Bernoulli.
        beta: Weight of the KL term, >= 0 (Higgins et al. 2017); 1 is the ELBO.
        warmup_steps: Training steps over which the weight rises linearly from 0 to beta (Sonderby et al. 2016).
            0: none. The count is saved with the weights, so a trained model is not warmed up again.
        seed, dtype, name: See `ZooModel`.

    Example:
        >>> vae = VAE(latent_dim=8, encoder={"name": "mlp_encoder", "units": [64]},
        ...           decoder={"name": "mlp_decoder", "units": [64]})
        >>> vae.compile("adam")
        >>> vae.fit(keras_genzoo.data.load("mnist", "train", binarize="dynamic"))
    """

    LOSSES = ("loss", "reconstruction_loss", "kl_loss")
    code = "z_mean"

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        latent_dim: int,
        encoder: dict,
        decoder: dict,
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        sigma: float = 0.1,
        bounded_mean: bool = True,
        beta: float = 1.0,
        warmup_steps: int = 0,
        seed: int | None = None,
        dtype=None,
        name: str | None = "vae",
    ):
        # === Config ===
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        if not 0 <= beta < math.inf:
            raise ValueError(f"`beta` must be >= 0 and finite. Received: {beta}")
        if warmup_steps < 0:
            raise ValueError(f"`warmup_steps` must be >= 0. Received: {warmup_steps}")
        self.latent_dim = check_count(latent_dim, "latent_dim")
        self.beta, self.warmup_steps = beta, warmup_steps
        self._config = {
            "latent_dim": latent_dim,
            "encoder": check_spec(encoder),
            "decoder": check_spec(decoder),
            "likelihood": likelihood,
            "sigma": sigma,
            "bounded_mean": bounded_mean,
            "beta": beta,
            "warmup_steps": warmup_steps,
        }
        if likelihood == "bernoulli":
            self.likelihood = distributions.Bernoulli()
        elif likelihood == "gaussian":
            self.likelihood = distributions.Gaussian(sigma=sigma, bounded=bounded_mean)
        else:
            raise ValueError(f"`likelihood` must be 'bernoulli' or 'gaussian'. Received: {likelihood!r}")

        # === Networks ===
        self.encoder = networks.build(
            encoder,
            name="encoder",
            dtype=self.dtype_policy,
            image_shape=self.image_shape,
            outputs={"z_mean": latent_dim, "z_log_var": latent_dim},
        )
        self.decoder = networks.build(
            decoder, name="decoder", dtype=self.dtype_policy, latent_dim=latent_dim, image_shape=self.image_shape
        )
        self.build()

    def call(self, images):
        """The reconstruction from the posterior mean: deterministic, `(n, H, W, C)` float32."""
        return self.likelihood.mean(self.decoder(self.encoder(images)["z_mean"]))

    # === Training ===

    def train_step(self, data):
        x = self.images_of(data)
        weight = self.kl_weight()

        def loss_fn():
            reconstruction_loss, kl_loss = self._elbo_terms(x, training=True)
            loss = losses.negative_elbo(reconstruction_loss=reconstruction_loss, kl_loss=kl_loss, beta=weight)
            return loss, (reconstruction_loss, kl_loss)

        loss, (reconstruction_loss, kl_loss) = self.minimize(self.optimizer, loss_fn, self.trainable_variables)
        self.train_steps.assign_add(1)
        return self.track(loss=loss, reconstruction_loss=reconstruction_loss, kl_loss=kl_loss)

    def test_step(self, data):
        # The seed state is put back afterwards: validating must not change what training would have drawn.
        state = ops.copy(self.seed_generator.state.value)
        reconstruction_loss, kl_loss = self._elbo_terms(self.images_of(data), training=False)
        self.seed_generator.state.assign(state)
        loss = losses.negative_elbo(reconstruction_loss=reconstruction_loss, kl_loss=kl_loss, beta=self.beta)
        return self.track(loss=loss, reconstruction_loss=reconstruction_loss, kl_loss=kl_loss)

    def kl_weight(self):
        """beta, times the linear warm-up's fraction at the current training step; a scalar float32."""
        if self.warmup_steps == 0:
            return ops.convert_to_tensor(self.beta, "float32")
        return self.beta * ops.minimum(1.0, ops.cast(self.train_steps, "float32") / self.warmup_steps)

    def _elbo_terms(self, x, training):
        q = self.encoder(x, training=training)
        z = distributions.normal_sample(z_mean=q["z_mean"], z_log_var=q["z_log_var"], seed=self.seed_generator)
        log_likelihood = self.likelihood.log_prob(x, raw=self.decoder(z, training=training))
        return -log_likelihood, distributions.normal_kl(z_mean=q["z_mean"], z_log_var=q["z_log_var"])

    # === Measuring ===

    def log_weights(self, x, *, n_samples, seed):
        """Importance weights log p(x|z_j) + log p(z_j) - log q(z_j|x), z_j ~ q(z|x) (Burda et al. 2016, eq. 8).

        Args:
            x: Images, a tensor `(batch, H, W, C)`.
            n_samples: k, the draws per image.
            seed: An int or a `keras.random.SeedGenerator`.

        Returns:
            `(n_samples, batch)` float32, in nats; feed it to `losses.importance_weighted_bound`.
        """
        q = self.encoder(x, training=False)
        z_mean, z_log_var = (ops.repeat(q[key], n_samples, axis=0) for key in ("z_mean", "z_log_var"))
        z = distributions.normal_sample(z_mean=z_mean, z_log_var=z_log_var, seed=seed)
        log_weights = (
            self.likelihood.log_prob(ops.repeat(x, n_samples, axis=0), raw=self.decoder(z, training=False))
            + distributions.normal_log_prob(z)
            - distributions.normal_log_prob(z, mean=z_mean, log_var=z_log_var)
        )
        return ops.transpose(ops.reshape(log_weights, (-1, n_samples)))

    # === Use ===

    def endpoints(self):
        images, z = self.encoder.inputs[0], self.decoder.inputs[0]
        q = self.encoder(images)
        decoded = {"images": self.likelihood.mean(self.decoder(z))}
        if self.likelihood.scale() is not None:
            decoded["scale"] = ops.full_like(decoded["images"], self.likelihood.scale())
        return {
            "encode": keras.Model(images, q, name="encode"),
            "decode": keras.Model(z, decoded, name="decode"),
            "reconstruct": keras.Model(images, {"images": self.likelihood.mean(self.decoder(q["z_mean"]))}),
            "prior_log_prob": keras.Model(z, {"log_prob": distributions.normal_log_prob(z)}),
        }

    def sample(self, n, seed=None):
        """Draws z ~ N(0, I) and returns E[x|z]: `(n, H, W, C)` float32. The same images for the same integer seed."""
        return self.run_endpoint("decode", self.normal_latents(n, seed))["images"]

    def encode(self, images):
        """q(z|x) of images in [0, 1]: a `Posterior(z_mean, z_log_var)`, each `(n, latent_dim)` float32."""
        return Posterior(**self.run_endpoint("encode", self.check_images(images)))

    def get_config(self):
        return {**super().get_config(), **self._config}
