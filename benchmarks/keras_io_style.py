"""The peers of throughput.py and gan_race.py: a VAE and two GANs as a reader of keras.io would write them.

The text is written for this file. It imitates the structure of the keras.io examples "Variational AutoEncoder", "GAN
overriding Model.train_step" and "WGAN-GP overriding Model.train_step". Both sides build the preset's networks through
`keras_genzoo.networks`; training loop and input pipeline differ. Batch size and optimizers are the preset's as well, at
a constant learning rate. Only keras_genzoo draws binary images for every batch (the VAE here trains on grey ones, as in
its example), averages its generator and schedules its learning rates: that work stays in its time.
"""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import networks


class Sampling(keras.layers.Layer):
    """Imitates the VAE example's layer: the reparameterised draw is a layer of the encoder."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, log_var = inputs
        return mean + ops.exp(log_var / 2) * keras.random.normal(ops.shape(mean), seed=self.seed_generator)


class TrackedModel(keras.Model):
    """Imitates how the examples report: a Mean tracker per loss, listed in `metrics`, updated at the end of a step."""

    def __init__(self, *losses):
        super().__init__()
        self.trackers = [keras.metrics.Mean(name=name) for name in losses]

    @property
    def metrics(self):
        return self.trackers

    def report(self, *values):
        for tracker, value in zip(self.trackers, values, strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


class VAE(TrackedModel):
    """Imitates the VAE example's model: one tape, and `binary_crossentropy` of probabilities summed over pixels."""

    def __init__(self, encoder, decoder):
        super().__init__("loss", "reconstruction_loss", "kl_loss")
        self.encoder, self.decoder = encoder, decoder

    def train_step(self, images):
        with tf.GradientTape() as tape:
            z_mean, z_log_var, z = self.encoder(images, training=True)
            pixels = keras.losses.binary_crossentropy(images, self.decoder(z, training=True))
            reconstruction = ops.mean(ops.sum(pixels, axis=(1, 2)))
            kl = ops.mean(ops.sum(ops.square(z_mean) + ops.exp(z_log_var) - 1 - z_log_var, axis=1)) / 2
            loss = reconstruction + kl
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return self.report(loss, reconstruction, kl)


class DCGAN(TrackedModel):
    """Imitates the GAN example's model: noisy labels (fake 1, real 0), and new codes, decoded again, for G's step."""

    def __init__(self, discriminator, generator, latent_dim):
        super().__init__("d_loss", "g_loss")
        self.discriminator, self.generator, self.latent_dim = discriminator, generator, latent_dim
        self.seed_generator = keras.random.SeedGenerator(0)

    def compile(self, d_optimizer, g_optimizer, loss_fn, **kwargs):
        super().compile(**kwargs)
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def train_step(self, real):
        n = ops.shape(real)[0]
        z = keras.random.normal((n, self.latent_dim), seed=self.seed_generator)
        images = ops.concatenate([self.generator(z, training=True), real], axis=0)
        targets = ops.concatenate([ops.ones((n,)), ops.zeros((n,))], axis=0)
        targets += 0.05 * keras.random.uniform(ops.shape(targets), seed=self.seed_generator)
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(targets, self.discriminator(images, training=True))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))
        z = keras.random.normal((n, self.latent_dim), seed=self.seed_generator)
        with tf.GradientTape() as tape:
            logits = self.discriminator(self.generator(z, training=True), training=True)
            g_loss = self.loss_fn(ops.zeros((n,)), logits)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
        return self.report(d_loss, g_loss)


