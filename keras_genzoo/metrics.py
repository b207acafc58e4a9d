"""Measures over arrays and features: distances of samples, reconstruction quality, use of latents. NumPy only."""

import numpy as np

from keras_genzoo.errors import ZooError


def frechet_distance(real_features, fake_features):
    """Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6, squared form).

        d^2 = |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2))

    It is called FID only over Inception features; say whose features these are. Biased upwards for small n: compare
    only at equal n, and with the distance between two real samples.

    Args:
        real_features, fake_features: `(n, d)`, n >= 2.

    Returns:
        float >= 0, in squared feature units.
    """
    real, fake = _features(real_features, fake_features)
    mean_term = np.sum((real.mean(0) - fake.mean(0)) ** 2)
    c_real, c_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    # Tr (C_r C_f)^(1/2) through a symmetric matrix of the same eigenvalues: real and stable where sqrtm is not.
    values, vectors = np.linalg.eigh(np.atleast_2d(c_real))
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(c_fake) @ root)
    distance = mean_term + np.trace(np.atleast_2d(c_real)) + np.trace(np.atleast_2d(c_fake))
    return float(max(distance - 2 * np.sum(np.sqrt(np.clip(cross, 0, None))), 0.0))


def kernel_distance(real_features, fake_features):
    """Kernel distance (KID): unbiased squared MMD with k(a, b) = (a.b / d + 1)^3 (Binkowski et al. 2018, eq. 4).

    Over all pairs, not over subsets.

    Args:
        real_features, fake_features: `(n, d)`, n >= 2.

    Returns:
        float, 0 in expectation for equal distributions, so slightly negative at times.
    """
    real, fake = _features(real_features, fake_features)
    return float(_mean_kernel(real) + _mean_kernel(fake) - 2 * _mean_kernel(real, fake))


def label_histogram_kl(labels, *, reference, n_classes):
    """KL(generated label histogram || reference histogram), in nats; 0 when classes come as often as they should.

    Args:
        labels: Class of each generated image, as a classifier sees it, `(n,)` integers.
        reference: Labels of real images, `(m,)`; every class must occur.
        n_classes: Number of classes.
    """
    p, q = (np.bincount(values, minlength=n_classes) / len(values) for values in (labels, reference))
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))


def psnr(images, reconstructions):
    """Peak signal-to-noise ratio of each image in [0, 1]: `(n,)` in dB, 10 log10(1 / mean squared error)."""
    axes = tuple(range(1, images.ndim))
    error = np.mean((images.astype("float64") - reconstructions) ** 2, axis=axes)
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def active_units(z_mean, threshold=0.01):
    """Latents the model uses: those with Var_x(E[z_j|x]) > 0.01 (Burda et al. 2016, section 5.2). Returns an int."""
    return int(np.sum(np.var(z_mean, axis=0) > threshold))


def pca_squared_error(train, test, *, n_components):
    """Squared error per test image of PCA fitted on train: what a linear code of that size reaches.

    Args:
        train, test: `(n, ...)` float32 in [0, 1].
    """
    train, test = (images.reshape(len(images), -1).astype("float32") for images in (train, test))
    mean = train.mean(0)
    centred = train - mean
    basis = np.linalg.eigh(centred.T @ centred / len(train))[1][:, -n_components:]
    residual = (test - mean) - (test - mean) @ basis @ basis.T
    return float(np.mean(np.sum(residual.astype("float64") ** 2, axis=1)))


def _features(real, fake):
    real, fake = np.asarray(real, "float64"), np.asarray(fake, "float64")
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise ZooError(f"Features must be (n, d) with n >= 2 and one d. Received: {real.shape} and {fake.shape}")
    return real, fake


def _mean_kernel(a, b=None, block=1000):
    """Mean of the kernel over all pairs of a and b; without b, over the pairs of two different rows of a."""
    total = sum(np.sum((rows @ (a if b is None else b).T / a.shape[1] + 1) ** 3) for rows in _blocks(a, block))
    if b is not None:
        return total / (len(a) * len(b))
    diagonal = np.sum((np.sum(a * a, axis=1) / a.shape[1] + 1) ** 3)
    return (total - diagonal) / (len(a) * (len(a) - 1))


def _blocks(a, size):
    return (a[start : start + size] for start in range(0, len(a), size))
