"""Priors p(z) and posteriors q(z|x) of a VAE: parts that a spec names, as it stands in a preset.yaml.

    prior: {name: realnvp, n_layers: 8, units: [128]}

A prior is a layer that gives log p(z), and turns draws of N(0, I) into draws of it. A posterior says
which heads the encoder needs, and turns what they give and draws of N(0, I) into draws of q(z|x), with log q(z|x).
Noise
is an input everywhere, so that all of it can be exported. All is in float32.
"""

import math

import keras
from keras import ops

from keras_genzoo import distributions, networks
from keras_genzoo.layers import RealNVP


class Prior(keras.layers.Layer):
    """p(z). `noise_dim`, by default latent_dim, is how many numbers of noise make one draw of it."""

    def __init__(self, *, noise_dim):
        super().__init__(name="prior", dtype="float32")
        self.noise_dim = noise_dim

    def call(self, z, from_noise=False):
        """`log_prob(z)`, or `from_noise(z)`: both through the layer, which an exported graph asks for its variables."""
        return self.from_noise(z) if from_noise else self.log_prob(z)

    def log_prob(self, z):
        """log p(z), `(batch,)` float32, in nats."""
        raise NotImplementedError

    def from_noise(self, noise):
        """Draws of N(0, I), `(batch, noise_dim)` -> draws of p(z), `(batch, latent_dim)`."""
        raise NotImplementedError


class StandardNormal(Prior):
    """p(z) = N(0, I) (Kingma & Welling 2014)."""

    def __init__(self, *, latent_dim, encode=None, image_shape=None):
        super().__init__(noise_dim=latent_dim)

    def log_prob(self, z):
        return distributions.normal_log_prob(z)

    def from_noise(self, noise):
        return noise


class RealNVPPrior(Prior):
    """p(z) = N(f(z); 0, I) |det df/dz| with f a learned `layers.RealNVP` (Xu et al. 2019, RealNVP as a prior).

    Args:
        n_layers, units: Coupling layers, and the widths of their hidden layers.
    """

    def __init__(self, *, latent_dim, encode=None, image_shape=None, n_layers: int = 8, units: list[int] = (128,)):
        super().__init__(noise_dim=latent_dim)
        self.flow = RealNVP(latent_dim, n_layers=n_layers, units=units)

    def log_prob(self, z):
        noise, log_det = self.flow(z)
        return distributions.normal_log_prob(noise) + log_det

    def from_noise(self, noise):
        return self.flow(noise, inverse=True)[0]


class VampPrior(Prior):
    """p(z) = 1/K sum_k q(z|u_k), the posteriors of K learned images (Tomczak & Welling 2018, eq. 9).

    Args:
        n_components: K, >= 1.
    """

    def __init__(self, *, latent_dim, encode, image_shape, n_components: int = 500):
        super().__init__(noise_dim=latent_dim + 1)  # one more number chooses the component
        if n_components < 1:
            raise ValueError(f"`n_components` must be >= 1. Received: {n_components}")
        self.n_components, self.encode = n_components, encode
        self.pseudo_inputs = self.add_weight(
            shape=(n_components, *image_shape),
            initializer=keras.initializers.RandomNormal(mean=-2.0, stddev=0.5, seed=0),
            name="pseudo_inputs",  # before a sigmoid, which keeps them images
        )

    def components(self):
        """z_mean and z_log_var of the K components, each `(K, latent_dim)`."""
        q = self.encode(ops.sigmoid(self.pseudo_inputs))
        return q["z_mean"], q["z_log_var"]

    def log_prob(self, z):
        z_mean, z_log_var = self.components()
        # The squared distances of every z to every component as matrix products: (batch, K, latent_dim) would not fit.
        precision = ops.exp(-z_log_var)
        distance = (
            ops.matmul(ops.square(z), ops.transpose(precision))
            - 2 * ops.matmul(z, ops.transpose(z_mean * precision))
            + ops.sum(ops.square(z_mean) * precision, axis=1)
        )
        log_probs = -0.5 * (distance + ops.sum(distributions.LOG_2PI + z_log_var, axis=1))
        return ops.logsumexp(log_probs, axis=1) - math.log(self.n_components)

    def from_noise(self, noise):
        z_mean, z_log_var = self.components()
        uniform = 0.5 * (1 + ops.erf(noise[:, -1] / math.sqrt(2)))
        k = ops.minimum(ops.cast(uniform * self.n_components, "int32"), self.n_components - 1)
        return ops.take(z_mean, k, axis=0) + ops.exp(0.5 * ops.take(z_log_var, k, axis=0)) * noise[:, :-1]


