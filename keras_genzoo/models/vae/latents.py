"""Priors p(z) and posteriors q(z|x) of a VAE: parts that a spec names, as it stands in a preset.yaml.

    prior: {name: realnvp, n_layers: 8, units: [128]}

A prior is a layer that computes log p(z) and turns draws of N(0, I) into draws of p(z). A posterior names the heads of
the encoder, and turns their outputs and draws of N(0, I) into draws of q(z|x), with log q(z|x). Noise is an input
everywhere, so that every part can be exported. All numbers are float32.
"""

import math
from collections.abc import Callable, Sequence

import keras
from keras import ops

from keras_genzoo import distributions, networks, parts
from keras_genzoo.layers import RealNVP
from keras_genzoo.typing import Shape, Spec, Tensor

# Mean and deviation of a VampPrior's fresh pseudo-inputs before the sigmoid: dark images, of mean intensity 0.13.
_PSEUDO_MEAN, _PSEUDO_STD = -2.0, 0.5


class Prior(keras.layers.Layer):
    """A prior p(z).

    Args:
        noise_dim: Number of draws of N(0, 1) that make one draw of z.
    """

    is_standard_normal = False  # whether p(z) is N(0, I): its KL is known, and noise is z
    uses_encoder = False  # whether p(z) consists of the encoder's own q(z|x)

    def __init__(self, *, noise_dim: int):
        super().__init__(name="prior", dtype="float32")
        self.noise_dim = noise_dim

    def call(self, z: Tensor, from_noise: bool = False) -> Tensor:
        """`log_prob(z)` or `from_noise(z)`. An exported graph finds the variables of layers that are called.

        Args:
            z: Codes, `(batch, latent_dim)`; or noise, `(batch, noise_dim)`.
            from_noise: Whether z is noise.
        """
        return self.from_noise(z) if from_noise else self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), `(batch,)` float32, in nats."""
        raise NotImplementedError

    def from_noise(self, noise: Tensor) -> Tensor:
        """Draws of N(0, I), `(batch, noise_dim)` -> draws of p(z), `(batch, latent_dim)`."""
        raise NotImplementedError


class StandardNormal(Prior):
    """p(z) = N(0, I) (Kingma & Welling 2014)."""

    is_standard_normal = True

    def __init__(self, *, latent_dim: int):
        super().__init__(noise_dim=latent_dim)

    def log_prob(self, z: Tensor) -> Tensor:
        return distributions.normal_log_prob(z)

    def from_noise(self, noise: Tensor) -> Tensor:
        return noise


class RealNVPPrior(Prior):
    """p(z) = N(f(z); 0, I) |det df/dz| with f a learned `layers.RealNVP` (Xu et al. 2019, RealNVP as a prior).

    Args:
        latent_dim: Size of z, >= 2.
        n_layers: Number of coupling layers, >= 1.
        units: Widths of the hidden layers in each coupling layer.
    """

    def __init__(self, *, latent_dim: int, n_layers: int = 8, units: Sequence[int] = (128,)):
        super().__init__(noise_dim=latent_dim)
        self.flow = RealNVP(latent_dim, n_layers=n_layers, units=units)

    def log_prob(self, z: Tensor) -> Tensor:
        noise, log_det = self.flow(z)
        return distributions.normal_log_prob(noise) + log_det

    def from_noise(self, noise: Tensor) -> Tensor:
        return self.flow(noise, inverse=True)[0]


class VampPrior(Prior):
    """p(z) = 1/K sum_k q(z|u_k), the posteriors of K learned images (Tomczak & Welling 2018, eq. 9).

    Args:
        latent_dim: Size of z.
        encode: Function from images to `z_mean` and `z_log_var`, the model's encoder.
        image_shape: `(H, W, C)`.
        n_components: Number K of learned images, >= 1.

    Raises:
        ValueError: `n_components` is below 1.
    """

    uses_encoder = True

    def __init__(
        self,
        *,
        latent_dim: int,
        encode: Callable[[Tensor], dict[str, Tensor]],
        image_shape: Shape,
        n_components: int = 500,
    ):
        super().__init__(noise_dim=latent_dim + 1)  # the last number chooses the component
        if n_components < 1:
            raise ValueError(f"`n_components` must be >= 1. Received: {n_components}")
        self.n_components, self.encode = n_components, encode
        self.pseudo_inputs = self.add_weight(
            shape=(n_components, *image_shape),
            initializer=keras.initializers.RandomNormal(mean=_PSEUDO_MEAN, stddev=_PSEUDO_STD, seed=0),
            name="pseudo_inputs",  # logits: a sigmoid makes them images
        )

    def components(self) -> tuple[Tensor, Tensor]:
        """z_mean and z_log_var of the K components, each `(K, latent_dim)`."""
        q = self.encode(ops.sigmoid(self.pseudo_inputs))
        return q["z_mean"], q["z_log_var"]

    def log_prob(self, z: Tensor) -> Tensor:
        z_mean, z_log_var = self.components()
        # The squared distance of every z to every component is a sum of matrix products: an array of shape
        # (batch, K, latent_dim) would not fit into memory.
        precision = ops.exp(-z_log_var)
        distance = (
            ops.matmul(ops.square(z), ops.transpose(precision))
            - 2 * ops.matmul(z, ops.transpose(z_mean * precision))
            + ops.sum(ops.square(z_mean) * precision, axis=1)
        )
        log_probs = -0.5 * (distance + ops.sum(distributions.LOG_2PI + z_log_var, axis=1))
        return ops.logsumexp(log_probs, axis=1) - math.log(self.n_components)

    def from_noise(self, noise: Tensor) -> Tensor:
        z_mean, z_log_var = self.components()
        uniform = 0.5 * (1 + ops.erf(noise[:, -1] / math.sqrt(2)))
        k = ops.minimum(ops.cast(uniform * self.n_components, "int32"), self.n_components - 1)
        return ops.take(z_mean, k, axis=0) + ops.exp(0.5 * ops.take(z_log_var, k, axis=0)) * noise[:, :-1]


class HierarchicalPrior(Prior):
    """p(z) = p(z_2) p(z_1|z_2) over z = [z_2, z_1]: two levels (Tomczak & Welling 2018, section 4).

    Args:
        latent_dim: Size of z.
        top_dim: Size of z_2, in 1..latent_dim - 1.
        units: Widths of the gated hidden layers of the network that computes the Gaussian p(z_1|z_2).
        top: Spec of the prior p(z_2); None: N(0, I). It cannot be "vamp", whose components are of the whole z.
        flow: Options of a `layers.RealNVP` with z_2 as its context, behind which p(z_1|z_2) is more than a Gaussian;
            None: no flow. It needs a z_1 of 2 numbers or more.

    Raises:
        ZooError: An unknown prior, or one that does not fit.
        ValueError: `top_dim` is out of range.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        top_dim: int,
        units: list[int],
        top: Spec = None,
        flow: dict | None = None,
    ):
        super().__init__(noise_dim=latent_dim)
        _check_top(top_dim, latent_dim)
        self.top_dim = top_dim
        self.top = parts.build("prior", top or "standard_normal", key="prior.top", latent_dim=top_dim)
        self.network = _gaussian_network(top_dim, latent_dim - top_dim, units, name="prior_network")
        self.flow = RealNVP(latent_dim - top_dim, context_size=top_dim, **flow) if flow else None

    def log_prob(self, z: Tensor) -> Tensor:
        top, bottom = z[:, : self.top_dim], z[:, self.top_dim :]
        p = self.network(top)
        log_p = self.top(top) - 0.5 * ops.sum(p["z_log_var"], axis=1)
        bottom = (bottom - p["z_mean"]) * ops.exp(-0.5 * p["z_log_var"])
        if self.flow:
            bottom, log_det = self.flow(bottom, context=top)
            log_p += log_det
        return log_p + distributions.normal_log_prob(bottom)

    def from_noise(self, noise: Tensor) -> Tensor:
        top, bottom = noise[:, : self.top_dim], noise[:, self.top_dim :]
        top = self.top(top, from_noise=True)
        p = self.network(top)
        if self.flow:
            bottom = self.flow(bottom, context=top, inverse=True)[0]
        return ops.concatenate([top, p["z_mean"] + ops.exp(0.5 * p["z_log_var"]) * bottom], axis=1)