class PenalisedGAN(TrackedModel):
    """Imitates the WGAN-GP example's model: all steps of D on one batch, new codes for every step, a penalty with a
    forward pass and a tape of its own. Its game and penalties are those of a preset's "model".
    """

    def __init__(self, discriminator, generator, config):
        super().__init__("d_loss", "g_loss")
        self.discriminator, self.generator, self.config = discriminator, generator, config
        self.seed_generator = keras.random.SeedGenerator(0)

    def compile(self, d_optimizer, g_optimizer, **kwargs):
        super().compile(**kwargs)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def codes(self, n):
        return keras.random.normal((n, self.config["latent_dim"]), seed=self.seed_generator)

    def squared_norm(self, images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = self.discriminator(images, training=True)
        return ops.sum(ops.square(tape.gradient(logits, images)), axis=(1, 2, 3))

    def d_loss(self, real, fake):
        real_logits, fake_logits = (self.discriminator(images, training=True) for images in (real, fake))
        if self.config["game"] == "wasserstein":
            share = keras.random.uniform((ops.shape(real)[0], 1, 1, 1), seed=self.seed_generator)
            norm = ops.sqrt(self.squared_norm(share * real + (1 - share) * fake) + 1e-12)
            penalty = self.config["gradient_penalty"] * ops.mean(ops.square(norm - 1))
            return ops.mean(fake_logits) - ops.mean(real_logits) + penalty
        penalty = self.config["r1"] * self.squared_norm(real) + self.config["r2"] * self.squared_norm(fake)
        return ops.mean(ops.softplus(fake_logits - real_logits)) + ops.mean(penalty) / 2

    def g_loss(self, real, fake):
        fake_logits = self.discriminator(fake, training=True)
        if self.config["game"] == "wasserstein":
            return -ops.mean(fake_logits)
        return ops.mean(ops.softplus(self.discriminator(real, training=True) - fake_logits))

    def train_step(self, real):
        n = ops.shape(real)[0]
        for _ in range(self.config.get("n_critic", 1)):
            z = self.codes(n)
            with tf.GradientTape() as tape:
                d_loss = self.d_loss(real, self.generator(z, training=True))
            weights = self.discriminator.trainable_weights
            self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))
        z = self.codes(n)
        with tf.GradientTape() as tape:
            g_loss = self.g_loss(real, self.generator(z, training=True))
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
        return self.report(d_loss, g_loss)


def vae(preset, images, *, jit_compile="auto"):
    """`(compiled model, arguments of fit)`: as in the example, a float32 array, which fit shuffles and batches."""
    size, shape = preset.model["latent_dim"], preset.model["image_shape"]
    base = networks.build(preset.model["encoder"], image_shape=shape, outputs={"z_mean": size, "z_log_var": size})
    heads = [base.output["z_mean"], base.output["z_log_var"]]
    encoder = keras.Model(base.inputs, [*heads, Sampling()(heads)])
    base = networks.build(preset.model["decoder"], image_shape=shape, latent_dim=size)
    model = VAE(encoder, keras.Model(base.inputs, ops.sigmoid(base.output)))
    model.compile(optimizer=_optimizer(preset, "optimizer"), jit_compile=jit_compile)
    return model, {"x": images, "batch_size": preset.training.batch_size}


def dcgan(preset, images, *, jit_compile="auto"):
    """`(compiled model, arguments of fit)`: as in the example, tf.data over float32 images, shuffled one by one."""
    model = DCGAN(*_players(preset), preset.model["latent_dim"])
    loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(**_optimizers(preset), loss_fn=loss_fn, jit_compile=jit_compile)
    return model, _batches(preset, images)


def penalised(preset, images, *, jit_compile="auto"):
    """`(compiled model, arguments of fit)` of a Wasserstein or relativistic game."""
    model = PenalisedGAN(*_players(preset), preset.model)
    model.compile(**_optimizers(preset), jit_compile=jit_compile)
    return model, _batches(preset, images)


def _players(preset):
    size, shape = preset.model["latent_dim"], preset.model["image_shape"]
    discriminator = networks.build(preset.model["discriminator"], image_shape=shape)
    return discriminator, networks.build(preset.model["generator"], image_shape=shape, latent_dim=size)


def _optimizers(preset):
    return {key: _optimizer(preset, key) for key in ("d_optimizer", "g_optimizer")}


def _batches(preset, images):
    batches = tf.data.Dataset.from_tensor_slices(images).shuffle(1024).batch(preset.training.batch_size)
    return {"x": batches.prefetch(32)}


def _optimizer(preset, key):
    config = preset.training.optimizers[key].model_dump(exclude={"schedule"}, exclude_none=True)
    return keras.optimizers.get({"class_name": config.pop("name"), "config": config})
