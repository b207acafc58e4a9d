"""The generative adversarial network (Goodfellow et al. 2014): the game and what regularises it are parts."""

import math
from typing import ClassVar, Literal

import keras
from keras import ops

from keras_genzoo import corruptions, losses, networks
from keras_genzoo.errors import ZooError
from keras_genzoo.models.base import ZooModel, check_count, check_spec

_PENALTIES = ("gradient_penalty", "r1", "r2")


@keras.saving.register_keras_serializable("keras_genzoo")
class GAN(ZooModel):
    """min_G max_D V(D, G): a generator G(z), z ~ N(0, I), against a discriminator D.

    Each training step moves D once, and every `n_critic`-th then G against the D just moved; with `n_critic` 1, G(z) is
    computed once and serves both. Samples, `predict` and exports come from `ema_generator`, an exponential moving
    average of G's weights and BatchNorm statistics.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Size of z, >= 1.
        generator, discriminator: Network specs, e.g. `{"name": "dcgan_generator", "filters": [128, 64]}`.
        game: A key of `losses.GAMES`: "non_saturating", "minimax", "least_squares", "wasserstein", "hinge" or
            "relativistic" (pairs of a real and a generated image).
        n_critic: Steps of D for one of G, >= 1.
        gradient_penalty: Weight lambda of `losses.gradient_penalty`, at points between real and generated images.
        r1, r2: Weights gamma of half the `losses.squared_norm` of D's gradient at real (R1) and generated (R2) images.
        penalty_interval: Penalties are taken every so many steps of D, times as much (Karras et al. 2020, app. B).
        weight_clip: Bound on every weight of D after its step (Arjovsky et al. 2017); 0: none.
        label_smoothing: One-sided: D shall say 1 - label_smoothing of real images (Salimans et al. 2016), for
            "minimax" and "non_saturating".
        pack: D judges so many images at a time, of one kind, stacked as channels (Lin et al. 2018, PacGAN). It must
            divide the batch.
        augment: DiffAugment (Zhao et al. 2020): policies of `corruptions.AUGMENTATIONS` for all that D sees, in G's
            step, too.
        n_classes: Classes of labels that G and D are told (Mirza & Osindero 2014); 0: none. `fit` then takes
            `(images, labels)`.
        conditioning: How D is told: "concat", the label as one more channel, painted by a dense layer; or "projection",
            the inner product of its features with a learned vector per class (Miyato & Koyama 2018, eq. 3).
        ema_decay: Decay of the average per step of G, in [0, 1). It ramps up: min(ema_decay, (1 + t) / (10 + t)).
        seed, dtype, name: See `ZooModel`. With penalties D is float32 whatever the policy: their second derivatives
            are.

    Raises:
        ValueError: Combinations known to break, with the reason.

    Example:
        >>> gan = GAN(latent_dim=64, generator={"name": "dcgan_generator", "filters": [64, 32]},
        ...           discriminator={"name": "dcgan_discriminator", "filters": [32, 64]})
        >>> gan.compile(g_optimizer="adam", d_optimizer="adam")
        >>> gan.fit(keras_genzoo.data.load("mnist", "train"))
    """

    OPTIMIZERS: ClassVar = {"g_optimizer": "generator_variables", "d_optimizer": "discriminator_variables"}
    LOSSES = ("g_loss", "d_loss", "real_logits", "fake_logits", "g_gradient_norm", "d_gradient_norm")

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        latent_dim: int,
        generator: dict,
        discriminator: dict,
        game: str = "non_saturating",
        n_critic: int = 1,
        gradient_penalty: float = 0.0,
        r1: float = 0.0,
        r2: float = 0.0,
        penalty_interval: int = 1,
        weight_clip: float = 0.0,
        label_smoothing: float = 0.0,
        pack: int = 1,
        augment: list[str] = (),
        n_classes: int = 0,
        conditioning: Literal["concat", "projection"] = "concat",
        ema_decay: float = 0.999,
        seed: int | None = None,
        dtype=None,
        name: str | None = "gan",
    ):
        # === Config ===
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.latent_dim = check_count(latent_dim, "latent_dim")
        self._config = {
            "latent_dim": latent_dim,
            "generator": check_spec(generator),
            "discriminator": check_spec(discriminator),
            "game": game,
            "n_critic": n_critic,
            "gradient_penalty": gradient_penalty,
            "r1": r1,
            "r2": r2,
            "penalty_interval": penalty_interval,
            "weight_clip": weight_clip,
            "label_smoothing": label_smoothing,
            "pack": pack,
            "augment": list(augment),
            "n_classes": n_classes,
            "conditioning": conditioning,
            "ema_decay": ema_decay,
        }
        _check(self._config)
        self.game, self.n_critic, self.ema_decay = game, n_critic, ema_decay
        self.gradient_penalty, self.r1, self.r2, self.penalty_interval = gradient_penalty, r1, r2, penalty_interval
        self.weight_clip, self.label_smoothing, self.pack = weight_clip, label_smoothing, pack
        self.augment, self.n_classes, self.conditioning = tuple(augment), n_classes, conditioning
        self.is_penalised = any((gradient_penalty, r1, r2))

        # === Networks ===
        height, width, channels = self.image_shape
        shapes = {"dtype": self.dtype_policy, "image_shape": self.image_shape, "latent_dim": latent_dim + n_classes}
        self.generator = networks.build(generator, name="generator", **shapes)
        self.ema_generator = networks.build(generator, name="ema_generator", **shapes)
        self.ema_generator.trainable = False
        self.ema_generator.set_weights(self.generator.get_weights())
        told_by_channel = bool(n_classes) and conditioning == "concat"
        self.discriminator = networks.build(
            discriminator,
            name="discriminator",
            dtype="float32" if self.is_penalised else self.dtype_policy,
            image_shape=(height, width, (channels + told_by_channel) * pack),
        )
        if self.is_penalised and any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in self.discriminator.layers
        ):
            raise ValueError(
                "A gradient penalty is per image, and BatchNorm in the discriminator mixes the images of a batch: the "
                "pair is known to break (Gulrajani et al. 2017, section 4). Use norm 'none' or 'spectral'."
            )
        if told_by_channel:
            self.label_plane = self.label_painter()
        elif n_classes:
            features = self.discriminator.get_layer("features").output
            self.features = keras.Model(self.discriminator.inputs, [self.discriminator.output, features])
            self.label_vectors = keras.layers.Embedding(
                n_classes, features.shape[-1], embeddings_initializer="zeros", dtype="float32", name="label_vectors"
            )
            self.label_vectors.build((None,))
        self.build()

    @property
    def generator_variables(self):
        return self.generator.trainable_variables

    @property
    def discriminator_variables(self):
        told = getattr(self, "label_plane", None) or getattr(self, "label_vectors", None)
        return [*self.discriminator.trainable_variables, *(told.trainable_variables if told else ())]

    def steps_per_update(self, optimizer):
        return self.n_critic if optimizer == "g_optimizer" else 1

    def call(self, z, labels=None):
        """Images of codes z from the averaged generator, `(n, H, W, C)` float32 in [0, 1]."""
        return self._generated(self.ema_generator, z, labels, training=False)

    # === Training ===

    def train_step(self, data):
        real, labels = self.images_and_labels(data)
        z = keras.random.normal((ops.shape(real)[0], self.latent_dim), seed=self.seed_generator, dtype="float32")
        if self.n_critic == 1:
            g_loss, judged = self._move_both(real, z, labels)
            moved = 1.0
        else:
            judged = self._move_discriminator(real, self._generated(self.generator, z, labels, training=True), labels)
            moves = (self.train_steps + 1) % self.n_critic == 0
            g_loss = ops.cond(
                moves, lambda: self._move_generator(real, labels), lambda: ops.zeros_like(judged["real_logits"])
            )
            moved = ops.cast(moves, "float32")
        self.train_steps.assign_add(1)
        self._trackers["g_loss"].update_state(g_loss, sample_weight=moved * ops.ones_like(g_loss))
        return self.track(**judged)

    def _move_both(self, real, z, labels):
        def g_loss_fn():
            fake = self._generated(self.generator, z, labels, training=True)
            # D moves inside G's step: it needs these very images, and G's tape needs the D that has seen them.
            judged = self._move_discriminator(real, ops.stop_gradient(fake), labels)
            return self._g_loss(real, fake, labels), judged

        g_loss, judged = self.minimize(self.g_optimizer, g_loss_fn, self.generator_variables, norm="g_gradient_norm")
        self._update_average()
        return g_loss, judged

    def _move_generator(self, real, labels):
        z = keras.random.normal((ops.shape(real)[0], self.latent_dim), seed=self.seed_generator, dtype="float32")

        def g_loss_fn():
            return self._g_loss(real, self._generated(self.generator, z, labels, training=True), labels), None

        g_loss, _ = self.minimize(self.g_optimizer, g_loss_fn, self.generator_variables, norm="g_gradient_norm")
        self._update_average()
        return g_loss

    def _move_discriminator(self, real, fake, labels):
        """One step of D; what it said: `d_loss`, `real_logits`, `fake_logits`, one number per pack of images."""
        fake = ops.stop_gradient(fake)
        d_loss, logits = self.minimize(
            self.d_optimizer,
            lambda: self._d_loss(real, fake, labels),
            self.discriminator_variables,
            norm="d_gradient_norm",
        )
        if self.weight_clip:
            for variable in self.discriminator.trainable_variables:
                variable.assign(ops.clip(variable, -self.weight_clip, self.weight_clip))
        return {"d_loss": d_loss, **logits}

    def test_step(self, data):
        real, labels = self.images_and_labels(data)
        state = ops.copy(self.seed_generator.state.value)  # validating must not change what training would draw
        z = keras.random.normal((ops.shape(real)[0], self.latent_dim), seed=self.seed_generator, dtype="float32")
        self.seed_generator.state.assign(state)
        if self.pack > 1:  # the last batch of an evaluation need not be whole packs
            whole = ops.shape(real)[0] // self.pack * self.pack
            real, z, labels = real[:whole], z[:whole], None if labels is None else labels[:whole]
        fake = self._generated(self.generator, z, labels, training=False)
        logits = {
            "real_logits": self._judged(real, labels, training=False),
            "fake_logits": self._judged(fake, labels, training=False),
        }
        game = losses.GAMES[self.game]
        judged = {"g_loss": game.generator(**logits), "d_loss": game.discriminator(**logits), **logits}
        logs = self.track(**judged)
        return {key: logs[key] for key in judged}  # nothing moves here: there are no gradients

    def _g_loss(self, real, fake, labels):
        fake_logits = self._judged(self._augmented(fake), labels, training=True)
        real_logits = None
        if self.game == "relativistic":
            real_logits = self._judged(self._augmented(real), labels, training=True)
        return losses.GAMES[self.game].generator(real_logits=real_logits, fake_logits=fake_logits)

    def _d_loss(self, real, fake, labels):
        real, fake = self._augmented(real), self._augmented(fake)

        def judge(images):
            return self._judged(images, labels, training=True)

        # In two batches, not one: a discriminator with BatchNorm must not mix real statistics with fake ones. Where a
        # penalty is due in every step, its forward pass is that of the loss.
        lazy = self.is_penalised and self.penalty_interval > 1
        logits, penalty = self._judged_and_penalised(judge, real, fake, penalised=not lazy)
        if lazy:
            penalty = ops.cond(
                self.train_steps % self.penalty_interval == 0,
                lambda: self.penalty_interval * self._judged_and_penalised(judge, real, fake, penalised=True)[1],
                lambda: ops.zeros_like(logits["real_logits"]),
            )
        smoothing = {"real_target": 1 - self.label_smoothing} if self.label_smoothing else {}
        return losses.GAMES[self.game].discriminator(**logits, **smoothing) + penalty, logits

    def _judged_and_penalised(self, judge, real, fake, *, penalised):
        """D's logits of both kinds, and the sum of the penalties, `(n / pack,)`; 0.0 where not `penalised`."""
        logits, penalty = {}, 0.0
        for key, images, weight in (("real_logits", real, self.r1), ("fake_logits", fake, self.r2)):
            if weight and penalised:
                logits[key], gradient = self.input_gradient(judge, images)
                penalty += 0.5 * weight * losses.squared_norm(self._packed_rows(gradient))
            else:
                logits[key] = judge(images)
        if self.gradient_penalty and penalised:
            penalty += self._interpolated_penalty(judge, real, fake)
        return logits, penalty

    def _interpolated_penalty(self, judge, real, fake):
        """One point on the line between each real image and a generated one, uniform (Gulrajani et al. 2017)."""
        share = keras.random.uniform((ops.shape(real)[0], 1, 1, 1), dtype="float32", seed=self.seed_generator)
        between = share * ops.cast(real, "float32") + (1 - share) * ops.cast(fake, "float32")
        gradient = self.input_gradient(judge, between)[1]
        return self.gradient_penalty * losses.gradient_penalty(self._packed_rows(gradient))

    def _update_average(self):
        t = ops.cast(self.train_steps + 1, "float32") / self.n_critic  # this step is not counted yet
        decay = ops.minimum(self.ema_decay, (1.0 + t) / (10.0 + t))
        for average, variable in zip(self.ema_generator.weights, self.generator.weights, strict=True):
            average.assign(average + (1.0 - decay) * (variable - average))

    # === Use ===

    def endpoints(self):
        z = keras.Input((self.latent_dim,), name="z")
        labels = keras.Input((), dtype="int32", name="labels") if self.n_classes else None
        images = self._generated(self.ema_generator, z, labels, training=False)
        inputs = z if labels is None else [z, labels]
        return {"generate": keras.Model(inputs, {"images": images}, name="generate")}

    def generate(self, z, labels=None):
        """The images of codes z `(n, latent_dim)`: `(n, H, W, C)` float32 in [0, 1]."""
        z = self.check_latents(z)
        return self.run_endpoint("generate", z, *self.checked_labels(labels, len(z)))["images"]

    def sample(self, n, seed=None, labels=None, *, averaged=True):
        """G(z), z ~ N(0, I): `(n, H, W, C)` float32 in [0, 1]. The same images for the same integer seed.

        `labels`, of a conditional model: `(n,)` integers; None for all classes in turn. `averaged`: from the averaged
        generator; else from the one that is in training.
        """
        z = self.normal_noise(n, seed)
        labels = self.classes_in_turn(n) if labels is None else labels
        labels = self.checked_labels(labels, n)
        if averaged:
            return self.run_endpoint("generate", z, *labels)["images"]
        return ops.convert_to_numpy(self._generated(self.generator, z, *(labels or [None]), training=False))

    def judge(self, images, labels=None):
        """What D says of images: its logits, `(n / pack,)` float32, higher for what looks real to it.

        Args:
            images: `(n, H, W, C)` in [0, 1], whole packs.
            labels: Of a conditional model, `(n,)` integers.
        """
        images = self.check_images(images)
        labels = self.checked_labels(labels, len(images)) or [None]
        if len(images) % self.pack:
            raise ZooError(f"D judges {self.pack} images at a time. Received: {len(images)} images")
        return ops.convert_to_numpy(self._judged(ops.convert_to_tensor(images), *labels, training=False))

    def get_config(self):
        return {**super().get_config(), **self._config}

    # === Pieces, on tensors ===

    def _generated(self, network, z, labels, *, training):
        return network(self.with_labels(z, labels), training=training)

    def _judged(self, images, labels, *, training):
        """D's logits of images, one per pack: `(n / pack,)` float32."""
        if self.n_classes and self.conditioning == "projection":
            logits, features = self.features(images, training=training)
            return logits + ops.sum(ops.cast(features, "float32") * self.label_vectors(labels), axis=1)
        if self.n_classes:
            images = self.with_label_channel(images, labels)
        if self.pack > 1:
            height, width, channels = images.shape[1:]
            images = ops.reshape(images, (-1, self.pack, height, width, channels))
            images = ops.reshape(ops.transpose(images, (0, 2, 3, 1, 4)), (-1, height, width, self.pack * channels))
        return self.discriminator(images, training=training)

    def _augmented(self, images):
        return corruptions.diff_augment(images, self.augment, seed=self.seed_generator)

    def _packed_rows(self, gradient):
        """Gradients of images as one row per pack."""
        return ops.reshape(gradient, (-1, self.pack * math.prod(self.image_shape)))


