"""The variational autoencoder (Kingma & Welling 2014), whose likelihood, prior, posterior and objective are parts."""

import math
from typing import Literal, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_genzoo import distributions, latents, losses, networks
from keras_genzoo.models.base import CodingModel, check_count, check_spec


class Posterior(NamedTuple):
    """The parameters of q(z|x) = N(z_mean, diag(exp(z_log_var))), each `(n, latent_dim)` float32."""

    z_mean: np.ndarray
    z_log_var: np.ndarray


@keras.saving.register_keras_serializable("keras_genzoo")
class VAE(CodingModel):
    """VAE, by default with q(z|x) a diagonal Gaussian, p(z) = N(0, I) and a Bernoulli p(x|z).

    Minimises the negative ELBO (Kingma & Welling 2014, eq. 3) in nats per image: sums over pixels and latents.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of z, >= 1; of a hierarchical prior, of all levels together.
        encoder, decoder: Network specs, e.g. `{"name": "mlp_encoder", "units": [300, 300]}`; see `networks`.
        likelihood: p(x|z), a key of `distributions.LIKELIHOODS`: "bernoulli" (pixels 0 or 1), "continuous_bernoulli"
            ([0, 1]), "gaussian", or "discretized_logistic" (8-bit grey levels).
        sigma: Standard deviation of the Gaussian likelihood: > 0, "learned", or "optimal" (each batch's best);
            unused by the others.
        bounded_mean: Whether the Gaussian mean passes a sigmoid; unused by the others.
        prior: Spec of p(z), see `latents.PRIORS`; None is N(0, I).
        posterior: Spec of q(z|x), see `latents.POSTERIORS`; None is a diagonal Gaussian.
        objective: "elbo"; "iwae", the bound of `n_draws` importance weighted draws (Burda et al. 2016); or "beta_tc",
            the ELBO with `beta` on its total correlation alone (Chen et al. 2018, eq. 4 with alpha = gamma = 1).
        n_draws: Draws of z per image in training, >= 1.
        beta: Weight of the KL term, >= 0 (Higgins et al. 2017); 1 is the ELBO. Of "beta_tc", of the total correlation.
        warmup_steps: Training steps over which the weight rises linearly from 0 to beta (Sonderby et al. 2016).
            0: none. The count is saved with the weights, so a trained model is not warmed up again.
        free_bits: Nats that each latent may hold for free (Kingma et al. 2016), >= 0. For "elbo" with the default
            prior and posterior, whose KL is known per latent.
        dataset_size: Training images, which "beta_tc" needs to know; unused by the others.
        n_classes: Classes of labels that encoder and decoder are told (a conditional VAE, Sohn et al. 2015); 0: none.
            `fit` then takes `(images, labels)`.
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
        likelihood: str = "bernoulli",
        sigma: float | str = 0.1,
        bounded_mean: bool = True,
        prior: dict | None = None,
        posterior: dict | None = None,
        objective: Literal["elbo", "iwae", "beta_tc"] = "elbo",
        n_draws: int = 1,
        beta: float = 1.0,
        warmup_steps: int = 0,
        free_bits: float = 0.0,
        dataset_size: int = 60_000,
        n_classes: int = 0,
        seed: int | None = None,
        dtype=None,
        name: str | None = "vae",
    ):
        # === Config ===
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        for argument, value in (("beta", beta), ("free_bits", free_bits)):
            if not 0 <= value < math.inf:
                raise ValueError(f"`{argument}` must be >= 0 and finite. Received: {value}")
        for argument, value, least in (
            ("warmup_steps", warmup_steps, 0),
            ("n_draws", n_draws, 1),
            ("dataset_size", dataset_size, 1),
            ("n_classes", n_classes, 0),
        ):
            if value < least:
                raise ValueError(f"`{argument}` must be >= {least}. Received: {value}")
        if likelihood not in distributions.LIKELIHOODS:
            raise ValueError(
                f"`likelihood` must be one of {', '.join(distributions.LIKELIHOODS)}. Received: {likelihood!r}"
            )
        if objective not in ("elbo", "iwae", "beta_tc"):
            raise ValueError(f"`objective` must be 'elbo', 'iwae' or 'beta_tc'. Received: {objective!r}")
        self.latent_dim = check_count(latent_dim, "latent_dim")
        self.objective, self.n_draws, self.dataset_size = objective, n_draws, dataset_size
        self.beta, self.warmup_steps, self.free_bits, self.n_classes = beta, warmup_steps, free_bits, n_classes
        self._config = {
            "latent_dim": latent_dim,
            "encoder": check_spec(encoder),
            "decoder": check_spec(decoder),
            "likelihood": likelihood,
            "sigma": sigma,
            "bounded_mean": bounded_mean,
            "prior": check_spec(prior),
            "posterior": check_spec(posterior),
            "objective": objective,
            "n_draws": n_draws,
            "beta": beta,
            "warmup_steps": warmup_steps,
            "free_bits": free_bits,
            "dataset_size": dataset_size,
            "n_classes": n_classes,
        }

        # === Parts ===
        options = {"sigma": sigma, "bounded": bounded_mean} if likelihood == "gaussian" else {}
        self.likelihood = distributions.LIKELIHOODS[likelihood](**options)
        self.posterior = latents.build_posterior(posterior, latent_dim=latent_dim)
        height, width, channels = self.image_shape
        self.encoder = networks.build(
            encoder,
            name="encoder",
            dtype=self.dtype_policy,
            # A label is one more channel, which a dense layer paints.
            image_shape=(height, width, channels + bool(n_classes)),
            outputs=self.posterior.heads,
        )
        self.decoder = networks.build(
            decoder,
            name="decoder",
            dtype=self.dtype_policy,
            latent_dim=latent_dim + n_classes,
            image_shape=(height, width, channels * self.likelihood.n_parameters),
        )
        if n_classes:
            self.label_plane = self.label_painter()
        self.prior = latents.build_prior(
            prior, latent_dim=latent_dim, encode=self.encoder, image_shape=self.image_shape
        )
        self._check_parts()
        # Where the KL is known per latent it is not estimated: fewer draws' noise in the gradient.
        self.has_closed_kl = isinstance(self.prior, latents.StandardNormal) and isinstance(
            self.posterior, latents.DiagonalPosterior
        )
        if free_bits and not (objective == "elbo" and self.has_closed_kl):
            raise ValueError(
                "`free_bits` needs objective 'elbo' and the default prior and posterior, whose KL is known per latent. "
                f"Received: {free_bits}"
            )
        if objective == "beta_tc" and not (self.has_closed_kl and n_draws == 1):
            raise ValueError("`objective` 'beta_tc' needs the default prior and posterior, and n_draws 1.")
        self.build()

    def _check_parts(self):
        if not isinstance(self.prior, latents.VampPrior):
            return
        if self.n_classes:
            raise ValueError("A 'vamp' prior knows no labels. Received: n_classes with prior 'vamp'")
        if not isinstance(self.posterior, latents.DiagonalPosterior):
            raise ValueError("A 'vamp' prior is a mixture of diagonal posteriors; leave `posterior` out.")

    def call(self, images, labels=None):
        """The reconstruction from the posterior mean: deterministic, `(n, H, W, C)` float32."""
        return self._reconstruct(images, labels)

    # === Training ===

    def train_step(self, data):
        x, labels = self.images_and_labels(data)
        weight = self.kl_weight()
        loss, (reconstruction_loss, kl_loss) = self.minimize(
            self.optimizer, lambda: self._loss(x, labels, weight, training=True), self.trainable_variables
        )
        self.train_steps.assign_add(1)
        return self.track(loss=loss, reconstruction_loss=reconstruction_loss, kl_loss=kl_loss)

    def test_step(self, data):
        x, labels = self.images_and_labels(data)
        # The seed state is put back afterwards: validating must not change what training would have drawn.
        state = ops.copy(self.seed_generator.state.value)
        loss, (reconstruction_loss, kl_loss) = self._loss(x, labels, self.beta, training=False)
        self.seed_generator.state.assign(state)
        return self.track(loss=loss, reconstruction_loss=reconstruction_loss, kl_loss=kl_loss)

    def kl_weight(self):
        """beta, times the linear warm-up's fraction at the current training step; a scalar float32."""
        if self.warmup_steps == 0:
            return ops.convert_to_tensor(self.beta, "float32")
        return self.beta * ops.minimum(1.0, ops.cast(self.train_steps, "float32") / self.warmup_steps)

    def _loss(self, x, labels, weight, training):
        """The objective, and for the record the two sides of the ELBO: `(loss, (reconstruction, kl))`, `(batch,)`."""
        draws = self._draw(x, labels, self.n_draws, seed=self.seed_generator, training=training)
        reconstruction_loss = -ops.mean(draws.log_likelihood, axis=0)
        if self.has_closed_kl:
            kl_per_latent = distributions.normal_kl_per_latent(
                z_mean=draws.encoded["z_mean"], z_log_var=draws.encoded["z_log_var"]
            )
            kl_loss = losses.sum_per_example(kl_per_latent)
        else:
            kl_loss = ops.mean(draws.log_q - draws.log_p, axis=0)
        if self.objective == "iwae":
            loss = losses.iwae_loss(draws.log_likelihood + weight * (draws.log_p - draws.log_q))
        elif self.objective == "beta_tc":
            mutual_information, total_correlation, dimension_kl = self._decompose(draws)
            # The warm-up is that of the ELBO's KL; beta comes on top of it, on the total correlation alone.
            warm = weight / self.beta if self.beta else 1.0
            penalty = mutual_information + dimension_kl + self.beta * total_correlation
            loss = losses.negative_elbo(reconstruction_loss=reconstruction_loss, kl_loss=penalty, beta=warm)
        else:
            paid = losses.free_bits(kl_per_latent, minimum=self.free_bits) if self.free_bits else kl_loss
            loss = losses.negative_elbo(reconstruction_loss=reconstruction_loss, kl_loss=paid, beta=weight)
        return loss, (reconstruction_loss, kl_loss)

    def _decompose(self, draws):
        z, z_mean, z_log_var = draws.z[0], draws.encoded["z_mean"], draws.encoded["z_log_var"]
        centred = z[:, None, :] - z_mean[None, :, :]
        pairs = -0.5 * (distributions.LOG_2PI + z_log_var + ops.square(centred) * ops.exp(-z_log_var))
        return losses.kl_decomposition(
            pairs, log_q=draws.log_q[0], log_p=draws.log_p[0], dataset_size=self.dataset_size
        )

    # === Measuring ===

    def log_weights(self, x, *, n_samples, seed, labels=None):
        """Importance weights log p(x|z_j) + log p(z_j) - log q(z_j|x), z_j ~ q(z|x) (Burda et al. 2016, eq. 8).

        Args:
            x: Images, a tensor `(batch, H, W, C)`.
            n_samples: k, the draws per image.
            seed: An int or a `keras.random.SeedGenerator`.
            labels: Of a conditional model, `(batch,)` integers.

        Returns:
            `(n_samples, batch)` float32, in nats; feed it to `losses.importance_weighted_bound`.
        """
        draws = self._draw(x, labels, n_samples, seed=seed, training=False)
        return draws.log_likelihood + draws.log_p - draws.log_q

    def kl_estimate(self, x, *, n_samples, seed, labels=None):
        """log q(z_j|x) - log p(z_j), z_j ~ q(z|x): draws whose mean is KL(q(z|x) || p(z)). As `log_weights`."""
        draws = self._draw(x, labels, n_samples, seed=seed, training=False)
        return draws.log_q - draws.log_p

    def _draw(self, x, labels, k, *, seed, training):
        """k draws of z per image, and what a bound is made of, each `(k, batch, ...)`."""
        encoded = self._encode(x, labels, training=training)

        def repeated(value):  # k times the whole batch: (k * batch, ...)
            return value if k == 1 or value is None else ops.tile(value, (k, *(1,) * (len(value.shape) - 1)))

        n = k * ops.shape(x)[0]
        noise = keras.random.normal((n, self.latent_dim), seed=seed, dtype="float32")
        z, log_q = self.posterior({key: repeated(value) for key, value in encoded.items()}, noise)
        raw = self.decoder(self.with_labels(z, repeated(labels)), training=training)
        log_likelihood = self.likelihood.log_prob(repeated(x), raw=raw, training=training)
        return _Draws(
            encoded=encoded,
            z=ops.reshape(z, (k, -1, self.latent_dim)),
            log_likelihood=ops.reshape(log_likelihood, (k, -1)),
            log_p=ops.reshape(self.prior(z), (k, -1)),
            log_q=ops.reshape(log_q, (k, -1)),
        )

    # === Use ===

    def endpoints(self):
        height, width, channels = self.image_shape
        images = keras.Input((height, width, channels), name="images")
        z = keras.Input((self.latent_dim,), name="z")
        noise = keras.Input((self.prior.noise_dim,), name="noise")
        labels = keras.Input((), dtype="int32", name="labels") if self.n_classes else None

        def endpoint(name, value, function):
            inputs = value if labels is None else [value, labels]
            return keras.Model(inputs, function(value, labels), name=name)

        found = {
            "encode": endpoint("encode", images, lambda x, y: self.posterior.gaussian(self._encode(x, y))),
            "decode": endpoint("decode", z, self._decoded),
            "reconstruct": endpoint("reconstruct", images, lambda x, y: {"images": self._reconstruct(x, y)}),
            "prior_log_prob": keras.Model(z, {"log_prob": self.prior(z)}, name="prior_log_prob"),
        }
        if not isinstance(self.prior, latents.StandardNormal):  # else noise is z, and `decode` generates
            found["generate"] = endpoint(
                "generate", noise, lambda e, y: {"images": self._decoded(self.prior(e, from_noise=True), y)["images"]}
            )
        if not isinstance(self.posterior, latents.DiagonalPosterior):  # else `encode` says all of it
            found["posterior"] = self._posterior_endpoint(images, labels)
        return found

    def _posterior_endpoint(self, images, labels):
        noise = keras.Input((self.latent_dim,), name="noise")
        z, log_prob = self.posterior(self._encode(images, labels), noise)
        inputs = [images, noise] if labels is None else [images, labels, noise]
        return keras.Model(inputs, {"z": z, "log_prob": log_prob}, name="posterior")

    def sample(self, n, seed=None, labels=None):
        """Draws z ~ p(z) and returns E[x|z]: `(n, H, W, C)` float32. The same images for the same integer seed.

        `labels`, of a conditional model: `(n,)` integers; None for all classes in turn.
        """
        noise = self.normal_noise(n, seed, self.prior.noise_dim)
        labels = self.classes_in_turn(n) if labels is None else labels
        name = "decode" if isinstance(self.prior, latents.StandardNormal) else "generate"
        return self.run_endpoint(name, noise, *self.checked_labels(labels, n))["images"]

    def encode(self, images, labels=None):
        """q(z|x) of images in [0, 1]: a `Posterior(z_mean, z_log_var)`, each `(n, latent_dim)` float32.

        Of a posterior that is no diagonal Gaussian, the Gaussian that stands for it: see `latents`.
        """
        images = self.check_images(images)
        return Posterior(**self.run_endpoint("encode", images, *self.checked_labels(labels, len(images))))

    def codes(self, images, labels=None):
        """One code per image in [0, 1], `(n, latent_dim)` float32: z_mean."""
        return self.encode(images, labels).z_mean

    def decode(self, z, labels=None):
        """The mean of p(x|z) of codes `(n, latent_dim)`: `(n, H, W, C)` float32."""
        z = self.check_latents(z)
        return self.run_endpoint("decode", z, *self.checked_labels(labels, len(z)))["images"]

    def reconstruct(self, images, labels=None):
        """Images in [0, 1] after a round trip through their z_mean: `(n, H, W, C)` float32."""
        images = self.check_images(images)
        return self.run_endpoint("reconstruct", images, *self.checked_labels(labels, len(images)))["images"]

    def get_config(self):
        return {**super().get_config(), **self._config}

    # === Pieces, on tensors ===

    def _encode(self, images, labels, training=False):
        if self.n_classes:
            images = self.with_label_channel(images, labels)
        return self.encoder(images, training=training)

    def _decoded(self, z, labels):
        return self.likelihood(self.decoder(self.with_labels(z, labels)))

    def _reconstruct(self, images, labels):
        z_mean = self.posterior.gaussian(self._encode(images, labels))["z_mean"]
        return self._decoded(z_mean, labels)["images"]


class _Draws(NamedTuple):
    encoded: dict
    z: object
    log_likelihood: object
    log_p: object
    log_q: object
