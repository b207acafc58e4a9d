"""Densities of Gaussians and of logistics, and the likelihoods p(x|z), in `keras.ops`, in float32.

A likelihood is a part of a VAE: a layer over the decoder's raw output, with a variable where its scale is learned.
Priors p(z) and posteriors q(z|x) are in `latents`.
"""

import math
from typing import ClassVar

import keras
from keras import ops

from keras_genzoo import losses
from keras_genzoo.typing import Tensor

LOG_2PI = math.log(2 * math.pi)
_TAYLOR = 0.1  # |logit| below which a series is used: its next term is then below 1e-10, exact in float32
_LEAST_VARIANCE = 1e-6  # in squared intensity; half a grey level squared is 4e-6
_MOMENTUM = 0.99  # share of the running log-variance that one step keeps
# Least log-scale of a pixel, that of a tenth of a grey level, log(1 / 2550): 99 % of the probability then lies on one
# level. The largest is 0: e^0 is the whole range of intensities.
_LEAST_LOG_SCALE = -7.8
_RAW_SCALE_OFFSET = 1.0  # with it a decoder's first outputs, near 0, mean a scale of e^-2.1, 31 grey levels


def normal_log_prob(x: Tensor, *, mean: float | Tensor = 0.0, log_var: float | Tensor = 0.0) -> Tensor:
    """Log-density of a diagonal Gaussian, summed over all axes but the first.

        log N(x; m, diag(exp(v))) = -1/2 sum_i [log 2 pi + v_i + (x_i - m_i)^2 exp(-v_i)]

    Args:
        x: Points, `(batch, ...)`.
        mean: m, broadcastable to x.
        log_var: v, the logarithm of the variance, broadcastable to x. The defaults give N(0, I).

    Returns:
        `(batch,)` float32, in nats.
    """
    mean, log_var = ops.cast(mean, "float32"), ops.cast(log_var, "float32")
    x = ops.cast(x, "float32")
    return -0.5 * losses.sum_per_example(LOG_2PI + log_var + ops.square(x - mean) * ops.exp(-log_var))


def normal_sample(*, z_mean: Tensor, z_log_var: Tensor, seed: int | keras.random.SeedGenerator) -> Tensor:
    """A reparameterised draw of a diagonal Gaussian (Kingma & Welling 2014, section 2.4).

        z = z_mean + exp(z_log_var / 2) eps,    eps ~ N(0, I)

    Args:
        z_mean: Means, `(batch, latent_dim)` float32.
        z_log_var: Logarithms of the variances, same shape.
        seed: Seed of eps. An int gives the same draw each time, a `keras.random.SeedGenerator` the next one.

    Returns:
        `(batch, latent_dim)` float32.
    """
    noise = keras.random.normal(ops.shape(z_mean), seed=seed, dtype="float32")
    return normal_from_noise(noise, z_mean=z_mean, z_log_var=z_log_var)


def normal_from_noise(noise: Tensor, *, z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """Draws of a diagonal Gaussian from draws of N(0, I): z_mean + exp(z_log_var / 2) noise.

    Args:
        noise: Draws of N(0, I), `(batch, latent_dim)` float32.
        z_mean: Means, same shape.
        z_log_var: Logarithms of the variances, same shape.

    Returns:
        `(batch, latent_dim)` float32.
    """
    return z_mean + ops.exp(0.5 * z_log_var) * noise


def normal_kl(*, z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)) in closed form (Kingma & Welling 2014, appendix B).

        KL = 1/2 sum_j [z_mean_j^2 + exp(z_log_var_j) - 1 - z_log_var_j]

    Args:
        z_mean: Means, `(batch, latent_dim)`.
        z_log_var: Logarithms of the variances, same shape.

    Returns:
        `(batch,)` float32, >= 0, in nats; 0 exactly at the standard normal.
    """
    return losses.sum_per_example(normal_kl_per_latent(z_mean=z_mean, z_log_var=z_log_var))


def normal_kl_per_latent(*, z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """The terms of `normal_kl`, one per latent.

    Args:
        z_mean: Means, `(batch, latent_dim)`.
        z_log_var: Logarithms of the variances, same shape.

    Returns:
        `(batch, latent_dim)` float32, >= 0, in nats.
    """
    z_mean, z_log_var = ops.cast(z_mean, "float32"), ops.cast(z_log_var, "float32")
    # expm1, because exp(v) - 1 - v loses all its digits, and its sign, near v = 0.
    return 0.5 * (ops.square(z_mean) + (ops.expm1(z_log_var) - z_log_var))


def continuous_bernoulli_log_normalizer(logits: Tensor) -> Tensor:
    """log C of the continuous Bernoulli (Loaiza-Ganem & Cunningham 2019, eq. 9), elementwise, over logits l.

        p(x; l) = C(l) s(l)^x s(-l)^(1 - x), x in [0, 1],    C = 2 atanh(1 - 2 s(l)) / (1 - 2 s(l)) = l / tanh(l / 2)

    Near l = 0, where this is 0 / 0, its Taylor series is used. Both branches are finite everywhere; so are gradients.

    Args:
        logits: l, any shape, any real.

    Returns:
        float32, shaped like `logits`, >= log 2.
    """
    logits = ops.cast(logits, "float32")
    small = ops.abs(logits) < _TAYLOR
    safe = ops.where(small, 1.0, logits)  # else the branch not taken would send NaN through the gradient
    squared = ops.square(ops.where(small, logits, 0.0))
    series = math.log(2) + ops.log1p(squared / 12 - ops.square(squared) / 720)
    return ops.where(small, series, ops.log(safe / ops.tanh(0.5 * safe)))


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Mean of the continuous Bernoulli (Loaiza-Ganem & Cunningham 2019, eq. 8), elementwise, over logits l.

        E[x] = 1 / (1 - e^-l) - 1 / l

    Near l = 0, where this is inf - inf, its Taylor series is used.

    Args:
        logits: l, any shape, any real.

    Returns:
        float32 in (0, 1), shaped like `logits`; 1/2 at l = 0, and closer to 1/2 than s(l) everywhere else.
    """
    logits = ops.cast(logits, "float32")
    small = ops.abs(logits) < _TAYLOR
    safe = ops.where(small, 1.0, logits)
    near = ops.where(small, logits, 0.0)
    series = 0.5 + near / 12 - near**3 / 720
    return ops.where(small, series, -1 / ops.expm1(-safe) - 1 / safe)


