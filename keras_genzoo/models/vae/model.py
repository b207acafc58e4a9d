"""The variational autoencoder (Kingma & Welling 2014), whose likelihood, prior, posterior and objective are parts."""

import statistics
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_genzoo import distributions, losses, networks, parts
from keras_genzoo.errors import ZooError
from keras_genzoo.models.base import OUTSIDE, CodingModel, Count, ImageShape
from keras_genzoo.models.labels import Labelled
from keras_genzoo.models.vae import spellings
from keras_genzoo.parts import Natural, NonNegative
from keras_genzoo.typing import ArrayLike, DType, Spec, Tensor


class Posterior(NamedTuple):
    """The parameters of q(z|x) = N(z_mean, diag(exp(z_log_var))).

    Attributes:
        z_mean: Means, `(n, latent_dim)` float32.
        z_log_var: Logarithms of the variances, same shape.
    """

    z_mean: np.ndarray
    z_log_var: np.ndarray


@keras.saving.register_keras_serializable("keras_genzoo")
class VAE(Labelled, CodingModel):
    """VAE, by default with q(z|x) a diagonal Gaussian, p(z) = N(0, I) and a Bernoulli p(x|z).

    Minimises the negative ELBO (Kingma & Welling 2014, eq. 3) in nats per image: sums over dimensions and latents.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of z, >= 1; with a hierarchical prior, that of all levels together.
        encoder: Network spec, e.g. `{"name": "mlp_encoder", "units": [300, 300]}`; see `networks`. Or a Keras model of
            your own with outputs z_mean and z_log_var, see `networks.own`.
        decoder: Network spec, e.g. `{"name": "mlp_decoder", "units": [300, 300]}`, or a Keras model of your own.
        likelihood: Spec of p(x|z), see `distributions.LIKELIHOODS`: "bernoulli" (pixels 0 or 1),
            "continuous_bernoulli" ([0, 1]), "gaussian" (options `sigma`, `bounded`), or "discretized_logistic"
            (8-bit grey levels).
        prior: Spec of p(z), see `latents.PRIORS`; None: N(0, I).
        posterior: Spec of q(z|x), see `latents.POSTERIORS`; None: a diagonal Gaussian.
        objective: Spec of the bound that training maximises, see `objectives.OBJECTIVES`: "elbo" (options `n_draws`,
            `free_bits`), "iwae" (option `n_draws`), or "beta_tc" (option `dataset_size`).
        beta: Weight of the KL term, >= 0 (Higgins et al. 2017); 1 is the ELBO. Under "beta_tc" it is the weight of the
            total correlation.
        warmup_steps: Number of training steps over which the weight rises linearly from 0 to beta (Sonderby et al.
            2016); 0: none. The count is saved with the weights, so that a trained model is not warmed up again.
        n_classes: Number of classes of labels that encoder and decoder take (a conditional VAE, Sohn et al. 2015); 0:
            none. `fit` then takes `(images, labels)`; of other models it may take `(images, targets)`.
        seed, dtype, name: See `ZooModel`.

    Raises:
        ZooError: A bad value, an unknown part, or parts that do not go together, with the reason.

    Example:
        >>> import keras_genzoo as gz
        >>> vae = gz.VAE(latent_dim=8, encoder={"name": "mlp_encoder", "units": [64]},
        ...              decoder={"name": "mlp_decoder", "units": [64]})
        >>> vae.compile("adam")
        >>> train = gz.data.load("mnist", "train", binarize="dynamic")
        >>> history = vae.fit(train.take(10), verbose=0)
    """

    LOSSES = ("loss", "reconstruction_loss", "kl_loss")
    REFUSES_METRICS = None
    PARTS: ClassVar = {
        "encoder": "network", "decoder": "network", "likelihood": "likelihood",
        "prior": "prior", "posterior": "posterior", "objective": "objective",
    }  # fmt: skip
    CAN = CodingModel.CAN | {"sample", "likelihood"}
    STEP_COUNTS = ("warmup_steps",)
    code = "z_mean"

    def __init__(
        self,
        *,
        image_shape: ImageShape = (28, 28, 1),
        latent_dim: Count,
        encoder: Spec,
        decoder: Spec,
        likelihood: Spec = "bernoulli",
        prior: Spec = None,
        posterior: Spec = None,
        objective: Spec = "elbo",
        beta: NonNegative = 1.0,
        warmup_steps: Natural = 0,
        n_classes: Natural = 0,
        seed: int | None = None,
        dtype: DType = None,
        name: str | None = "vae",
    ):
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.configure(locals())
        self.objective = parts.build("objective", objective)
        self.likelihood = parts.build("likelihood", likelihood)
        self.posterior = parts.build("posterior", posterior or "diagonal", latent_dim=self.latent_dim)
        height, width, channels = self.image_shape
        self.encoder = networks.build(
            encoder,
            key="encoder",
            name="encoder",
            dtype=self.dtype_policy,
            # A label comes as one more channel, which a dense layer paints.
            image_shape=(height, width, channels + bool(n_classes)),
            outputs=self.posterior.heads,
        )
        self.decoder = networks.build(
            decoder,
            key="decoder",
            name="decoder",
            dtype=self.dtype_policy,
            latent_dim=self.latent_dim + self.n_classes,
            image_shape=(height, width, channels * self.likelihood.n_parameters),
        )
        if n_classes:
            self.label_plane = self.label_painter()
        self.prior = parts.build(
            "prior",
            prior or "standard_normal",
            latent_dim=self.latent_dim,
            encode=self.encoder,
            image_shape=self.image_shape,
        )
        self._check_prior()
        # Where the KL is known per latent it is not estimated, which would add noise to the gradient.
        self.has_closed_kl = self.prior.is_standard_normal and self.posterior.is_diagonal
        self.objective.check(self)
        self.build()

    def _check_prior(self):
        """Refuses a prior that does not fit the labels or the posterior."""
        if not self.prior.uses_encoder:
            return
        if self.n_classes:
            raise ZooError("A 'vamp' prior knows no labels. Received: n_classes with prior 'vamp'")
        if not self.posterior.is_diagonal:
            raise ZooError("A 'vamp' prior is a mixture of diagonal posteriors; leave `posterior` out.")

    def call(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The reconstruction from the posterior mean, without a draw.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            labels: Classes, `(n,)` integers, for a conditional model.

        Returns:
            `(n, H, W, C)` float32.
        """
        return self._reconstruct(images, labels)

    # === Training ===

    def train_step(self, data: Any) -> dict[str, Tensor]:
        x, labels, target, weights = self._parts(data)
        weight = self.kl_weight()
        loss, (reconstruction_loss, kl_loss) = self.minimize(
            self.optimizer,
            lambda: self._loss(x, labels, target, weight, training=True),
            self.trainable_variables,
            weights=weights,
        )
        self.train_steps.assign_add(1)
        logs = self.track(loss=loss, reconstruction_loss=reconstruction_loss, kl_loss=kl_loss, weights=weights)
        return logs | self.track_metrics(target, lambda: self._reconstruct(x, labels), weights)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        x, labels, target, weights = self._parts(data)
        # The seed state is put back afterwards: validation must not change the draws of training.
        state = ops.copy(self.seed_generator.state.value)
        loss, (reconstruction_loss, kl_loss) = self._loss(x, labels, target, self.beta, training=False)
        self.seed_generator.state.assign(state)
        loss = self.with_added_loss(loss)
        logs = self.track(loss=loss, reconstruction_loss=reconstruction_loss, kl_loss=kl_loss, weights=weights)
        return logs | self.track_metrics(target, lambda: self._reconstruct(x, labels), weights)

    @property
    def takes_targets(self) -> bool:
        """Whether y may be target images: where it is not labels."""
        return not self.n_classes

    def refuses_weights(self) -> str | None:
        return self.objective.of_the_whole_batch

    def _parts(self, batch):
        """The parts of a batch: `(x, labels, target, weights)`; the target is y where y is images."""
        x, y, weights = self.parts_of(batch)
        labels = self.images_and_labels(batch)[1]
        return x, labels, y if labels is None and y is not None and len(y.shape) == 4 else x, weights

    def kl_weight(self) -> Tensor:
        """beta times the fraction of the warm-up at the current training step, a scalar float32."""
        if self.warmup_steps == 0:
            return ops.convert_to_tensor(self.beta, "float32")
        return self.beta * ops.minimum(1.0, ops.cast(self.train_steps, "float32") / self.warmup_steps)

    def _loss(self, x, labels, target, weight, training):
        """The objective, and the two sides of the ELBO for the log: `(loss, (reconstruction, kl))`, each `(batch,)`."""
        k, seed = self.objective.n_draws, self.seed_generator
        draws = self._draw(x, labels, k, seed=seed, training=training, target=target)
        reconstruction_loss = -ops.mean(draws.log_likelihood, axis=0)
        if self.has_closed_kl:
            kl_loss = losses.sum_per_example(draws.kl_per_latent)
        else:
            kl_loss = ops.mean(draws.log_q - draws.log_p, axis=0)
        loss = self.objective.loss(draws, reconstruction_loss=reconstruction_loss, kl_loss=kl_loss, weight=weight)
        return loss, (reconstruction_loss, kl_loss)

    # === Measuring ===

    def log_weights(
        self, x: Tensor, *, n_samples: int, seed: int | keras.random.SeedGenerator, labels: Tensor | None = None
    ) -> Tensor:
        """Importance weights log p(x|z_j) + log p(z_j) - log q(z_j|x), z_j ~ q(z|x) (Burda et al. 2016, eq. 8).

        Args:
            x: Images, a tensor `(batch, H, W, C)`.
            n_samples: Number k of draws per image.
            seed: Seed of the draws, an int or a `keras.random.SeedGenerator`.
            labels: Classes of the images, `(batch,)` integers, for a conditional model.

        Returns:
            `(n_samples, batch)` float32, in nats; feed it to `losses.importance_weighted_bound`.
        """
        draws = self._draw(x, labels, n_samples, seed=seed, training=False)
        return draws.log_likelihood + draws.log_p - draws.log_q

    def kl_estimate(
        self, x: Tensor, *, n_samples: int, seed: int | keras.random.SeedGenerator, labels: Tensor | None = None
    ) -> Tensor:
        """log q(z_j|x) - log p(z_j), z_j ~ q(z|x), whose mean over the draws estimates KL(q(z|x) || p(z)).

        Args:
            x: Images, a tensor `(batch, H, W, C)`.
            n_samples: Number k of draws per image.
            seed: Seed of the draws, an int or a `keras.random.SeedGenerator`.
            labels: Classes of the images, `(batch,)` integers, for a conditional model.

        Returns:
            `(n_samples, batch)` float32, in nats.
        """
        draws = self._draw(x, labels, n_samples, seed=seed, training=False)
        return draws.log_q - draws.log_p

    def _draw(self, x, labels, k, *, seed, training, target=None):
        """The `Draws` of k draws of z per image; the likelihood is that of x, or of another `target`."""
        encoded = self._encode(x, labels, training=training)

        def repeated(value):  # the whole batch k times, (k * batch, ...)
            return value if k == 1 or value is None else ops.tile(value, (k, *(1,) * (len(value.shape) - 1)))

        n = k * ops.shape(x)[0]
        noise = keras.random.normal((n, self.latent_dim), seed=seed, dtype="float32")
        z, log_q = self.posterior({key: repeated(value) for key, value in encoded.items()}, noise)
        raw = self.decoder(self.with_labels(z, repeated(labels)), training=training)
        log_likelihood = self.likelihood.log_prob(repeated(x if target is None else target), raw=raw, training=training)
        return Draws(
            encoded=encoded,
            z=ops.reshape(z, (k, -1, self.latent_dim)),
            log_likelihood=ops.reshape(log_likelihood, (k, -1)),
            log_p=ops.reshape(self.prior(z), (k, -1)),
            log_q=ops.reshape(log_q, (k, -1)),
        )

    # === Use ===

    def endpoints(self) -> dict[str, keras.Model]:
        height, width, channels = self.image_shape
        images = keras.Input((height, width, channels), name="images")
        z = keras.Input((self.latent_dim,), name="z")
        noise = keras.Input((self.prior.noise_dim,), name="noise")
        labels = keras.Input((), dtype="int32", name="labels") if self.n_classes else None

        def endpoint(name, value, function):
            inputs = value if labels is None else [value, labels]
            return keras.Model(inputs, function(value, labels), name=name)

        endpoints = {
            "encode": endpoint("encode", images, lambda x, y: self.posterior.gaussian(self._encode(x, y))),
            "decode": endpoint("decode", z, self._decoded),
            "reconstruct": endpoint("reconstruct", images, lambda x, y: {"images": self._reconstruct(x, y)}),
            "prior_log_prob": keras.Model(z, {"log_prob": self.prior(z)}, name="prior_log_prob"),
        }
        if not self.prior.is_standard_normal:  # else noise is z, and `decode` generates
            endpoints["generate"] = endpoint(
                "generate", noise, lambda e, y: {"images": self._decoded(self.prior(e, from_noise=True), y)["images"]}
            )
        if not self.posterior.is_diagonal:  # else the outputs of `encode` are the whole posterior
            endpoints["posterior"] = self._posterior_endpoint(images, labels)
        return endpoints

    def show_shapes(self) -> None:
        super().show_shapes()
        images = keras.Input(self.image_shape, name="images")
        self._posterior_endpoint(images, keras.Input((), dtype="int32", name="labels") if self.n_classes else None)

    def _posterior_endpoint(self, images, labels):
        noise = keras.Input((self.latent_dim,), name="noise")
        z, log_prob = self.posterior(self._encode(images, labels), noise)
        inputs = [images, noise] if labels is None else [images, labels, noise]
        return keras.Model(inputs, {"z": z, "log_prob": log_prob}, name="posterior")

    def sample(self, n: int, seed: int | None = None, labels: ArrayLike | None = None) -> np.ndarray:
        """Draws z ~ p(z) and decodes them to images E[x|z].

        Args:
            n: Number of images, >= 1.
            seed: Seed of z, >= 0; the same integer gives the same images. None: new ones each time.
            labels: Classes, `(n,)` integers, for a conditional model; None: all classes in turn.

        Returns:
            `(n, H, W, C)` float32.

        Raises:
            ZooError: A bad count, seed or label.
        """
        noise = self.normal_noise(n, seed, self.prior.noise_dim)
        labels = self.classes_in_turn(n) if labels is None else labels
        name = "decode" if self.prior.is_standard_normal else "generate"
        return self.run_endpoint(name, noise, *self.checked_labels(labels, n))["images"]

    def encode(self, images: ArrayLike, labels: ArrayLike | None = None) -> Posterior:
        """q(z|x) of images.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            labels: Classes of the images, `(n,)` integers, for a conditional model.

        Returns:
            A `Posterior(z_mean, z_log_var)`. Where q(z|x) is no diagonal Gaussian, it is the Gaussian that stands for
            it, see `latents`.

        Raises:
            ZooError: Bad images or labels.
        """
        images = self.check_images(images)
        return Posterior(**self.run_endpoint("encode", images, *self.checked_labels(labels, len(images))))

    def codes(self, images: ArrayLike, labels: ArrayLike | None = None) -> np.ndarray:
        """One code per image, the z_mean of `encode`.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            labels: Classes of the images, `(n,)` integers, for a conditional model.

        Returns:
            `(n, latent_dim)` float32.
        """
        return self.encode(images, labels).z_mean

    def drawn_codes(self, images: ArrayLike, *, seed: int) -> np.ndarray:
        """One draw per image from the Gaussian of `encode`.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            seed: Seed of the draws.

        Returns:
            `(n, latent_dim)` float32.
        """
        q = self.encode(images)
        noise = np.random.default_rng(seed).standard_normal(q.z_mean.shape, dtype="float32")
        return q.z_mean + np.exp(0.5 * q.z_log_var) * noise

    def code_axis(self, i: int, images: ArrayLike, *, side: int) -> np.ndarray:
        """Values of one latent along an axis of a picture: steps of equal probability under N(0, 1).

        Args:
            i: Index of the latent.
            images: Images; they do not matter here.
            side: Number of values, >= 2.

        Returns:
            `(side,)` float64.
        """
        return np.array([statistics.NormalDist().inv_cdf(p) for p in np.linspace(OUTSIDE, 1 - OUTSIDE, side)])

    def can(self, ability: str) -> bool:
        return not self.n_classes if ability == "traverse" else super().can(ability)

    def decode(self, z: ArrayLike, labels: ArrayLike | None = None) -> np.ndarray:
        """The mean of p(x|z).

        Args:
            z: Codes, `(n, latent_dim)`.
            labels: Classes, `(n,)` integers, for a conditional model.

        Returns:
            Images, `(n, H, W, C)` float32.

        Raises:
            ZooError: Bad codes or labels.
        """
        z = self.check_latents(z)
        return self.run_endpoint("decode", z, *self.checked_labels(labels, len(z)))["images"]

    def reconstruct(self, images: ArrayLike, labels: ArrayLike | None = None) -> np.ndarray:
        """Images after a round trip through their z_mean.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            labels: Classes of the images, `(n,)` integers, for a conditional model.

        Returns:
            `(n, H, W, C)` float32.

        Raises:
            ZooError: Bad images or labels.
        """
        images = self.check_images(images)
        return self.run_endpoint("reconstruct", images, *self.checked_labels(labels, len(images)))["images"]

    @classmethod
    def upgraded(cls, config: dict[str, Any]) -> dict[str, Any]:
        return spellings.upgrade_model(config)

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


class Draws(NamedTuple):
    """Draws of z and their log-densities, of which the bounds consist.

    Attributes:
        encoded: Outputs of the encoder by name, `(batch, ...)`.
        z: Draws, `(k, batch, latent_dim)`.
        log_likelihood: log p(x|z), `(k, batch)`, in nats.
        log_p: log p(z), same shape.
        log_q: log q(z|x), same shape.
    """

    encoded: dict[str, Tensor]
    z: Tensor
    log_likelihood: Tensor
    log_p: Tensor
    log_q: Tensor

    @property
    def kl_per_latent(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) of a diagonal posterior, `(batch, latent_dim)`, nats."""
        return distributions.normal_kl_per_latent(z_mean=self.encoded["z_mean"], z_log_var=self.encoded["z_log_var"])