def _check(config):
    """Values out of range, and combinations that are known to break."""
    is_penalised = any(config[penalty] for penalty in _PENALTIES)
    if config["game"] not in losses.GAMES:
        raise ValueError(f"`game` must be one of {', '.join(losses.GAMES)}. Received: {config['game']!r}")
    if not 0 <= config["ema_decay"] < 1:
        raise ValueError(f"`ema_decay` must be in [0, 1). Received: {config['ema_decay']}")
    for argument in ("n_critic", "penalty_interval", "pack"):
        if config[argument] < 1:
            raise ValueError(f"`{argument}` must be >= 1. Received: {config[argument]}")
    for argument in (*_PENALTIES, "weight_clip", "n_classes"):
        if not 0 <= config[argument] < math.inf:
            raise ValueError(f"`{argument}` must be >= 0 and finite. Received: {config[argument]}")
    if not 0 <= config["label_smoothing"] < 0.5:
        raise ValueError(f"`label_smoothing` must be in [0, 0.5). Received: {config['label_smoothing']}")
    if config["label_smoothing"] and config["game"] not in ("minimax", "non_saturating"):
        raise ValueError(
            f"`label_smoothing` smooths a probability, which the {config['game']} game does not have. "
            f"Received: {config['label_smoothing']}"
        )
    if config["weight_clip"] and is_penalised:
        raise ValueError("`weight_clip` and a gradient penalty both bound the slope of D: use one of them.")
    if config["penalty_interval"] > 1 and not is_penalised:
        raise ValueError("`penalty_interval` needs a penalty: gradient_penalty, r1 or r2.")
    if config["conditioning"] not in ("concat", "projection"):
        raise ValueError(f"`conditioning` must be 'concat' or 'projection'. Received: {config['conditioning']!r}")
    if config["n_classes"] and config["pack"] > 1:
        raise ValueError("`pack` stacks images of any class, and labels are of one image: use one of them.")
    for policy in config["augment"]:
        if policy not in corruptions.AUGMENTATIONS:
            raise ValueError(f"`augment` must be of {', '.join(corruptions.AUGMENTATIONS)}. Received: {policy!r}")