class HierarchicalPrior(Prior):
    """p(z) = p(z_2) p(z_1|z_2) over z = [z_2, z_1]: two levels (Tomczak & Welling 2018, section 4).

    Args:
        top_dim: Numbers of z_2, of which p is N(0, I), or `top`.
        units: Widths of the gated hidden layers that make the Gaussian p(z_1|z_2).
        top: Spec of another prior for z_2; not "vamp", whose components are those of the whole z.
        flow: Options of a `layers.RealNVP` that sees z_2 and makes more than a Gaussian of p(z_1|z_2); z_1 of 2 numbers
            or more.
    """

    def __init__(
        self,
        *,
        latent_dim,
        encode=None,
        image_shape=None,
        top_dim: int,
        units: list[int],
        top: dict | None = None,
        flow: dict | None = None,
    ):
        super().__init__(noise_dim=latent_dim)
        _check_top(top_dim, latent_dim)
        if top is not None and top.get("name") not in ("standard_normal", "realnvp"):
            raise ValueError(f"`top` must be 'standard_normal' or 'realnvp'. Received: {top.get('name')!r}")
        self.top_dim = top_dim
        self.top = build_prior(top, latent_dim=top_dim)
        self.network = _gaussian_network(top_dim, latent_dim - top_dim, units, name="prior_network")
        self.flow = RealNVP(latent_dim - top_dim, context_size=top_dim, **flow) if flow else None

    def log_prob(self, z):
        top, bottom = z[:, : self.top_dim], z[:, self.top_dim :]
        p = self.network(top)
        log_p = self.top(top) - 0.5 * ops.sum(p["z_log_var"], axis=1)
        bottom = (bottom - p["z_mean"]) * ops.exp(-0.5 * p["z_log_var"])
        if self.flow:
            bottom, log_det = self.flow(bottom, context=top)
            log_p += log_det
        return log_p + distributions.normal_log_prob(bottom)

    def from_noise(self, noise):
        top, bottom = noise[:, : self.top_dim], noise[:, self.top_dim :]
        top = self.top(top, from_noise=True)
        p = self.network(top)
        if self.flow:
            bottom = self.flow(bottom, context=top, inverse=True)[0]
        return ops.concatenate([top, p["z_mean"] + ops.exp(0.5 * p["z_log_var"]) * bottom], axis=1)


class DiagonalPosterior(keras.layers.Layer):
    """q(z|x) = N(z_mean, diag(exp(z_log_var))) (Kingma & Welling 2014, eq. 9)."""

    def __init__(self, *, latent_dim):
        super().__init__(name="posterior", dtype="float32")
        self.heads = {"z_mean": latent_dim, "z_log_var": latent_dim}

    def call(self, encoded, noise):
        """What the encoder gives and draws of N(0, I), `(batch, latent_dim)` -> z and log q(z|x)."""
        z = distributions.normal_from_noise(noise, z_mean=encoded["z_mean"], z_log_var=encoded["z_log_var"])
        # In terms of the noise: (z - z_mean) / sigma would lose digits where sigma is small.
        return z, distributions.normal_log_prob(noise) - 0.5 * ops.sum(encoded["z_log_var"], axis=1)

    def gaussian(self, encoded):
        """The Gaussian that stands for q(z|x) in `encode`: z_mean, z_log_var."""
        return {"z_mean": encoded["z_mean"], "z_log_var": encoded["z_log_var"]}


