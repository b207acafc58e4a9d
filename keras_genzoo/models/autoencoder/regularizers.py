"""Regularizers of an autoencoder's code, which keep it from memorising: an activation and a penalty, in `keras.ops`.

A spec is a dict with the regularizer's `name` and its arguments, as it stands in a preset.yaml:

    {"name": "l1", "weight": 0.05}

A regularizer is a part of `Autoencoder`, not a class of autoencoder: `activate` turns the encoder's linear output into
the code, `penalty` is added to the loss.
"""

from collections.abc import Callable

import keras
from keras import ops, random

from keras_genzoo import losses, parts
from keras_genzoo.typing import Spec, Tensor

_CONTRACTION_STEP = 1e-2  # length of the difference, whose own error is of order 1e-2, and that of rounding 1e-5


class Regularizer:
    """No constraint but the size of the code (undercomplete): a linear code and no penalty."""

    of_the_whole_batch: str | None = None  # reason for which single examples cannot be weighted; None: they can be

    def check(self, *, latent_dim: int, compute_dtype: str) -> None:
        """Checks that the regularizer fits the model.

        Args:
            latent_dim: Length of the code.
            compute_dtype: Type of the hidden layers' outputs, such as "bfloat16".

        Raises:
            ValueError: It does not fit.
        """

    def activate(self, z: Tensor, training: bool = False, step: int | Tensor = 0) -> Tensor:
        """Turns the encoder's linear output into the code.

        Args:
            z: Linear output, `(batch, latent_dim)`.
            training: Whether the model is in training.
            step: Number of training steps so far.

        Returns:
            Codes of the same shape.
        """
        return z

    def penalty(
        self, z: Tensor, *, x: Tensor, encode: Callable[[Tensor], Tensor], seed: int | keras.random.SeedGenerator
    ) -> Tensor:
        """The term that is added to the loss.

        Args:
            z: Codes of x, `(batch, latent_dim)`, after `activate`.
            x: Inputs of the encoder, `(batch, H, W, C)`.
            encode: Function from images to codes, for penalties on the encoder's derivative.
            seed: Seed of draws, a `keras.random.SeedGenerator` or, in validation, an int.

        Returns:
            `(batch,)` float32, >= 0.
        """
        return ops.zeros_like(z[:, 0])


class L1(Regularizer):
    """Sparse by an L1 penalty on ReLU codes: `weight * sum_j |z_j|` (`losses.l1_activity`).

    Args:
        weight: Weight of the penalty, > 0.

    Raises:
        ValueError: `weight` is out of range.
    """

    def __init__(self, *, weight: float):
        self.weight = _positive(weight, "weight")

    def activate(self, z: Tensor, training: bool = False, step: int | Tensor = 0) -> Tensor:
        return ops.relu(z)

    def penalty(
        self, z: Tensor, *, x: Tensor, encode: Callable[[Tensor], Tensor], seed: int | keras.random.SeedGenerator
    ) -> Tensor:
        return self.weight * losses.l1_activity(z)


class KLSparsity(Regularizer):
    """Sparse by a target activity: sigmoid codes, whose mean over the batch a penalty draws to `rho`.

    The penalty is `weight * losses.kl_sparsity`.

    Args:
        rho: Target of each unit's mean activity, in (0, 1).
        weight: Weight of the penalty, > 0.

    Raises:
        ValueError: An argument is out of range.
    """

    of_the_whole_batch = "the regularizer 'kl' looks at the mean activity over the whole batch"

    def __init__(self, *, rho: float, weight: float):
        if not 0 < rho < 1:
            raise ValueError(f"`rho` must be in (0, 1). Received: {rho}")
        self.rho, self.weight = rho, _positive(weight, "weight")

    def activate(self, z: Tensor, training: bool = False, step: int | Tensor = 0) -> Tensor:
        return ops.sigmoid(z)

    def penalty(
        self, z: Tensor, *, x: Tensor, encode: Callable[[Tensor], Tensor], seed: int | keras.random.SeedGenerator
    ) -> Tensor:
        return self.weight * losses.kl_sparsity(z, rho=self.rho)