def discretized_logistic_log_prob(x: Tensor, *, location: Tensor, log_scale: Tensor, n_levels: int = 256) -> Tensor:
    """Log-probability of grey levels under a binned logistic (Kingma et al. 2016; Salimans et al. 2017, eq. 2).

        P(x) = F((x + d/2 - m) / s) - F((x - d/2 - m) / s),    d = 1 / (n_levels - 1),    F = sigmoid

    The lowest and the highest level take the tails, so that the levels' probabilities sum to 1.

    Args:
        x: Levels in [0, 1], multiples of d, `(batch, ...)`.
        location: m, shaped like x.
        log_scale: log s, shaped like x.
        n_levels: Number of grey levels, 256 for 8 bits.

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


def discretized_logistic_mean(*, location: Tensor, log_scale: Tensor) -> Tensor:
    """Mean of a logistic clipped to [0, 1], elementwise.

        E[x] = 1 - s [softplus((1 - m) / s) - softplus(-m / s)]

    It is the mean of the binned logistic up to the width of a bin.

    Args:
        location: m, any shape.
        log_scale: log s, same shape.

    Returns:
        float32 in [0, 1], shaped like `location`.
    """
    location, log_scale = ops.cast(location, "float32"), ops.cast(log_scale, "float32")
    scale, inverse = ops.exp(log_scale), ops.exp(-log_scale)
    return 1 - scale * (_softplus((1 - location) * inverse) - _softplus(-location * inverse))


def _softplus(x):
    """log(1 + e^x) without overflow. LiteRT converts `ops.softplus` to a form whose e^x overflows at large x."""
    return ops.relu(x) + ops.log1p(ops.exp(-ops.abs(x)))


class Likelihood(keras.layers.Layer):
    """p(x|z) over the decoder's raw output `(batch, H, W, C * n_parameters)`, always in float32.

    A call returns all that determines p(x|z): its mean `images`, and its parameters. They suffice to
    compute p(x|z) again from an exported file alone.

    Args:
        name: Name of the layer.
    """

    n_parameters = 1  # channels of raw output per channel of an image
    is_discrete = False  # whether p(x|z) is a probability, so that nats are bits, too
    parameter_names: ClassVar[tuple[str, ...]] = ()  # keys of `parameters`

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32")

    def call(self, raw: Tensor) -> dict[str, Tensor]:
        """The mean as `images`, and `parameters`: name -> `(batch, H, W, C)` float32."""
        return {"images": self.mean(raw), **self.parameters(raw)}

    def log_prob(self, x: Tensor, *, raw: Tensor, training: bool = False) -> Tensor:
        """Log-likelihood log p(x|z) of each image.

        Args:
            x: Images, `(batch, H, W, C)`, in [0, 1].
            raw: The decoder's output for these images.
            training: Whether this is a step of training, in which a likelihood may update its own variables.

        Returns:
            `(batch,)` float32, nats per image.
        """
        raise NotImplementedError

    def mean(self, raw: Tensor) -> Tensor:
        """E[x|z], `(batch, H, W, C)` float32."""
        raise NotImplementedError

    def parameters(self, raw: Tensor) -> dict[str, Tensor]:
        """Parameters that with the mean determine p(x|z): name -> `(batch, H, W, C)` float32."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """p(x|z) = prod_i Bernoulli(x_i; sigmoid(l_i)) over the decoder's output l: nats where pixels are 0 or 1."""

    is_discrete = True
    parameter_names = ("logits",)

    def __init__(self):
        super().__init__("bernoulli")

    def log_prob(self, x: Tensor, *, raw: Tensor, training: bool = False) -> Tensor:
        return -losses.binary_cross_entropy(x, logits=raw)

    def mean(self, raw: Tensor) -> Tensor:
        return ops.sigmoid(ops.cast(raw, "float32"))

    def parameters(self, raw: Tensor) -> dict[str, Tensor]:
        return {"logits": ops.cast(raw, "float32")}  # the mean is exactly 1 where p(0) is still e^-20


