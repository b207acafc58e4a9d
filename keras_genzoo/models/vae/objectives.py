"""Objectives of a VAE: the bounds that its training maximises.

objective: elbo
objective: {name: iwae, n_draws: 5}
"""

from typing import Any

from keras import ops

from keras_genzoo import distributions, losses
from keras_genzoo.errors import ZooError
from keras_genzoo.models.base import Count
from keras_genzoo.parts import NonNegative
from keras_genzoo.typing import Tensor


class Objective:
    """The loss of draws of z.

    Args:
        n_draws: Number of draws of z per image in training, >= 1.
    """

    of_the_whole_batch: str | None = None  # reason for which single examples cannot be weighted; None: they can be
    needs_closed_kl = False  # whether KL(q(z|x) || p(z)) must be known per latent

    def __init__(self, *, n_draws: Count = 1):
        self.n_draws = n_draws

    def check(self, model: Any) -> None:
        """Checks that the objective fits the model's prior and posterior.

        Args:
            model: A `VAE`, with its parts.

        Raises:
            ZooError: It does not fit.
        """
        if self.needs_closed_kl and not model.has_closed_kl:
            raise ZooError(
                f"`objective` {_name(self)!r} with these options needs the default prior and posterior, whose KL is "
                "known per latent"
            )

    def loss(self, draws: Any, *, reconstruction_loss: Tensor, kl_loss: Tensor, weight: Tensor) -> Tensor:
        """The loss that training minimises.

        Args:
            draws: Draws of z and their log-densities, a `model.Draws`, `(n_draws, batch, ...)`.
            reconstruction_loss: Mean of -log p(x|z) over the draws, `(batch,)`, nats.
            kl_loss: KL(q(z|x) || p(z)), or its estimate, `(batch,)`, nats.
            weight: Weight of the KL in this step, a scalar.

        Returns:
            `(batch,)` float32, in nats per image.
        """
        raise NotImplementedError


class ELBO(Objective):
    """The negative ELBO (Kingma & Welling 2014, eq. 3), the KL weighted by the model's beta and warm-up.

    Args:
        n_draws: Number of draws of z per image in training, >= 1.
        free_bits: Nats per latent without a penalty (Kingma et al. 2016), >= 0. They need the default prior and
            posterior, whose KL is known per latent.
        reconstruction_weight: Weight of the reconstruction, >= 0; 1 is the ELBO, 0 leaves the KL alone.
    """

    def __init__(self, *, n_draws: Count = 1, free_bits: NonNegative = 0.0, reconstruction_weight: NonNegative = 1.0):
        super().__init__(n_draws=n_draws)
        self.free_bits, self.reconstruction_weight = free_bits, reconstruction_weight
        self.needs_closed_kl = free_bits > 0

    def loss(self, draws: Any, *, reconstruction_loss: Tensor, kl_loss: Tensor, weight: Tensor) -> Tensor:
        if self.free_bits:
            kl_loss = losses.free_bits(draws.kl_per_latent, minimum=self.free_bits)
        if self.reconstruction_weight != 1:
            reconstruction_loss = self.reconstruction_weight * reconstruction_loss
        return losses.negative_elbo(reconstruction_loss=reconstruction_loss, kl_loss=kl_loss, beta=weight)


class IWAE(Objective):
    """The bound of importance weighted draws (Burda et al. 2016, eq. 8).

    Args:
        n_draws: Number k of draws of z per image, >= 1.
    """

    def loss(self, draws: Any, *, reconstruction_loss: Tensor, kl_loss: Tensor, weight: Tensor) -> Tensor:
        return losses.iwae_loss(draws.log_likelihood + weight * (draws.log_p - draws.log_q))


class BetaTC(Objective):
    """The ELBO whose total correlation alone is weighted by beta (Chen et al. 2018, eq. 4, alpha = gamma = 1).

    It needs the default prior and posterior.

    Args:
        dataset_size: Number of training images, for the estimate of q(z), >= 1.
    """

    needs_closed_kl = True
    of_the_whole_batch = "the objective 'beta_tc' estimates q(z) from the whole batch"

    def __init__(self, *, dataset_size: Count = 60_000):
        super().__init__(n_draws=1)
        self.dataset_size = dataset_size
        self.beta = 1.0

    def check(self, model: Any) -> None:
        super().check(model)
        self.beta = model.beta

    def loss(self, draws: Any, *, reconstruction_loss: Tensor, kl_loss: Tensor, weight: Tensor) -> Tensor:
        z, z_mean, z_log_var = draws.z[0], draws.encoded["z_mean"], draws.encoded["z_log_var"]
        centred = z[:, None, :] - z_mean[None, :, :]
        pairs = -0.5 * (distributions.LOG_2PI + z_log_var + ops.square(centred) * ops.exp(-z_log_var))
        mutual_information, total_correlation, dimension_kl = losses.kl_decomposition(
            pairs, log_q=draws.log_q[0], log_p=draws.log_p[0], dataset_size=self.dataset_size
        )
        # The warm-up scales all three terms, as it scales the ELBO's KL; beta scales the total correlation alone.
        warm = weight / self.beta if self.beta else 1.0
        penalty = mutual_information + dimension_kl + self.beta * total_correlation
        return losses.negative_elbo(reconstruction_loss=reconstruction_loss, kl_loss=penalty, beta=warm)


OBJECTIVES = {"elbo": ELBO, "iwae": IWAE, "beta_tc": BetaTC}


def _name(objective):
    """The name of an objective in specs, or that of its class."""
    return next((name for name, kind in OBJECTIVES.items() if kind is type(objective)), type(objective).__name__)
