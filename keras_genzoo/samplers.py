"""Where to take z from when the prior is not where the codes are: a mixture of Gaussians fitted to them (ex post)."""

import numpy as np

from keras_genzoo.errors import ZooError


class MixtureSampler:
    """Draws images from a model's decoder, with z from a mixture of Gaussians; see `fit_mixture`."""

    def __init__(self, model, mixture):
        self.model, self.mixture = model, mixture
        self.n_components = mixture.n_components

    def sample(self, n, seed=None):
        """n images, `(n, H, W, C)` float32; the same for the same integer seed."""
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ZooError(f"`n` must be an integer >= 1. Received: {n!r}")
        self.mixture.random_state = seed
        z = self.mixture.sample(n)[0]
        return self.model.decode(np.random.default_rng(seed).permutation(z).astype("float32"))  # not by component


def fit_mixture(model, images, *, n_components=10, seed=0):
    """A sampler for an autoencoder, which has no prior, or a VAE whose codes do not fill theirs (Ghosh et al. 2020,
    section 4: ex-post density estimation). scikit-learn's GaussianMixture, with full covariances.

    Args:
        model: A model with `codes` and `decode`, not conditional.
        images: Training images as the model takes them, `(n, H, W, C)` in [0, 1].
        n_components: Gaussians, >= 1; the paper takes 10.
        seed: Of the fit and, for a VAE, of the draws z ~ q(z|x) that it is fitted to.

    Returns:
        A `MixtureSampler`.

    Example:
        >>> sampler = keras_genzoo.samplers.fit_mixture(vae, images)
        >>> more = sampler.sample(64, seed=0)
    """
    if not hasattr(model, "codes") or getattr(model, "n_classes", 0):
        raise ZooError(f"A mixture needs a model with codes that no label changes. Received: {model.name}")
    if n_components < 1:
        raise ZooError(f"`n_components` must be >= 1. Received: {n_components}")
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError:
        raise ZooError("A mixture needs scikit-learn: pip install 'keras-genzoo[probes]'") from None
    z = _codes(model, images, seed)
    if len(z) < n_components:
        raise ZooError(f"`n_components` must be <= the number of images, {len(z)}. Received: {n_components}")
    return MixtureSampler(
        model, GaussianMixture(n_components, random_state=seed, reg_covar=1e-5).fit(z.astype("float64"))
    )


def _codes(model, images, seed):
    """The codes of an autoencoder; of a VAE, one draw of q(z|x) per image."""
    if not hasattr(model, "likelihood"):
        return model.codes(images)
    q = model.encode(images)
    noise = np.random.default_rng(seed).standard_normal(q.z_mean.shape, dtype="float32")
    return q.z_mean + np.exp(0.5 * q.z_log_var) * noise
