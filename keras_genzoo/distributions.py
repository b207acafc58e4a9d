"""Densities of Gaussians and of logistics, and the likelihoods p(x|z), in `keras.ops`, in float32.

A likelihood is a part of a VAE: a layer over the decoder's raw output, with a variable where its scale is learned.
Priors p(z) and posteriors q(z|x) are in `latents`.
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
    return normal_from_noise(noise, z_mean=z_mean, z_log_var=z_log_var)


def normal_from_noise(noise, *, z_mean, z_log_var):
    """z_mean + exp(z_log_var / 2) noise: draws of N(0, I) as draws of a diagonal Gaussian, all shaped alike."""
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


def continuous_bernoulli_log_normalizer(logits):
    """log C of the continuous Bernoulli (Loaiza-Ganem & Cunningham 2019, eq. 9), elementwise, over logits l.

        p(x; l) = C(l) s(l)^x s(-l)^(1 - x), x in [0, 1],    C = 2 atanh(1 - 2 s(l)) / (1 - 2 s(l)) = l / tanh(l / 2)

    Near l = 0, where that is 0 / 0, its Taylor series; both branches are finite everywhere, and so are gradients.

    Returns:
        float32, shaped like `logits`, >= log 2.
    """
    logits = ops.cast(logits, "float32")
    small = ops.abs(logits) < _TAYLOR
    safe = ops.where(small, 1.0, logits)  # or the branch not taken would send NaN through the gradient
    squared = ops.square(ops.where(small, logits, 0.0))
    series = math.log(2) + ops.log1p(squared / 12 - ops.square(squared) / 720)
    return ops.where(small, series, ops.log(safe / ops.tanh(0.5 * safe)))


def continuous_bernoulli_mean(logits):
    """E[x] of the continuous Bernoulli (Loaiza-Ganem & Cunningham 2019, eq. 8): 1 / (1 - e^-l) - 1 / l, elementwise.

    Returns:
        float32 in (0, 1), shaped like `logits`; 1/2 at l = 0, and closer to 1/2 than s(l) everywhere else.
    """
    logits = ops.cast(logits, "float32")
    small = ops.abs(logits) < _TAYLOR
    safe = ops.where(small, 1.0, logits)
    near = ops.where(small, logits, 0.0)
    series = 0.5 + near / 12 - near**3 / 720
    return ops.where(small, series, -1 / ops.expm1(-safe) - 1 / safe)


_TAYLOR = 0.1  # |logit| below which the series is used: its next term is then below 1e-10, exact in float32


def discretized_logistic_log_prob(x, *, location, log_scale, n_levels=256):
    """Log-probability of grey levels under a binned logistic (Kingma et al. 2016; Salimans et al. 2017, eq. 2).

        P(x) = F((x + d/2 - m) / s) - F((x - d/2 - m) / s),    d = 1 / (n_levels - 1),    F = sigmoid

    The lowest and the highest level take the tails, so that the levels' probabilities sum to 1.

    Args:
        x: Levels in [0, 1], multiples of d, `(batch, ...)`.
        location, log_scale: m and log s, shaped like x.
        n_levels: Grey levels, 256 for 8 bits.

    Returns:
        `(batch,)` float32, <= 0, in nats, summed over each example.
    """
    x, location, log_scale = (ops.cast(value, "float32") for value in (x, location, log_scale))
    step = 1.0 / (n_levels - 1)
    inverse = ops.exp(-log_scale)
    above, below = (x + step / 2 - location) * inverse, (x - step / 2 - location) * inverse
    # F(a) - F(b) = F(a) F(-b) (1 - e^(b - a)): no difference of nearly equal numbers.
    lower_tail, upper_tail = -ops.softplus(-above), -ops.softplus(below)
    inside = lower_tail + upper_tail + ops.log(-ops.expm1(-step * inverse))
    log_prob = ops.where(x < step / 2, lower_tail, ops.where(x > 1 - step / 2, upper_tail, inside))
    return losses.sum_per_example(log_prob)


def discretized_logistic_mean(*, location, log_scale):
    """E[x] of a logistic clipped to [0, 1]: 1 - s [softplus((1 - m) / s) - softplus(-m / s)], elementwise.

    It is the mean of the binned one up to the width of a bin.
    """
    location, log_scale = ops.cast(location, "float32"), ops.cast(log_scale, "float32")
    scale, inverse = ops.exp(log_scale), ops.exp(-log_scale)
    return 1 - scale * (_softplus((1 - location) * inverse) - _softplus(-location * inverse))


def _softplus(x):
    """log(1 + e^x) written out: as LiteRT converts `ops.softplus`, e^x overflows where a scale is small."""
    return ops.relu(x) + ops.log1p(ops.exp(-ops.abs(x)))


class Likelihood(keras.layers.Layer):
    """p(x|z) over the decoder's raw output `(batch, H, W, C * n_parameters)`, always in float32.

    Called, it gives what a stranger needs to know of p(x|z): `images`, its mean, and its parameters.
    """

    n_parameters = 1  # channels of raw output per channel of an image

    def __init__(self, name):
        super().__init__(name=name, dtype="float32")

    def call(self, raw):
        """`images`, the mean, and `parameters`: name -> `(batch, H, W, C)` float32."""
        return {"images": self.mean(raw), **self.parameters(raw)}

    def log_prob(self, x, *, raw, training=False):
        """log p(x|z), `(batch,)` float32, nats per image."""
        raise NotImplementedError

    def mean(self, raw):
        """E[x|z], `(batch, H, W, C)` float32."""
        raise NotImplementedError

    def parameters(self, raw):
        """What with the mean tells p(x|z) to a stranger: name -> `(batch, H, W, C)` float32."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """p(x|z) = prod_i Bernoulli(x_i; sigmoid(l_i)) over the decoder's output l. Pixels must be 0 or 1 to be nats."""

    def __init__(self):
        super().__init__("bernoulli")

    def log_prob(self, x, *, raw, training=False):
        return -losses.binary_cross_entropy(x, logits=raw)

    def mean(self, raw):
        return ops.sigmoid(ops.cast(raw, "float32"))

    def parameters(self, raw):
        return {"logits": ops.cast(raw, "float32")}  # the mean is exactly 1 where p(0) is still e^-20


