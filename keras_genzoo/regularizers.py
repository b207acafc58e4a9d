"""What keeps an autoencoder from memorising: an activation of its code and a penalty on it, in `keras.ops`.

A spec is a dict with the regularizer's `name` and its arguments, as it stands in a preset.yaml:

    {"name": "l1", "weight": 0.05}

A regularizer is a part of `Autoencoder`, not a class of autoencoder: `activate` turns the encoder's linear output into
the code, `penalty` is added to the loss.
"""

from typing import ClassVar

from keras import ops, random

from keras_genzoo import losses, networks


class Regularizer:
    """No constraint but the size of the code (undercomplete): a linear code and no penalty."""

    def check(self, *, latent_dim, compute_dtype):
        """Raises a ValueError where the regularizer does not fit the model."""

    def activate(self, z, training=False, step=0):
        """The code of the encoder's linear output `(batch, latent_dim)`, same shape; `step` counts training steps."""
        return z

    def penalty(self, z, *, x, encode, seed):
        """What is added to the loss: `(batch,)` float32, >= 0.

        Args:
            z: The codes of x, `(batch, latent_dim)`, after `activate`.
            x: What the encoder saw, `(batch, H, W, C)`.
            encode: Function from images to codes, for penalties on the encoder's derivative.
            seed: A `keras.random.SeedGenerator`.
        """
        return ops.zeros_like(z[:, 0])


class L1(Regularizer):
    """Sparse by an L1 penalty on ReLU codes: `weight * sum_j |z_j|` (`losses.l1_activity`)."""

    def __init__(self, *, weight: float):
        self.weight = _positive(weight, "weight")

    def activate(self, z, training=False, step=0):
        return ops.relu(z)

    def penalty(self, z, *, x, encode, seed):
        return self.weight * losses.l1_activity(z)


class KLSparsity(Regularizer):
    """Sparse by a target activity: sigmoid codes whose mean over the batch is drawn to `rho`
    (`losses.kl_sparsity`).
    """

    def __init__(self, *, rho: float, weight: float):
        if not 0 < rho < 1:
            raise ValueError(f"`rho` must be in (0, 1). Received: {rho}")
        self.rho, self.weight = rho, _positive(weight, "weight")

    def activate(self, z, training=False, step=0):
        return ops.sigmoid(z)

    def penalty(self, z, *, x, encode, seed):
        return self.weight * losses.kl_sparsity(z, rho=self.rho)


class KSparse(Regularizer):
    """Sparse by construction (Makhzani & Frey 2013, algorithm 1): the k largest of the linear code stay, the others
    are 0. No penalty.

    Outside training `alpha * k` stay, which the paper found better for features (section 2.2). Over the first
    `anneal_steps` training steps k falls from the whole code to its value (section 4.2.1): units that never win would
    never learn.
    """

    def __init__(self, *, k: int, alpha: float = 1.0, anneal_steps: int = 0):
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"`k` must be an integer >= 1. Received: {k}")
        if alpha < 1:
            raise ValueError(f"`alpha` must be >= 1. Received: {alpha}")
        if anneal_steps < 0:
            raise ValueError(f"`anneal_steps` must be >= 0. Received: {anneal_steps}")
        self.k, self.alpha, self.anneal_steps = k, alpha, anneal_steps

    def check(self, *, latent_dim, compute_dtype):
        if self.k > latent_dim:
            raise ValueError(f"`k` must be <= latent_dim = {latent_dim}. Received: {self.k}")

    def activate(self, z, training=False, step=0):
        size = z.shape[-1]
        if training and self.anneal_steps:
            left = ops.maximum(0.0, 1 - ops.cast(step, "float32") / self.anneal_steps)
            kept = self.k + ops.cast(left * (size - self.k), "int32")
            smallest_kept = ops.take(ops.top_k(z, size)[0], kept - 1, axis=1)[:, None]
        else:
            kept = min(self.k if training else round(self.alpha * self.k), size)
            smallest_kept = ops.top_k(z, kept)[0][:, -1:]
        return ops.where(z >= smallest_kept, z, 0.0)


class Contractive(Regularizer):
    """Sigmoid codes that resist small changes of the image: `weight * ||df/dx||_F^2` (`losses.contraction`)."""

    def __init__(self, *, weight: float):
        self.weight = _positive(weight, "weight")

    _STEP: ClassVar = 1e-2

    def check(self, *, latent_dim, compute_dtype):
        if compute_dtype == "bfloat16":
            raise ValueError(
                "`contractive` takes differences that bfloat16 rounds away; use float32 or mixed_float16. "
                f"Received: compute dtype {compute_dtype}"
            )

    def activate(self, z, training=False, step=0):
        return ops.sigmoid(z)

    def penalty(self, z, *, x, encode, seed):
        x = ops.cast(x, "float32")
        direction = random.normal(ops.shape(x), dtype="float32", seed=seed)
        return self.weight * losses.contraction(z, moved=encode(x + self._STEP * direction), step=self._STEP)


REGULARIZERS = {"l1": L1, "kl": KLSparsity, "k_sparse": KSparse, "contractive": Contractive}


def build(spec):
    """The regularizer a spec describes; None is `Regularizer`, which leaves the code as it is."""
    if spec is None:
        return Regularizer()
    regularizer, options = networks.chosen(REGULARIZERS, spec, "regularizer")
    return regularizer(**options)


def _positive(weight, argument):
    if not weight > 0:
        raise ValueError(f"`{argument}` must be > 0. Received: {weight}")
    return weight