class LatentPosterior(keras.layers.Layer):
    """A posterior q(z|x).

    Args:
        heads: Outputs of the encoder: name -> size, `z_mean` and `z_log_var` among them.
    """

    is_diagonal = False  # whether q(z|x) is N(z_mean, diag(exp(z_log_var)))

    def __init__(self, *, heads: dict[str, int]):
        super().__init__(name="posterior", dtype="float32")
        self.heads = heads

    def call(self, encoded: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
        """Turns noise into draws of q(z|x).

        Args:
            encoded: Outputs of the encoder, by name.
            noise: Draws of N(0, I), `(batch, latent_dim)`.

        Returns:
            z, `(batch, latent_dim)`, and log q(z|x), `(batch,)` in nats.
        """
        raise NotImplementedError

    def gaussian(self, encoded: dict[str, Tensor]) -> dict[str, Tensor]:
        """The Gaussian that stands for q(z|x) in `encode`: `z_mean` and `z_log_var`, each `(batch, latent_dim)`."""
        raise NotImplementedError


class DiagonalPosterior(LatentPosterior):
    """q(z|x) = N(z_mean, diag(exp(z_log_var))) (Kingma & Welling 2014, eq. 9)."""

    is_diagonal = True

    def __init__(self, *, latent_dim: int):
        super().__init__(heads={"z_mean": latent_dim, "z_log_var": latent_dim})

    def call(self, encoded: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
        z = distributions.normal_from_noise(noise, z_mean=encoded["z_mean"], z_log_var=encoded["z_log_var"])
        # The density is computed from the noise: (z - z_mean) / sigma would lose digits where sigma is small.
        return z, distributions.normal_log_prob(noise) - 0.5 * ops.sum(encoded["z_log_var"], axis=1)

    def gaussian(self, encoded: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"z_mean": encoded["z_mean"], "z_log_var": encoded["z_log_var"]}


class FlowPosterior(LatentPosterior):
    """q(z|x): a diagonal Gaussian behind a `layers.RealNVP` with a context from the encoder.

    (Rezende & Mohamed 2015, eq. 7, with the coupling layers of Dinh et al. 2017.)

    Args:
        latent_dim: Size of z, >= 2.
        n_layers: Number of coupling layers, >= 1.
        units: Widths of the hidden layers in each coupling layer.
        context_dim: Length of the context, >= 1.
    """

    def __init__(self, *, latent_dim: int, n_layers: int = 4, units: Sequence[int] = (128,), context_dim: int = 64):
        super().__init__(heads={"z_mean": latent_dim, "z_log_var": latent_dim, "context": context_dim})
        self.diagonal = DiagonalPosterior(latent_dim=latent_dim)
        self.flow = RealNVP(latent_dim, n_layers=n_layers, units=units, context_size=context_dim)

    def call(self, encoded: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
        start, log_q = self.diagonal(encoded, noise)
        z, log_det = self.flow(start, context=encoded["context"])
        return z, log_q - log_det

    def gaussian(self, encoded: dict[str, Tensor]) -> dict[str, Tensor]:
        """The flow's image of the mean, and the variance before the flow."""
        z_mean, _ = self.flow(encoded["z_mean"], context=encoded["context"])
        return {"z_mean": z_mean, "z_log_var": encoded["z_log_var"]}


class HierarchicalPosterior(LatentPosterior):
    """q(z|x) = q(z_2|x) q(z_1|x, z_2) over z = [z_2, z_1] (Tomczak & Welling 2018, eq. 12).

    Args:
        latent_dim: Size of z.
        top_dim: Size of z_2, in 1..latent_dim - 1.
        units: Widths of the gated hidden layers of the network that computes the Gaussian q(z_1|x, z_2).
        context_dim: Length of the encoder's output for q(z_1|x, z_2), >= 1.

    Raises:
        ValueError: `top_dim` is out of range.
    """

    def __init__(self, *, latent_dim: int, top_dim: int, units: list[int], context_dim: int = 300):
        super().__init__(heads={"z_mean": top_dim, "z_log_var": top_dim, "context": context_dim})
        _check_top(top_dim, latent_dim)
        self.top_dim = top_dim
        self.diagonal = DiagonalPosterior(latent_dim=latent_dim)
        self.network = _gaussian_network(top_dim + context_dim, latent_dim - top_dim, units, name="posterior_network")

    def call(self, encoded: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
        top, log_q_top = self.diagonal(encoded, noise[:, : self.top_dim])
        bottom, log_q_bottom = self.diagonal(self._bottom(encoded, top), noise[:, self.top_dim :])
        return ops.concatenate([top, bottom], axis=1), log_q_top + log_q_bottom

    def gaussian(self, encoded: dict[str, Tensor]) -> dict[str, Tensor]:
        """The Gaussian of z_2, and that of z_1 at the mean of z_2."""
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


def _gaussian_network(size, latent_dim, units, *, name):
    """A network from vectors of `size` to `z_mean` and `z_log_var`, each `(batch, latent_dim)`."""
    outputs = {"z_mean": latent_dim, "z_log_var": latent_dim}
    spec = {"name": "mlp_encoder", "units": list(units), "gated": True}
    return networks.build(spec, name=name, dtype="float32", image_shape=(size,), outputs=outputs)


def _check_top(top_dim, latent_dim):
    if not 1 <= top_dim < latent_dim:
        raise ValueError(f"`top_dim` must be in 1..{latent_dim - 1}, below latent_dim. Received: {top_dim}")