class ContinuousBernoulli(Likelihood):
    """The Bernoulli made a density on [0, 1] (Loaiza-Ganem & Cunningham 2019): nats for grey pixels, too."""

    def __init__(self):
        super().__init__("continuous_bernoulli")

    def log_prob(self, x, *, raw, training=False):
        log_normalizer = losses.sum_per_example(continuous_bernoulli_log_normalizer(raw))
        return log_normalizer - losses.binary_cross_entropy(x, logits=raw)

    def mean(self, raw):
        return continuous_bernoulli_mean(raw)

    def parameters(self, raw):
        return {"logits": ops.cast(raw, "float32")}


class Gaussian(Likelihood):
    """p(x|z) = N(x; f(z), sigma^2 I), the decoder of Kingma & Welling 2014, appendix C.2, with one sigma.

    Args:
        sigma: Standard deviation in intensity units: a number > 0 for a fixed one; "learned", a variable that is
            trained with the rest; or "optimal": in training the one that fits each batch best, whose square is the
            batch's mean squared error (Rybkin, Daniilidis & Levine 2021, eq. 6), and after it a running mean of that.
        bounded: Whether the mean passes a sigmoid, so that it stays in [0, 1] as images do.
    """

    def __init__(self, *, sigma, bounded=True):
        super().__init__("gaussian")
        is_number = isinstance(sigma, (int, float)) and not isinstance(sigma, bool)
        if not (0 < sigma < math.inf if is_number else sigma in ("learned", "optimal")):
            raise ValueError(f"`sigma` must be > 0 and finite, 'learned' or 'optimal'. Received: {sigma!r}")
        self.sigma, self.bounded = sigma, bounded
        self.log_var = 2.0 * math.log(sigma) if is_number else None
        if not is_number:
            self.log_var = self.add_weight(shape=(), initializer="zeros", trainable=sigma == "learned", name="log_var")
        self.built = True

    def log_prob(self, x, *, raw, training=False):
        mean = self.mean(raw)
        log_var = self.log_var
        if self.sigma == "optimal" and training:
            log_var = ops.log(ops.maximum(ops.mean(ops.square(ops.cast(x, "float32") - mean)), _LEAST_VARIANCE))
            self.log_var.assign(_KEPT * self.log_var + (1 - _KEPT) * ops.stop_gradient(log_var))
        return normal_log_prob(x, mean=mean, log_var=log_var)

    def mean(self, raw):
        raw = ops.cast(raw, "float32")
        return ops.sigmoid(raw) if self.bounded else raw

    def parameters(self, raw):
        return {"scale": ops.zeros_like(ops.cast(raw, "float32")) + ops.exp(0.5 * ops.convert_to_tensor(self.log_var))}


_LEAST_VARIANCE = 1e-6  # of pixels in [0, 1]: half a grey level is 4e-6
_KEPT = 0.99  # share of the running log-variance that one step keeps


class DiscretizedLogistic(Likelihood):
    """Grey levels under binned logistics, a location and a scale per pixel (Kingma et al. 2016, appendix A).

    A probability of 8-bit images, so that nats are also bits: bits per dimension = nats / (pixels log 2).
    """

    n_parameters = 2

    def __init__(self):
        super().__init__("discretized_logistic")

    def log_prob(self, x, *, raw, training=False):
        location, log_scale = self._split(raw)
        return discretized_logistic_log_prob(x, location=location, log_scale=log_scale)

    def mean(self, raw):
        location, log_scale = self._split(raw)
        return discretized_logistic_mean(location=location, log_scale=log_scale)

    def parameters(self, raw):
        location, log_scale = self._split(raw)
        return {"location": location, "scale": ops.exp(log_scale)}

    def _split(self, raw):
        location, log_scale = ops.split(ops.cast(raw, "float32"), 2, axis=-1)
        # Below a tenth of a grey level a pixel costs nothing; e^0 is the whole range.
        return ops.sigmoid(location), -7.8 * ops.sigmoid(-log_scale - 1)


LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "discretized_logistic": DiscretizedLogistic,
}
