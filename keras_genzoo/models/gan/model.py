"""The generative adversarial network (Goodfellow et al. 2014); its game and its regularisers are parts."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops
from pydantic import Field

from keras_genzoo import engine, losses, networks, parts
from keras_genzoo.errors import ZooError
from keras_genzoo.models import inputs
from keras_genzoo.models.base import Count, ImageShape, LatentModel
from keras_genzoo.models.gan import augmentations, clusters, spellings
from keras_genzoo.models.labels import Labelled
from keras_genzoo.parts import Natural, NonNegative
from keras_genzoo.typing import ArrayLike, DType, Spec, Tensor

_NORMS = ("g_gradient_norm", "d_gradient_norm")  # names of the losses that are gradient norms
# Numbers of the ramp of the average's decay at step t of G, (1 + t) / (10 + t): it forgets the first generators soon.
_RAMP_NUMERATOR, _RAMP_DENOMINATOR = 1.0, 10.0
_ROWS = 4096  # images at a time that become thumbnails


@keras.saving.register_keras_serializable("keras_genzoo")
class GAN(Labelled, LatentModel):
    """min_G max_D V(D, G): a generator G(z), z ~ N(0, I), against a discriminator D.

    Each training step moves D once, and every `n_critic`-th then moves G against the D just moved. With `n_critic` 1,
    G(z) is computed once and serves both. Samples, `predict` and exports come from `ema_generator`, an exponential
    moving average of G's weights and BatchNorm statistics.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of z, >= 1.
        generator: Network spec of G, e.g. `{"name": "dcgan_generator", "filters": [128, 64]}`, or a Keras model of your
            own, see `networks.own`.
        discriminator: Network spec of D, e.g. `{"name": "dcgan_discriminator", "filters": [64, 128]}`, or a Keras model
            of your own.
        game: Spec of the game, see `games.GAMES`: "non_saturating" and "minimax" (option `label_smoothing`),
            "least_squares", "wasserstein", "hinge" or "relativistic" (pairs of a real and a generated image).
        n_critic: Number of steps of D for one of G, >= 1.
        gradient_penalty: Weight lambda of `losses.gradient_penalty`, at points between real and generated images.
        r1: Weight gamma of half the `losses.squared_norm` of D's gradient at real images.
        r2: Weight gamma of the same at generated images.
        penalty_interval: Steps of D from one penalty to the next, >= 1; each counts that many times (Karras et al.
            2020, app. B).
        weight_clip: Bound on every weight of D after its step (Arjovsky et al. 2017); 0: none.
        pack: Number of images, all real or all generated, that D judges at a time, stacked as channels (Lin et al.
            2018, PacGAN). Where it does not divide a batch, the last pack repeats the batch's first images.
        augment: Specs of DiffAugment policies (Zhao et al. 2020), see `augmentations.AUGMENTATIONS`. They apply to all
            images that D judges, in G's step, too.
        n_classes: Number of classes of labels that G and D take (Mirza & Osindero 2014); 0: none. `fit` then takes
            `(images, labels)`.
        conditioning: Way of D to take labels or clusters: "concat", as one more channel, painted by a dense layer; or
            "projection", the inner product of its features with a learned vector per class (Miyato & Koyama 2018,
            eq. 3).
        n_clusters: Number of clusters of the training images that G and D are told in place of labels; 0: none. They
            are found by k-means, see `adapt`, which `fit` needs first. The first number of a code chooses the cluster,
            with the probability that the cluster has among the images; G gets the others. Between two kinds of images
            is then nothing that G must cross (Liu et al. 2020, self-conditioned GAN, who cluster D's features).
        ema_decay: Decay of the average per step of G, in [0, 1). It ramps up: min(ema_decay, (1 + t) / (10 + t)).
        seed, dtype, name: See `ZooModel`. With penalties D is float32 whatever the policy, as their second derivatives
            must be.

    Raises:
        ZooError: A bad value, an unknown part, or a combination known to break, with the reason.

    Example:
        >>> import keras_genzoo as gz
        >>> gan = gz.GAN(latent_dim=64, generator={"name": "dcgan_generator", "filters": [16, 8]},
        ...              discriminator={"name": "dcgan_discriminator", "filters": [8, 16]})
        >>> gan.compile(g_optimizer="adam", d_optimizer="adam")
        >>> history = gan.fit(gz.data.load("mnist", "train").take(10), verbose=0)
    """

    OPTIMIZERS: ClassVar = {"g_optimizer": "generator_variables", "d_optimizer": "discriminator_variables"}
    PARTS: ClassVar = {
        "generator": "network", "discriminator": "network", "game": "game", "augment": "augmentation",
    }  # fmt: skip
    CAN = frozenset({"sample", "judge"})
    SEES_PIXELS, MAKES_PIXELS = "discriminator", "generator"
    LOSSES = ("g_loss", "d_loss", "real_logits", "fake_logits", *_NORMS)
    UNTESTED = frozenset(_NORMS)
    REFUSES_METRICS = "a generated image has no real one to be compared with; gz.evaluate measures samples"

    def __init__(
        self,
        *,
        image_shape: ImageShape = (28, 28, 1),
        latent_dim: Count,
        generator: Spec,
        discriminator: Spec,
        game: Spec = "non_saturating",
        n_critic: Count = 1,
        gradient_penalty: NonNegative = 0.0,
        r1: NonNegative = 0.0,
        r2: NonNegative = 0.0,
        penalty_interval: Count = 1,
        weight_clip: NonNegative = 0.0,
        pack: Count = 1,
        augment: Sequence[Spec] = (),
        n_classes: Natural = 0,
        conditioning: Literal["concat", "projection"] = "concat",
        n_clusters: Natural = 0,
        ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999,
        seed: int | None = None,
        dtype: DType = None,
        name: str | None = "gan",
    ):
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.configure(locals())
        self.is_penalised = any((gradient_penalty, r1, r2))
        self._check_combinations()
        self.game = parts.build("game", game)
        self.augmented = augmentations.build(augment)
        height, width, channels = self.image_shape
        n_numbers = self.latent_dim + self.n_kinds - bool(n_clusters)  # of z and a label, or of z's rest and a cluster
        shapes = {"dtype": self.dtype_policy, "image_shape": self.image_shape, "latent_dim": n_numbers}
        self.generator = networks.build(generator, key="generator", name="generator", **shapes)
        self.ema_generator = networks.build(networks.copied(generator), key="generator", name="ema_generator", **shapes)
        self.ema_generator.trainable = False
        self.ema_generator.set_weights(self.generator.get_weights())
        has_label_channel = bool(self.n_kinds) and conditioning == "concat"
        self.discriminator = networks.build(
            discriminator,
            key="discriminator",
            name="discriminator",
            dtype="float32" if self.is_penalised else self.dtype_policy,
            image_shape=(height, width, (channels + has_label_channel) * pack),
        )
        if self.is_penalised and any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in self.discriminator.layers
        ):
            raise ZooError(
                "A gradient penalty is per image, and BatchNorm in the discriminator mixes the images of a batch: the "
                "pair is known to break (Gulrajani et al. 2017, section 4). Use norm 'none' or 'spectral'."
            )
        self.labeller = None  # the layer through which D takes labels
        if has_label_channel:
            self.label_plane = self.labeller = self.label_painter()
        elif self.n_kinds:
            features = self.discriminator.get_layer("features").output
            self.features = keras.Model(
                self.discriminator.inputs, [self.discriminator.output, features], name="features"
            )
            self.label_vectors = keras.layers.Embedding(
                self.n_kinds, features.shape[-1], embeddings_initializer="zeros", dtype="float32", name="label_vectors"
            )
            self.label_vectors.build((None,))
            self.labeller = self.label_vectors
        if n_clusters:
            self.cluster_centres = self.add_weight(
                name="cluster_centres", shape=(n_clusters, clusters.size(self.image_shape)), initializer="zeros",
                trainable=False, dtype="float32",
            )  # fmt: skip
            self.cluster_choice = clusters.ClusterChoice(n_clusters, name="cluster_choice")
            self.cluster_choice.build((None, 1))
        self.build()

    @property
    def n_kinds(self) -> int:
        return self.n_classes or self.n_clusters

    def adapt(self, images: ArrayLike) -> None:
        """Finds the clusters of the training images, as `n_clusters` asks for; `fit` needs it first.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1]; n is at least `n_clusters`.

        Raises:
            ZooError: The model has no clusters, bad images, or fewer different ones than clusters.
        """
        if not self.n_clusters:
            raise ZooError("`adapt` finds the clusters of a GAN with `n_clusters`, and this one has none")
        images = self.check_images(images)
        rows = np.concatenate(
            [
                engine.array(clusters.thumbnails(engine.tensor(images[i : i + _ROWS])))
                for i in range(0, len(images), _ROWS)
            ]
        )
        centres, shares = clusters.fit(rows, self.n_clusters, seed=self.seed or 0)
        self.cluster_centres.assign(centres)
        self.cluster_choice.bounds.assign(clusters.bounds(shares))

    @property
    def is_adapted(self) -> bool:
        """Whether the clusters that `n_clusters` asks for are found."""
        return bool(self.n_clusters) and bool(np.any(engine.array(self.cluster_centres)))

    def own_state(self) -> list:
        return [*super().own_state(), *([self.cluster_centres] if self.n_clusters else [])]

    def make_train_function(self, force: bool = False) -> Any:
        if self.n_clusters and not self.is_adapted:
            raise ZooError("A GAN with `n_clusters` trains once it knows them: call adapt(images) before fit")
        return super().make_train_function(force)

    @property
    def generator_variables(self) -> list:
        """The variables that a step of G moves."""
        return self.generator.trainable_variables

    @property
    def discriminator_variables(self) -> list:
        """The variables that a step of D moves."""
        return [*self.discriminator.trainable_variables, *(self.labeller.trainable_variables if self.labeller else ())]

    @property
    def call_kinds(self) -> dict[str, inputs.Kind]:
        return {"z": inputs.codes(self.latent_dim)} | {k: v for k, v in super().call_kinds.items() if k == "labels"}

    def arranged(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        x = inputs.as_array(x)
        if isinstance(x, dict) and "images" in x:  # a batch of fit, whose images are no input of `call`
            x = {("z" if key == "images" else key): value for key, value in x.items()}
        return super().arranged(x, y)

    def refuses_weights(self) -> str | None:
        return (
            "a real image's weight would change D's loss of real images alone, and with it the game; sample the "
            "images more or less often instead"
        )

    def steps_per_update(self, optimizer: str) -> int:
        return self.n_critic if optimizer == "g_optimizer" else 1

    def call(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of the averaged generator.

        Args:
            z: Codes, `(n, latent_dim)`.
            labels: Classes, `(n,)` integers, for a conditional model.

        Returns:
            `(n, H, W, C)` float32, in [0, 1].
        """
        return self._generated(self.ema_generator, z, labels, training=False)

    # === Training ===

    def train_step(self, data: Any) -> dict[str, Tensor]:
        if self.n_critic > 1 and engine.replicas() > 1:
            raise ZooError(
                f"`n_critic` must be 1 under a strategy of several devices. Received: {self.n_critic}; train on one "
                "device, or with n_critic=1 and a higher learning rate of D"
            )
        real, labels = self._whole_packs(*self.images_and_labels(data))
        labels = self._kinds(real, labels)
        z = keras.random.normal((ops.shape(real)[0], self.latent_dim), seed=self.seed_generator, dtype="float32")
        if self.n_critic == 1:
            g_loss, judged = self._move_both(real, z, labels)
            g_weight = 1.0
        else:
            judged = self._move_discriminator(real, self._generated(self.generator, z, labels, training=True), labels)
            is_due = (self.train_steps + 1) % self.n_critic == 0
            g_loss = engine.cond(
                is_due, lambda: self._move_generator(real, labels), lambda: ops.zeros_like(judged["real_logits"])
            )
            g_weight = ops.cast(is_due, "float32")
        self.train_steps.assign_add(1)
        self._trackers["g_loss"].update_state(g_loss, sample_weight=g_weight * ops.ones_like(g_loss))
        return self.track(**judged)

    def _move_both(self, real, z, labels):
        def g_loss_fn():
            fake = self._generated(self.generator, z, labels, training=True)
            # D moves inside G's step: it needs these very images, and G's tape needs the D that has seen them.
            judged = self._move_discriminator(real, ops.stop_gradient(fake), labels)
            return self._g_loss(real, fake, labels), judged

        g_loss, judged = self._minimize_g(g_loss_fn)
        self._update_average()
        return g_loss, judged

    def _move_generator(self, real, labels):
        z = keras.random.normal((ops.shape(real)[0], self.latent_dim), seed=self.seed_generator, dtype="float32")

        def g_loss_fn():
            return self._g_loss(real, self._generated(self.generator, z, labels, training=True), labels), None

        g_loss, _ = self._minimize_g(g_loss_fn)
        self._update_average()
        return g_loss

    def _minimize_g(self, g_loss_fn):
        return self.minimize(
            self.g_optimizer, g_loss_fn, self.generator_variables, layers=[self.generator], norm="g_gradient_norm"
        )

    def _whole_packs(self, images, labels):
        """Images and labels of whole packs: the last pack of a batch that does not divide repeats its first images."""
        n, pack = images.shape[0], self.pack
        if pack == 1 or (n is not None and n % pack == 0):
            return images, labels
        n = ops.shape(images)[0]
        turns = ops.arange(0, (n + pack - 1) // pack * pack) % n
        return ops.take(images, turns, axis=0), labels

    def _move_discriminator(self, real, fake, labels):
        """One step of D. Returns `d_loss`, `real_logits` and `fake_logits`, one number per pack of images."""
        fake = ops.stop_gradient(fake)
        d_loss, logits = self.minimize(
            self.d_optimizer,
            lambda: self._d_loss(real, fake, labels),
            self.discriminator_variables,
            layers=[self.discriminator, *([self.labeller] if self.labeller else [])],
            norm="d_gradient_norm",
        )
        if self.weight_clip:
            for variable in self.discriminator.trainable_variables:
                variable.assign(ops.clip(variable, -self.weight_clip, self.weight_clip))
        return {"d_loss": d_loss, **logits}

    def test_step(self, data: Any) -> dict[str, Tensor]:
        real, labels = self._whole_packs(*self.images_and_labels(data))
        labels = self._kinds(real, labels)
        state = ops.copy(self.seed_generator.state.value)  # put back: validation must not change training's draws
        z = keras.random.normal((ops.shape(real)[0], self.latent_dim), seed=self.seed_generator, dtype="float32")
        self.seed_generator.state.assign(state)
        fake = self._generated(self.generator, z, labels, training=False)
        logits = {
            "real_logits": self._judged(real, labels, training=False),
            "fake_logits": self._judged(fake, labels, training=False),
        }
        judged = {"g_loss": self.game.generator(**logits), "d_loss": self.game.discriminator(**logits), **logits}
        for key, network in (("g_loss", self.generator), ("d_loss", self.discriminator)):
            judged[key] = self.with_added_loss(judged[key], network)
        logs = self.track(**judged)
        return {key: value for key, value in logs.items() if key not in self.UNTESTED}  # nothing moves here

    def _g_loss(self, real, fake, labels):
        fake_logits = self._judged(self.augmented(fake, seed=self.seed_generator), labels, training=True)
        real_logits = None
        if self.game.pairs:
            real_logits = self._judged(self.augmented(real, seed=self.seed_generator), labels, training=True)
        return self.game.generator(real_logits=real_logits, fake_logits=fake_logits)

    def _d_loss(self, real, fake, labels):
        real, fake = self.augmented(real, seed=self.seed_generator), self.augmented(fake, seed=self.seed_generator)

        def judge(images):
            return self._judged(images, labels, training=True)

        # Real and fake images are two batches: BatchNorm in D must not mix their statistics. Where a penalty is due in
        # every step, its forward pass is that of the loss.
        lazy = self.is_penalised and self.penalty_interval > 1
        logits, penalty = self._judged_and_penalised(judge, real, fake, penalised=not lazy)
        if lazy:
            penalty = ops.cond(
                self.train_steps % self.penalty_interval == 0,
                lambda: self.penalty_interval * self._judged_and_penalised(judge, real, fake, penalised=True)[1],
                lambda: ops.zeros_like(logits["real_logits"]),
            )
        return self.game.discriminator(**logits) + penalty, logits

    def _judged_and_penalised(self, judge, real, fake, *, penalised):
        """D's logits of both kinds, and the sum of the penalties, `(n / pack,)`; 0.0 where not `penalised`."""
        logits, penalty = {}, 0.0
        for key, images, weight in (("real_logits", real, self.r1), ("fake_logits", fake, self.r2)):
            if weight and penalised:
                logits[key], gradient = engine.input_gradient(judge, images)
                penalty += 0.5 * weight * losses.squared_norm(self._packed_rows(gradient))
            else:
                logits[key] = judge(images)
        if self.gradient_penalty and penalised:
            penalty += self._interpolated_penalty(judge, real, fake)
        return logits, penalty

    def _interpolated_penalty(self, judge, real, fake):
        """The penalty at a uniform point between each real image and a generated one (Gulrajani et al. 2017)."""
        share = keras.random.uniform((ops.shape(real)[0], 1, 1, 1), dtype="float32", seed=self.seed_generator)
        between = share * ops.cast(real, "float32") + (1 - share) * ops.cast(fake, "float32")
        gradient = engine.input_gradient(judge, between)[1]
        return self.gradient_penalty * losses.gradient_penalty(self._packed_rows(gradient))

    def _update_average(self):
        """Moves the averaged generator towards G."""
        t = ops.cast(self.train_steps + 1, "float32") / self.n_critic  # this step is not counted yet
        decay = ops.minimum(self.ema_decay, (_RAMP_NUMERATOR + t) / (_RAMP_DENOMINATOR + t))
        for average, variable in zip(self.ema_generator.weights, self.generator.weights, strict=True):
            average.assign(average + (1.0 - decay) * (variable - average))

    # === Use ===

    def endpoints(self) -> dict[str, keras.Model]:
        z = keras.Input((self.latent_dim,), name="z")
        labels = keras.Input((), dtype="int32", name="labels") if self.n_classes else None
        images = self._generated(self.ema_generator, z, labels, training=False)
        inputs = z if labels is None else [z, labels]
        return {"generate": keras.Model(inputs, {"images": images}, name="generate")}

    def generate(self, z: ArrayLike, labels: ArrayLike | None = None) -> np.ndarray:
        """The images of codes, from the averaged generator.

        Args:
            z: Codes, `(n, latent_dim)`.
            labels: Classes, `(n,)` integers, for a conditional model.

        Returns:
            `(n, H, W, C)` float32, in [0, 1].

        Raises:
            ZooError: Bad codes or labels.
        """
        z = self.check_latents(z)
        return self.run_endpoint("generate", z, *self.checked_labels(labels, len(z)))["images"]

    def sample(
        self, n: int, seed: int | None = None, labels: ArrayLike | None = None, *, averaged: bool = True
    ) -> np.ndarray:
        """Draws images G(z), z ~ N(0, I).

        Args:
            n: Number of images, >= 1.
            seed: Seed of z, >= 0; the same integer gives the same images. None: new ones each time.
            labels: Classes, `(n,)` integers, for a conditional model; None: all classes in turn.
            averaged: Whether the averaged generator makes them, or the one in training.

        Returns:
            `(n, H, W, C)` float32, in [0, 1].

        Raises:
            ZooError: A bad count, seed or label.
        """
        z = self.normal_noise(n, seed)
        classes = self.checked_labels(self.classes_in_turn(n) if labels is None else labels, n)
        if averaged:
            return self.run_endpoint("generate", z, *classes)["images"]
        return engine.array(self._generated(self.generator, z, *(classes or [None]), training=False))

    def judge(self, images: ArrayLike, labels: ArrayLike | None = None) -> np.ndarray:
        """D's logits of images, higher for those that it takes for real.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1]; n is a multiple of `pack`.
            labels: Classes, `(n,)` integers, for a conditional model.

        Returns:
            `(n / pack,)` float32.

        Raises:
            ZooError: Bad images or labels, or a number of images that is no multiple of `pack`.
        """
        images = self.check_images(images)
        classes = self.checked_labels(labels, len(images)) or [None]
        if len(images) % self.pack:
            raise ZooError(f"D judges {self.pack} images at a time. Received: {len(images)} images")
        images = ops.convert_to_tensor(images)
        return engine.array(self._judged(images, self._kinds(images, *classes), training=False))

    @classmethod
    def upgraded(cls, config: dict[str, Any]) -> dict[str, Any]:
        return spellings.upgrade_model(config)

    def vital_outputs(
        self, images: np.ndarray, labels: np.ndarray | None = None
    ) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        return {"generator": (self.sample(len(images), seed=0, averaged=False), None)}

    # === Pieces, on tensors ===

    def _kinds(self, images, labels):
        """What the networks are told of images: their labels, their clusters, or None."""
        if not self.n_clusters:
            return labels
        return clusters.nearest(clusters.thumbnails(ops.cast(images, "float32")), self.cluster_centres)

    def _generated(self, network, z, labels, *, training):
        if self.n_clusters and labels is None:
            told = self.cluster_choice(z[:, :1])
            return network(ops.concatenate([z[:, 1:], told], axis=1), training=training)
        return network(self.with_labels(z[:, 1:] if self.n_clusters else z, labels), training=training)

    def _judged(self, images, labels, *, training):
        """D's logits of images, one per pack: `(n / pack,)` float32."""
        if self.n_kinds and self.conditioning == "projection":
            logits, features = self.features(images, training=training)
            return logits + ops.sum(ops.cast(features, "float32") * self.label_vectors(labels), axis=1)
        if self.n_kinds:
            images = self.with_label_channel(images, labels)
        if self.pack > 1:
            height, width, channels = images.shape[1:]
            images = ops.reshape(images, (-1, self.pack, height, width, channels))
            images = ops.reshape(ops.transpose(images, (0, 2, 3, 1, 4)), (-1, height, width, self.pack * channels))
        return self.discriminator(images, training=training)

    def _packed_rows(self, gradient):
        """Gradients of images as one row per pack."""
        return ops.reshape(gradient, (-1, self.pack * math.prod(self.image_shape)))

    def _check_combinations(self):
        """Refuses combinations that are known to break."""
        if self.weight_clip and self.is_penalised:
            raise ZooError("`weight_clip` and a gradient penalty both bound the slope of D: use one of them.")
        if self.penalty_interval > 1 and not self.is_penalised:
            raise ZooError("`penalty_interval` needs a penalty: gradient_penalty, r1 or r2.")
        if self.n_kinds and self.pack > 1:
            raise ZooError("`pack` stacks images of any class, and labels are of one image: use one of them.")
        if self.n_classes and self.n_clusters:
            raise ZooError("`n_clusters` takes the place of labels that are not known: use it or `n_classes`.")
        if self.n_clusters == 1 or (self.n_clusters and self.latent_dim < 2):
            raise ZooError("`n_clusters` must be 0, or at least 2 with a `latent_dim` of at least 2.")