class FlowPosterior(keras.layers.Layer):
    """q(z|x): a diagonal Gaussian through a `layers.RealNVP` that sees a context from the encoder (Rezende & Mohamed
    2015, eq. 7, with the coupling layers of Dinh et al. 2017).

    Args:
        n_layers, units: Coupling layers, and the widths of their hidden layers.
        context_dim: Numbers that the encoder tells the flow about the image.
    """

    def __init__(self, *, latent_dim, n_layers: int = 4, units: list[int] = (128,), context_dim: int = 64):
        super().__init__(name="posterior", dtype="float32")
        self.heads = {"z_mean": latent_dim, "z_log_var": latent_dim, "context": context_dim}
        self.diagonal = DiagonalPosterior(latent_dim=latent_dim)
        self.flow = RealNVP(latent_dim, n_layers=n_layers, units=units, context_size=context_dim)

    def call(self, encoded, noise):
        start, log_q = self.diagonal(encoded, noise)
        z, log_det = self.flow(start, context=encoded["context"])
        return z, log_q - log_det

    def gaussian(self, encoded):
        """The image of the mean, with the spread of before the flow."""
        z_mean, _ = self.flow(encoded["z_mean"], context=encoded["context"])
        return {"z_mean": z_mean, "z_log_var": encoded["z_log_var"]}


class HierarchicalPosterior(keras.layers.Layer):
    """q(z|x) = q(z_2|x) q(z_1|x, z_2) over z = [z_2, z_1] (Tomczak & Welling 2018, eq. 12).

    Args:
        top_dim: Numbers of z_2.
        units: Widths of the gated hidden layers that make the Gaussian q(z_1|x, z_2).
        context_dim: Numbers that the encoder tells q(z_1|x, z_2) about the image.
    """

    def __init__(self, *, latent_dim, top_dim: int, units: list[int], context_dim: int = 300):
        super().__init__(name="posterior", dtype="float32")
        _check_top(top_dim, latent_dim)
        self.heads = {"z_mean": top_dim, "z_log_var": top_dim, "context": context_dim}
        self.top_dim = top_dim
        self.diagonal = DiagonalPosterior(latent_dim=latent_dim)
        self.network = _gaussian_network(top_dim + context_dim, latent_dim - top_dim, units, name="posterior_network")

    def call(self, encoded, noise):
        top, log_q_top = self.diagonal(encoded, noise[:, : self.top_dim])
        bottom, log_q_bottom = self.diagonal(self._bottom(encoded, top), noise[:, self.top_dim :])
        return ops.concatenate([top, bottom], axis=1), log_q_top + log_q_bottom

    def gaussian(self, encoded):
        """z_2's Gaussian, and z_1's at the mean of z_2."""
        bottom = self._bottom(encoded, encoded["z_mean"])
        return {key: ops.concatenate([encoded[key], bottom[key]], axis=1) for key in ("z_mean", "z_log_var")}

    def _bottom(self, encoded, top):
        return self.network(ops.concatenate([top, encoded["context"]], axis=1))


PRIORS = {
    "standard_normal": StandardNormal,
    "realnvp": RealNVPPrior,
    "vamp": VampPrior,
    "hierarchical": HierarchicalPrior,
}
POSTERIORS = {"diagonal": DiagonalPosterior, "flow": FlowPosterior, "hierarchical": HierarchicalPosterior}


def build_prior(spec, *, latent_dim, encode=None, image_shape=None):
    """The prior a spec describes; None is N(0, I). `encode` maps images to z_mean and z_log_var, for "vamp"."""
    prior, options = networks.chosen(PRIORS, spec or {"name": "standard_normal"}, "prior")
    return prior(latent_dim=latent_dim, encode=encode, image_shape=image_shape, **options)


def build_posterior(spec, *, latent_dim):
    """The posterior a spec describes; None is a diagonal Gaussian."""
    posterior, options = networks.chosen(POSTERIORS, spec or {"name": "diagonal"}, "posterior")
    return posterior(latent_dim=latent_dim, **options)


def _gaussian_network(size, latent_dim, units, *, name):
    """Vectors of `size` -> z_mean and z_log_var."""
    outputs = {"z_mean": latent_dim, "z_log_var": latent_dim}
    spec = {"name": "mlp_encoder", "units": list(units), "gated": True}
    return networks.build(spec, name=name, dtype="float32", image_shape=(size,), outputs=outputs)


def _check_top(top_dim, latent_dim):
    if not 1 <= top_dim < latent_dim:
        raise ValueError(f"`top_dim` must be in 1..{latent_dim - 1}, below latent_dim. Received: {top_dim}")
