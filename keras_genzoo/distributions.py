"""Likelihoods p(x|z), posteriors q(z|x) and priors p(z): log_prob, sample, kl, in `keras.ops`, in float32.

A likelihood is a small object over the decoder's raw output, so that a VAE holds it as a part.
"""

import math

import keras
from keras import ops

from keras_genzoo import losses

LOG_2PI = math.log(2 * math.pi)


def normal_log_prob(x, *, mean=0.0, log_var=0.0):
    """Log-density of a diagonal Gaussian, summed over all axes but the first.

        log N(x; m, diag(exp(v))) = -1/2 sum_i [log 2 pi + v_i + (x_i - m_i)^2 exp(-v_i)]

    Args:
        x: `(batch, ...)`.
        mean, log_var: Broadcastable to x; the defaults give N(0, I).

    Returns:
        `(batch,)` float32, in nats.
    """
    mean, log_var = ops.cast(mean, "float32"), ops.cast(log_var, "float32")
    x = ops.cast(x, "float32")
    return -0.5 * losses.sum_per_example(LOG_2PI + log_var + ops.square(x - mean) * ops.exp(-log_var))


def normal_sample(*, z_mean, z_log_var, seed):
    """A reparameterised draw z = z_mean + exp(z_log_var / 2) eps, eps ~ N(0, I) (Kingma & Welling 2014, section 2.4).

    Args:
        z_mean, z_log_var: `(batch, latent_dim)` float32.
        seed: An int or a `keras.random.SeedGenerator`.

    Returns:
        `(batch, latent_dim)` float32.
    """
    noise = keras.random.normal(ops.shape(z_mean), seed=seed, dtype="float32")
    return z_mean + ops.exp(0.5 * z_log_var) * noise


def normal_kl(*, z_mean, z_log_var):
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)) in closed form (Kingma & Welling 2014, appendix B).

        KL = 1/2 sum_j [z_mean_j^2 + exp(z_log_var_j) - 1 - z_log_var_j]

    Returns:
        `(batch,)` float32, >= 0, in nats; 0 exactly at the standard normal.
    """
    return losses.sum_per_example(normal_kl_per_latent(z_mean=z_mean, z_log_var=z_log_var))


def normal_kl_per_latent(*, z_mean, z_log_var):
    """The terms of `normal_kl`, one per latent: `(batch, latent_dim)` float32, in nats."""
    z_mean, z_log_var = ops.cast(z_mean, "float32"), ops.cast(z_log_var, "float32")
    # expm1, because exp(v) - 1 - v loses all its digits, and its sign, near v = 0.
    return 0.5 * (ops.square(z_mean) + (ops.expm1(z_log_var) - z_log_var))


class Bernoulli:
    """p(x|z) = prod_i Bernoulli(x_i; sigmoid(l_i)) over the decoder's output l. Pixels must be 0 or 1 to be nats."""

    def log_prob(self, x, *, raw):
        """log p(x|z), `(batch,)` float32, nats per image. `raw` is the decoder's output, shaped like x."""
        return -losses.binary_cross_entropy(x, logits=raw)

    def mean(self, raw):
        """E[x|z], in [0, 1], shaped like `raw`."""
        return ops.sigmoid(ops.cast(raw, "float32"))

    def scale(self):
        """None: a Bernoulli has no scale of its own."""


class Gaussian:
    """p(x|z) = N(x; f(z), sigma^2 I), the decoder of Kingma & Welling 2014, appendix C.2, with a fixed sigma.

    Args:
        sigma: Standard deviation in intensity units, > 0.
        bounded: Whether the mean passes a sigmoid, so that it stays in [0, 1] as images do.
    """

    def __init__(self, *, sigma, bounded=True):
        if not 0 < sigma < math.inf:
            raise ValueError(f"`sigma` must be > 0 and finite. Received: {sigma}")
        self.sigma, self.bounded = float(sigma), bounded

    def log_prob(self, x, *, raw):
        """log p(x|z), `(batch,)` float32, nats per image. `raw` is the decoder's output, shaped like x."""
        return normal_log_prob(x, mean=self.mean(raw), log_var=2.0 * math.log(self.sigma))

    def mean(self, raw):
        """E[x|z], shaped like `raw`; in [0, 1] when bounded."""
        raw = ops.cast(raw, "float32")
        return ops.sigmoid(raw) if self.bounded else raw

    def scale(self):
        """sigma, the standard deviation of every pixel."""
        return self.sigma