class KSparse(Regularizer):
    """Sparse by construction (Makhzani & Frey 2013, algorithm 1): all but the code's k largest numbers are set to 0.

    The code is linear, and there is no penalty. Outside training `alpha * k` numbers stay, which the paper found better
    for features (section 2.2). Over the first `anneal_steps` training steps k falls from the whole code to its value
    (section 4.2.1): otherwise units that are never among the k largest get no gradient, and stay so.

    Args:
        k: Number of the code's numbers that stay in training, in 1..latent_dim.
        alpha: Factor of k outside training, >= 1.
        anneal_steps: Number of training steps over which k falls, >= 0.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, *, k: int, alpha: float = 1.0, anneal_steps: int = 0):
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"`k` must be an integer >= 1. Received: {k}")
        if alpha < 1:
            raise ValueError(f"`alpha` must be >= 1. Received: {alpha}")
        if anneal_steps < 0:
            raise ValueError(f"`anneal_steps` must be >= 0. Received: {anneal_steps}")
        self.k, self.alpha, self.anneal_steps = k, alpha, anneal_steps

    def check(self, *, latent_dim: int, compute_dtype: str) -> None:
        if self.k > latent_dim:
            raise ValueError(f"`k` must be <= latent_dim = {latent_dim}. Received: {self.k}")

    def activate(self, z: Tensor, training: bool = False, step: int | Tensor = 0) -> Tensor:
        size = z.shape[-1]
        if training and self.anneal_steps:
            share_left = ops.maximum(0.0, 1 - ops.cast(step, "float32") / self.anneal_steps)
            k = self.k + ops.cast(share_left * (size - self.k), "int32")
            threshold = ops.take(ops.top_k(z, size)[0], k - 1, axis=1)[:, None]
        else:
            k = min(self.k if training else round(self.alpha * self.k), size)
            threshold = ops.top_k(z, k)[0][:, -1:]
        return ops.where(z >= threshold, z, 0.0)


class Contractive(Regularizer):
    """Sigmoid codes that change little with the image: a penalty `weight * ||df/dx||_F^2` (`losses.contraction`).

    Args:
        weight: Weight of the penalty, > 0.

    Raises:
        ValueError: `weight` is out of range.
    """

    def __init__(self, *, weight: float):
        self.weight = _positive(weight, "weight")

    def check(self, *, latent_dim: int, compute_dtype: str) -> None:
        if compute_dtype == "bfloat16":
            raise ValueError(
                "`contractive` takes differences that bfloat16 rounds away; use float32 or mixed_float16. "
                f"Received: compute dtype {compute_dtype}"
            )

    def activate(self, z: Tensor, training: bool = False, step: int | Tensor = 0) -> Tensor:
        return ops.sigmoid(z)

    def penalty(
        self, z: Tensor, *, x: Tensor, encode: Callable[[Tensor], Tensor], seed: int | keras.random.SeedGenerator
    ) -> Tensor:
        x = ops.cast(x, "float32")
        direction = random.normal(ops.shape(x), dtype="float32", seed=seed)
        moved = encode(x + _CONTRACTION_STEP * direction)
        return self.weight * losses.contraction(z, moved=moved, step=_CONTRACTION_STEP)


REGULARIZERS = {"l1": L1, "kl": KLSparsity, "k_sparse": KSparse, "contractive": Contractive}


def build(spec: Spec) -> Regularizer:
    """Builds the regularizer that a spec describes.

    Args:
        spec: Key of `REGULARIZERS`, or a dict of `name` and options; None: no constraint but the size of the code.

    Raises:
        ZooError: Unknown name or option.
        ValueError: An option out of range.
    """
    if spec is None:
        return Regularizer()
    return parts.build("regularizer", spec)


def _positive(weight, argument):
    """A weight, once it is > 0."""
    if not weight > 0:
        raise ValueError(f"`{argument}` must be > 0. Received: {weight}")
    return weight
