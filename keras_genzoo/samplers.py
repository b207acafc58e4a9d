"""Samplers of z for models whose codes do not follow a prior: a mixture of Gaussians fitted to the codes (ex post)."""

from typing import Any

import numpy as np

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import MOST_SEED

_LEAST_VARIANCE = 1e-5  # added to the diagonal of each covariance, so that codes in a plane do not make it singular


class MixtureSampler:
    """Draws images from a model's decoder, with z from a mixture of Gaussians; see `fit_mixture`.

    Args:
        model: A model with `decode`.
        mixture: scikit-learn's `GaussianMixture`, fitted to codes.
    """

    def __init__(self, model: Any, mixture: Any):
        self.model, self.mixture = model, mixture
        self.n_components = mixture.n_components

    def sample(self, n: int, seed: int | None = None) -> np.ndarray:
        """Draws images.

        Args:
            n: Number of images, >= 1.
            seed: Seed of the codes; the same integer gives the same images. None: new ones each time.

        Returns:
            `(n, H, W, C)` float32, in [0, 1].

        Raises:
            ZooError: `n` is no integer >= 1.
        """
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ZooError(f"`n` must be an integer >= 1. Received: {n!r}")
        self.mixture.random_state = seed
        z = self.mixture.sample(n)[0]
        # Permuted, because scikit-learn sorts its draws by component.
        return self.model.decode(np.random.default_rng(seed).permutation(z).astype("float32"))


def fit_mixture(model: Any, images: np.ndarray, *, n_components: int = 10, seed: int = 0) -> MixtureSampler:
    """Fits a sampler to a model's codes: ex-post density estimation (Ghosh et al. 2020, section 4).

    An autoencoder has no prior to draw from, and a VAE's codes may fill only a part of its prior. The density is
    scikit-learn's GaussianMixture with full covariances.

    Args:
        model: A model with `codes` and `decode`, not conditional.
        images: Training images as the model takes them, `(n, H, W, C)`, in [0, 1].
        n_components: Number of Gaussians, in 1..n; the paper takes 10.
        seed: Seed of the fit, and of a VAE's draws z ~ q(z|x), to which it is fitted.

    Returns:
        A `MixtureSampler`.

    Raises:
        ZooError: A model without codes or with labels, `n_components` out of range, or scikit-learn is not installed.

    Example:
        >>> import keras_genzoo as gz
        >>> model = gz.load("ae2d_mnist")
        >>> images = gz.data.to_unit(gz.data.arrays("mnist", "train")[0][:500])
        >>> sampler = gz.samplers.fit_mixture(model, images, n_components=5)
        >>> sampler.sample(16, seed=0).shape
        (16, 28, 28, 1)
    """
    if not model.can("decode") or model.is_conditional:
        raise ZooError(f"A mixture needs a model with codes that no label changes. Received: {model.name}")
    if n_components < 1:
        raise ZooError(f"`n_components` must be >= 1. Received: {n_components}")
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MOST_SEED:
        raise ZooError(f"`seed` must be an integer in 0..{MOST_SEED}. Received: {seed!r}")
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError:
        raise ZooError("A mixture needs scikit-learn: pip install 'keras-genzoo[probes]'") from None
    z = model.drawn_codes(images, seed=seed)
    if len(z) < n_components:
        raise ZooError(f"`n_components` must be <= the number of images, {len(z)}. Received: {n_components}")
    mixture = GaussianMixture(n_components, random_state=seed, reg_covar=_LEAST_VARIANCE)
    return MixtureSampler(model, mixture.fit(z.astype("float64")))