class ContinuousBernoulli(Likelihood):
    """The Bernoulli normalised to a density on [0, 1] (Loaiza-Ganem & Cunningham 2019): nats for grey pixels, too."""

    parameter_names = ("logits",)

    def __init__(self):
        super().__init__("continuous_bernoulli")

    def log_prob(self, x: Tensor, *, raw: Tensor, training: bool = False) -> Tensor:
        log_normalizer = losses.sum_per_example(continuous_bernoulli_log_normalizer(raw))
        return log_normalizer - losses.binary_cross_entropy(x, logits=raw)

    def mean(self, raw: Tensor) -> Tensor:
        return continuous_bernoulli_mean(raw)

    def parameters(self, raw: Tensor) -> dict[str, Tensor]:
        return {"logits": ops.cast(raw, "float32")}


class Gaussian(Likelihood):
    """p(x|z) = N(x; f(z), sigma^2 I), the decoder of Kingma & Welling 2014, appendix C.2, with one sigma.

    Args:
        sigma: Standard deviation in intensity units. A number > 0 is fixed. "learned" is a variable that is trained
            with the rest. "optimal" is the best fit to each training batch: its square is the batch's mean squared
            error (Rybkin, Daniilidis & Levine 2021, eq. 6). Outside training the logarithm's running mean is used.
        bounded: Whether the mean passes a sigmoid, so that it stays in [0, 1] as images do.

    Raises:
        ValueError: `sigma` is none of these.
    """

    parameter_names = ("scale",)

    def __init__(self, *, sigma: float | str = 0.1, bounded: bool = True):
        super().__init__("gaussian")
        number = sigma if isinstance(sigma, (int, float)) and not isinstance(sigma, bool) else None
        if not (sigma in ("learned", "optimal") if number is None else 0 < number < math.inf):
            raise ValueError(f"`sigma` must be > 0 and finite, 'learned' or 'optimal'. Received: {sigma!r}")
        self.sigma, self.bounded = sigma, bounded
        self.log_var: Tensor
        if number is None:
            self.log_var = self.add_weight(shape=(), initializer="zeros", trainable=sigma == "learned", name="log_var")
        else:
            self.log_var = 2.0 * math.log(number)
        self.built = True

    def log_prob(self, x: Tensor, *, raw: Tensor, training: bool = False) -> Tensor:
        mean = self.mean(raw)
        log_var = self.log_var
        if self.sigma == "optimal" and training:
            log_var = ops.log(ops.maximum(ops.mean(ops.square(ops.cast(x, "float32") - mean)), _LEAST_VARIANCE))
            self.log_var.assign(_MOMENTUM * self.log_var + (1 - _MOMENTUM) * ops.stop_gradient(log_var))
        return normal_log_prob(x, mean=mean, log_var=log_var)

    def mean(self, raw: Tensor) -> Tensor:
        raw = ops.cast(raw, "float32")
        return ops.sigmoid(raw) if self.bounded else raw

    def parameters(self, raw: Tensor) -> dict[str, Tensor]:
        return {"scale": ops.zeros_like(ops.cast(raw, "float32")) + ops.exp(0.5 * ops.convert_to_tensor(self.log_var))}


class DiscretizedLogistic(Likelihood):
    """Grey levels under binned logistics, with a location and a scale per pixel (Kingma et al. 2016, appendix A).

    It gives probabilities of 8-bit images, so that nats convert to bits: bits per dimension = nats / (H W C log 2).
    """

    n_parameters = 2
    is_discrete = True
    parameter_names = ("location", "scale")

    def __init__(self):
        super().__init__("discretized_logistic")

    def log_prob(self, x: Tensor, *, raw: Tensor, training: bool = False) -> Tensor:
        location, log_scale = self._split(raw)
        return discretized_logistic_log_prob(x, location=location, log_scale=log_scale)

    def mean(self, raw: Tensor) -> Tensor:
        location, log_scale = self._split(raw)
        return discretized_logistic_mean(location=location, log_scale=log_scale)

    def parameters(self, raw: Tensor) -> dict[str, Tensor]:
        location, log_scale = self._split(raw)
        return {"location": location, "scale": ops.exp(log_scale)}

    def _split(self, raw):
        location, log_scale = ops.split(ops.cast(raw, "float32"), 2, axis=-1)
        return ops.sigmoid(location), _LEAST_LOG_SCALE * ops.sigmoid(-log_scale - _RAW_SCALE_OFFSET)


LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "discretized_logistic": DiscretizedLogistic,
}
